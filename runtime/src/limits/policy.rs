//! The bounds in force: those of the mode, but for what the configuration says otherwise.

use std::fmt;

use super::budget::PerBudget;
use super::{Bounds, Budget, Mode};

/// Default and maximum of every budget here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    mode: Mode,
    bounds: PerBudget<Bounds>,
}

impl From<Mode> for Policy {
    /// The mode's own.
    fn from(mode: Mode) -> Policy {
        Policy { mode, bounds: PerBudget::new(|budget| budget.bounds(mode)) }
    }
}

impl Policy {
    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Default and maximum of `budget`.
    pub fn bounds(&self, budget: Budget) -> Bounds {
        self.bounds[budget]
    }

    /// Puts others in the place of the mode's. What they may be is the configuration's to check.
    pub fn set(&mut self, budget: Budget, bounds: Bounds) {
        self.bounds[budget] = bounds;
    }
}

/// Where a maximum comes from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    mode: Mode,
    configured: bool,
}

impl Rule {
    /// Of the maximum `max` of `budget` in `mode`.
    pub(super) fn new(mode: Mode, budget: Budget, max: u64) -> Rule {
        Rule { mode, configured: max != budget.bounds(mode).max }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.configured {
            false => write!(f, "in mode {}", self.mode),
            true => write!(f, "in mode {}, as configured here,", self.mode),
        }
    }
}
