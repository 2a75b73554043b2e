//! What is lent to guests, behind traits: one folder for each capability, one file for each implementation.
//!
//! A backend knows nothing of wasmtime. It computes with what it is given, in pieces ([`work`]) that are short, so
//! that deadline, cancellation and other tasks have their turn in between.

pub mod embedding;
mod gemm;
pub mod inference;
pub mod ollama;
pub mod tensor;
pub mod work;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::config::Config;

/// What there is of each capability.
#[derive(Clone)]
pub struct Backends {
    /// Tensors.
    pub tensor: Arc<dyn tensor::TensorBackend>,
    /// Vectors of texts.
    pub embedding: Arc<embedding::Embedder>,
}

impl Default for Backends {
    /// With nothing installed.
    fn default() -> Backends {
        Backends {
            tensor: Arc::new(tensor::Cpu::default()),
            embedding: Arc::new(embedding::Embedder::new(embedding::Settings::default(), None)),
        }
    }
}

impl Backends {
    /// As they are configured. Requests to other services are made on `io`.
    pub fn new(config: &Config, io: Handle) -> Backends {
        let Config { embedding, batch_limits, cache, data_dir, model, .. } = config;
        let folder = embedding.path.clone();
        let settings = embedding::Settings {
            provider: embedding.provider,
            model: embedding.model.clone(),
            folder: folder.unwrap_or_else(|| embedding::folder_of(data_dir, &embedding.model)),
            base_url: model.base_url.clone(),
            batch: batch_limits
                .embeddings
                .map_or(embedding.batch_size, |most| most.min(embedding.batch_size)),
            cache_size: if cache.enabled { embedding.cache_size } else { 0 },
            cache_ttl: embedding.cache_ttl,
            ..embedding::Settings::default()
        };
        Backends {
            tensor: Arc::new(
                batch_limits.matrix_operations.map_or_else(tensor::Cpu::default, tensor::Cpu::new),
            ),
            embedding: Arc::new(embedding::Embedder::new(settings, Some(io))),
        }
    }
}
