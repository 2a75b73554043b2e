//! Who may begin: places, and memory that was measured.
//!
//! Pure. A task that runs counts with what it uses, or with a quarter of its limit where that is more: most
//! never use what they may, and few use none. One that begins has to fit into the *room*, which is what all
//! tasks together may take by the last sample of the machine.

use super::fair::Fair;
use crate::protection::Admission as Rule;
use crate::task::Priority;

/// Share of its limit that a running task counts with at least.
fn quarter(limit_bytes: u64) -> u64 {
    limit_bytes / 4
}

/// What the last sample of the machine leaves to tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Which tasks may begin, as to memory.
    pub rule: Rule,
    /// Bytes for the memories of all tasks together; none where nothing is known.
    pub bytes: Option<u64>,
    /// Tasks below this priority do not begin.
    pub held_back_below: Option<Priority>,
    /// Nothing new is written: a task whose end is to be stored does not begin.
    pub writes_refused: bool,
}

/// Places, and what those that hold one may come to need.
#[derive(Debug)]
pub(super) struct Admission {
    places: usize,
    held: usize,
    /// Quarters of the limits of those that hold a place.
    quarters: u64,
    /// What they used above that, at the last sample.
    above: u64,
    pub room: Room,
    pub fair: Fair,
}

/// What of a task decides whether it may begin.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// How urgent it is.
    pub priority: Priority,
    /// Bytes of memory that it may take.
    pub memory_bytes: u64,
    /// Whether its end is to be stored.
    pub durable: bool,
}

/// Whether a task may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Begins,
    /// It waits for a place, for its priority's time or for the disk.
    Waits,
    /// It waits for memory.
    WaitsForMemory,
    /// There is not the memory for it: one that comes now is refused.
    Unfit,
}

impl Admission {
    pub fn new(places: usize) -> Admission {
        Admission { places, held: 0, quarters: 0, above: 0, room: Room::default(), fair: Fair::default() }
    }

    pub fn places(&self) -> usize {
        self.places
    }

    pub fn held(&self) -> usize {
        self.held
    }

    /// From now on there are this many; who has one keeps it.
    pub fn resize(&mut self, places: usize) {
        self.places = places;
    }

    pub fn is_full(&self) -> bool {
        self.held >= self.places
    }

    /// What `used` of them, each with its limit, come to above their quarters.
    pub fn measure(&mut self, running: impl Iterator<Item = (u64, u64)>) {
        self.above = running.map(|(used, limit)| used.saturating_sub(quarter(limit))).sum();
    }

    /// Bytes that running tasks count with.
    pub fn counted(&self) -> u64 {
        self.quarters.saturating_add(self.above)
    }

    /// Bytes that are left to those that want to begin.
    pub fn left(&self) -> u64 {
        self.room.bytes.unwrap_or(u64::MAX).saturating_sub(self.counted())
    }

    /// Bytes that it needs to begin.
    fn need(&self, candidate: Candidate<'_>) -> u64 {
        match self.room.rule {
            Rule::Open => quarter(candidate.memory_bytes),
            Rule::WaitToFit | Rule::RefuseUnfit => candidate.memory_bytes,
        }
    }

    /// Whether it would fit if nothing of ours ran.
    pub fn would_fit_alone(&self, candidate: Candidate<'_>) -> bool {
        self.room.bytes.is_none_or(|bytes| self.need(candidate) <= bytes)
    }

    pub fn verdict(&self, candidate: Candidate<'_>) -> Verdict {
        let Room { rule, bytes, held_back_below, writes_refused } = self.room;
        let need = self.need(candidate);
        let fits = bytes.is_none_or(|bytes| self.counted().saturating_add(need) <= bytes);
        match rule {
            Rule::RefuseUnfit if !fits => Verdict::Unfit,
            _ if !fits => Verdict::WaitsForMemory,
            _ if held_back_below.is_some_and(|below| candidate.priority < below) => Verdict::Waits,
            _ if writes_refused && candidate.durable => Verdict::Waits,
            _ if self.is_full() || !self.fair.may_begin(candidate.tenant, self.places) => Verdict::Waits,
            _ => Verdict::Begins,
        }
    }

