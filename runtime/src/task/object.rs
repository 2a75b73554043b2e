//! Reads structs from JSON objects alone: serde takes an array of a struct's values as well.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A `T` that was an object.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Object)
    }
}

impl<'de, T: Deserialize<'de>> Object<T> {
    /// For `deserialize_with`.
    ///
    /// # Errors
    /// It is no object, or not a `T`.
    pub fn required<D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        Object::deserialize(deserializer).map(|Object(value)| value)
    }

    /// The same where `null` is nothing.
    ///
    /// # Errors
    /// It is no object, or not a `T`.
    pub fn optional<D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<Object<T>>::deserialize(deserializer).map(|value| value.map(|Object(value)| value))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
