//! From a submission to a stored task that runs or waits, whatever becomes of the client.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::live::{Ended, Live, SMALL_INPUT};
use super::places::Place;
use super::{Error, Scheduler, Shared};
use crate::executor::Control;
use crate::task::{Digest, End, Next, Outcome, Task, TaskId};
use crate::task_store::{Idempotency, Inserted};

/// How long a task that nobody knows of may run before it is stored.
const SOON: Duration = Duration::from_millis(2);

/// A task to be accepted.
pub struct Submission {
    /// The task, just submitted.
    pub task: Task,
    /// What it works on.
    pub input: Arc<[u8]>,
    /// What a repetition is recognised by.
    pub idempotency: Option<Idempotency>,
    /// Whether the client waits for the end, and running the task changes nothing outside of it: then an end
    /// that comes soon is stored with the task, in one write, before anybody is told of either.
    pub waits: bool,
}

/// What became of a submission.
pub enum Submitted {
    /// It is stored, and will run.
    Accepted(Accepted),
    /// The same was submitted before, as this task.
    Before(TaskId),
    /// Something else was submitted under this key.
    Conflict,
}

/// The same, as it is told by the one that stores.
enum Told {
    Stored(Arc<Live>),
    Before(TaskId),
    Conflict,
}

/// A task that is stored.
pub struct Accepted {
    /// The task.
    pub live: Arc<Live>,
    rest: RunsOn,
}

impl Accepted {
    /// Waits for the task's end.
    pub async fn ended(&mut self) -> Arc<Ended> {
        tokio::select! {
            biased;
            ended = self.live.ended() => ended,
            () = &mut self.rest => self.live.ended().await,
        }
    }
}

/// Work that is done by whoever polls this, and goes on by itself when it is dropped: a client that stays
/// saves the hand-over to another worker, one that goes changes nothing.
struct RunsOn(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for RunsOn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.0 else { return Poll::Ready(()) };
        ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}

impl Drop for RunsOn {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// Keeps a component from being removed while a task that needs it is on its way.
struct Arriving {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(count) = state.arriving.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.arriving.remove(&self.digest);
            }
        }
    }
}

impl Scheduler {
    /// Stores a task and runs it, now or when its turn comes. Dropping the future changes nothing of that.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Error> {
        let (tell, mut told) = oneshot::channel();
        let mut rest = RunsOn(Some(Box::pin(self.0.clone().accept(submission, tell))));
        let told = tokio::select! {
            biased;
            told = &mut told => told,
            () = &mut rest => told.await,
        };
        match told.unwrap_or(Err(Error::ShuttingDown))? {
            Told::Stored(live) => Ok(Submitted::Accepted(Accepted { live, rest })),
            Told::Before(id) => Ok(Submitted::Before(id)),
            Told::Conflict => Ok(Submitted::Conflict),
        }
    }
}

impl Shared {
    /// Stores a submission, tells what became of it, and sees it through if there is a place.
    async fn accept(self: Arc<Self>, submission: Submission, tell: oneshot::Sender<Result<Told, Error>>) {
        let Submission { mut task, input, idempotency, waits } = submission;
        let place = match self.claim(&task) {
            Ok(place) => place,
            Err(error) => {
                let _ = tell.send(Err(error));
                return;
            }
        };
        let arriving = match self.clone().arrive(&task) {
            Ok(arriving) => arriving,
            Err(error) => {
                let _ = tell.send(Err(error));
                return;
            }
        };
        let store = self.store(task.spec.durable);
        if let Some(place) = place {
            // Counted before it begins, in the same write that accepts it.
            task.state.start(Timestamp::now());
            let live = self.take_up(task, store, Some(input.clone()));
            if waits && idempotency.is_none() && live.spec.durable {
                return self.run_then_tell(live, input, place, arriving, tell).await;
            }
            if self.store_and_tell(&live, input, idempotency, arriving, tell).await {
                self.run(live, place).await;
            }
            return;
        }
        let keep = !task.spec.durable || input.len() <= SMALL_INPUT;
        let live = self.take_up(task, store, keep.then(|| input.clone()));
        if self.store_and_tell(&live, input, idempotency, arriving, tell).await {
            self.enqueue(&live, self.clock.now_ms()).await;
        }
    }

