//! `omnimind:runtime/embedding`: vectors of texts.
//!
//! What is in the cache costs nothing but the call. For the rest, everything is set aside before anything is made:
//! bytes of the result, and tokens, which are counted first.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::HostView;
use super::tensor::Task;
use crate::backend::embedding::{Embedder, Error as Failed, Ready, Vector};
use crate::backend::tensor::{ElementType, Shape, Tensor};
use crate::backend::work::{ComputeSlots, Workers};
use crate::bindings::omnimind::runtime::embedding as wit;
use crate::bindings::omnimind::runtime::types::Error;
use crate::limits::Budget;
use crate::task::Capability;

/// Texts of one call.
const MAX_TEXTS: usize = 10_000;

/// What one task embeds with.
#[derive(Clone)]
pub struct Embeddings {
    /// Whether it may.
    pub granted: bool,
    /// Who makes vectors, for all tasks.
    pub embedder: Arc<Embedder>,
    /// Where this task's tokens are counted.
    pub workers: Arc<dyn Workers>,
    /// What vectors of this task are computed within.
    pub slots: Arc<dyn ComputeSlots>,
    /// Whose task it is: vectors that are kept are a tenant's own.
    pub tenant: Arc<str>,
}

struct EmbeddingView<'a> {
    caller: Caller<'a>,
    table: &'a mut ResourceTable,
}

#[derive(Clone, Copy)]
struct Caller<'a> {
    embeddings: &'a Embeddings,
    /// Who makes tensors, and who pays for everything.
    task: Task<'a>,
}

struct HasEmbeddings;

impl HasData for HasEmbeddings {
    type Data<'a> = EmbeddingView<'a>;
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match failed {
            Failed::Invalid(rule) => Error::InvalidInput(rule),
            Failed::Unavailable(why) => Error::Unavailable(why),
            Failed::TimedOut(why) => Error::TimedOut(why),
            // Nobody sees it: the guest has ended too.
            Failed::Stopped => Error::Cancelled,
            Failed::Internal(why) => Error::Internal(why),
        }
    }
}

/// Whether texts keep the rules that hold for every model.
fn check(texts: &[String]) -> Result<(), Error> {
    if !(1..=MAX_TEXTS).contains(&texts.len()) {
        let count = texts.len();
        return Err(Error::InvalidInput(format!("{count} texts: one call takes 1 to {MAX_TEXTS}")));
    }
    match texts.iter().position(|text| text.trim().is_empty()) {
        Some(at) => Err(Error::InvalidInput(format!("text {at} is empty: leave it out"))),
        None => Ok(()),
    }
}

