//! The words of the domain: what a task is, how it ends, and the record of it that clients see.
//!
//! Plain data with serde shapes that are part of the HTTP contract. Nothing in here runs anything.

mod at_most;
mod digest;
mod failure;
mod grants;
mod id;
mod journal;
mod misfit;
mod named;
mod object;
mod outcome;
mod record;
mod retry;
mod spec;
mod state;

pub use at_most::AtMost;
pub use digest::{Digest, NotADigest};
pub use failure::{Failure, FailureKind, escape_guest_text};
pub use grants::{Capability, Grants, NotAGrant, VectorMemory, is_same_model};
pub use id::{NotATaskId, TaskId};
pub use journal::{CheckpointError, Journal, MemoryJournal};
pub use misfit::Misfit;
pub(crate) use named::named;
pub use object::Object;
pub use outcome::{End, Log, ModelUse, Outcome, Receipt, Used};
pub use record::{Priority, Record, timestamp};
pub use retry::Retry;
pub use spec::{Spec, Task};
pub use state::{Happened, MAX_INTERRUPTIONS, Next, State, Status, What};