    /// Sees that the component of `task` is there, and stays until the task holds it.
    fn arrive(self: Arc<Self>, task: &Task) -> Result<Arriving, Error> {
        let digest = task.spec.digest;
        *self.state.lock().arriving.entry(digest).or_default() += 1;
        let arriving = Arriving { shared: self, digest };
        // In this order: whoever removes it looks for those that hold it first.
        match arriving.shared.executor.has_component(&task.tenant, &digest) {
            true => Ok(arriving),
            false => Err(Error::ComponentGone(digest)),
        }
    }

    /// Stores a task as it is and tells that. False if it is not to run.
    async fn store_and_tell(
        &self,
        live: &Arc<Live>,
        input: Arc<[u8]>,
        idempotency: Option<Idempotency>,
        arriving: Arriving,
        tell: oneshot::Sender<Result<Told, Error>>,
    ) -> bool {
        let change = self.bus.changes().begin();
        let told = match live.store.insert(&live.task(), input, idempotency).await {
            Ok(Inserted::New) => {
                self.state.lock().live.insert(live.id, live.clone());
                drop(arriving);
                self.bus.task_changed(|| live.task());
                drop(change);
                let _ = tell.send(Ok(Told::Stored(live.clone())));
                return true;
            }
            Ok(Inserted::Before(id)) => Ok(Told::Before(id)),
            Ok(Inserted::Conflict) => Ok(Told::Conflict),
            Err(error) => Err(error.into()),
        };
        let _ = tell.send(told);
        false
    }

    /// Runs a task of which nobody knows yet. If it ends soon, it is stored with its end in one write; else it
    /// is stored and told while it runs.
    async fn run_then_tell(
        &self,
        live: Arc<Live>,
        input: Arc<[u8]>,
        place: Place,
        arriving: Arriving,
        tell: oneshot::Sender<Result<Told, Error>>,
    ) {
        let control = Control::default();
        let mut running = pin!(self.execute(&live, input.clone(), control.clone()));
        let Ok(outcome) = tokio::time::timeout(SOON, &mut running).await else {
            let stored = self.store_and_tell(&live, input, None, arriving, tell).await;
            if !stored {
                control.cancel(Duration::ZERO);
            }
            let outcome = running.await;
            if stored {
                self.settle(&live, outcome).await;
            }
            return drop(place);
        };
        let mut state = {
            let mut inner = live.inner.lock();
            inner.control = None;
            inner.state.clone()
        };
        let now = Timestamp::now();
        let next = state.end(now, &outcome.end, outcome.receipt.clone(), &live.spec.retry, 0.0);
        if next != Next::Ended || outcome.end == End::Cancelled {
            // It will run again: that is told in the usual order.
            if self.store_and_tell(&live, input, None, arriving, tell).await {
                self.settle(&live, outcome).await;
            }
            return drop(place);
        }
        let Outcome { end, log, .. } = outcome;
        let output: Option<Arc<[u8]>> = match end {
            End::Completed(output) => Some(output.into()),
            _ => None,
        };
        let task = live.task_in(state.clone());
        let change = self.bus.changes().begin();
        let stored = live.store.insert_ended(&task, input, output.clone(), log).await;
        drop(arriving);
        let told = match stored {
            Ok(()) => {
                self.metrics.ended(&live.spec.component, &state);
                live.inner.lock().state = state;
                self.bus.task_changed(|| task.clone());
                drop(change);
                live.end(Ended { task, output });
                Ok(Told::Stored(live.clone()))
            }
            Err(error) => Err(error.into()),
        };
        let _ = tell.send(told);
        drop(place);
    }

    /// A place, if there is one and nobody waits for it; none if the task is to wait.
    fn claim(self: &Arc<Self>, task: &Task) -> Result<Option<Place>, Error> {
        let candidate = self.candidate(task);
        let mut state = self.state.lock();
        let begins = state.look_at(candidate, &self.settings, self.clock.now_ms())?;
        Ok(begins.then(|| state.place(self, candidate)))
    }
}
