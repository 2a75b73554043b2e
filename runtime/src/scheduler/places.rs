//! What waits, what runs, and who of those that wait goes next: the part under the scheduler's one lock.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::admission::{Admission, Candidate, Verdict};
use super::live::Live;
use super::queue::Queue;
use super::{Error, Settings, Shared};
use crate::task::{Digest, Priority, TaskId};
use crate::task_store;

/// Tasks that wait and are looked at for one place: behind those that do not fit, smaller ones may.
const LOOK_AHEAD: usize = 1000;

/// How long smaller tasks may pass one that waits for memory which tasks of ours hold. One that would not fit
/// without them either waits for the machine, and they do not wait with it.
const PASSING_MS: i64 = 30_000;

/// Everything that changes.
pub(super) struct Inner {
    pub queue: Queue<Waiting>,
    /// What all in the queue take.
    pub waiting_bytes: usize,
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
    /// The task that has been passed by smaller ones, and since when.
    passed: Option<(TaskId, i64)>,
    pub shutting_down: bool,
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
            waiting_bytes: 0,
            live: BTreeMap::new(),
            running: HashMap::new(),
            arriving: HashMap::new(),
            admission: Admission::new(places),
            paused_below: None,
            held_until_ms: 0,
            passed: None,
            shutting_down: false,
        }
    }

    /// Puts a task into the queue, where it waits since `since_ms`, or will from then on.
    pub fn push(&mut self, live: Arc<Live>, since_ms: i64) {
        let bytes = live.weight();
        self.waiting_bytes += bytes;
        self.queue.push_later(live.id, live.spec.priority, since_ms, Waiting { live, bytes });
    }

    /// Takes the next one that may begin out, if there is one at `now_ms`.
    pub fn pop(&mut self, now_ms: i64) -> Option<Arc<Live>> {
        let Inner { queue, admission, passed, .. } = self;
        // Looked at even where there is no place: what has become ready is not due any more.
        if !queue.is_ready(now_ms) || admission.is_full() {
            return None;
        }
        let least = admission.room.held_back_below.unwrap_or(Priority::Low);
        let (before, mut looked) = (passed.take(), 0);
        let waiting = queue.pop(now_ms, least, |Waiting { live, .. }| {
            looked += 1;
            match admission.verdict(live.candidate()) {
                Verdict::Begins => return ControlFlow::Continue(true),
                Verdict::WaitsForMemory | Verdict::Unfit if passed.is_none() => {
                    let since = before.filter(|(id, _)| *id == live.id).map_or(now_ms, |(_, since)| since);
                    *passed = Some((live.id, since));
                    if now_ms.saturating_sub(since) > PASSING_MS
                        && admission.would_fit_alone(live.candidate())
                    {
                        return ControlFlow::Break(());
                    }
                }
                _ => {}
            }
            if looked < LOOK_AHEAD { ControlFlow::Continue(false) } else { ControlFlow::Break(()) }
        });
        let Waiting { live, bytes } = waiting?;
        self.waiting_bytes -= bytes;
        Some(live)
    }

    /// Whether a task that comes now begins; it waits otherwise.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn look_at(&mut self, candidate: Candidate, settings: &Settings, now_ms: i64) -> Result<bool, Error> {
        if self.shutting_down {
            return Err(Error::ShuttingDown);
        }
        let (tasks, bytes) = (self.queue.waiting(), self.waiting_bytes);
        if tasks >= settings.max_pending || bytes >= settings.max_pending_bytes {
            return Err(Error::QueueFull { tasks, bytes });
        }
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

    /// Takes this one out; false if it does not wait.
    pub fn take_out(&mut self, id: TaskId) -> bool {
        let waiting = self.queue.remove(id);
        self.waiting_bytes -= waiting.as_ref().map_or(0, |waiting| waiting.bytes);
        waiting.is_some()
    }

    /// A place for a task that [`Admission::verdict`] lets begin.
    pub fn place(&mut self, shared: &Arc<Shared>, candidate: Candidate) -> Place {
        self.admission.begin(candidate.memory_bytes);
        Place { shared: shared.clone(), memory_bytes: candidate.memory_bytes }
    }
}

/// Held from the start of an attempt to its stored end. Not to be dropped under the scheduler's lock.
pub(super) struct Place {
    shared: Arc<Shared>,
    memory_bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.shared.state();
            state.admission.end(self.memory_bytes);
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
        let task = Task { id, tenant: String::new(), created, spec: Arc::new(spec), state };
        Arc::new(Live::new(task, mebibytes * MIB, Arc::new(MemoryStore::default()), None))
    }

    /// With this room, of which a task of ours takes `taken`; these wait since time 0.
    fn inner(room: u64, taken: u64, waiting: &[&Arc<Live>]) -> Inner {
        let mut inner = Inner::new(10);
        inner.admission.room = Room { rule: Rule::WaitToFit, bytes: Some(room * MIB), ..Room::default() };
        inner.admission.begin(taken * 4 * MIB);
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
        inner.admission.end(200 * MIB);
        assert_eq!(popped(&mut inner, PASSING_MS + 3), Some(large.id), "and is first once there is room");
        assert_eq!(popped(&mut inner, PASSING_MS + 3), Some(later.id));
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
    fn what_waits_for_a_place_is_not_due_again() {
        let task = live(1);
        let mut inner = inner(100, 1, &[&task]);
        inner.admission.resize(1);
        assert_eq!(popped(&mut inner, 5), None);
        assert_eq!(inner.queue.next_due_ms(), None, "nothing to wake up for");
    }
}
