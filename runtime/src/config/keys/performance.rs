//! How much at one time.

use super::super::value::Kind;
use super::{File, Key};
use crate::limits::Budget;
use crate::task::Retry;

pub(super) fn keys() -> Vec<Key> {
    use File::AgentConfig;
    vec![
        Key::new(
            AgentConfig,
            "performance.max_concurrent_tasks",
            Kind::AutoOr { min: 1, max: 10_000 },
            "auto",
            "Tasks that run at one time, and never more than protection.limits.instances; auto is as many",
            |c, v| c.performance.max_concurrent_tasks = v.unless_auto(),
        ),
        // `load::reconcile` makes it the default of `wall_ms`, which is what is set.
        Key::new(
            AgentConfig,
            "performance.task_timeout",
            Kind::Number { min: 1, max: Budget::WallMs.ceiling() / 1000 },
            "",
            "Seconds that a task may take if it does not ask: limits.default.wall_ms; set one of the two",
            |_, _| {},
        )
        .by_mode(|mode| (Budget::WallMs.bounds(mode).default / 1000).to_string()),
        Key::new(
            AgentConfig,
            "performance.retry_attempts",
            Kind::Number { min: 1, max: Retry::MAX_ATTEMPTS.into() },
            "3",
            "Executions in all, of a task that does not ask and fails by no doing of its own",
            |c, v| c.performance.retry_attempts = v.small(),
        ),
    ]
}
