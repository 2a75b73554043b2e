//! Ends a running task from outside, at its deadline or because a client asked; pauses it and lets it go on.
//!
//! Epochs stop a guest that computes; a timer around the call stops one that waits in a host call.
//! Both look at the same end, which can be moved while the task runs. A paused guest keeps its instance,
//! gives back its compute slot, and its `wall_ms` stands still.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::slots::Turns;
use crate::backend::work::thread_cpu;
use crate::engine::TICK;
use crate::limits::{Budget, Ledger};

/// How long after its end a task may go on before the answer is given without it.
pub const OVERDUE: Duration = Duration::from_millis(25);

/// A handle on one execution; clones are the same handle.
#[derive(Clone, Debug)]
pub struct Control(Arc<State>);

#[derive(Debug)]
struct State {
    made: Instant,
    /// When the task began, its deadline, the end that a client asked for, and the one that the machine's
    /// need asked for, in nanoseconds after `made`, or [`NEVER`]. The earliest of the last three is its end.
    begun_ns: AtomicU64,
    deadline_ns: AtomicU64,
    cancel_ns: AtomicU64,
    memory_ns: AtomicU64,
    /// CPU time of the guest's thread so far.
    cpu_ns: AtomicU64,
    /// When the pause began that is going on, or [`NEVER`].
    pause_ns: AtomicU64,
    /// Length of the pauses that are over, as far as they were after the beginning.
    paused_ns: AtomicU64,
    /// One resumes at a time, so that a pause is not counted twice.
    resuming: Mutex<()>,
    /// What the task spends, from its beginning to its end.
    ledger: OnceLock<Weak<Ledger>>,
    /// What the guest sees as `cancelled()`.
    asked: Arc<AtomicBool>,
    moved: Notify,
}

/// A time that has not come.
const NEVER: u64 = u64::MAX;

/// Why a task was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// `wall_ms` is over.
    #[error("the task reached its deadline")]
    Deadline,
    /// A client asked, and the grace is over.
    #[error("the task was cancelled")]
    Cancelled,
    /// It was chosen to end because the machine is short of memory.
    #[error("the machine is short of memory")]
    Memory,
}

impl Default for Control {
    fn default() -> Control {
        Control(Arc::new(State {
            made: Instant::now(),
            begun_ns: AtomicU64::new(NEVER),
            deadline_ns: AtomicU64::new(NEVER),
            cancel_ns: AtomicU64::new(NEVER),
            memory_ns: AtomicU64::new(NEVER),
            cpu_ns: AtomicU64::new(0),
            pause_ns: AtomicU64::new(NEVER),
            paused_ns: AtomicU64::new(0),
            resuming: Mutex::new(()),
            ledger: OnceLock::new(),
            asked: Arc::default(),
            moved: Notify::new(),
        }))
    }
}

impl Control {
    /// Waits for a turn, however long the task is paused.
    pub(super) async fn turn(&self, turns: &mut Turns) -> Result<(), Ended> {
        loop {
            let mut moved = pin!(self.0.moved.notified());
            let begun = poll_fn(|cx| {
                if self.is_paused() {
                    turns.end();
                } else if turns.poll_begin(cx).is_ready() {
                    return Poll::Ready(true);
                }
                moved.as_mut().poll(cx).map(|()| false)
            });
            if begun.await {
                return Ok(());
            }
            self.check()?;
        }
    }

    /// Does a piece of work in one of its turns; whether there is more of it.
    pub(super) fn piece(&self, turns: &mut Turns, piece: impl FnOnce() -> bool) -> bool {
        let begun = thread_cpu();
        let more = piece();
        let time = thread_cpu().saturating_sub(begun);
        self.add_cpu(time);
        turns.after_slice(time, more);
        more
    }

    /// Waits for the first turn. From then on its time runs, and what it spends is seen.
    pub(super) async fn begin(&self, turns: &mut Turns, ledger: &Arc<Ledger>) -> Result<(), Ended> {
        self.turn(turns).await?;
        let wall = Duration::from_millis(ledger.limits().get(Budget::WallMs));
        let now = self.0.made.elapsed();
        let _ = self.0.ledger.set(Arc::downgrade(ledger));
        self.0.begun_ns.store(nanoseconds(now), Ordering::Release);
        // Nobody is told: who watches from another thread knows `wall`, and a wake-up for each task is not free.
        self.0.deadline_ns.store(nanoseconds(now.saturating_add(wall)), Ordering::Release);
        Ok(())
    }

