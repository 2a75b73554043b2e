//! WASI 0.3, and the asynchronous component model that it is made of: refused.
//!
//! What was tried with wasmtime 48.0.8 is in ARCHITECTURE.md. In short: each subtask waits on a stack of
//! its own, from a pool that all tasks share; a stream between two components has the host copy what no
//! limit counts; and a task's `run` may not wait for any of it. So of the built-ins a component may have
//! those that QuickJS's runtime names and that have nothing to act upon without the others.

use wasmparser::{CanonicalFunction, CanonicalOption};

use super::refusal::{Code, Refusal};

/// Why, and what to do instead: the end of a message.
pub const WASI_0_3: &str = "WASI 0.3 is not run here, because its asynchronous calls take stacks and copies that no limit of a task covers; build it for WASI 0.2";

/// Whether `name`, of an import or export, is an interface of WASI 0.3.
pub fn is_wasi_0_3(name: &str) -> bool {
    name.split_once('@')
        .is_some_and(|(name, version)| name.starts_with("wasi:") && version.starts_with("0.3."))
}

/// Refuses what the whole component imports from WASI 0.3.
pub(super) fn import(name: &str) -> Result<(), Refusal> {
    if is_wasi_0_3(name) {
        let message = format!("the component imports `{name}`: {WASI_0_3}");
        return Err(Refusal::new(Code::UnknownImport, message));
    }
    Ok(())
}

/// Refuses a canonical function, found at `offset`, that needs the asynchronous component model.
pub(super) fn canonical(function: &CanonicalFunction, offset: u64) -> Result<(), Refusal> {
    let Some(what) = asynchronous(function) else { return Ok(()) };
    let message = format!("the component has {what} (at byte {offset}): {WASI_0_3}");
    Err(Refusal { offset: Some(offset), ..Refusal::new(Code::ComponentInvalid, message) })
}

/// What is asynchronous about it. Whatever is not listed is: new built-ins are let in one by one.
fn asynchronous(function: &CanonicalFunction) -> Option<&'static str> {
    use CanonicalFunction as F;
    let is_async =
        |options: &[CanonicalOption]| options.iter().any(|option| matches!(option, CanonicalOption::Async));
    match function {
        F::Lift { options, .. } => is_async(options).then_some("a function that is lifted asynchronously"),
        F::Lower { options, .. } => is_async(options).then_some("a function that is lowered asynchronously"),
        F::ResourceNew { .. } | F::ResourceDrop { .. } | F::ResourceRep { .. } => None,
        // QuickJS's runtime.
        F::ContextGet { .. } | F::ContextSet { .. } => None,
        F::TaskCancel | F::SubtaskDrop | F::SubtaskCancel { async_: false } => None,
        F::WaitableSetNew | F::WaitableSetDrop | F::WaitableJoin => None,
        F::BackpressureInc | F::BackpressureDec => Some("the built-in `backpressure`"),
        F::TaskReturn { .. } => Some("the built-in `task.return`"),
        F::ThreadYield { .. } => Some("the built-in `thread.yield`"),
        F::WaitableSetWait { .. } => Some("the built-in `waitable-set.wait`"),
        F::WaitableSetPoll { .. } => Some("the built-in `waitable-set.poll`"),
        F::StreamNew { .. }
        | F::StreamRead { .. }
        | F::StreamWrite { .. }
        | F::StreamCancelRead { .. }
        | F::StreamCancelWrite { .. }
        | F::StreamDropReadable { .. }
        | F::StreamDropWritable { .. } => Some("built-ins for streams"),
        F::FutureNew { .. }
        | F::FutureRead { .. }
        | F::FutureWrite { .. }
        | F::FutureCancelRead { .. }
        | F::FutureCancelWrite { .. }
        | F::FutureDropReadable { .. }
        | F::FutureDropWritable { .. } => Some("built-ins for futures"),
        _ => Some("an asynchronous built-in"),
    }
}
