//! What waits, what runs, and who of those that wait goes next: the part under the scheduler's one lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::admission::{Admission, Candidate, Verdict};
use super::live::Live;
use super::queue::{Look, Queue};
use super::{Error, Settings, Shared};
use crate::task::{Digest, Priority, TaskId};
use crate::task_store;

/// Tasks of a tenant that wait and are looked at for one place: behind those that do not fit, smaller ones may.
const LOOK_AHEAD: usize = 1000;

/// How long smaller tasks may pass one that waits for memory which tasks of ours hold. One that would not fit
/// without them either waits for the machine, and they do not wait with it.
const PASSING_MS: i64 = 30_000;

/// Everything that changes.
pub(super) struct Inner {
    pub queue: Queue<Waiting>,
    /// What waits of each tenant that has some.
    waiting: HashMap<Arc<str>, Waits>,
    /// Of all together.
    waits: Waits,
    pub live: BTreeMap<TaskId, Arc<Live>>,
    /// Those that are being executed, also before they are stored.
    pub running: HashMap<TaskId, Arc<Live>>,
    /// Components of submissions that are not in `live` yet.
    pub arriving: HashMap<Digest, usize>,
    pub admission: Admission,
    /// Tasks below this priority are paused.
    pub paused_below: Option<Priority>,
    /// Nothing begins before this time: the store has just refused that.
    pub held_until_ms: i64,
    /// The task of each tenant that has been passed by smaller ones, and since when.
    passed: HashMap<Arc<str>, (TaskId, i64)>,
    pub shutting_down: bool,
}

/// Tasks that wait, and what they take.
#[derive(Clone, Copy, Default)]
struct Waits {
    tasks: usize,
    bytes: usize,
}

/// A task in the queue.
pub(super) struct Waiting {
    pub live: Arc<Live>,
    /// What it took when it came in.
    bytes: usize,
}

impl Inner {
    pub fn new(places: usize) -> Inner {
        Inner {
            queue: Queue::default(),
            waiting: HashMap::new(),
            waits: Waits::default(),
            live: BTreeMap::new(),
            running: HashMap::new(),
            arriving: HashMap::new(),
            admission: Admission::new(places),
            paused_below: None,
            held_until_ms: 0,
            passed: HashMap::new(),
            shutting_down: false,
        }
    }

    /// Puts a task into the queue, where it waits since `since_ms`, or will from then on.
    pub fn push(&mut self, live: Arc<Live>, since_ms: i64) {
        let bytes = live.weight();
        let of_tenant = self.waiting.entry(live.tenant.clone()).or_default();
        for waits in [&mut self.waits, of_tenant] {
            waits.tasks += 1;
            waits.bytes += bytes;
        }
        let (tenant, priority) = (live.tenant.clone(), live.spec.priority);
        self.queue.push_later(live.id, tenant, priority, since_ms, Waiting { live, bytes });
    }

    /// This one waits no more.
    fn left(&mut self, Waiting { live, bytes }: Waiting) -> Arc<Live> {
        self.waits.tasks -= 1;
        self.waits.bytes -= bytes;
        if let Some(waits) = self.waiting.get_mut(&live.tenant) {
            waits.tasks -= 1;
            waits.bytes -= bytes;
            if waits.tasks == 0 {
                self.waiting.remove(&live.tenant);
            }
        }
        live
    }

    /// Takes the next one that may begin out, if there is one at `now_ms`.
    pub fn pop(&mut self, now_ms: i64) -> Option<Arc<Live>> {
        let Inner { queue, admission, passed, .. } = self;
        // Looked at even where there is no place: what has become ready is not due any more.
        if !queue.is_ready(now_ms) || admission.is_full() {
            return None;
        }
        let least = admission.room.held_back_below.unwrap_or(Priority::Low);
        // What waits for memory has waited, too, while it was another tenant's turn.
        passed.retain(|_, (id, _)| queue.waits(*id));
        let (mut tenant, mut looked, mut unfit): (Option<Arc<str>>, usize, bool) = (None, 0, false);
        let (fair, places) = (&admission.fair, admission.places());
        let rank = |tenant: &str| fair.may_begin(tenant, places).then(|| fair.rank(tenant));
        let waiting = queue.pop(now_ms, least, rank, |Waiting { live, .. }| {
            if tenant.as_ref() != Some(&live.tenant) {
                (tenant, looked, unfit) = (Some(live.tenant.clone()), 0, false);
            }
            looked += 1;
            match admission.verdict(live.candidate()) {
                Verdict::Begins => return Look::Take,
                // The first of each tenant.
                Verdict::WaitsForMemory | Verdict::Unfit if !unfit => {
                    unfit = true;
                    let before = passed.get(&live.tenant).filter(|(id, _)| *id == live.id);
                    let since = before.map_or(now_ms, |(_, since)| *since);
                    passed.insert(live.tenant.clone(), (live.id, since));
                    if now_ms.saturating_sub(since) > PASSING_MS
                        && admission.would_fit_alone(live.candidate())
                    {
                        return Look::Stop;
                    }
                }
                _ => {}
            }
            if looked < LOOK_AHEAD { Look::Pass } else { Look::NextTenant }
        });
        waiting.map(|waiting| self.left(waiting))
    }