    /// Asks the guest to stop, and ends it when `grace` is over. It may not have begun yet.
    pub fn cancel(&self, grace: Duration) {
        let State { made, cancel_ns, asked, moved, .. } = &*self.0;
        asked.store(true, Ordering::Relaxed);
        cancel_ns.fetch_min(nanoseconds(made.elapsed().saturating_add(grace)), Ordering::AcqRel);
        moved.notify_waiters();
    }

    /// Ends the attempt at its next chance as `machine_memory`: the machine is short of memory. Nothing that
    /// the guest could see comes before it. One that a client has cancelled ends as cancelled.
    pub fn end_for_memory(&self) {
        let State { made, memory_ns, moved, .. } = &*self.0;
        memory_ns.fetch_min(nanoseconds(made.elapsed()), Ordering::AcqRel);
        moved.notify_waiters();
    }

    /// Bytes of the machine's memory that the attempt holds now, in linear memories and tensors; 0 before it
    /// begins and after its end.
    pub fn memory_bytes(&self) -> u64 {
        self.0.ledger.get().and_then(Weak::upgrade).map_or(0, |ledger| ledger.memory_held())
    }

    /// Fuel used so far; of a guest that computes it may be an epoch and 10 million old. 0 before the attempt
    /// begins and after its end.
    pub fn fuel_used(&self) -> u64 {
        self.used(Budget::Fuel)
    }

    fn used(&self, budget: Budget) -> u64 {
        self.0.ledger.get().and_then(Weak::upgrade).map_or(0, |ledger| ledger.used(budget))
    }

    /// Pauses the guest at its next yield; its time stands still from now on. One that has not begun does not
    /// begin, and goes on queueing.
    pub fn pause(&self) {
        let State { made, pause_ns, .. } = &*self.0;
        let now = nanoseconds(made.elapsed());
        let _ = pause_ns.compare_exchange(NEVER, now, Ordering::AcqRel, Ordering::Acquire);
        self.0.moved.notify_waiters();
    }

    /// Lets a paused guest go on.
    pub fn resume(&self) {
        let State { paused_ns, pause_ns, deadline_ns, resuming, moved, .. } = &*self.0;
        let _resuming = resuming.lock();
        let length = self.pause_going_on();
        paused_ns.fetch_add(length, Ordering::AcqRel);
        // First the deadline, then the pause: the other way round it could be missed in between.
        let _ = deadline_ns.try_update(Ordering::AcqRel, Ordering::Acquire, |deadline| {
            Some(deadline.saturating_add(length))
        });
        pause_ns.store(NEVER, Ordering::Release);
        moved.notify_waiters();
    }

    /// Nanoseconds of the pause that is going on. What was before the beginning is queueing.
    fn pause_going_on(&self) -> u64 {
        let State { made, pause_ns, begun_ns, .. } = &*self.0;
        // The later of the two; never, where one of them is. Then there is no need to look at the clock.
        match pause_ns.load(Ordering::Acquire).max(begun_ns.load(Ordering::Acquire)) {
            NEVER => 0,
            since => nanoseconds(made.elapsed()).saturating_sub(since),
        }
    }

    /// Time spent paused.
    pub(super) fn paused(&self) -> Duration {
        let over = self.0.paused_ns.load(Ordering::Acquire);
        Duration::from_nanos(over.saturating_add(self.pause_going_on()))
    }

    fn is_paused(&self) -> bool {
        self.0.pause_ns.load(Ordering::Acquire) != NEVER
    }

    /// The flag behind the guest's `cancelled()`.
    pub(super) fn asked(&self) -> Arc<AtomicBool> {
        self.0.asked.clone()
    }

    /// Time since the task began, without pauses; none before.
    pub(super) fn elapsed(&self) -> Duration {
        let begun = Duration::from_nanos(self.0.begun_ns.load(Ordering::Acquire));
        self.0.made.elapsed().saturating_sub(begun).saturating_sub(self.paused())
    }

