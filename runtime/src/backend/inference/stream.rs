//! An answer as its guest takes it, and what it costs, however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Caller, Completion, Ending, Error, Finish, Inference, Request, about};
use crate::limits::{Ledger, Reservation};
use crate::metrics::Answered;

/// How far an answer has come. Dropped, it is charged for that.
pub(super) struct Progress {
    service: Arc<Inference>,
    caller: Caller,
    begun: Instant,
    /// Whether it is the task's budget that cuts it.
    of_budget: bool,
    /// Tokens of the prompt, about.
    of_prompt: u64,
    /// Tokens that a model may have written and keeps back, for they may begin a text that ends the answer.
    kept_back: u64,
    state: Mutex<State>,
}

struct State {
    reserved: Option<Reservation<Arc<Ledger>>>,
    model: String,
    /// Waiting for turns.
    queued: Duration,
    /// Since when the model has the prompt.
    asked: Option<Instant>,
    /// When there was something of the text.
    first: Option<Instant>,
    text: String,
    /// Of text: about one for each token.
    pieces: u64,
}

impl Progress {
    /// An answer to `request` that nobody has begun; `reserved` of its caller's tokens are set aside.
    pub fn new(
        service: Arc<Inference>,
        caller: Caller,
        reserved: Reservation<Arc<Ledger>>,
        of_prompt: u64,
        request: &Request,
        of_budget: bool,
    ) -> Progress {
        let kept_back = about(request.sampling.stop.iter().map(String::len).max().unwrap_or_default());
        let state = State {
            reserved: Some(reserved),
            model: request.model.clone(),
            queued: Duration::ZERO,
            asked: None,
            first: None,
            text: String::new(),
            pieces: 0,
        };
        let (begun, state) = (Instant::now(), Mutex::new(state));
        Progress { service, caller, begun, of_budget, of_prompt, kept_back, state }
    }

    /// It has waited for a turn.
    pub fn waited(&self, since: Instant) {
        self.state.lock().queued += since.elapsed();
    }

    /// The model is asked from now on.
    pub fn asks(&self) {
        self.state.lock().asked = Some(Instant::now());
    }

    /// It did nothing.
    pub fn was_refused(&self) {
        self.state.lock().asked = None;
    }

    /// Another model is asked.
    pub fn is_of(&self, model: &str) {
        self.state.lock().model = model.to_owned();
    }

    /// The model is at work, and there is no text of that.
    pub fn is_silent(&self) {
        self.state.lock().pieces += 1;
    }

    /// There is more of it.
    pub fn add(&self, text: &str) {
        let mut state = self.state.lock();
        state.first.get_or_insert_with(Instant::now);
        state.text.push_str(text);
        state.pieces += 1;
    }

    /// Charges what it cost, and makes of it what the guest is told.
    pub fn settle(&self, written: Result<Ending, Error>) -> Result<Completion, Error> {
        let ending = match &written {
            Ok(ending) => *ending,
            Err(_) => Ending::default(),
        };
        let finish = match ending.is_cut {
            true if self.of_budget => Finish::Budget,
            true => Finish::Length,
            false => Finish::Stop,
        };
        let end = if written.is_ok() { finish.name() } else { "failed" };
        let completion = self.complete(ending, finish, end);
        written.map(|_| completion)
    }

    /// What there is of it, where nobody wants more.
    fn cut(&self) -> Completion {
        self.complete(Ending::default(), Finish::Cancelled, Finish::Cancelled.name())
    }

