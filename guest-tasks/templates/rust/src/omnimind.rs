//! What lies between the task and the runtime: bindings made from wit/, and panics that can be read.

use std::panic;
use std::sync::Once;

wit_bindgen::generate!({
    path: "wit",
    world: "app",
    generate_all,
    default_bindings_module: "crate::omnimind",
});

#[allow(unused_imports)]
pub use omnimind::runtime::task_context;
use omnimind::runtime::types::Error;
use wasi::cli::stderr::get_stderr;

struct Task;

impl Guest for Task {
    fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
        static HOOK: Once = Once::new();
        HOOK.call_once(log_panics);
        crate::run(input)
    }
}

export!(Task);

/// Writes a panic's place and message to the task's log. WebAssembly by itself only stops.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let text = format!("thread 'main' {info}\n");
        let stderr = get_stderr();
        for piece in text.as_bytes().chunks(4096) {
            let _ = stderr.blocking_write_and_flush(piece);
        }
    }));
}

/// Lets `?` end the task with the host's reason in words.
impl From<Error> for String {
    fn from(error: Error) -> String {
        match error {
            Error::InvalidInput(why) => format!("the host refused the arguments: {why}"),
            Error::NotFound(what) => format!("not found: {what}"),
            Error::AccessDenied(why) => format!("access denied: {why}"),
            Error::BudgetExhausted(b) => {
                format!(
                    "budget {} exhausted: asked for {}, {} left",
                    b.budget, b.requested, b.remaining
                )
            }
            Error::Unavailable(why) => format!("unavailable: {why}"),
            Error::TimedOut(why) => format!("timed out: {why}"),
            Error::Cancelled => "the task was cancelled".into(),
            Error::Unsupported(what) => format!("not offered by this host: {what}"),
            Error::Internal(why) => format!("fault of the host: {why}"),
        }
    }
}
