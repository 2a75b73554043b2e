//! The command line as a client of a server: what `omnimind component` and `omnimind task` share.
//!
//! Everything that comes from a server is foreign text: what reaches a terminal is escaped ([`table`]), what
//! goes to another program is passed on unchanged.

pub mod attest;
pub mod cache;
pub mod component;
pub mod connection;
mod credentials;
pub mod demo;
mod error;
mod events;
mod form;
pub mod log_level;
mod logs;
mod own_server;
mod patience;
pub mod progress;
mod show;
pub mod sign_in;
mod submit;
pub mod table;
pub mod task;
pub mod token;
pub mod trust;
mod wait;

use super::{Exit, Failed};

use connection::{Connection, ServerArgs};
use error::Error;
pub use submit::explained;

/// What every help of a client's command ends with.
macro_rules! after_help {
    ($examples:literal) => {
        concat!(
            $examples,
            "
The server is --server or $OMNIMIND_URL, else the one that runs on the data directory, else
http://127.0.0.1:8000. The credentials are those of --credentials, else of the URL, else $OMNIMIND_TOKEN, else
$OMNIMIND_DASHBOARD_USER and _PASS, else DATA_DIR/credentials.json; that file's are sent to that server only.

Exit codes:
    0  done; a task that was waited for completed
    1  the task failed by its own doing (guest_error, trap, abi_violation)
    2  the command line or the request is wrong, or a file cannot be read
    3  the component was refused (not wasm, an unknown import, a capability not granted, …)
    4  a limit ended the task (fuel_exhausted, deadline_exceeded, memory_limit, …)
    5  the runtime failed
    6  the server cannot be reached
    7  the server does not accept the credentials
    8  there is no such task or component
    9  conflict: the task has ended, the component is in use, the idempotency key was used before
   10  the server takes nothing now (429, 503, 507): try again later
   11  the task had not ended when the waiting did
  130  the task was cancelled, or Ctrl-C ended the waiting (the task goes on)"
        )
    };
}
use after_help;

/// Runs a command's requests, on one thread.
pub fn block_on(work: impl Future<Output = Result<Exit, Failed>>) -> Result<Exit, Failed> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failed::runtime)?
        .block_on(work)
}
