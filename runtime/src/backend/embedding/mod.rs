//! Texts to vectors: a backend makes them, and before it stands what all backends have in common.
//!
//! ```text
//! texts ─▶ cache ─▶ encode: tokens are counted ─▶ batcher: texts of many tasks together ─▶ backend
//!            └── what is there costs nothing                        (local, ollama or hashing)
//! ```
//!
//! What a call costs is known before it begins: [`EmbeddingBackend::encode`] counts the tokens. Vectors have length 1.

mod batcher;
mod cache;
mod choice;
mod embedder;
mod hashing;
mod local;
mod ollama;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use cache::Vectors;
pub use choice::{Choice, Settings, folder_of};
pub use embedder::{Caller, Embedder, Ready, Status};
pub use hashing::Hashing;
pub use local::Local;
pub use ollama::Ollama;

use super::work::{ComputeSlots, Stopped};
use crate::limits::Exhausted;

/// No text has so many bytes for each token that a model takes: a longer one need not be looked at.
const MAX_TOKEN_BYTES: usize = 32;

/// Numbers of a vector that a model may have.
const MAX_DIMENSIONS: usize = 1 << 16;

/// Numbers of a vector; clones are the same ones.
pub type Vector = Arc<[f32]>;

/// Whether somebody still waits for the vectors.
pub type GoOn = Arc<dyn Fn() -> bool + Send + Sync>;

/// What makes the vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Numbers of a vector.
    pub dimensions: usize,
    /// Tokens of a text at most.
    pub max_tokens: usize,
    /// Where it is computed.
    pub device: &'static str,
}

/// A text that can be embedded, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// How many tokens it has; where only the service counts them, about.
    pub tokens: u64,
    form: Form,
}

/// What a backend makes a vector of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// The tokens.
    Ids(local::Encoding),
    /// The text itself.
    Text(Box<str>),
}

/// A text's vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// Of length 1.
    pub vector: Vector,
    /// How many tokens the text had.
    pub tokens: u64,
    /// Its part of the CPU time that it took here, by its tokens.
    pub cpu: Duration,
}

/// Why there is no vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// There is no model, or its service is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The service took too long.
    #[error("{0}")]
    TimedOut(String),
    /// The task has not so many tokens left.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Nobody waits for it any more.
    #[error("stopped: nobody waits for the vectors any more")]
    Stopped,
    /// A fault of the runtime.
    #[error("{0}")]
    Internal(String),
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Error {
        match stopped {
            Stopped::Ended => Error::Stopped,
            Stopped::Failed => Error::Internal(stopped.to_string()),
        }
    }
}

/// Something that makes vectors of texts.
#[async_trait]
pub trait EmbeddingBackend: Send + Sync {
    /// What it is.
    fn describe(&self) -> Model;

    /// Makes a text ready and counts its tokens. Takes time by the length of the text, until it is clear that it is
    /// too long.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is too long.
    fn encode(&self, text: &str) -> Result<Encoded, Error>;

    /// How many tokens of many texts it makes into vectors at once, where more would only make others wait.
    fn batch_tokens(&self) -> u64 {
        u64::MAX
    }

    /// The vector of each text, in order. Where it computes here, it does so within `slots`, and stops soon after
    /// `go_on` says no.
    async fn embed(
        &self,
        texts: Vec<Encoded>,
        slots: &dyn ComputeSlots,
        go_on: GoOn,
    ) -> Vec<Result<Embedded, Error>>;
}

/// Refuses a text that is longer than any with `max_tokens`, before it is looked at.
fn check_length(text: &str, max_tokens: usize) -> Result<(), Error> {
    let (bytes, most) = (text.len(), max_tokens.saturating_mul(MAX_TOKEN_BYTES));
    match bytes <= most {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "a text has {bytes} bytes and {most} may be, as the model takes {max_tokens} tokens: split the text"
        ))),
    }
}

/// Brings a vector to length 1; none of what is no vector: nothing, or what is not finite.
fn normalized(mut vector: Vec<f32>) -> Option<Vector> {
    let squares: f64 = vector.iter().map(|number| f64::from(*number).powi(2)).sum();
    let length = squares.sqrt();
    if !length.is_normal() {
        return None;
    }
    vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    Some(vector.into())
}
