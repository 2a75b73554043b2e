//! Texts as vectors: near each other where the texts are alike, by their meaning if the runtime has a model for it.
//!
//! The task needs the grant `embedding`. Tokens count against `embed_tokens`; a text that the same tenant has embedded
//! a while ago costs none.

use crate::Error;
use crate::bindings::omnimind::runtime::embedding as host;
use crate::tensor::Tensor;

/// What makes the vectors, and vectors. Their documents are in `wit/embedding.wit`.
pub use host::{Model, Vectors};

/// Texts of one call.
pub const MAX_TEXTS: usize = 10_000;

/// What makes the vectors; those of two models do not go together.
pub fn describe() -> Result<Model, Error> {
    host::describe()
}

/// The vectors of up to [`MAX_TEXTS`] texts, each of length 1, row after row in one list.
pub fn embed(texts: &[String]) -> Result<Vectors, Error> {
    host::embed(texts)
}

/// The same as one `[texts, dimensions]` tensor, which stays on the host: for what is to be computed of them.
pub fn embed_tensor(texts: &[String]) -> Result<Tensor, Error> {
    host::embed_tensor(texts)
}
