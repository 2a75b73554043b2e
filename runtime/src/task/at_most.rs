//! Lists and maps of clients, refused while they are read: what is too long is never in memory as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A `C` of `N` entries at most.
#[derive(Debug)]
pub struct AtMost<C, const N: usize>(C);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<Vec<T>, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader::<Vec<T>, N>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<BTreeMap<String, T>, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader::<BTreeMap<String, T>, N>(PhantomData))
    }
}

impl<'de, C, const N: usize> AtMost<C, N>
where
    AtMost<C, N>: Deserialize<'de>,
{
    /// For `deserialize_with`.
    ///
    /// # Errors
    /// There are more.
    pub fn required<D: Deserializer<'de>>(deserializer: D) -> Result<C, D::Error> {
        AtMost::deserialize(deserializer).map(|AtMost(entries)| entries)
    }

    /// The same where `null` is nothing.
    ///
    /// # Errors
    /// There are more.
    pub fn optional<D: Deserializer<'de>>(deserializer: D) -> Result<Option<C>, D::Error> {
        Option::<AtMost<C, N>>::deserialize(deserializer)
            .map(|entries| entries.map(|AtMost(entries)| entries))
    }
}

struct Reader<C, const N: usize>(PhantomData<C>);

fn too_many<E: Error>(most: usize) -> E {
    E::custom(format_args!("at most {most} of them"))
}

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reader<Vec<T>, N> {
    type Value = AtMost<Vec<T>, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            if entries.len() == N {
                return Err(too_many(N));
            }
            entries.push(entry);
        }
        Ok(AtMost(entries))
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reader<BTreeMap<String, T>, N> {
    type Value = AtMost<BTreeMap<String, T>, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if entries.len() == N {
                return Err(too_many(N));
            }
            entries.insert(name, value);
        }
        Ok(AtMost(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Misfit;

    #[test]
    fn one_too_many_is_refused_and_as_many_as_may_be_are_not() {
        type List = AtMost<Vec<u8>, 2>;
        type Map = AtMost<BTreeMap<String, u8>, 1>;
        assert_eq!(Misfit::read::<List>(b"[1, 2]").unwrap().0, [1, 2]);
        assert_eq!(Misfit::read::<Map>(br#"{"a": 1}"#).unwrap().0.len(), 1);
        for refused in [
            Misfit::read::<List>(b"[1, 2, 3]").map(drop),
            Misfit::read::<Map>(br#"{"a": 1, "b": 2}"#).map(drop),
        ] {
            assert!(refused.unwrap_err().rule.starts_with("at most "));
        }
        assert_eq!(Misfit::read::<List>(b"{}").unwrap_err().rule, "an array is expected, not an object");
    }
}
