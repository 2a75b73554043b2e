//! How much of the machine tasks may have: `dev`, `test` or `prod`.

use std::fmt;
use std::str::FromStr;

/// A resource-protection mode. It sets the default and the maximum of every [`super::Budget`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A developer's machine: the largest maxima, for trying things out.
    #[default]
    Dev,
    /// Continuous integration.
    Test,
    /// Other people's tasks: the smallest maxima.
    Prod,
}

impl Mode {
    /// Every mode, in the order of the tables in the documents.
    pub const ALL: [Mode; 3] = [Mode::Dev, Mode::Test, Mode::Prod];

    /// The name used in configuration, on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Dev => "dev",
            Mode::Test => "test",
            Mode::Prod => "prod",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A mode that does not exist was named.
#[derive(Debug, thiserror::Error)]
#[error("unknown mode `{0}`: it is one of dev, test, prod")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Mode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| UnknownMode(text.to_owned()))
    }
}
