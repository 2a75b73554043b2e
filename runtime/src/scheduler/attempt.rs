//! One attempt after another: what happens between a place and a stored end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Shared;
use super::live::{Ended, Live, LiveJournal};
use super::places::Place;
use crate::executor::{Attempt, Control, Tenant};
use crate::task::{End, Failure, FailureKind, Log, Next, Outcome, State, TaskId};
use crate::task_store::Error;
use crate::telemetry::Seldom;

/// Waits between two tries to store an end, while the disk is full.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How long nothing begins after the store refused to note a start, in milliseconds.
const HOLD_MS: i64 = 1000;

/// Gives places to those whose turn it is, until the end.
pub(super) async fn dispatch(shared: Arc<Shared>) {
    loop {
        let woken = shared.wake.notified();
        let now = shared.clock.now_ms();
        let (next, due) = {
            let mut state = shared.state.lock();
            if state.shutting_down {
                return;
            }
            let held = state.held_until_ms > now;
            // Who is first is asked when there is a place, not before.
            let next = if held { None } else { state.pop(now) };
            let next = next.map(|live| (state.place(&shared, live.candidate()), live));
            (next, if held { Some(state.held_until_ms) } else { state.queue.next_due_ms() })
        };
        if let Some((place, live)) = next {
            tokio::spawn(shared.clone().start(live, place));
            continue;
        }
        let due = due.map_or(Duration::from_secs(3600), |due| {
            Duration::from_millis(due.saturating_sub(now).max(1).unsigned_abs())
        });
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(due) => {}
        }
    }
}

impl Shared {
    /// Notes the start of an attempt in the store, then runs it.
    async fn start(self: Arc<Self>, live: Arc<Live>, place: Place) {
        let changing = live.changing.lock().await;
        let change = self.bus.changes().begin();
        let mut state = live.inner.lock().state.clone();
        if state.cancel_asked {
            drop(changing);
            return self.end_cancelled(&live).await;
        }
        state.start(Timestamp::now());
        match live.store.update(&live.tenant, live.id, &state).await {
            Ok(()) => self.change(&live, state),
            Err(error) => {
                drop(changing);
                self.hold(&error);
                let since = self.clock.at_ms(live.created).min(self.clock.now_ms());
                return self.enqueue(&live, since).await;
            }
        }
        drop((changing, change));
        self.run(live, place).await;
    }

    /// Runs an attempt that is stored as started, and stores how it ended.
    pub(super) async fn run(self: Arc<Self>, live: Arc<Live>, place: Place) {
        let control = Control::default();
        let outcome = match self.input(&live).await {
            Ok(input) => self.execute(&live, input, control).await,
            Err(failure) => {
                let attempts = live.inner.lock().state.attempts;
                Outcome::not_begun(failure, attempts, "")
            }
        };
        self.settle(&live, outcome).await;
        drop(place);
    }

    async fn input(&self, live: &Live) -> Result<Arc<[u8]>, Failure> {
        let kept = live.inner.lock().input.clone();
        if let Some(input) = kept {
            return Ok(input);
        }
        let read = live.store.input(&live.tenant, live.id).await;
        let lost = |why| Failure::new(FailureKind::HostError, format!("reading the task's input: {why}"));
        let read = read.map_err(|error| {
            // What it says may name files of this machine.
            tracing::error!(%error, task = %live.id, "a task's input cannot be read");
            lost("it cannot be read; the server's log says why")
        });
        read?.ok_or_else(|| lost("it is gone"))
    }

    pub(super) async fn execute(&self, live: &Arc<Live>, input: Arc<[u8]>, control: Control) -> Outcome {
        let (number, queued, again) = {
            let inner = live.inner.lock();
            let State { attempts, interruptions, .. } = &inner.state;
            (*attempts, inner.waits_since.elapsed(), *attempts > 1 || *interruptions > 0)
        };
        // A first attempt has none.
        let checkpoints = match again {
            true => live.store.checkpoints(&live.tenant, live.id).await.unwrap_or_default(),
            false => Vec::new(),
        };
        live.begin(control.clone(), checkpoints);
        let (is_ending, share) = {
            let mut state = self.state.lock();
            state.running.insert(live.id, live.clone());
            (state.shutting_down, state.admission.fair.share(&live.tenant))
        };
        let is_cancelled = live.inner.lock().state.cancel_asked;
        if is_cancelled || is_ending {
            control.cancel(Duration::ZERO);
        }
        self.pause_as_told(live);
        let attempt = Attempt {
            task_id: live.id,
            tenant: Tenant { name: live.tenant.clone(), share },
            spec: live.spec.clone(),
            input,
            number,
            queued,
            journal: Arc::new(LiveJournal { live: live.clone(), bus: self.bus.clone(), attempt: number }),
            control,
        };
        let begun = Instant::now();
        let outcome = self.executor.execute(attempt).await;
        let paused = Duration::from_millis(outcome.receipt.paused_ms);
        // With what it waited after it had its place, as one does that is paused before it begins.
        let waited = Duration::from_millis(outcome.receipt.queue_ms).max(queued);
        let took = begun.elapsed().saturating_sub(paused).saturating_sub(waited.saturating_sub(queued));
        self.metrics.executed(&outcome.receipt, took, waited);
        self.state.lock().running.remove(&live.id);
        outcome
    }

