//! The running task: who it is, what it may still spend, and what it tells its clients.
//!
//! Every call crosses into the host and is metered (`host_calls`): call from the outer loop, not the inner.

use crate::Error;
use crate::bindings::omnimind::runtime::task_context as host;

/// The task as its client submitted it: id, attempt, plan and step, metadata (JSON text).
pub use host::Info;

/// Who this task is.
pub fn describe() -> Info {
    host::describe()
}

/// Tells clients how far the task is, 0.0 to 100.0; out of range is clamped. Above 20 a second the runtime drops
/// reports, even the last one: a hundred reports per task are plenty.
pub fn report_progress(percent: f32, message: &str) {
    host::report_progress(percent, message);
}

/// Keeps `data` durably under `name`, replacing what was there, so that the next attempt at this task can
/// go on from it. Spends `checkpoint_bytes`; above 50 a second it waits. A name has 1 to 128 bytes.
pub fn save_checkpoint(name: &str, data: &[u8]) -> Result<(), Error> {
    host::save_checkpoint(name, data)
}

/// What an earlier attempt, or this one, saved under `name`; `None` if nothing was.
pub fn load_checkpoint(name: &str) -> Result<Option<Vec<u8>>, Error> {
    host::load_checkpoint(name)
}

/// What is left of a budget (`"fuel"`, `"wall_ms"`, `"memory_bytes"`, …); `None` if it is unlimited or unknown.
pub fn remaining(budget: &str) -> Option<u64> {
    host::remaining(budget)
}

/// True once a client asked for cancellation: clean up and return, the runtime does not wait for long.
pub fn cancelled() -> bool {
    host::cancelled()
}
