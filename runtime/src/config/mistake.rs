//! What is wrong with a configuration, and where it says so.

use std::fmt;
use std::path::PathBuf;

use crate::limits::Mode;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in, the same in each mode.
    Default,
    /// Compiled in, this mode's own.
    Mode(Mode),
    /// A line of a file.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Mode(mode) => write!(f, "mode {mode}"),
            // 0: the whole file.
            Origin::File(path, 0) => write!(f, "{}", path.display()),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Origin {
    /// Whether somebody set it.
    pub fn is_set(&self) -> bool {
        !matches!(self, Origin::Default | Origin::Mode(_))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// The key; empty where it is not about one.
    pub key: String,
    /// What, and what is allowed.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { origin, key, message } = self;
        let whole = match key.is_empty() {
            true => format!("{origin}: {message}"),
            false => format!("{origin}: {key}: {message}"),
        };
        f.write_str(&escape(&whole))
    }
}

/// One line, as a terminal may have it: files and names of variables may hold whatever they like.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => escaped.extend(c.escape_debug()),
            false => escaped.push(c),
        }
    }
    escaped
}

/// Mistakes that are told; who has more mends these first.
const TOLD: usize = 50;

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    pub(super) fn add(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.0.push(Mistake { origin: origin.clone(), key: key.to_owned(), message: message.into() });
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [mistake] = self.0.as_slice() {
            return mistake.fmt(f);
        }
        write!(f, "the configuration has {} mistakes", self.0.len())?;
        self.0.iter().take(TOLD).try_for_each(|mistake| write!(f, "\n  {mistake}"))?;
        match self.0.len().checked_sub(TOLD) {
            Some(more) if more > 0 => write!(f, "\n  and {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Mistakes {}