    /// What there is of it, which is charged.
    fn complete(&self, ending: Ending, finish: Finish, end: &'static str) -> Completion {
        let mut state = self.state.lock();
        let prompt_tokens = match state.asked {
            Some(_) => ending.prompt_tokens.unwrap_or(self.of_prompt),
            None => 0,
        };
        // Where something may be kept back several come as one piece, and some as none.
        let counted = || match (state.pieces, self.kept_back) {
            (0, _) => 0,
            (pieces, 0) => pieces,
            (pieces, kept_back) => pieces.max(about(state.text.len())).saturating_add(kept_back),
        };
        let completion_tokens = ending.completion_tokens.unwrap_or_else(counted);
        if let Some(reserved) = state.reserved.take() {
            reserved.settle(prompt_tokens.saturating_add(completion_tokens));
            let answered = Answered {
                model: state.model.clone(),
                end,
                prompt_tokens,
                completion_tokens,
                queued: state.queued,
                first: state.first.zip(state.asked).map(|(first, asked)| first.duration_since(asked)),
                writing: state.first.map(|first| first.elapsed()).unwrap_or_default(),
            };
            self.service.ended(&self.caller, &answered, &state.text);
        }
        Completion {
            text: state.text.clone(),
            finish,
            model: state.model.clone(),
            prompt_tokens,
            completion_tokens,
            took: self.begun.elapsed(),
            cached: false,
        }
    }
}

/// An answer that is being made. Dropped, it is made no further.
pub struct Stream {
    pieces: mpsc::UnboundedReceiver<String>,
    /// One that was looked at and not taken.
    first: Option<String>,
    told: Option<oneshot::Receiver<Result<Completion, Error>>>,
    ended: Option<Result<Completion, Error>>,
    /// Who makes it; none where it was there.
    writing: Option<(Arc<Progress>, JoinSet<()>)>,
    /// The last word on one that was written to its end. What that takes is the guest's own time.
    finish: Option<Finished>,
}

/// What becomes of a whole answer.
pub(super) type Finished = Box<dyn FnOnce(Completion) -> Result<Completion, Error> + Send>;

impl Stream {
    pub(super) fn new(
        pieces: mpsc::UnboundedReceiver<String>,
        told: oneshot::Receiver<Result<Completion, Error>>,
        progress: Arc<Progress>,
        writing: JoinSet<()>,
        finish: Option<Finished>,
    ) -> Stream {
        let (told, writing) = (Some(told), Some((progress, writing)));
        Stream { pieces, first: None, told, ended: None, writing, finish }
    }

    /// One that is there already.
    pub(super) fn kept(made: Completion) -> Stream {
        let (_, pieces) = mpsc::unbounded_channel();
        let first = Some(made.text.clone()).filter(|text| !text.is_empty());
        Stream { pieces, first, told: None, ended: Some(Ok(made)), writing: None, finish: None }
    }

    /// The next piece of text; none at the end.
    ///
    /// # Errors
    /// It ended otherwise.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        self.ready().await;
        match self.first.take() {
            Some(piece) => Ok(Some(piece)),
            None => self.completion().await.map(|_| None),
        }
    }

    /// Waits until there is a piece, or no more of them.
    pub async fn ready(&mut self) {
        if self.first.is_none() {
            self.first = self.pieces.recv().await;
        }
    }

    /// The whole of it, once it has ended.
    ///
    /// # Errors
    /// It ended otherwise.
    pub async fn completion(&mut self) -> Result<Completion, Error> {
        if let Some(told) = &mut self.told {
            let lost = || Err(Error::Internal("an answer was lost".to_owned()));
            let told = told.await.unwrap_or_else(|_| lost());
            self.finish(told);
        }
        self.ended.clone().unwrap_or_else(|| Err(Error::Internal("an answer was lost".to_owned())))
    }

    /// The same where it has ended and all of it was taken; none where it has not.
    pub fn ended(&mut self) -> Option<Result<Completion, Error>> {
        if let Some(told) = &mut self.told
            && let Ok(ended) = told.try_recv()
        {
            self.finish(ended);
        }
        self.ended.clone()
    }

    fn finish(&mut self, told: Result<Completion, Error>) {
        self.told = None;
        self.ended = Some(match self.finish.take() {
            Some(finish) => told.and_then(finish),
            None => told,
        });
    }

    /// All of it at once.
    ///
    /// # Errors
    /// It ended otherwise.
    pub async fn whole(mut self) -> Result<Completion, Error> {
        while self.next().await?.is_some() {}
        self.completion().await
    }

    /// Ends it: the model stops, and what it has written is charged.
    pub fn cancel(&mut self) {
        if let (None, Some((progress, writing))) = (&self.ended, &mut self.writing) {
            writing.abort_all();
            self.pieces.close();
            self.told = None;
            self.ended = Some(Ok(progress.cut()));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel();
    }
}
