//! What one task has spent.
//!
//! Shared by everything that spends on the task's behalf: streams, host functions, backends. A host
//! call *reserves* what it may cost before it starts and *settles* what it did cost; a reservation
//! that is dropped unsettled (the call failed, the task was ended in the middle) gives everything
//! back, so no path through a host function can leave the ledger wrong.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::budget::PerBudget;
use super::{Budget, Limits, Taken};

/// What the host may take for one call beside the memory that the task may have anyway.
const ROOM_FOR_A_CALL: u64 = 30 << 20;

/// Counters of one task, one for each [`Budget`].
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    used: PerBudget<AtomicU64>,
    /// The most that was held at one time.
    peaks: PerBudget<AtomicU64>,
    /// Bytes that the machine refused, until somebody asks; 0 is none.
    machine_refused: AtomicU64,
    /// What the last call of a capability came to, if it was refused.
    refused: Mutex<Option<Refused>>,
}

/// Why a capability refused a call: a guest that gives up after it did so because of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// So much of a budget was not left.
    Budget(Budget, u64),
    /// The task was not granted it.
    Denied,
    /// What is behind it was not there, or not in time.
    Unavailable,
}

/// An amount that is spent for as long as this is there.
#[derive(Debug)]
#[must_use]
pub struct Held {
    ledger: Arc<Ledger>,
    budget: Budget,
    amount: u64,
    /// The same of the machine.
    machine: Option<Taken>,
}

impl Held {
    /// The same, and what the machine has of it.
    pub fn beside(mut self, taken: Taken) -> Held {
        self.machine = Some(taken);
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.release(self.budget, self.amount);
    }
}

/// A reservation was refused; nothing was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} exhausted: {requested} requested, {remaining} of {limit} left", .budget.name())]
pub struct Exhausted {
    /// The budget that would have been overdrawn.
    pub budget: Budget,
    /// What the call needed.
    pub requested: u64,
    /// What was left.
    pub remaining: u64,
    /// The effective limit.
    pub limit: u64,
}

/// An amount set aside for a host call that is under way, or, with `Arc<Ledger>`, for what outlives one.
#[derive(Debug)]
#[must_use = "a reservation that is dropped gives everything back: settle it"]
pub struct Reservation<L: Borrow<Ledger>> {
    ledger: L,
    budget: Budget,
    amount: u64,
}

impl Ledger {
    /// An empty ledger under `limits`.
    pub fn new(limits: Limits) -> Ledger {
        let zeros = || PerBudget::new(|_| AtomicU64::new(0));
        let (machine_refused, refused) = (AtomicU64::new(0), Mutex::default());
        Ledger { limits, used: zeros(), peaks: zeros(), machine_refused, refused }
    }

    /// The limits this ledger counts against.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What has been spent or reserved of `budget`.
    pub fn used(&self, budget: Budget) -> u64 {
        self.counter(budget).load(Ordering::Relaxed)
    }

    /// The most that was spent or reserved of `budget` at one time, of those that are held too.
    pub fn peak(&self, budget: Budget) -> u64 {
        self.used(budget).max(self.peaks[budget].load(Ordering::Relaxed))
    }

    /// Bytes of the machine's memory that the task holds: linear memories and tensors.
    pub fn memory_held(&self) -> u64 {
        self.used(Budget::MemoryBytes).saturating_add(self.used(Budget::TensorBytes))
    }

    /// What is left of `budget`.
    pub fn remaining(&self, budget: Budget) -> u64 {
        self.limits.get(budget).saturating_sub(self.used(budget))
    }

    /// Bytes that the host may take for one call of the task: those of its memory that it has not taken, and a
    /// little. So a task and its calls never take much more than `memory_bytes`.
    pub fn room_for_a_call(&self) -> u64 {
        self.remaining(Budget::MemoryBytes).saturating_add(ROOM_FOR_A_CALL)
    }

