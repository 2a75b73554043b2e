//! Long work in short pieces: how a backend computes on the threads of the guests, in turns with them.
//!
//! Work is split into [`Share`]s, one for each thread that may take part. A share does one piece after the other;
//! between two pieces its thread may be somebody else's. A share owns what it works on: where nobody waits for the
//! result any more, it is dropped after the piece that it is at, and what it holds is given back then, not before.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How much nicer threads that compute for tasks are than the rest of the process.
pub const NICE: i32 = 10;

/// Makes this thread one that computes for tasks.
pub fn be_nice() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "what computes for tasks runs at the process's own priority");
    }
}

/// A part of some work.
pub trait Share: Send {
    /// Does the next piece, some milliseconds long at most; whether there is more to do.
    fn piece(&mut self) -> bool;
}

/// Why work did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The task that it was for was ended.
    #[error("the task was ended")]
    Ended,
    /// A piece panicked: a fault of the runtime.
    #[error("a piece of the work failed")]
    Failed,
}

/// The threads that one task's work may be done on.
#[async_trait]
pub trait Workers: Send + Sync {
    /// How many shares are of use.
    fn count(&self) -> usize;

    /// Does all of `shares`, each in turns with everybody else. Dropped before its end, it stops them after the
    /// pieces that they are at.
    async fn work(&self, shares: Vec<Box<dyn Share>>) -> Result<(), Stopped>;

    /// Counts CPU time of other threads as the task's.
    fn charge(&self, cpu: Duration);
}

/// Compute slots, for work that has threads of its own: as many of them may be at work as it holds slots.
#[async_trait]
pub trait ComputeSlots: Send + Sync {
    /// Waits for one, and takes with it what else is free and nobody waits for, `most` in all. Dropping gives them
    /// back.
    async fn take(&self, most: usize) -> Box<dyn TakenSlots>;
}

/// Slots that are held.
pub trait TakenSlots: Send {
    /// How many, one at least.
    fn count(&self) -> usize;
}

/// The caller's own thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

#[async_trait]
impl Workers for Inline {
    fn count(&self) -> usize {
        1
    }

    async fn work(&self, shares: Vec<Box<dyn Share>>) -> Result<(), Stopped> {
        for mut share in shares {
            while share.piece() {}
        }
        Ok(())
    }

    fn charge(&self, _: Duration) {}
}

#[async_trait]
impl ComputeSlots for Inline {
    async fn take(&self, _most: usize) -> Box<dyn TakenSlots> {
        Box::new(Inline)
    }
}

impl TakenSlots for Inline {
    fn count(&self) -> usize {
        1
    }
}

/// Things that shares take out and put back, each once.
pub struct Pile<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Pile<T> {
    fn clone(&self) -> Pile<T> {
        Pile(self.0.clone())
    }
}

impl<T> Pile<T> {
    /// Of these; the last is on top.
    pub fn new(things: Vec<T>) -> Pile<T> {
        Pile(Arc::new(Mutex::new(things)))
    }

    /// The one on top.
    pub fn take(&self) -> Option<T> {
        self.0.lock().pop()
    }

    /// Puts one on top.
    pub fn put(&self, thing: T) {
        self.0.lock().push(thing);
    }

    /// All that are left.
    pub fn empty(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock())
    }
}
