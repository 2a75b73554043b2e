//! The log.

use std::path::PathBuf;

use super::super::value::{Kind, Value};
use super::{File, Key};
use crate::limits::Mode;

pub(super) fn keys() -> Vec<Key> {
    use File::Omnimind;
    vec![
        Key::new(
            Omnimind,
            "logging.level",
            Kind::Choice(&["ERROR", "WARNING", "INFO", "DEBUG", "TRACE"]),
            "",
            "What the log has, this and what is more important; commands other than `serve` keep to WARNING unless it is set",
            |c, v| c.logging.level = v.level(),
        )
        .by_mode(|mode| if mode == Mode::Prod { "WARNING" } else { "INFO" }.to_owned())
        .also("LOG_LEVEL"),
        Key::new(
            Omnimind,
            "logging.format",
            Kind::Choice(&["auto", "text", "json"]),
            "auto",
            "How the log is written; auto is text on a terminal, else JSON",
            |c, v| c.logging.format = v.format(),
        ),
        Key::new(
            Omnimind,
            "logging.async",
            Kind::Bool,
            "true",
            "Whether a thread of its own writes the log of `serve`: nothing waits for it, and what does not fit into the buffer is dropped and counted",
            |c, v| c.logging.is_async = v.truth(),
        ),
        Key::new(
            Omnimind,
            "logging.buffer_size",
            Kind::Number { min: 1, max: 1_000_000 },
            "1000",
            "Lines that may wait for that thread",
            |c, v| c.logging.buffer_size = v.small(),
        ),
        Key::new(
            Omnimind,
            "logging.file",
            Kind::Path,
            "null",
            "The file that `serve` writes its log to, readable by its user only; null is standard error",
            |c, v| {
                c.logging.file = match v {
                    Value::Text(path) => Some(PathBuf::from(path)),
                    _ => None,
                };
            },
        ),
        Key::new(
            Omnimind,
            "logging.max_size",
            Kind::Size { min: 4 << 10, max: 1 << 40 },
            "100MiB",
            "Bytes of that file, above which it becomes FILE.1 and a new one is begun",
            |c, v| c.logging.max_size = v.number(),
        ),
        Key::new(
            Omnimind,
            "logging.max_files",
            Kind::Number { min: 0, max: 1000 },
            "5",
            "Older files that are kept: FILE.1 is the newest",
            |c, v| c.logging.max_files = v.small(),
        ),
    ]
}