impl Caller<'_> {
    /// The backend, for a task that may use it.
    async fn ready(&self) -> Result<Arc<Ready>, Error> {
        super::is_granted(self.embeddings.granted, Capability::Embedding)?;
        Ok(self.embeddings.embedder.ready(self.embeddings.slots.count()).await?)
    }

    /// Pays for the bytes of the texts.
    fn carry_in(&self, texts: &[String]) -> wasmtime::Result<()> {
        // Each is a pointer and a length too.
        let bytes = texts.iter().map(|text| text.len() as u64 + 8).sum();
        Ok(super::carry(self.task.ledger, bytes)?)
    }

    /// The vector of each text: those that are kept, and the others made.
    async fn vectors(&self, ready: &Ready, texts: Vec<String>) -> Result<Vec<Vector>, Error> {
        let Embeddings { embedder, workers, slots, tenant, .. } = self.embeddings;
        let cache = embedder.cache();
        let (mut vectors, mut missing, mut keys) = (Vec::with_capacity(texts.len()), Vec::new(), Vec::new());
        for (at, text) in texts.into_iter().enumerate() {
            let key = embedder.key(tenant, &ready.model, &text);
            let kept = cache.find(&key);
            if kept.is_none() {
                missing.push((at, text));
                keys.push(key);
            }
            vectors.push(kept);
        }
        if !missing.is_empty() {
            let coming = ready.coming();
            let places: Vec<usize> = missing.iter().map(|(at, _)| *at).collect();
            let encoded = ready.encode(missing, &**workers).await?;
            let tokens = encoded.iter().fold(0_u64, |sum, text| sum.saturating_add(text.tokens));
            let reserved = self.task.ledger.reserve(Budget::EmbedTokens, tokens)?;
            let made = ready.embed(encoded, slots.clone(), coming).await;
            reserved.settle(made.tokens);
            workers.charge(made.cpu);
            for ((at, key), vector) in places.into_iter().zip(keys).zip(made.vectors?) {
                cache.keep(key, vector.clone());
                if let Some(place) = vectors.get_mut(at) {
                    *place = Some(vector);
                }
            }
        }
        let all: Option<Vec<Vector>> = vectors.into_iter().collect();
        all.ok_or_else(|| Error::Internal("a vector is missing".to_owned()))
    }

    async fn described(&self) -> Result<wit::Model, Error> {
        let ready = self.ready().await?;
        let model = &ready.model;
        Ok(wit::Model {
            name: model.name.clone(),
            dimensions: u32::try_from(model.dimensions).unwrap_or(u32::MAX),
            max_tokens: u32::try_from(model.max_tokens).unwrap_or(u32::MAX),
            device: model.device.to_owned(),
        })
    }

    async fn embedded(&self, texts: Vec<String>) -> Result<wit::Vectors, Error> {
        check(&texts)?;
        let ready = self.ready().await?;
        let dimensions = ready.model.dimensions;
        // Once as they are made or kept, once in one list.
        super::has_room(self.task.ledger, (texts.len() * dimensions * 2 * size_of::<f32>()) as u64)?;
        let vectors = self.vectors(&ready, texts).await?;
        let data = vectors.iter().flat_map(|vector| vector.iter().copied()).collect();
        Ok(wit::Vectors { dimensions: u32::try_from(dimensions).unwrap_or(u32::MAX), data })
    }

    async fn tensor(&self, texts: Vec<String>) -> Result<Tensor, Error> {
        check(&texts)?;
        let ready = self.ready().await?;
        let sizes = [texts.len(), ready.model.dimensions].map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        // As they are made or kept; the tensor is counted apart.
        let room = texts.len() * ready.model.dimensions * size_of::<f32>();
        super::has_room(self.task.ledger, room as u64)?;
        let output = self.task.output(Shape::new(sizes.to_vec())?, ElementType::Float32)?;
        let vectors = self.vectors(&ready, texts).await?;
        let mut bytes = Vec::with_capacity(vectors.len() * ready.model.dimensions * size_of::<f32>());
        let numbers = vectors.iter().flat_map(|vector| vector.iter());
        numbers.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        Ok(self.task.tensors.backend.adopt(output, bytes)?)
    }
}

impl wit::Host for EmbeddingView<'_> {
    async fn describe(&mut self) -> wasmtime::Result<Result<wit::Model, Error>> {
        let described = self.caller.described().await;
        if let Ok(model) = &described {
            super::carry(self.caller.task.ledger, (model.name.len() + model.device.len()) as u64)?;
        }
        Ok(described)
    }

    async fn embed(&mut self, texts: Vec<String>) -> wasmtime::Result<Result<wit::Vectors, Error>> {
        self.caller.carry_in(&texts)?;
        let embedded = self.caller.embedded(texts).await;
        if let Ok(vectors) = &embedded {
            super::carry(self.caller.task.ledger, size_of_val(&*vectors.data) as u64)?;
        }
        Ok(embedded)
    }

    async fn embed_tensor(
        &mut self,
        texts: Vec<String>,
    ) -> wasmtime::Result<Result<Resource<Tensor>, Error>> {
        self.caller.carry_in(&texts)?;
        match self.caller.tensor(texts).await {
            Ok(tensor) => Ok(Ok(self.table.push(tensor)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasEmbeddings>(linker, |t| {
        let host = t.host().call();
        let task = Task { tensors: &host.tensors, ledger: &host.ledger };
        EmbeddingView { caller: Caller { embeddings: &host.embeddings, task }, table: &mut host.table }
    })
}
