//! What is kept.

use std::time::Duration;

use super::super::value::Kind;
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::Omnimind;
    vec![
        Key::new(
            Omnimind,
            "store.retention_days",
            Kind::Number { min: 0, max: 36_500 },
            "30",
            "Days that a finished task is kept",
            |c, v| c.store.retention = Duration::from_secs(v.number().saturating_mul(24 * 3600)),
        ),
        Key::new(
            Omnimind,
            "store.max_tasks",
            Kind::Number { min: 0, max: 1_000_000_000 },
            "1000000",
            "Tasks that are kept; the oldest finished ones go first",
            |c, v| c.store.max_tasks = v.number(),
        ),
        Key::new(
            Omnimind,
            "store.max_bytes",
            Kind::Size { min: 0, max: 1 << 60 },
            "20GiB",
            "Bytes of tasks that are kept; the oldest finished ones go first",
            |c, v| c.store.max_bytes = v.number(),
        ),
        Key::new(
            Omnimind,
            "store.allow_ephemeral",
            Kind::Bool,
            "false",
            "Whether a submission may ask for \"durable\": false: faster, and gone with the process",
            |c, v| c.store.allow_ephemeral = v.truth(),
        ),
    ]
}
