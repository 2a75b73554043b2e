//! JSON in and out. In: text that is not JSON is `400` with line and column, and so is a key that comes
//! twice, at whatever depth; JSON of another shape is `422` with the path of the field.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use tokio::sync::OwnedSemaphorePermit;

use super::body::Bodies;
use super::problem::{Problem, Result};
use super::{etag, reply};
use crate::task::Misfit;

/// Reads a `T` from JSON text.
///
/// # Errors
/// `400 invalid_json`, `422 invalid_request`.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    parse_as("(the body)", bytes)
}

/// The same for what is called `whole` where no field of it is wrong.
///
/// # Errors
/// As [`parse`].
pub fn parse_as<'a, T: Deserialize<'a>>(whole: &str, bytes: &'a [u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Problem::invalid_json(format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
    serde_json::from_str::<Strict>(text).map_err(|error| Problem::invalid_json(error.to_string()))?;
    Misfit::fit(&mut serde_json::Deserializer::from_str(text))
        .map_err(|Misfit { path, rule }| Problem::invalid(path.unwrap_or_else(|| whole.to_owned()), rule))
}

/// Any JSON in which no object has a key twice.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(Strict)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Strict, A::Error> {
        // Their hashes: the keys of a large object are most of it.
        let mut keys = HashSet::new();
        let hasher = RandomState::new();
        while let Some(key) = map.next_key::<String>()? {
            if !keys.insert(hasher.hash_one(&key)) {
                let shown: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("duplicate key `{}`", shown.escape_debug())));
            }
            map.next_value::<Strict>()?;
        }
        Ok(Strict)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Strict, A::Error> {
        while seq.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<Strict, E> {
        Ok(Strict)
    }

    fn visit_unit<E>(self) -> std::result::Result<Strict, E> {
        Ok(Strict)
    }
}

/// An answer with a JSON body.
pub fn answer(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    answer_in(None, status, body)
}

/// The same for a body that may be large, and then has its `place` in memory.
pub fn answer_in(
    place: Option<OwnedSemaphorePermit>,
    status: StatusCode,
    body: &impl Serialize,
) -> Response<Body> {
    match serde_json::to_vec(body) {
        Ok(text) => of_text(place, status, text),
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// `200` with what the same request may find unchanged: it has an `ETag`, unless it is large.
pub fn tagged(body: &impl Serialize) -> Response<Body> {
    tagged_in(None, body)
}

/// The same for a body that may be large, and then has its `place` in memory.
pub fn tagged_in(place: Option<OwnedSemaphorePermit>, body: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(body) {
        Ok(text) => with_tag(place, text),
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// The same of JSON text, which finds its place in memory if it is large.
///
/// # Errors
/// `503` where there is none.
pub fn tagged_text(bodies: &Bodies, text: Vec<u8>) -> Result<Response<Body>> {
    Ok(with_tag(bodies.answer(text.len())?, text))
}

fn with_tag(place: Option<OwnedSemaphorePermit>, text: Vec<u8>) -> Response<Body> {
    let tag = etag::of_small(&text);
    let mut response = of_text(place, StatusCode::OK, text);
    response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
    response
}

fn of_text(place: Option<OwnedSemaphorePermit>, status: StatusCode, text: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(reply::body(text, place));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn status(text: &str) -> u16 {
        match parse::<BTreeMap<String, u64>>(text.as_bytes()) {
            Ok(_) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_has_another_shape() {
        for text in [
            "",
            "{",
            "{\"a\":1}x",
            "{\"a\":1,\"a\":1}",
            "{\"a\":{\"b\":1,\"b\":2}}",
            "{\"a\":1e999}",
            "{\"a\":NaN}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
        ] {
            assert_eq!(status(text), 400, "{text}");
        }
        assert_eq!(status(&"[".repeat(100_000)), 400);
        for text in ["[]", "{\"a\":\"1\"}", "{\"a\":-1}", "{\"a\":1.5}", "{\"a\":18446744073709551616}"] {
            assert_eq!(status(text), 422, "{text}");
        }
        assert_eq!(status(" {\"a\": 18446744073709551615} "), 200);
    }
}