    pub fn begin(&mut self, tenant: &str, memory_bytes: u64) {
        self.fair.begin(tenant);
        self.held += 1;
        self.quarters = self.quarters.saturating_add(quarter(memory_bytes));
    }

    pub fn end(&mut self, tenant: &str, memory_bytes: u64) {
        self.fair.end(tenant);
        self.held = self.held.saturating_sub(1);
        self.quarters = self.quarters.saturating_sub(quarter(memory_bytes));
        if self.held == 0 {
            self.above = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn task(priority: Priority, memory_bytes: u64) -> Candidate<'static> {
        Candidate { tenant: "a", priority, memory_bytes, durable: true }
    }

    fn with(room: Room) -> Admission {
        Admission { room, ..Admission::new(2) }
    }

    #[test]
    fn there_are_as_many_as_places() {
        let mut admission = Admission::new(1);
        let medium = task(Priority::Medium, MIB);
        assert_eq!(admission.verdict(medium), Verdict::Begins);
        admission.begin("a", MIB);
        assert_eq!(admission.verdict(medium), Verdict::Waits);
        admission.resize(2);
        assert_eq!(admission.verdict(medium), Verdict::Begins);
        admission.begin("a", MIB);
        admission.resize(1);
        admission.end("a", MIB);
        assert_eq!(admission.verdict(medium), Verdict::Waits, "the one that is left has the one place");
        admission.end("a", MIB);
        assert_eq!(admission.verdict(medium), Verdict::Begins);
    }

    #[test]
    fn a_task_that_runs_counts_with_a_quarter_or_with_what_it_uses() {
        let mut admission = with(Room { bytes: Some(1000 * MIB), ..Room::default() });
        admission.begin("a", 800 * MIB);
        assert_eq!(admission.counted(), 200 * MIB);
        admission.measure([(500 * MIB, 800 * MIB)].into_iter());
        assert_eq!(admission.counted(), 500 * MIB);
        admission.measure([(100 * MIB, 800 * MIB)].into_iter());
        assert_eq!(admission.counted(), 200 * MIB);
    }

    #[test]
    fn a_tenant_that_has_its_share_waits_and_others_do_not() {
        let mut admission = Admission::new(4);
        admission.fair.set_shares([("a".to_owned(), 50)].into());
        let of_a = task(Priority::Critical, MIB);
        admission.begin("a", MIB);
        assert_eq!(admission.verdict(of_a), Verdict::Begins);
        admission.begin("a", MIB);
        assert_eq!(admission.verdict(of_a), Verdict::Waits);
        assert_eq!(admission.verdict(Candidate { tenant: "b", ..of_a }), Verdict::Begins);
    }

    #[test]
    fn what_begins_has_to_fit() {
        for (rule, fits, does_not, then) in [
            (Rule::Open, 3200, 3204, Verdict::WaitsForMemory),
            (Rule::WaitToFit, 800, 801, Verdict::WaitsForMemory),
            (Rule::RefuseUnfit, 800, 801, Verdict::Unfit),
        ] {
            let mut admission = with(Room { rule, bytes: Some(1000 * MIB), ..Room::default() });
            admission.begin("a", 800 * MIB);
            assert_eq!(admission.verdict(task(Priority::Low, fits * MIB)), Verdict::Begins, "{rule:?}");
            assert_eq!(admission.verdict(task(Priority::Critical, does_not * MIB)), then, "{rule:?}");
        }
        let blind = with(Room { rule: Rule::RefuseUnfit, bytes: None, ..Room::default() });
        assert_eq!(blind.verdict(task(Priority::Low, u64::MAX)), Verdict::Begins, "nothing is known");
    }

    #[test]
    fn some_are_held_back() {
        let held = with(Room { held_back_below: Some(Priority::Medium), ..Room::default() });
        assert_eq!(held.verdict(task(Priority::Low, MIB)), Verdict::Waits);
        assert_eq!(held.verdict(task(Priority::Medium, MIB)), Verdict::Begins);
        let full_disk = with(Room { writes_refused: true, ..Room::default() });
        assert_eq!(full_disk.verdict(task(Priority::Critical, MIB)), Verdict::Waits);
        let ephemeral = Candidate { durable: false, ..task(Priority::Low, MIB) };
        assert_eq!(full_disk.verdict(ephemeral), Verdict::Begins);
    }
}
