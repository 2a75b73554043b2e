//! Figures.

use super::super::value::Kind;
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    vec![Key::new(
        File::Omnimind,
        "metrics.open",
        Kind::Bool,
        "false",
        "Whether GET /metrics asks for no credentials: it names components, of every tenant",
        |c, v| c.metrics.open = v.truth(),
    )]
}
