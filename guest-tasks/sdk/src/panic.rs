//! Panics that can be read: on this target Rust prints nothing by itself, because it knows no standard error.

use std::panic;
use std::sync::Once;

use crate::bindings::wasi::cli::stderr::get_stderr;

/// What one write takes at most.
const MAX_WRITE_BYTES: usize = 4096;

/// From now on the place and the message of a panic go to the task's log. For [`crate::task!`].
pub fn log() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let text = format!("thread 'main' {info}\n");
            let stderr = get_stderr();
            for piece in text.as_bytes().chunks(MAX_WRITE_BYTES) {
                // There is nobody left to tell.
                let _ = stderr.blocking_write_and_flush(piece);
            }
        }));
    });
}
