//! Compute slots: how many guests may compute at one time, and whose turn it is.
//!
//! A guest holds a slot while it computes and gives it back in every wait of a host call and while it is
//! paused, so fifty tasks that wait for a model do not keep two that compute from running. Among guests
//! that all want to compute, turns go round: each keeps its slot for a turn at least, which is a [`QUANTUM`]
//! of CPU time unless priorities have [`Shares`], then the one whose turn is due first gets it. A turn is due sooner the
//! more urgent the task is, and the fewer guests its tenant has for its share ([`Contention`]); later turns
//! never overtake earlier ones for ever: nothing starves.
//!
//! Under a cap of the CPU time a slot is not enough: while there is nothing in the [`Bucket`], nobody computes.
//! A guest that is stopped by that has not had its turn, and keeps its place.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::cap::{Bucket, thread_cpu_since_last};
use super::contention::{Contention, Tenant};
use crate::engine::TICK;
use crate::protection::Shares;
use crate::task::Priority;

/// How long a guest computes before it makes room for one that waits, with a full share.
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
    count: usize,
    /// How many wait, to be read without the lock.
    waiting: AtomicUsize,
    /// Which cap is set, to be read without the lock; 0 is none.
    cap: AtomicU64,
    /// For the pacer: something has changed.
    changed: Notify,
    state: Mutex<State>,
}

/// When a turn is due, and a number that makes it unique.
type Key = (Duration, u64);

#[derive(Debug)]
struct State {
    /// The beginning of time.
    made: Instant,
    free: usize,
    waiting: BTreeMap<Key, Waker>,
    /// Slots handed to a waiter that has not looked yet.
    granted: HashSet<Key>,
    /// Keys, and caps, so far.
    next: u64,
    shares: Shares,
    contention: Contention,
    bucket: Option<Bucket>,
}

