//! From what a submission asks for to what the task gets.

use super::budget::PerBudget;
use super::{Bounds, Budget, Mode, Policy, Rule};

/// Limits as asked for: at most one number for each budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested(PerBudget<Option<u64>>);

impl Default for Requested {
    fn default() -> Requested {
        Requested(PerBudget::new(|_| None))
    }
}

/// A request that cannot be granted. The text names the limit, the rule and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no budget of that name.
    #[error("limits.{name}: no such limit{}; the limits are {}", nearest(.name), names())]
    Unknown {
        /// As it was written.
        name: String,
    },
    /// The number lies outside what the mode allows.
    #[error("limits.{}: {asked} is not allowed; {rule} it is a number from {min} to {max}", .budget.name())]
    OutOfRange {
        /// Which limit.
        budget: Budget,
        /// What was asked for.
        asked: u64,
        /// The lowest value that makes sense.
        min: u64,
        /// The highest value the mode allows.
        max: u64,
        /// Whose maximum that is.
        rule: Rule,
    },
    /// The input is larger than the task's `input_bytes`.
    #[error("the input has {size} bytes, limits.input_bytes is {limit}; {rule} it can be raised to {max}")]
    InputTooLarge {
        /// Bytes of input.
        size: u64,
        /// The effective limit.
        limit: u64,
        /// What the mode allows.
        max: u64,
        /// Whose maximum that is.
        rule: Rule,
    },
}

fn names() -> String {
    Budget::ALL.map(Budget::name).join(", ")
}

fn nearest(name: &str) -> String {
    Budget::ALL
        .into_iter()
        // Names so unlike in length are not near, and a long one is not compared.
        .filter(|budget| budget.name().len().abs_diff(name.len()) <= 3)
        .map(|budget| (strsim::damerau_levenshtein(name, budget.name()), budget))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, budget)| format!(" (did you mean {}?)", budget.name()))
        .unwrap_or_default()
}

impl Requested {
    /// Asks for `amount` of the budget called `name`; the last request for a budget counts.
    pub fn ask(&mut self, name: &str, amount: u64) -> Result<(), Error> {
        let budget = Budget::from_name(name)
            .ok_or_else(|| Error::Unknown { name: name.chars().take(64).collect() })?;
        self.0[budget] = Some(amount);
        Ok(())
    }

    /// Asks for each of `amounts`, by name.
    ///
    /// # Errors
    /// [`Error::Unknown`] for the first name that is no budget's.
    pub fn all<'a>(amounts: impl IntoIterator<Item = (&'a String, &'a u64)>) -> Result<Requested, Error> {
        let mut requested = Requested::default();
        amounts.into_iter().try_for_each(|(name, amount)| requested.ask(name, *amount))?;
        Ok(requested)
    }

    /// The limits of a task that was accepted before: what it asked for was allowed then, and stays so.
    pub fn accepted(&self, policy: Policy) -> Limits {
        let values = PerBudget::new(|budget| self.0[budget].unwrap_or(policy.bounds(budget).default));
        Limits { policy, asked: *self, values }
    }

    /// Fills what was not asked for with the defaults of `policy`, or of a mode.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for the first limit that is zero or above its maximum.
    pub fn effective(&self, policy: impl Into<Policy>) -> Result<Limits, Error> {
        let policy = policy.into();
        let mut values = PerBudget::new(|_| 0);
        for budget in Budget::ALL {
            let Bounds { default, max } = policy.bounds(budget);
            let value = self.0[budget].unwrap_or(default);
            let min = budget.least();
            if value < min || value > max {
                let rule = Rule::new(policy.mode(), budget, max);
                return Err(Error::OutOfRange { budget, asked: value, min, max, rule });
            }
            values[budget] = value;
        }
        Ok(Limits { policy, asked: *self, values })
    }
}

/// The effective limits of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    policy: Policy,
    asked: Requested,
    values: PerBudget<u64>,
}

impl Limits {
    /// The defaults of `mode`.
    pub fn defaults(mode: Mode) -> Limits {
        let values = PerBudget::new(|budget| budget.bounds(mode).default);
        Limits { policy: mode.into(), asked: Requested::default(), values }
    }

    /// The mode that filled and bounded these limits.
    pub fn mode(&self) -> Mode {
        self.policy.mode()
    }

    /// The most that `budget` could have been raised to.
    pub fn max(&self, budget: Budget) -> u64 {
        self.policy.bounds(budget).max
    }

    /// Whose maximum that is, for messages.
    pub fn rule(&self, budget: Budget) -> Rule {
        Rule::new(self.mode(), budget, self.max(budget))
    }

    /// The limit of `budget`.
    pub fn get(&self, budget: Budget) -> u64 {
        self.values[budget]
    }

    /// What the submission asked for, if it did.
    pub fn asked(&self, budget: Budget) -> Option<u64> {
        self.asked.0[budget]
    }

    /// Checks the size of an input before anything is stored or started.
    pub fn admit_input(&self, size: u64) -> Result<(), Error> {
        let limit = self.get(Budget::InputBytes);
        if size > limit {
            let (max, rule) = (self.max(Budget::InputBytes), self.rule(Budget::InputBytes));
            return Err(Error::InputTooLarge { size, limit, max, rule });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_no_budget_is_told_with_those_there_are_and_the_nearest() {
        let told = |name: &str| Requested::default().ask(name, 1).unwrap_err().to_string();
        let all = Budget::ALL.map(Budget::name).join(", ");
        assert!(
            told("feul").contains(&all) && told("feul").contains("did you mean fuel?"),
            "{}",
            told("feul")
        );
        for name in ["x", "nothing_like_it", "fuelfuel"] {
            assert!(!told(name).contains("did you mean"), "{}", told(name));
        }
    }

    #[test]
    fn what_was_asked_for_is_told_from_what_was_given() {
        let mut requested = Requested::default();
        requested.ask("fuel", 5).unwrap();
        let limits = requested.effective(Mode::Prod).unwrap();
        let default = Budget::WallMs.bounds(Mode::Prod).default;
        assert_eq!((limits.asked(Budget::Fuel), limits.get(Budget::Fuel)), (Some(5), 5));
        assert_eq!((limits.asked(Budget::WallMs), limits.get(Budget::WallMs)), (None, default));
        assert_eq!(limits.mode(), Mode::Prod);
    }
}
