//! `omnimind:runtime/embedding`: vectors of texts.
//!
//! Everything is set aside before anything is made: bytes of the result, and tokens.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::lent::{Account, Lent};
use super::{HostCtx, HostView};
use crate::backend::embedding::{Caller, Error as Failed, Ready, Vector};
use crate::backend::tensor::{ElementType, Shape, Tensor};
use crate::bindings::omnimind::runtime::embedding as wit;
use crate::bindings::omnimind::runtime::types::Error;
use crate::task::Capability;

/// Texts of one call.
const MAX_TEXTS: usize = 10_000;

struct EmbeddingView<'a> {
    account: Account<'a>,
    table: &'a mut ResourceTable,
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
            Failed::Exhausted(exhausted) => exhausted.into(),
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

impl Account<'_> {
    /// The backend, for a task that may use it.
    async fn ready(&self) -> Result<Arc<Ready>, Error> {
        self.check(Capability::Embedding)?;
        Ok(self.lent.backends.embedding.ready().await?)
    }

    /// Pays for the bytes of the texts.
    fn carry_in(&self, texts: &[String]) -> wasmtime::Result<()> {
        // Each is a pointer and a length too.
        let bytes = texts.iter().map(|text| text.len() as u64 + 8).sum();
        Ok(super::carry(self.ledger, bytes)?)
    }

    /// The vector of each text.
    async fn vectors(&self, ready: &Ready, texts: Vec<String>) -> Result<Vec<Vector>, Error> {
        let Lent { backends, workers, slots, tenant, .. } = self.lent;
        let caller = Caller { tenant, ledger: self.ledger, workers: &**workers, slots };
        Ok(backends.embedding.vectors(ready, texts, caller).await?)
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
        super::has_room(self.ledger, (texts.len() * dimensions * 2 * size_of::<f32>()) as u64)?;
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
        super::has_room(self.ledger, room as u64)?;
        let output = self.output(Shape::new(sizes.to_vec())?, ElementType::Float32)?;
        let vectors = self.vectors(&ready, texts).await?;
        let mut bytes = Vec::with_capacity(vectors.len() * ready.model.dimensions * size_of::<f32>());
        let numbers = vectors.iter().flat_map(|vector| vector.iter());
        numbers.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        Ok(self.lent.backends.tensor.adopt(output, bytes)?)
    }
}

impl wit::Host for EmbeddingView<'_> {
    async fn describe(&mut self) -> wasmtime::Result<Result<wit::Model, Error>> {
        let described = super::told(self.account.ledger, self.account.described().await);
        if let Ok(model) = &described {
            super::carry(self.account.ledger, (model.name.len() + model.device.len()) as u64)?;
        }
        Ok(described)
    }

    async fn embed(&mut self, texts: Vec<String>) -> wasmtime::Result<Result<wit::Vectors, Error>> {
        self.account.carry_in(&texts)?;
        let embedded = super::told(self.account.ledger, self.account.embedded(texts).await);
        if let Ok(vectors) = &embedded {
            super::carry(self.account.ledger, size_of_val(&*vectors.data) as u64)?;
        }
        Ok(embedded)
    }

    async fn embed_tensor(
        &mut self,
        texts: Vec<String>,
    ) -> wasmtime::Result<Result<Resource<Tensor>, Error>> {
        self.account.carry_in(&texts)?;
        match super::told(self.account.ledger, self.account.tensor(texts).await) {
            Ok(tensor) => Ok(Ok(self.table.push(tensor)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasEmbeddings>(linker, |t| {
        let HostCtx { lent, ledger, table, .. } = t.host().call();
        EmbeddingView { account: Account { lent, ledger }, table }
    })
}
