//! Compute slots: how many guests may compute at one time, and whose turn it is.
//!
//! A guest holds a slot while it computes and gives it back in every wait of a host call and while it is
//! paused, so fifty tasks that wait for a model do not keep two that compute from running. Among guests
//! that all want to compute, turns go round: each keeps its slot for a [`QUANTUM`] at least, then the one
//! whose turn is due first gets it. A turn is due sooner the more urgent the task is, and later turns never
//! overtake earlier ones for ever: nothing starves.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::task::Priority;

/// How long a guest computes before it makes room for one that waits.
pub const QUANTUM: Duration = Duration::from_millis(10);

/// How long a turn may be overtaken by more urgent ones.
fn patience(priority: Priority) -> Duration {
    match priority {
        Priority::Critical => Duration::ZERO,
        Priority::High => Duration::from_millis(20),
        Priority::Medium => Duration::from_millis(100),
        Priority::Low => Duration::from_millis(500),
    }
}

/// The slots of one executor; clones are the same slots.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    made: Instant,
    /// How many wait, to be read without the lock.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

/// When a turn is due, and a number that makes it unique.
type Key = (Duration, u64);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: BTreeMap<Key, Waker>,
    /// Slots handed to a waiter that has not looked yet.
    granted: HashSet<Key>,
    next: u64,
}

impl Slots {
    /// `count` slots, one at least.
    pub fn new(count: usize) -> Slots {
        let state = State { free: count.max(1), waiting: BTreeMap::new(), granted: HashSet::new(), next: 0 };
        Slots(Arc::new(Shared {
            made: Instant::now(),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(state),
        }))
    }

    /// One guest's turns, none of which has begun.
    pub fn turns(&self, priority: Priority) -> Turns {
        Turns { slots: Some(self.clone()), priority, turn: Turn::None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives one slot to whoever is due first.
    fn pass_on(&self, mut state: MutexGuard<'_, State>) {
        match state.waiting.pop_first() {
            Some((key, waker)) => {
                self.0.waiting.fetch_sub(1, Ordering::Relaxed);
                state.granted.insert(key);
                drop(state);
                waker.wake();
            }
            None => state.free += 1,
        }
    }
}

/// One guest's use of the slots.
#[derive(Debug)]
pub struct Turns {
    /// None: it never has to wait.
    slots: Option<Slots>,
    priority: Priority,
    turn: Turn,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    None,
    Waiting(Key),
    Holding { since: Instant },
}

impl Turns {
    /// For a guest that shares its thread with nobody.
    pub fn unlimited() -> Turns {
        Turns { slots: None, priority: Priority::Medium, turn: Turn::None }
    }

    /// Waits for a slot, unless one is held.
    pub fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slots) = &self.slots else { return Poll::Ready(()) };
        let mut state = match self.turn {
            Turn::Holding { .. } => return Poll::Ready(()),
            Turn::None | Turn::Waiting(_) => slots.state(),
        };
        let now = Instant::now();
        match self.turn {
            Turn::Waiting(key) if state.granted.remove(&key) => {}
            Turn::Waiting(key) => {
                if let Some(waker) = state.waiting.get_mut(&key) {
                    waker.clone_from(cx.waker());
                }
                return Poll::Pending;
            }
            _ if state.free > 0 => state.free -= 1,
            _ => {
                let due = now.saturating_duration_since(slots.0.made) + patience(self.priority);
                let key = (due, state.next);
                state.next += 1;
                state.waiting.insert(key, cx.waker().clone());
                slots.0.waiting.fetch_add(1, Ordering::Relaxed);
                self.turn = Turn::Waiting(key);
                return Poll::Pending;
            }
        }
        self.turn = Turn::Holding { since: now };
        Poll::Ready(())
    }

    /// Whether the guest has had its share and somebody waits.
    pub fn is_over(&self) -> bool {
        match (&self.slots, self.turn) {
            (Some(slots), Turn::Holding { since }) => {
                slots.0.waiting.load(Ordering::Relaxed) > 0 && since.elapsed() >= QUANTUM
            }
            _ => false,
        }
    }

    /// Gives the slot back, or stops waiting for one.
    pub fn end(&mut self) {
        let turn = std::mem::replace(&mut self.turn, Turn::None);
        let Some(slots) = &self.slots else { return };
        match turn {
            Turn::None => {}
            Turn::Holding { .. } => slots.pass_on(slots.state()),
            Turn::Waiting(key) => {
                let mut state = slots.state();
                if state.waiting.remove(&key).is_some() {
                    slots.0.waiting.fetch_sub(1, Ordering::Relaxed);
                } else if state.granted.remove(&key) {
                    slots.pass_on(state);
                }
            }
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(turns: &mut Turns) -> bool {
        turns.poll_begin(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn there_are_as_many_turns_as_slots() {
        let slots = Slots::new(2);
        let [mut a, mut b, mut c] = [0; 3].map(|_| slots.turns(Priority::Medium));
        assert!(poll(&mut a) && poll(&mut b) && !poll(&mut c));
        a.end();
        assert!(poll(&mut c), "the slot went to the one that waited");
        assert!(!poll(&mut a));
    }

    #[test]
    fn the_urgent_go_first_and_the_others_are_not_forgotten() {
        let slots = Slots::new(1);
        let mut holder = slots.turns(Priority::Medium);
        assert!(poll(&mut holder));
        let mut low = slots.turns(Priority::Low);
        let mut high = slots.turns(Priority::High);
        assert!(!poll(&mut low) && !poll(&mut high));
        holder.end();
        assert!(!poll(&mut low) && poll(&mut high));
        std::thread::sleep(patience(Priority::Low));
        // It came later: its turn is due later, however urgent it is.
        let mut critical = slots.turns(Priority::Critical);
        assert!(!poll(&mut critical));
        high.end();
        assert!(poll(&mut low) && !poll(&mut critical));
    }

    #[test]
    fn a_turn_that_nobody_wants_any_more_goes_on() {
        let slots = Slots::new(1);
        let [mut a, mut b, mut c] = [0; 3].map(|_| slots.turns(Priority::Medium));
        assert!(poll(&mut a) && !poll(&mut b) && !poll(&mut c));
        a.end();
        drop(b); // granted, and never looked
        assert!(poll(&mut c));
        drop(c);
        let mut d = slots.turns(Priority::Low);
        assert!(poll(&mut d), "nothing leaked");
    }

    #[test]
    fn a_turn_is_over_only_when_somebody_waits() {
        let slots = Slots::new(1);
        let [mut a, mut b] = [0; 2].map(|_| slots.turns(Priority::Medium));
        assert!(poll(&mut a));
        std::thread::sleep(QUANTUM);
        assert!(!a.is_over());
        assert!(!poll(&mut b));
        assert!(a.is_over());
        b.end();
        assert!(!a.is_over());
    }
}
