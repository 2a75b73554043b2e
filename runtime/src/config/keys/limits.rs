//! What tasks may have.

use super::super::value::{Kind, Value};
use super::{File, Key};
use crate::limits::{Bounds, Budget};

/// Default and maximum of every budget but the stack, which the engine fixes.
pub(super) fn keys() -> Vec<Key> {
    let budgets = || Budget::ALL.into_iter().filter(|budget| *budget != Budget::StackBytes);
    let kind = |budget: Budget| match (budget.least(), budget.ceiling()) {
        (min, max) if budget.is_bytes() => Kind::Size { min, max },
        (min, max) => Kind::Number { min, max },
    };
    let written = move |budget: Budget, amount| kind(budget).write(&Value::Number(amount));
    let default = budgets().map(move |budget| {
        let about = format!("The {} of a task that does not ask", budget.name());
        let path = format!("limits.default.{}", budget.name());
        Key::new(File::Omnimind, path, kind(budget), "", about, move |c, v| {
            c.limits.set(budget, Bounds { default: v.number(), ..c.limits.bounds(budget) });
        })
        .by_mode(|mode| written(budget, budget.bounds(mode).default))
    });
    let max = budgets().map(move |budget| {
        let about = format!("The most {} that a task may ask for", budget.name());
        let path = format!("limits.max.{}", budget.name());
        Key::new(File::Omnimind, path, kind(budget), "", about, move |c, v| {
            c.limits.set(budget, Bounds { max: v.number(), ..c.limits.bounds(budget) });
        })
        .by_mode(|mode| written(budget, budget.bounds(mode).max))
    });
    default.chain(max).collect()
}