    /// Bytes that a call may bring back: they are in the host first, and then in the task's memory too.
    pub fn room_for_an_answer(&self) -> u64 {
        (self.remaining(Budget::MemoryBytes) / 2).saturating_add(ROOM_FOR_A_CALL)
    }

    /// Sets `amount` of `budget` aside, or refuses without spending anything.
    pub fn reserve(&self, budget: Budget, amount: u64) -> Result<Reservation<&Ledger>, Exhausted> {
        self.take(budget, amount)?;
        Ok(Reservation { ledger: self, budget, amount })
    }

    /// The same for what goes on after the call.
    pub fn set_aside(
        self: &Arc<Ledger>,
        budget: Budget,
        amount: u64,
    ) -> Result<Reservation<Arc<Ledger>>, Exhausted> {
        self.take(budget, amount)?;
        Ok(Reservation { ledger: self.clone(), budget, amount })
    }

    fn take(&self, budget: Budget, amount: u64) -> Result<(), Exhausted> {
        let limit = self.limits.get(budget);
        let sum = |used: u64| used.checked_add(amount).filter(|sum| *sum <= limit);
        match self.counter(budget).try_update(Ordering::Relaxed, Ordering::Relaxed, sum) {
            Ok(_) => Ok(()),
            Err(used) => {
                Err(Exhausted { budget, requested: amount, remaining: limit.saturating_sub(used), limit })
            }
        }
    }

    /// Spends `amount` at once: for costs that are known exactly beforehand.
    pub fn spend(&self, budget: Budget, amount: u64) -> Result<(), Exhausted> {
        self.take(budget, amount)
    }

    /// Spends `amount` until what is returned is dropped.
    pub fn hold(self: &Arc<Ledger>, budget: Budget, amount: u64) -> Result<Held, Exhausted> {
        self.spend(budget, amount)?;
        self.peaks[budget].fetch_max(self.used(budget), Ordering::Relaxed);
        Ok(Held { ledger: self.clone(), budget, amount, machine: None })
    }

    /// Gives back `amount` that was spent on something that is no longer held.
    pub fn release(&self, budget: Budget, amount: u64) {
        let _ = self
            .counter(budget)
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(amount)));
    }

    /// Notes that a host call got no `bytes` because the machine has not so much left for all tasks together.
    pub fn refused_by_machine(&self, bytes: u64) {
        self.machine_refused.store(bytes, Ordering::Relaxed);
    }

    /// What the machine refused since this was last asked.
    pub fn take_refused_by_machine(&self) -> Option<u64> {
        // The usual case costs a look and no write.
        match self.machine_refused.load(Ordering::Relaxed) {
            0 => None,
            _ => Some(self.machine_refused.swap(0, Ordering::Relaxed)),
        }
    }

    /// Notes what a call of a capability came to.
    pub fn note(&self, refused: Option<Refused>) {
        *self.refused.lock() = refused;
    }

    /// Why the last call of a capability was refused, if it was.
    pub fn refused(&self) -> Option<Refused> {
        *self.refused.lock()
    }

    /// Writes a figure that something else counts (fuel, time, the limiter's peaks).
    pub fn record(&self, budget: Budget, used: u64) {
        self.counter(budget).store(used, Ordering::Relaxed);
    }

    fn counter(&self, budget: Budget) -> &AtomicU64 {
        &self.used[budget]
    }
}

impl<L: Borrow<Ledger>> Reservation<L> {
    /// Keeps `actual` of what was reserved and gives the rest back. What a call cost above its
    /// reservation is charged too: the work is done, and the next reservation will be refused.
    pub fn settle(mut self, actual: u64) {
        let reserved = std::mem::take(&mut self.amount);
        let settled = |used: u64| used.saturating_sub(reserved).saturating_add(actual);
        self.ledger.borrow().counter(self.budget).update(Ordering::Relaxed, Ordering::Relaxed, settled);
    }

    /// Keeps all of it.
    pub fn settle_all(mut self) {
        self.amount = 0;
    }
}

