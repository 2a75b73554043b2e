//! What one task may spend, and the ledger of what it has spent.
//!
//! A submission *asks* for limits; the mode fills what was not asked for and refuses what lies above
//! its maximum; the result is the *effective* [`Limits`] of the task. While the task runs a
//! [`Ledger`] counts against them, and at its end the ledger is the receipt. Nothing is clamped
//! silently, and nothing in here knows about HTTP, the command line or wasmtime's types, but for
//! [`Limiter`], which answers wasmtime's questions about growth.

mod budget;
mod ledger;
mod limiter;
mod machine_memory;
mod mode;
mod modes;
mod policy;
mod request;
mod thresholds;

pub use budget::{Bounds, Budget};
pub use ledger::{Exhausted, Held, Ledger, Refused, Reservation};
pub use limiter::{Limiter, Refusal};
pub use machine_memory::{MachineMemory, Taken};
pub use mode::{Mode, UnknownMode};
pub use modes::{InMode, Modes};
pub use policy::{Policy, Rule};
pub use request::{Error, Limits, Requested};
pub use thresholds::{MB, Thresholds};
