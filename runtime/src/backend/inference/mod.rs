//! Texts that a language model writes: a backend makes them, and before it stands what all backends have in common.
//!
//! ```text
//! call ─▶ cache ─▶ tokens set aside ─▶ queue: a turn at the model ─▶ backend (ollama or scripted)
//!           └── what is there costs nothing                             └─▶ pieces of text, one by one
//! ```
//!
//! The host owns what costs the machine: how long an answer gets, what a model is loaded with, how many are asked at
//! one time. A guest says what it wants written and how it is sampled, nothing else.

mod breaker;
mod kept;
mod ollama;
mod queue;
mod schema;
mod scripted;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod uses;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use kept::Kept;
pub use ollama::{Load, Ollama};
pub use queue::{Most, Place, Queue};
pub use scripted::{Scripted, Step};
pub use service::{Caller, Inference, Settings, Status};
pub use stream::Stream;
pub use uses::ModelUses;

use super::ollama::Fault;
use crate::limits::Exhausted;

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

/// Bytes that a model reads around each message.
const MESSAGE: usize = 32;

/// What is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// A conversation.
    Messages(Vec<Message>),
}

impl Prompt {
    /// Bytes of all its texts, tool calls and whatever else a model reads of it.
    pub fn bytes(&self) -> usize {
        let more = |extra: &Map<String, Value>| match extra.is_empty() {
            true => 0,
            false => serde_json::to_string(extra).map_or(0, |json| json.len()),
        };
        match self {
            Prompt::Text(text) => text.len(),
            Prompt::Messages(messages) => {
                messages.iter().map(|message| MESSAGE + message.content.len() + more(&message.extra)).sum()
            }
        }
    }
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

/// What a guest wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// By which model; none: the configured one.
    pub model: Option<String>,
    /// To what.
    pub prompt: Prompt,
    /// How.
    pub sampling: Sampling,
    /// A JSON schema that the answer has to satisfy, as it was written: a model fills in what it names in that order.
    pub schema: Option<String>,
    /// Tokens that it may have; none: as many as are configured.
    pub max_tokens: Option<u64>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// It has as many tokens as it was to have.
    Length,
    /// The task has no more tokens.
    Budget,
    /// Nobody wanted more.
    Cancelled,
}

impl Finish {
    /// As in metrics, and in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Budget => "budget",
            Finish::Cancelled => "cancelled",
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What was written.
    pub text: String,
    /// Why there is no more of it.
    pub finish: Finish,
    /// By which model.
    pub model: String,
    /// Tokens that were read.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub completion_tokens: u64,
    /// From the call to the end.
    pub took: Duration,
    /// It had been made before, and cost nothing.
    pub cached: bool,
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
    /// A JSON schema that it has to satisfy, as it was written.
    pub schema: Option<String>,
    /// Tokens that it may have.
    pub max_tokens: u64,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// More of its text.
    Text(String),
    /// A token that is no text: of what a model thinks.
    Silent,
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
    /// Its architecture, as in `llama`.
    pub family: Option<String>,
    /// How large it is, as in `134.52M`.
    pub parameters: Option<String>,
    /// How its numbers are written, as in `Q4_1`.
    pub quantization: Option<String>,
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

/// What a model is said to be able to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// As in `completion`, `tools`; empty where that is not known.
    pub capabilities: Vec<String>,
    /// Tokens of prompt and answer that it was made for.
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
    /// The service is not there, or ends in the middle.
    #[error("{0}")]
    Unavailable(String),
    /// The service will not, or cannot, with this model; others may do well.
    #[error("{0}")]
    Failed(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// The answer does not satisfy the schema, and did not when the model was told so.
    #[error("the model's answer does not satisfy the schema: {0}; ask for less, or another model")]
    Misfit(String),
    /// The task has not so many tokens left.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// A fault of the runtime.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whether another model may do better.
    fn is_of_the_model(&self) -> bool {
        matches!(
            self,
            Error::NoModel(_)
                | Error::Busy(_)
                | Error::Unavailable(_)
                | Error::Failed(_)
                | Error::TimedOut(_)
        )
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Refused(503, said) => Error::Busy(format!("the model's server is busy: {said}")),
            Fault::Refused(400, said) => Error::Invalid(format!("the model's server refuses it: {said}")),
            Fault::Refused(..) | Fault::Elsewhere => Error::Failed(fault.to_string()),
            Fault::TimedOut(why) => Error::TimedOut(why),
            Fault::Internal(why) => Error::Internal(why),
            Fault::Unavailable(why) => Error::Unavailable(why),
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

    /// What `model` can do.
    ///
    /// # Errors
    /// There is no such model, or the backend is not there.
    async fn abilities(&self, model: &str) -> Result<Abilities, Error>;

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

/// Tokens of a text, about, where nobody has counted them.
pub fn about(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}