impl State {
    /// Until a turn can be paid for.
    fn wait(&mut self) -> Duration {
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(Instant::now()))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Slots {
    /// `count` slots, one at least.
    pub fn new(count: usize) -> Slots {
        let count = count.max(1);
        let state = State {
            made: Instant::now(),
            free: count,
            waiting: BTreeMap::new(),
            granted: HashSet::new(),
            next: 0,
            shares: Shares::FULL,
            contention: Contention::default(),
            bucket: None,
        };
        Slots(Arc::new(Shared {
            count,
            waiting: AtomicUsize::new(0),
            cap: AtomicU64::new(0),
            changed: Notify::new(),
            state: Mutex::new(state),
        }))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.count
    }

    /// The turns of one guest of `tenant`, none of which has begun.
    pub fn turns(&self, priority: Priority, tenant: Tenant) -> Turns {
        self.turns_of_part(priority, tenant, 1)
    }

    /// The turns of one of `parts` that compute for a guest of `tenant`, and have no more of them together than a guest.
    pub fn turns_of_part(&self, priority: Priority, tenant: Tenant, parts: u32) -> Turns {
        let slots = Some(self.clone());
        Turns { slots, priority, tenant, parts, contends: false, turn: Turn::None, carry_ns: 0 }
    }

    /// How long turns that end from now on are, by priority.
    pub(super) fn set_shares(&self, shares: Shares) {
        self.0.state.lock().shares = shares;
    }

    /// Guests together take at most `percent` of as many cores as there are slots, 1 % at least; none: all of
    /// it. Says what [`Slots::pace`] has to be run with, unless it runs already.
    pub(super) fn set_cap(&self, percent: Option<f64>) -> Option<u64> {
        let percent = percent.filter(|percent| *percent < 100.0);
        let mut state = self.0.state.lock();
        let before = state.bucket.is_some();
        let owed = state.bucket.take();
        state.bucket = percent.map(|percent| {
            let new = Bucket::new(percent.max(1.0), self.0.count, Instant::now());
            // The same cap is said again and again: what is owed stays owed.
            owed.map_or(new, |bucket| bucket.at_rate_of(new))
        });
        let started = (percent.is_some() && !before).then(|| state.number());
        if started.is_some() || percent.is_none() {
            self.0.cap.store(started.unwrap_or(0), Ordering::Relaxed);
        }
        drop(state);
        self.hand_out();
        self.0.changed.notify_waiters();
        started
    }

    /// Hands out turns as soon as they can be paid for, until the cap `number` is over.
    pub(super) async fn pace(self, number: u64) {
        while self.0.cap.load(Ordering::Relaxed) == number {
            let changed = self.0.changed.notified();
            let wait = self.hand_out();
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    /// Gives what is free to those who wait, as far as it can be paid for. Says until when nothing else can be.
    fn hand_out(&self) -> Duration {
        loop {
            let mut state = self.0.state.lock();
            if state.free == 0 || state.waiting.is_empty() {
                return Duration::MAX;
            }
            match state.wait() {
                Duration::ZERO => {}
                wait => return wait,
            }
            state.free -= 1;
            self.pass_on(state);
        }
    }

    /// Takes slots that are free and that nobody waits for, `most` at most; says how many.
    pub(super) fn take_free(&self, most: usize) -> usize {
        let mut state = self.0.state.lock();
        if !state.waiting.is_empty() || !state.wait().is_zero() {
            return 0;
        }
        let taken = most.min(state.free);
        state.free -= taken;
        taken
    }

    /// Gives `count` of them back, after threads that are no guests' have computed for `time`.
    pub(super) fn give_back(&self, count: usize, time: Duration) {
        if let Some(bucket) = &mut self.0.state.lock().bucket {
            bucket.charge(time);
        }
        for _ in 0..count {
            self.pass_on(self.0.state.lock());
        }
    }

    fn cap(&self) -> Option<u64> {
        Some(self.0.cap.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }

    /// Takes what this thread has done since the last time out of the bucket.
    fn charge(&self, state: &mut State) {
        if let (Some(number), Some(bucket)) = (self.cap(), &mut state.bucket) {
            bucket.charge(thread_cpu_since_last(number));
        }
    }

    /// Gives one slot to whoever is due first.
    fn pass_on(&self, mut state: MutexGuard<'_, State>) {
        let next = match state.wait() {
            Duration::ZERO => state.waiting.pop_first(),
            _ => None,
        };
        match next {
            Some((key, waker)) => {
                self.0.waiting.fetch_sub(1, Ordering::Relaxed);
                state.granted.insert(key);
                drop(state);
                waker.wake();
            }
            None => {
                state.free += 1;
                if !state.waiting.is_empty() {
                    drop(state);
                    self.0.changed.notify_waiters();
                }
            }
        }
    }
}

/// One guest's use of the slots.
#[derive(Debug)]
pub struct Turns {
    /// None: it never has to wait.
    slots: Option<Slots>,
    priority: Priority,
    tenant: Tenant,
    /// How many have turns like this one's for the same task.
    parts: u32,
    /// Whether it is counted among those of its tenant that want to compute.
    contends: bool,
    turn: Turn,
    /// By how much earlier turns were too short (or too long, below zero). Turns end between slices of the
    /// length of a tick: what one misses, the next makes up for.
    carry_ns: i64,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    None,
    /// Its turn is not over, but could not be paid for.
    Stopped(Place),
    Waiting(Place),
    Holding(Place),
}

/// Where in the order a turn is, and how much of it has been had: CPU time, so that a guest whose thread others
/// keep from running does not lose its turn to them.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: Key,
    had: Duration,
}

impl Turns {
    /// For a guest that shares its thread with nobody.
    pub fn unlimited() -> Turns {
        let tenant = Tenant::default();
        Turns {
            slots: None,
            priority: Priority::Medium,
            tenant,
            parts: 1,
            contends: false,
            turn: Turn::None,
            carry_ns: 0,
        }
    }

    /// Waits for a slot, unless one is held.
    pub fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slots) = &self.slots else { return Poll::Ready(()) };
        if let Turn::Holding(_) = self.turn {
            return Poll::Ready(());
        }
        let mut state = slots.0.state.lock();
        let place = match self.turn {
            Turn::Waiting(place) if state.granted.remove(&place.key) => place,
            Turn::Waiting(place) => {
                if let Some(waker) = state.waiting.get_mut(&place.key) {
                    waker.clone_from(cx.waker());
                }
                return Poll::Pending;
            }
            turn => {
                let place = match turn {
                    Turn::Stopped(place) => place,
                    _ => {
                        if !std::mem::replace(&mut self.contends, true) {
                            state.contention.begin(&self.tenant, self.parts);
                        }
                        let round = state.contention.round(&self.tenant, self.parts, QUANTUM, slots.0.count);
                        let due = state.made.elapsed() + patience(self.priority) + round;
                        Place { key: (due, state.number()), had: Duration::ZERO }
                    }
                };
                // Only under a cap does anybody wait while something is free.
                if state.free == 0 || !state.waiting.is_empty() || !state.wait().is_zero() {
                    state.waiting.insert(place.key, cx.waker().clone());
                    slots.0.waiting.fetch_add(1, Ordering::Relaxed);
                    self.turn = Turn::Waiting(place);
                    drop(state);
                    if slots.cap().is_some() {
                        slots.0.changed.notify_waiters();
                    }
                    return Poll::Pending;
                }
                state.free -= 1;
                place
            }
        };
        self.turn = Turn::Holding(place);
        Poll::Ready(())
    }

    /// The guest has computed for a slice that took `time` of the CPU, and `goes_on` if it could at once. Keeps
    /// the slot if it may.
    pub fn after_slice(&mut self, time: Duration, goes_on: bool) {
        let (Some(slots), Turn::Holding(place)) = (&self.slots, &mut self.turn) else { return };
        if !goes_on {
            return self.end();
        }
        place.had += time;
        let place = *place;
        let somebody_waits = slots.0.waiting.load(Ordering::Relaxed) > 0;
        if !somebody_waits && slots.cap().is_none() {
            return;
        }
        let mut state = slots.0.state.lock();
        slots.charge(&mut state);
        let missing = self.missing_ns(state.shares, place.had);
        if somebody_waits && missing <= nanoseconds(TICK / 2) {
            let most = nanoseconds(TICK);
            self.carry_ns = missing.clamp(-most, most);
            self.turn = Turn::None;
            slots.pass_on(state);
        } else if !state.wait().is_zero() {
            self.turn = Turn::Stopped(place);
            slots.pass_on(state);
        }
    }

    /// What is missing to a whole turn after `had` of it.
    fn missing_ns(&self, shares: Shares, had: Duration) -> i64 {
        let length = QUANTUM * u32::from(shares.of(self.priority)) / 100;
        (nanoseconds(length) + self.carry_ns).saturating_sub(nanoseconds(had))
    }

    /// Gives the slot back, or stops waiting for one.
    pub fn end(&mut self) {
        let turn = std::mem::replace(&mut self.turn, Turn::None);
        let Some(slots) = &self.slots else { return };
        if std::mem::replace(&mut self.contends, false) {
            slots.0.state.lock().contention.end(&self.tenant, self.parts);
        }
        match turn {
            Turn::None | Turn::Stopped(_) => {}
            Turn::Holding(_) => {
                let mut state = slots.0.state.lock();
                slots.charge(&mut state);
                slots.pass_on(state);
            }
            Turn::Waiting(Place { key, .. }) => {
                let mut state = slots.0.state.lock();
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

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
