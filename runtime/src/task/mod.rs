//! The words of the domain: what a task is, how it ends, and the record of it that clients see.
//!
//! Plain data with serde shapes that are part of the HTTP contract. Nothing in here runs anything.

mod failure;
mod id;
mod journal;
mod outcome;
mod record;

pub use failure::{Failure, FailureKind, escape_guest_text};
pub use id::TaskId;
pub use journal::{CheckpointError, Journal, MemoryJournal};
pub use outcome::{End, Log, Outcome, Receipt, Used};
pub use record::{Priority, Record, Status, timestamp};