    /// Whether a task that comes now begins; it waits otherwise.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn look_at(
        &mut self,
        candidate: Candidate<'_>,
        settings: &Settings,
        now_ms: i64,
    ) -> Result<bool, Error> {
        if self.shutting_down {
            return Err(Error::ShuttingDown);
        }
        self.admit_to_queue(candidate.tenant, settings)?;
        if self.admission.room.writes_refused && candidate.durable {
            return Err(Error::Store(task_store::Error::nearly_full()));
        }
        match self.admission.verdict(candidate) {
            Verdict::Unfit => {
                let (memory_bytes, left_bytes) = (candidate.memory_bytes, self.admission.left());
                Err(Error::MachineMemory { memory_bytes, left_bytes })
            }
            // Whoever waits already goes first.
            Verdict::Begins => Ok(!self.queue.is_ready(now_ms)),
            Verdict::Waits | Verdict::WaitsForMemory => Ok(false),
        }
    }

    /// Whether one more of `tenant` may wait. As much as may is divided among those that have something there, so
    /// that whoever fills the queue does not shut it for others; all together never have more than twice that.
    fn admit_to_queue(&self, tenant: &str, settings: &Settings) -> Result<(), Error> {
        let Settings { max_pending, max_pending_bytes, .. } = *settings;
        let theirs = self.waiting.get(tenant);
        let tenants = self.waiting.len() + usize::from(theirs.is_none());
        let is_full = |waits: Waits, tasks, bytes| waits.tasks >= tasks || waits.bytes >= bytes;
        let Waits { tasks, bytes } = theirs.copied().unwrap_or_default();
        if is_full(Waits { tasks, bytes }, max_pending.div_ceil(tenants), max_pending_bytes / tenants)
            || is_full(self.waits, 2 * max_pending, 2 * max_pending_bytes)
        {
            return Err(Error::QueueFull { tasks, bytes });
        }
        Ok(())
    }

    /// Takes this one out; false if it does not wait.
    pub fn take_out(&mut self, id: TaskId) -> bool {
        let waiting = self.queue.remove(id);
        waiting.map(|waiting| self.left(waiting)).is_some()
    }

    /// A place for a task that [`Admission::verdict`] lets begin.
    pub fn place(&mut self, shared: &Arc<Shared>, candidate: Candidate<'_>) -> Place {
        let Candidate { tenant, memory_bytes, .. } = candidate;
        self.admission.begin(tenant, memory_bytes);
        Place { shared: shared.clone(), tenant: tenant.into(), memory_bytes }
    }
}