impl<L: Borrow<Ledger>> Drop for Reservation<L> {
    fn drop(&mut self) {
        self.ledger.borrow().release(self.budget, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Mode, Requested};

    fn ledger(limit: u64) -> Ledger {
        let mut requested = Requested::default();
        requested.ask("host_calls", limit).unwrap();
        Ledger::new(requested.effective(Mode::Dev).unwrap())
    }

    #[test]
    fn a_reservation_is_kept_as_far_as_it_is_settled() {
        let ledger = ledger(100);
        ledger.reserve(Budget::HostCalls, 60).unwrap().settle(10);
        assert_eq!(ledger.used(Budget::HostCalls), 10);
        ledger.reserve(Budget::HostCalls, 60).unwrap().settle_all();
        assert_eq!(ledger.remaining(Budget::HostCalls), 30);
    }

    #[test]
    fn a_dropped_reservation_costs_nothing() {
        let ledger = ledger(100);
        drop(ledger.reserve(Budget::HostCalls, 100).unwrap());
        assert_eq!(ledger.used(Budget::HostCalls), 0);
    }

    #[test]
    fn a_refused_reservation_costs_nothing_and_says_what_is_left() {
        let ledger = ledger(100);
        ledger.spend(Budget::HostCalls, 70).unwrap();
        let held = ledger.reserve(Budget::HostCalls, 20).unwrap();
        let exhausted = ledger.reserve(Budget::HostCalls, 11).unwrap_err();
        assert_eq!((exhausted.requested, exhausted.remaining, exhausted.limit), (11, 10, 100));
        assert!(ledger.reserve(Budget::HostCalls, u64::MAX).is_err(), "no overflow");
        held.settle_all();
        assert_eq!(ledger.used(Budget::HostCalls), 90);
    }

    #[test]
    fn what_a_call_cost_above_its_reservation_is_charged() {
        let ledger = ledger(100);
        ledger.reserve(Budget::HostCalls, 10).unwrap().settle(120);
        assert_eq!(ledger.used(Budget::HostCalls), 120);
        assert!(ledger.spend(Budget::HostCalls, 1).is_err());
        assert_eq!(ledger.remaining(Budget::HostCalls), 0);
    }

    #[test]
    fn whatever_a_service_says_that_a_call_cost_the_count_never_begins_again() {
        let ledger = ledger(100);
        let [first, second] = [10, 10].map(|amount| ledger.reserve(Budget::HostCalls, amount).unwrap());
        first.settle(u64::MAX);
        second.settle(u64::MAX);
        assert_eq!(ledger.used(Budget::HostCalls), u64::MAX);
        assert!(ledger.spend(Budget::HostCalls, 1).is_err());
    }

    #[test]
    fn what_is_held_is_given_back_and_its_peak_stays() {
        let mut requested = Requested::default();
        requested.ask("tensor_bytes", 100).unwrap();
        requested.ask("memory_bytes", 1000).unwrap();
        let ledger = Arc::new(Ledger::new(requested.effective(Mode::Dev).unwrap()));
        ledger.spend(Budget::MemoryBytes, 40).unwrap();
        let held = ledger.hold(Budget::TensorBytes, 60).unwrap();
        assert_eq!((ledger.memory_held(), ledger.room_for_a_call()), (100, ROOM_FOR_A_CALL + 960));
        assert_eq!(ledger.room_for_an_answer(), ROOM_FOR_A_CALL + 480, "it is there twice");
        drop(held);
        assert_eq!((ledger.used(Budget::TensorBytes), ledger.peak(Budget::TensorBytes)), (0, 60));
        assert_eq!(ledger.memory_held(), 40);
    }

    #[test]
    fn what_the_machine_refused_is_told_once() {
        let ledger = ledger(1);
        assert_eq!(ledger.take_refused_by_machine(), None);
        ledger.refused_by_machine(7);
        assert_eq!([ledger.take_refused_by_machine(), ledger.take_refused_by_machine()], [Some(7), None]);
    }
}
