//! Ends a running task from outside, at its deadline or because a client asked; pauses it and lets it go on.
//!
//! Epochs stop a guest that computes; a timer around the call stops one that waits in a host call.
//! Both look at the same end, which can be moved while the task runs. A paused guest keeps its instance,
//! gives back its compute slot, and its `wall_ms` stands still.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use super::slots::Turns;
use crate::engine::TICK;

/// How long after its end a task may go on before the answer is given without it.
pub const OVERDUE: Duration = Duration::from_millis(25);

/// A handle on one execution; clones are the same handle.
#[derive(Clone, Debug)]
pub struct Control(Arc<State>);

#[derive(Debug)]
struct State {
    made: Instant,
    /// When the task began, its deadline, and the end that a client asked for, in nanoseconds after
    /// `made`. The earlier of the last two is its end.
    begun_ns: AtomicU64,
    deadline_ns: AtomicU64,
    cancel_ns: AtomicU64,
    /// CPU time of the guest's thread so far.
    cpu_ns: AtomicU64,
    /// When the pause began that is going on, or [`NOT_PAUSED`].
    pause_ns: AtomicU64,
    /// Length of the pauses that are over.
    paused_ns: AtomicU64,
    /// The guest came up for air, but could go on computing.
    yielded: AtomicBool,
    /// What the guest sees as `cancelled()`.
    asked: Arc<AtomicBool>,
    moved: Notify,
}

const NOT_PAUSED: u64 = u64::MAX;

/// Why a task was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// `wall_ms` is over.
    #[error("the task reached its deadline")]
    Deadline,
    /// A client asked, and the grace is over.
    #[error("the task was cancelled")]
    Cancelled,
}

impl Default for Control {
    fn default() -> Control {
        Control(Arc::new(State {
            made: Instant::now(),
            begun_ns: AtomicU64::new(0),
            deadline_ns: AtomicU64::new(u64::MAX),
            cancel_ns: AtomicU64::new(u64::MAX),
            cpu_ns: AtomicU64::new(0),
            pause_ns: AtomicU64::new(NOT_PAUSED),
            paused_ns: AtomicU64::new(0),
            yielded: AtomicBool::new(false),
            asked: Arc::default(),
            moved: Notify::new(),
        }))
    }
}

impl Control {
    /// The task begins now and may run for `wall`.
    pub(super) fn begin(&self, wall: Duration) {
        let now = self.0.made.elapsed();
        self.0.begun_ns.store(nanoseconds(now), Ordering::Release);
        // Nobody is told: who watches from another thread knows `wall`, and a wake-up for each task is not free.
        self.0.deadline_ns.store(nanoseconds(now.saturating_add(wall)), Ordering::Release);
    }

    /// Asks the guest to stop, and ends it when `grace` is over. It may not have begun yet.
    pub fn cancel(&self, grace: Duration) {
        let State { made, cancel_ns, asked, moved, .. } = &*self.0;
        asked.store(true, Ordering::Relaxed);
        cancel_ns.fetch_min(nanoseconds(made.elapsed().saturating_add(grace)), Ordering::AcqRel);
        moved.notify_waiters();
    }

    /// Pauses the guest at its next yield; its time stands still from now on. It may not have begun yet.
    pub fn pause(&self) {
        let State { made, pause_ns, .. } = &*self.0;
        let now = nanoseconds(made.elapsed());
        let _ = pause_ns.compare_exchange(NOT_PAUSED, now, Ordering::AcqRel, Ordering::Acquire);
        self.0.moved.notify_waiters();
    }

    /// Lets a paused guest go on.
    pub fn resume(&self) {
        let State { made, pause_ns, paused_ns, deadline_ns, .. } = &*self.0;
        let began = pause_ns.load(Ordering::Acquire);
        if began == NOT_PAUSED {
            return;
        }
        let length = nanoseconds(made.elapsed()).saturating_sub(began);
        paused_ns.fetch_add(length, Ordering::AcqRel);
        // First the deadline, then the pause: the other way round it could be missed in between.
        let _ = deadline_ns.try_update(Ordering::AcqRel, Ordering::Acquire, |deadline| {
            Some(deadline.saturating_add(length))
        });
        pause_ns.store(NOT_PAUSED, Ordering::Release);
        self.0.moved.notify_waiters();
    }

    /// Time spent paused.
    pub(super) fn paused(&self) -> Duration {
        let State { made, pause_ns, paused_ns, .. } = &*self.0;
        let now = match pause_ns.load(Ordering::Acquire) {
            NOT_PAUSED => 0,
            began => nanoseconds(made.elapsed()).saturating_sub(began),
        };
        Duration::from_nanos(paused_ns.load(Ordering::Acquire).saturating_add(now))
    }

    fn is_paused(&self) -> bool {
        self.0.pause_ns.load(Ordering::Acquire) != NOT_PAUSED
    }

    /// Notes that the guest came up for air without waiting for anything.
    pub(super) fn yielded(&self) {
        self.0.yielded.store(true, Ordering::Relaxed);
    }

    /// The flag behind the guest's `cancelled()`.
    pub(super) fn asked(&self) -> Arc<AtomicBool> {
        self.0.asked.clone()
    }

    /// Time since the task began, without pauses.
    pub(super) fn elapsed(&self) -> Duration {
        let begun = Duration::from_nanos(self.0.begun_ns.load(Ordering::Acquire));
        self.0.made.elapsed().saturating_sub(begun).saturating_sub(self.paused())
    }

    /// CPU time of the guest's thread so far.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.0.cpu_ns.load(Ordering::Relaxed))
    }

    fn add_cpu(&self, time: Duration) {
        self.0.cpu_ns.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// When it ends, and why.
    fn end(&self) -> (Duration, Ended) {
        let deadline = match self.is_paused() {
            true => u64::MAX,
            false => self.0.deadline_ns.load(Ordering::Acquire),
        };
        let cancel = self.0.cancel_ns.load(Ordering::Acquire);
        match cancel < deadline {
            true => (Duration::from_nanos(cancel), Ended::Cancelled),
            false => (Duration::from_nanos(deadline), Ended::Deadline),
        }
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
            self.add_cpu(begun.elapsed().min(TICK * 2));
            self.between_slices(turns);
            Poll::Ready(polled)
        });
        if let Poll::Ready(value) = first.await {
            return Ok(value);
        }
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
                    let begun = thread_cpu();
                    let polled = guest.as_mut().poll(cx);
                    self.add_cpu(thread_cpu().saturating_sub(begun));
                    self.between_slices(turns);
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

    /// Keeps the turn where the guest could go on at once and nobody waits; else ends it.
    fn between_slices(&self, turns: &mut Turns) {
        let goes_on = self.0.yielded.swap(false, Ordering::Relaxed);
        if !goes_on || turns.is_over() {
            turns.end();
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
