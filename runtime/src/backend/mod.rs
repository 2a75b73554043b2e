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
use crate::metrics;

/// What there is of each capability.
#[derive(Clone)]
pub struct Backends {
    /// Tensors.
    pub tensor: Arc<dyn tensor::TensorBackend>,
    /// Vectors of texts.
    pub embedding: Arc<embedding::Embedder>,
    /// Language models.
    pub inference: Arc<inference::Inference>,
}

impl Default for Backends {
    /// With nothing installed.
    fn default() -> Backends {
        Backends {
            tensor: Arc::new(tensor::Cpu::default()),
            embedding: Arc::new(embedding::Embedder::new(embedding::Settings::default(), None)),
            inference: Arc::new(inference::Inference::none("there is no network here")),
        }
    }
}

impl Backends {
    /// As they are configured. Requests to other services are made on `io`; what they answer is counted, if somebody
    /// wants that.
    pub fn new(config: &Config, io: Handle, counted: Option<Arc<metrics::Inference>>) -> Backends {
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
            embedding: Arc::new(embedding::Embedder::new(settings, Some(io.clone()))),
            inference: Arc::new(match counted {
                Some(counted) => inference(config, io).counted(counted),
                None => inference(config, io),
            }),
        }
    }
}

fn inference(config: &Config, io: Handle) -> inference::Inference {
    let Config { model, batch_limits, cache, .. } = config;
    if !model.is_on {
        return inference::Inference::none("there are no language models here: model.provider is none");
    }
    let defaults = inference::Settings::default();
    let in_all = batch_limits.llm_inference.unwrap_or(defaults.most.in_all);
    let settings = inference::Settings {
        model: model.name.clone(),
        fallback: model.fallback.clone(),
        temperature: model.temperature,
        max_tokens: model.max_tokens,
        context: model.context_window,
        most: inference::Most { in_all, of_model: defaults.most.of_model.min(in_all) },
        kept: if cache.enabled { model.cache_size } else { 0 },
        log_texts: model.log_texts,
    };
    let load = inference::Load { context: model.context_window, gpu_layers: model.gpu_layers };
    let backend =
        ollama::Server::new(&model.base_url, io.clone()).map(|server| inference::Ollama::new(server, load));
    match backend {
        Ok(backend) => inference::Inference::new(settings, Arc::new(backend), io),
        Err(fault) => inference::Inference::none(&fault.to_string()),
    }
}