    /// Stores what follows from `outcome`: the end, or another attempt.
    pub(super) async fn settle(&self, live: &Arc<Live>, outcome: Outcome) {
        let changing = live.changing.lock().await;
        let _change = self.bus.changes().begin();
        let Outcome { end, receipt, log } = outcome;
        let mut state = {
            let mut inner = live.inner.lock();
            inner.control = None;
            inner.state.clone()
        };
        let now = Timestamp::now();
        if end == End::Cancelled && !state.cancel_asked && live.spec.durable {
            // Nobody asked but the end of this process.
            state.requeue(now);
            let _ = live.store.update(&live.tenant, live.id, &state).await;
            return self.change(live, state);
        }
        let jitter = rand::random();
        match state.end(now, &end, receipt, &live.spec.retry, jitter) {
            Next::Ended => {
                let output = match end {
                    End::Completed(output) => Some(Arc::from(output)),
                    _ => None,
                };
                self.finish(live, state, output, log).await;
            }
            Next::Again(due) => {
                if let Err(error) =
                    patiently(live.id, || live.store.update(&live.tenant, live.id, &state)).await
                {
                    tracing::error!(task_id = %live.id, %error, "a retry could not be stored");
                    return;
                }
                self.change(live, state);
                live.wait_again();
                drop(changing);
                self.enqueue(live, self.clock.at_ms(due)).await;
            }
        }
    }

    /// Puts a task into the queue, where it waits since `since_ms` or will from then on; unless a client has
    /// asked for its end meanwhile.
    pub(super) async fn enqueue(&self, live: &Arc<Live>, since_ms: i64) {
        let queued = {
            let mut state = self.state.lock();
            let wanted = !live.inner.lock().state.cancel_asked;
            if wanted {
                state.push(live.clone(), since_ms);
            }
            wanted
        };
        match queued {
            true => self.wake.notify_one(),
            false => self.end_cancelled(live).await,
        }
    }

    /// Nothing begins for a while: the store could not note the start of a task.
    fn hold(&self, error: &Error) {
        let now = self.clock.now_ms();
        let again = match error {
            Error::Poisoned(_) | Error::Closed => i64::MAX,
            _ => now.saturating_add(HOLD_MS),
        };
        let mut state = self.state.lock();
        if state.held_until_ms <= now {
            static SAID: Seldom = Seldom::new();
            if let Some(left_out) = SAID.left_out() {
                tracing::warn!(%error, left_out, "tasks that wait cannot be started");
            }
        }
        state.held_until_ms = state.held_until_ms.max(again);
    }

    /// A task that will not begin again was asked to end.
    pub(super) async fn end_cancelled(&self, live: &Arc<Live>) {
        let _changing = live.changing.lock().await;
        let mut state = live.inner.lock().state.clone();
        state.cancelled(Timestamp::now());
        self.finish(live, state, None, Log::default()).await;
    }

    /// Stores `ended` as the end of a task that an earlier process ran.
    pub(super) async fn end_as(&self, live: &Arc<Live>, ended: State) {
        let _changing = live.changing.lock().await;
        self.finish(live, ended, None, Log::default()).await;
    }

    /// Stores that a task that is not to be ended here was asked to end.
    pub(super) async fn note_cancel(&self, live: &Arc<Live>) -> Result<(), Error> {
        let _changing = live.changing.lock().await;
        let state = live.inner.lock().state.clone();
        match live.has_ended() {
            true => Ok(()),
            false => live.store.update(&live.tenant, live.id, &state).await,
        }
    }

    /// Stores an end, as soon as that is possible, and tells it.
    async fn finish(&self, live: &Arc<Live>, state: State, output: Option<Arc<[u8]>>, log: Log) {
        let _change = self.bus.changes().begin();
        let Live { tenant, id, store, .. } = &**live;
        let stored = patiently(*id, || store.finish(tenant, *id, &state, output.clone(), log.clone())).await;
        if let Err(error) = stored {
            // The task stays as it is stored: running. The next process will find it so.
            tracing::error!(task_id = %id, %error, "a task's end could not be stored");
            return;
        }
        self.metrics.ended(&live.spec.component, &state);
        self.state.lock().live.remove(&live.id);
        let task = live.task_in(state.clone());
        live.inner.lock().state = state;
        self.bus.task_changed(|| live.task());
        live.end(Ended { task, output });
    }

    /// What is stored becomes what is shown.
    fn change(&self, live: &Live, mut state: State) {
        {
            let mut inner = live.inner.lock();
            // Asked for while the change was stored: that is not to be forgotten.
            if inner.state.cancel_asked {
                state.ask_to_cancel(Timestamp::now());
            }
            inner.state = state;
        }
        self.bus.task_changed(|| live.task());
    }
}

/// Tries a write of the task `id` until it is stored, or the store writes nothing more. What has nothing to do
/// with room is tried a few times.
async fn patiently<F: Future<Output = Result<(), Error>>>(
    id: TaskId,
    write: impl Fn() -> F,
) -> Result<(), Error> {
    let [.., longest] = PATIENCE;
    let mut waits = PATIENCE.into_iter();
    let mut tries = 0;
    loop {
        tries += 1;
        match write().await {
            Err(error)
                if matches!(error, Error::Full(_) | Error::Unwritten(_))
                    || matches!(error, Error::Unreadable(_)) && tries <= PATIENCE.len() =>
            {
                static SAID: Seldom = Seldom::new();
                if let Some(left_out) = SAID.left_out() {
                    tracing::warn!(task_id = %id, %error, left_out, "what became of a task waits to be stored");
                }
                tokio::time::sleep(waits.next().unwrap_or(longest)).await;
            }
            stored => return stored,
        }
    }
}