/// Held from the start of an attempt to its stored end. Not to be dropped under the scheduler's lock.
pub(super) struct Place {
    shared: Arc<Shared>,
    tenant: Arc<str>,
    memory_bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.shared.state.lock();
            state.admission.end(&self.tenant, self.memory_bytes);
            state.admission.held() == 0
        };
        self.shared.wake.notify_one();
        if is_last {
            self.shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::admission::Room;
    use super::*;
    use crate::protection::Admission as Rule;
    use crate::task::{Grants, Retry, Spec, State, Task};
    use crate::task_store::MemoryStore;

    const MIB: u64 = 1 << 20;

    fn live(mebibytes: u64) -> Arc<Live> {
        live_of("", mebibytes)
    }

    fn live_of(tenant: &str, mebibytes: u64) -> Arc<Live> {
        let spec = Spec {
            component: String::new(),
            digest: Digest::of(b""),
            description: None,
            metadata: serde_json::value::RawValue::NULL.to_owned(),
            priority: Priority::Medium,
            mode: "dev".into(),
            limits: BTreeMap::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            retry: Retry { max_attempts: 1, on: Vec::new(), backoff_ms: 0 },
            grants: Grants::default(),
            deterministic: false,
            durable: true,
        };
        let (created, id) = (Timestamp::now(), TaskId::generate());
        let state = State::submitted(created);
        let task = Task { id, tenant: tenant.to_owned(), created, spec: Arc::new(spec), state };
        Arc::new(Live::new(task, mebibytes * MIB, Arc::new(MemoryStore::default()), None))
    }

    /// With this room, of which a task of ours takes `taken`; these wait since time 0.
    fn inner(room: u64, taken: u64, waiting: &[&Arc<Live>]) -> Inner {
        let mut inner = Inner::new(10);
        inner.admission.room = Room { rule: Rule::WaitToFit, bytes: Some(room * MIB), ..Room::default() };
        inner.admission.begin("", taken * 4 * MIB);
        waiting.iter().for_each(|live| inner.push((*live).clone(), 0));
        inner
    }

    fn popped(inner: &mut Inner, now_ms: i64) -> Option<TaskId> {
        inner.pop(now_ms).map(|live| live.id)
    }

    #[test]
    fn the_small_pass_one_that_waits_for_our_memory_for_a_while() {
        let (large, small, late) = (live(90), live(10), live(10));
        let mut inner = inner(100, 50, &[&large, &small, &late]);
        assert_eq!(popped(&mut inner, 1), Some(small.id));
        assert_eq!(popped(&mut inner, PASSING_MS + 1), Some(late.id));
        let later = live(10);
        inner.push(later.clone(), 0);
        assert_eq!(popped(&mut inner, PASSING_MS + 2), None, "it was passed for long enough");
        inner.admission.end("", 200 * MIB);
        assert_eq!(popped(&mut inner, PASSING_MS + 3), Some(large.id), "and is first once there is room");
        assert_eq!(popped(&mut inner, PASSING_MS + 3), Some(later.id));
    }

    #[test]
    fn a_large_one_has_waited_although_it_was_anothers_turn() {
        let [a, b] = ["a", "b"].map(|tenant| live_of(tenant, 90));
        let mut inner = inner(100, 50, &[&a, &b]);
        for now_ms in 1..=3 {
            assert_eq!(popped(&mut inner, now_ms), None);
            // Now one of them is first, now the other.
            inner.admission.fair.begin(if now_ms % 2 == 0 { "a" } else { "b" });
        }
        let small = live_of("a", 10);
        inner.push(small, 0);
        assert_eq!(popped(&mut inner, PASSING_MS + 4), None, "each was passed for long enough");
    }

    #[test]
    fn a_tenant_with_much_that_does_not_fit_keeps_no_other_waiting() {
        let mut inner = inner(100, 50, &[]);
        for _ in 0..=LOOK_AHEAD {
            inner.push(live_of("a", 90), 0);
        }
        let small = live_of("b", 10);
        inner.push(small.clone(), 0);
        inner.admission.fair.begin("b");
        assert_eq!(popped(&mut inner, 1), Some(small.id));
    }

    #[test]
    fn one_that_the_machine_has_no_memory_for_keeps_nobody_waiting() {
        let (huge, small) = (live(1000), live(10));
        let mut inner = inner(100, 50, &[&huge, &small]);
        assert_eq!(popped(&mut inner, 1), Some(small.id));
        let late = live(10);
        inner.push(late.clone(), 0);
        assert_eq!(popped(&mut inner, 10 * PASSING_MS), Some(late.id));
        assert_eq!(popped(&mut inner, 10 * PASSING_MS), None);
        inner.admission.room.bytes = Some(2000 * MIB);
        assert_eq!(popped(&mut inner, 10 * PASSING_MS), Some(huge.id));
    }

    #[test]
    fn whoever_fills_the_queue_does_not_shut_it_for_others() {
        let settings = Settings { places: 0, max_pending: 4, max_pending_bytes: usize::MAX };
        let mut inner = Inner::new(0);
        let mut fill = |tenant: &str| {
            let mut count = 0;
            while inner.admit_to_queue(tenant, &settings).is_ok() && count < 10 {
                inner.push(live_of(tenant, 1), 0);
                count += 1;
            }
            count
        };
        assert_eq!([fill("a"), fill("b"), fill("c"), fill("a")], [4, 2, 2, 0], "and twice as many in all");
        while inner
            .queue
            .pop(1, Priority::Low, |_| Some(0), |_| Look::Take)
            .map(|waiting| inner.left(waiting))
            .is_some()
        {}
        assert!(inner.waiting.is_empty() && inner.waits.tasks == 0 && inner.waits.bytes == 0);
    }

    #[test]
    fn what_waits_for_a_place_is_not_due_again() {
        let task = live(1);
        let mut inner = inner(100, 1, &[&task]);
        inner.admission.resize(1);
        assert_eq!(popped(&mut inner, 5), None);
        assert_eq!(inner.queue.next_due_ms(), None, "nothing to wake up for");
    }
}
