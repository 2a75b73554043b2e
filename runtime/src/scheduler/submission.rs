//! From a submission to a stored task that runs or waits, whatever becomes of the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::live::{Ended, Live};
use super::{Error, Scheduler, Shared};
use crate::task::{Task, TaskId};
use crate::task_store::{Idempotency, Inserted};

/// Inputs up to this size stay in memory while their task waits; larger ones are read again.
const SMALL_INPUT: usize = 4 << 10;

/// A task to be accepted.
pub struct Submission {
    /// The task, just submitted.
    pub task: Task,
    /// What it works on.
    pub input: Arc<[u8]>,
    /// What a repetition is recognised by.
    pub idempotency: Option<Idempotency>,
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
        let Submission { mut task, input, idempotency } = submission;
        let place = match self.claim() {
            Ok(place) => place,
            Err(error) => {
                let _ = tell.send(Err(error));
                return;
            }
        };
        if place.is_some() {
            // Counted before it begins, in the same write that accepts it.
            task.state.start(Timestamp::now());
        }
        let store = self.store(task.spec.durable);
        match store.insert(&task, input.clone(), idempotency).await {
            Ok(Inserted::New) => {}
            Ok(Inserted::Before(id)) => {
                let _ = tell.send(Ok(Told::Before(id)));
                return;
            }
            Ok(Inserted::Conflict) => {
                let _ = tell.send(Ok(Told::Conflict));
                return;
            }
            Err(error) => {
                let _ = tell.send(Err(error.into()));
                return;
            }
        }
        let keep = place.is_some() || !task.spec.durable || input.len() <= SMALL_INPUT;
        let (id, priority, since) = (task.id, task.spec.priority, task.created.as_millisecond());
        let live = Arc::new(Live::new(task, store, keep.then_some(input)));
        {
            let mut state = self.state();
            state.live.insert(id, live.clone());
            if place.is_none() {
                state.queue.push(id, priority, since, live.clone());
            }
        }
        self.bus.task_changed(|| live.task());
        let _ = tell.send(Ok(Told::Stored(live.clone())));
        match place {
            Some(place) => self.run(live, place).await,
            None => self.wake.notify_one(),
        }
    }

    /// A place, if there is one and nobody waits for it; none if the task is to wait.
    fn claim(&self) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let mut state = self.state();
        if state.shutting_down {
            return Err(Error::ShuttingDown);
        }
        if state.queue.waiting() >= self.settings.max_pending {
            return Err(Error::QueueFull(self.settings.max_pending));
        }
        if state.queue.is_ready(Timestamp::now().as_millisecond()) {
            return Ok(None);
        }
        Ok(self.places.clone().try_acquire_owned().ok())
    }
}