    /// CPU time of the guest's thread so far.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.0.cpu_ns.load(Ordering::Relaxed))
    }

    pub(super) fn add_cpu(&self, time: Duration) {
        self.0.cpu_ns.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// When it ends, and why.
    fn end(&self) -> (Duration, Ended) {
        let State { deadline_ns, cancel_ns, memory_ns, asked, .. } = &*self.0;
        let deadline = match self.is_paused() {
            true => NEVER,
            false => deadline_ns.load(Ordering::Acquire),
        };
        let cancel = cancel_ns.load(Ordering::Acquire);
        let memory = memory_ns.load(Ordering::Acquire);
        let ended = if memory < cancel.min(deadline) && !asked.load(Ordering::Relaxed) {
            Ended::Memory
        } else if memory.min(cancel) < deadline {
            Ended::Cancelled
        } else {
            Ended::Deadline
        };
        (Duration::from_nanos(deadline.min(cancel).min(memory)), ended)
    }

    /// Time until the end.
    fn left(&self) -> Duration {
        self.end().0.saturating_sub(self.0.made.elapsed())
    }

    /// Whether the end is reached.
    pub(super) fn check(&self) -> Result<(), Ended> {
        let (end, ended) = self.end();
        if self.0.made.elapsed() < end { Ok(()) } else { Err(ended) }
    }

    /// Waits until the end has been reached for longer than [`OVERDUE`]. A task that has not begun yet may run
    /// for `wall`, so its end is not before that.
    pub(super) async fn overdue(&self, wall: Duration) -> Ended {
        loop {
            let mut moved = pin!(self.0.moved.notified());
            moved.as_mut().enable();
            let ended = self.check();
            let left = if ended.is_ok() { self.left().min(wall) } else { Duration::ZERO };
            tokio::select! {
                () = tokio::time::sleep(left.saturating_add(OVERDUE)) => {
                    if let Err(ended) = self.check() {
                        return ended;
                    }
                }
                // An end that was moved while it was being waited for counts anew.
                () = moved, if ended.is_ok() => {}
            }
        }
    }

    /// Runs `guest` in its `turns` until it is done or ended. When it is ended the future is dropped, and
    /// with it whatever host call it was waiting in. The first turn has begun.
    pub(super) async fn supervise<T>(
        &self,
        turns: &mut Turns,
        guest: impl Future<Output = T>,
    ) -> Result<T, Ended> {
        self.check()?;
        let mut guest = pin!(guest);
        // Most tasks are over at the first look: for them there is no timer, and no system call for the
        // CPU's clock. The first slice lasts a tick at most, so its wall time will do, cut where the
        // thread was kept from running.
        let first = poll_fn(|cx| {
            if self.is_paused() || turns.poll_begin(cx).is_pending() {
                return Poll::Ready(Poll::Pending);
            }
            let begun = Instant::now();
            let polled = guest.as_mut().poll(cx);
            let time = begun.elapsed().min(TICK * 2);
            self.add_cpu(time);
            turns.after_slice(time, false);
            Poll::Ready(polled)
        });
        if let Poll::Ready(value) = first.await {
            return Ok(value);
        }
        let mut noticed = Noticed::new(Waker::noop());
        loop {
            let moved = self.0.moved.notified();
            let mut moved = pin!(moved);
            moved.as_mut().enable();
            self.check()?;
            let timer = tokio::time::sleep(self.left());
            let mut timer = pin!(timer);
            let value = poll_fn(|cx| {
                if self.is_paused() {
                    turns.end();
                } else if turns.poll_begin(cx).is_ready() {
                    if !noticed.task.will_wake(cx.waker()) {
                        noticed = Noticed::new(cx.waker());
                    }
                    noticed.woken.store(false, Ordering::Relaxed);
                    let waker = noticed.clone().into();
                    let begun = thread_cpu();
                    let polled = guest.as_mut().poll(&mut Context::from_waker(&waker));
                    let time = thread_cpu().saturating_sub(begun);
                    self.add_cpu(time);
                    turns.after_slice(time, polled.is_pending() && noticed.woken.load(Ordering::Relaxed));
                    if let Poll::Ready(value) = polled {
                        return Poll::Ready(Some(value));
                    }
                }
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => moved.as_mut().poll(cx).map(|()| None),
                }
            });
            if let Some(value) = value.await {
                return Ok(value);
            }
        }
    }
}

/// Notices whether a guest that is not done has woken itself already: then it only came up for air, at an
/// epoch or an interval of fuel, and does not wait for anything.
struct Noticed {
    task: Waker,
    woken: AtomicBool,
}

impl Noticed {
    fn new(task: &Waker) -> Arc<Noticed> {
        Arc::new(Noticed { task: task.clone(), woken: AtomicBool::new(false) })
    }
}

impl Wake for Noticed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
