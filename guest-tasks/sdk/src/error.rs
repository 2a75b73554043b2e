//! Why a host call was refused, as a value to branch on or as the text of a failed task.

pub use crate::bindings::omnimind::runtime::types::{BudgetExhausted, Error};

/// Lets `?` end a task with the reason in words.
impl From<Error> for String {
    fn from(error: Error) -> String {
        match error {
            Error::InvalidInput(why) => format!("the host refused the arguments: {why}"),
            Error::NotFound(what) => format!("not found: {what}"),
            Error::AccessDenied(why) => format!("access denied: {why}"),
            Error::BudgetExhausted(b) => {
                format!("budget {} exhausted: asked for {}, {} left", b.budget, b.requested, b.remaining)
            }
            Error::Unavailable(why) => format!("unavailable: {why}"),
            Error::TimedOut(why) => format!("timed out: {why}"),
            Error::Cancelled => "the task was cancelled".into(),
            Error::Unsupported(what) => format!("not offered by this host: {what}"),
            Error::Internal(why) => format!("fault of the host: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_error_names_the_budget_and_the_amounts() {
        let error = Error::BudgetExhausted(BudgetExhausted {
            budget: "checkpoint_bytes".into(),
            requested: 10,
            remaining: 3,
        });
        assert_eq!(String::from(error), "budget checkpoint_bytes exhausted: asked for 10, 3 left");
    }
}
