//! Answers that are kept.

use std::time::Duration;

use super::super::value::Kind;
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::Omnimind;
    vec![
        Key::new(
            Omnimind,
            "cache.enabled",
            Kind::Bool,
            "true",
            "Whether what is asked for again is kept: the list of GET /tasks, and vectors of texts",
            |c, v| c.cache.enabled = v.truth(),
        )
        .also("OMNIMIND_ENABLE_CACHE"),
        Key::new(
            Omnimind,
            "cache.expire",
            Kind::Number { min: 1, max: 86_400 },
            "60",
            "Seconds that an answer is kept at most; it goes before with any change of what it tells",
            |c, v| c.cache.expire = Duration::from_secs(v.number()),
        ),
    ]
}
