//! The log.

use super::super::value::Kind;
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
            "What the log has, this and what is more important; `run`, `store` and `config` keep to WARNING unless it is set",
            |c, v| c.logging.level = v.level(),
        )
        .by_mode(|mode| if mode == Mode::Prod { "WARNING" } else { "INFO" }.to_owned())
        .also("LOG_LEVEL"),
        Key::new(
            Omnimind,
            "logging.format",
            Kind::Choice(&["auto", "text", "json"]),
            "auto",
            "How the log is written, on standard error; auto is text on a terminal, else JSON",
            |c, v| c.logging.format = v.format(),
        ),
    ]
}
