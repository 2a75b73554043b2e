//! Texts that a language model writes: what makes them, and what stands before it.
//!
//! ```text
//! queue: a turn at the model ─▶ breaker ─▶ backend (ollama or scripted) ─▶ pieces of text, one by one
//!                                                                  └─▶ schema: is it the JSON that was asked for?
//! ```
//!
//! The host owns what costs the machine: how long an answer gets, what a model is loaded with, how many are asked at
//! one time. Not lent to guests yet: that is what issue 10 goes on with.

mod breaker;
mod ollama;
mod queue;
mod schema;
mod scripted;

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use breaker::Breaker;
pub use ollama::{Load, Ollama};
pub use queue::{Most, Place, Queue};
pub use schema::Schema;
pub use scripted::{Scripted, Step};

use super::ollama::Fault;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// How the model is to behave.
    System,
    /// What is asked.
    User,
    /// What the model said.
    Assistant,
}

impl Role {
    /// The name that models know.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// What.
    pub content: String,
    /// Besides: what [`Message::EXTRA`] names.
    pub extra: Map<String, Value>,
}

impl Message {
    /// What a message may have besides its text.
    pub const EXTRA: [&'static str; 4] = ["thinking", "tool_calls", "tool_call_id", "tool_name"];
}

/// What is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// A conversation.
    Messages(Vec<Message>),
}

/// How the next token is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest.
    pub temperature: Option<f32>,
    /// Of the likeliest only so many that they have this probability together.
    pub top_p: Option<f32>,
    /// The same seed, the same answer.
    pub seed: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Besides: what [`Sampling::EXTRA`] names.
    pub extra: Map<String, Value>,
}

impl Sampling {
    /// What a guest may say besides. None of these makes Ollama load a model again.
    pub const EXTRA: [&'static str; 7] = [
        "frequency_penalty",
        "min_p",
        "presence_penalty",
        "repeat_last_n",
        "repeat_penalty",
        "top_k",
        "typical_p",
    ];
}

/// One answer to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// By which model.
    pub model: String,
    /// To what.
    pub prompt: Prompt,
    /// How.
    pub sampling: Sampling,
    /// A JSON schema that it has to satisfy.
    pub schema: Option<Value>,
    /// Tokens that it may have.
    pub max_tokens: u64,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// More of its text.
    Text(String),
    /// There is no more.
    End(Ending),
}

/// How an answer ended, as the model says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// It has as many tokens as it may have.
    pub is_cut: bool,
    /// Tokens of the prompt, where the backend counts them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, where the backend counts them.
    pub completion_tokens: Option<u64>,
}

/// A model that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Bytes of its file.
    pub size_bytes: Option<u64>,
    /// What it is loaded with, if it is.
    pub loaded: Option<Loaded>,
}

/// What a loaded model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Bytes of memory of both kinds.
    pub bytes: u64,
    /// Bytes of them on the GPU.
    pub vram_bytes: u64,
    /// Tokens of its context.
    pub context: Option<u64>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// There is no such model.
    #[error("there is no model `{0}`: `ollama pull {0}`, or name another one")]
    NoModel(String),
    /// The service is too busy for more.
    #[error("{0}")]
    Busy(String),
    /// The service is not there, or fails.
    #[error("{0}")]
    Unavailable(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// A fault of the runtime.
    #[error("{0}")]
    Internal(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Refused(503, said) => Error::Busy(format!("the model's server is busy: {said}")),
            Fault::Refused(400, said) => Error::Invalid(format!("the model's server refuses it: {said}")),
            Fault::TimedOut(why) => Error::TimedOut(why),
            Fault::Internal(why) => Error::Internal(why),
            fault => Error::Unavailable(fault.to_string()),
        }
    }
}

/// Something that has language models.
#[async_trait]
pub trait InferenceBackend: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// The models that it has.
    ///
    /// # Errors
    /// It is not there.
    async fn models(&self) -> Result<Vec<ModelInfo>, Error>;

    /// Begins an answer; it is made while it is taken.
    fn begin(&self, request: &Request) -> Box<dyn Answer>;
}

/// An answer that is being made. Dropped, it is made no further.
#[async_trait]
pub trait Answer: Send {
    /// The next piece; the last one is [`Piece::End`], and nothing is asked for after that or an error.
    ///
    /// # Errors
    /// Whatever can be wrong, at the first piece or later.
    async fn next(&mut self) -> Result<Piece, Error>;
}
