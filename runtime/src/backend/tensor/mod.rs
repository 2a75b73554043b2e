//! Dense row-major tensors that live on the host, and what can be computed of them.
//!
//! What an operation needs is known before it begins: [`Operation::result`] has the rules of the shapes and
//! [`Operation::flops`] the price, so that whoever lends a backend reserves memory and operations first. A tensor
//! holds its bytes ([`Held`]) for as long as anything of it is used, a product that nobody waits for included.

pub mod cpu;
mod element;
mod shape;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use cpu::Cpu;
pub use element::ElementType;
pub use shape::{MAX_RANK, Shape};

use super::work::{Stopped, Workers};
use crate::limits::Held;

/// Where tensors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// In the host's memory.
    Cpu,
}

/// How a product was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As precisely as the elements allow.
    Highest,
}

/// The arguments break a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The arguments break a rule; nothing was done.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The device has not so much memory.
    #[error("the device has no {bytes} bytes of memory left")]
    NoMemory {
        /// How much was to be taken.
        bytes: usize,
    },
    /// The work was not done to its end.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A fault of the runtime.
    #[error("{0}")]
    Internal(String),
}

/// A tensor's bytes: little-endian elements, row after row.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In the host's memory; clones are the same bytes.
    Host(Bytes),
}

/// A tensor; clones are the same one.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its shape.
    pub shape: Shape,
    /// The type of its elements.
    pub element: ElementType,
    /// What the product that made it used.
    pub precision: Precision,
    storage: Storage,
    held: Arc<Held>,
}

/// What is to be made: its shape, and the bytes that are held for it.
#[derive(Debug)]
pub struct Output {
    /// The shape of the result.
    pub shape: Shape,
    /// The type of its elements.
    pub element: ElementType,
    /// As many bytes as it has.
    pub held: Arc<Held>,
}

/// What can be computed.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Uniform in [0, 1); the same for the same seed and type on every machine.
    Random {
        /// The result's.
        shape: Shape,
        /// The result's.
        element: ElementType,
        /// Which numbers.
        seed: u64,
    },
    /// The product of two matrices, or of as many pairs of them.
    Matmul(Tensor, Tensor),
    /// Rows become columns.
    Transpose(Tensor),
    /// The sum, element by element.
    Add(Tensor, Tensor),
    /// Each element times a number.
    Scale(Tensor, f32),
    /// Over the last axis.
    Softmax(Tensor),
    /// Each row of the last axis by its L2 norm; a row of zeros stays.
    Normalize(Tensor),
}

impl Operation {
    /// The shape of the result and the type of its elements.
    ///
    /// # Errors
    /// The operands do not go together.
    pub fn result(&self) -> Result<(Shape, ElementType), Invalid> {
        match self {
            Operation::Random { shape, element, .. } => Ok((shape.clone(), *element)),
            Operation::Matmul(left, right) => {
                same_element(left, right)?;
                Ok((left.shape.product(&right.shape)?, left.element))
            }
            Operation::Add(left, right) => {
                same_element(left, right)?;
                match left.shape == right.shape {
                    true => Ok((left.shape.clone(), left.element)),
                    false => {
                        let shapes = format!("{} and {} are no equal shapes", left.shape, right.shape);
                        Err(Invalid(shapes))
                    }
                }
            }
            Operation::Transpose(of) => Ok((of.shape.transposed()?, of.element)),
            Operation::Scale(of, _) | Operation::Softmax(of) | Operation::Normalize(of) => {
                Ok((of.shape.clone(), of.element))
            }
        }
    }

    /// Floating-point operations that are charged: two for each product of elements in a matrix product; for the
    /// others as many as they go over each element, which is what they cost.
    pub fn flops(&self) -> u64 {
        let each = |tensor: &Tensor, times: u64| (tensor.shape.elements() as u64).saturating_mul(times);
        match self {
            Operation::Random { shape, .. } => shape.elements() as u64,
            Operation::Matmul(left, right) => {
                // Rows of the left one, in all matrices, times what a row costs.
                let columns = right.shape.row() as u64;
                each(left, 2).saturating_mul(columns)
            }
            Operation::Transpose(of) | Operation::Scale(of, _) | Operation::Add(of, _) => each(of, 1),
            Operation::Softmax(of) => each(of, 4),
            Operation::Normalize(of) => each(of, 3),
        }
    }
}

/// Most elements of a row that are looked for: they are sorted in one piece.
pub const MAX_K: usize = 1 << 16;

/// Checks that a row of `of` has `k` largest elements that may be looked for.
///
/// # Errors
/// It has not, or they are too many.
pub fn check_k(of: &Tensor, k: usize) -> Result<(), Invalid> {
    let most = of.shape.row().min(MAX_K);
    match (1..=most).contains(&k) {
        true => Ok(()),
        false => {
            let row = of.shape.row();
            Err(Invalid(format!("the {k} largest of a row of {row}: it is 1 to {most}")))
        }
    }
}

/// Operations that are charged for finding the largest `k` of each row.
pub fn top_k_flops(of: &Tensor, k: usize) -> u64 {
    let compared = u64::from(usize::BITS - k.leading_zeros()).max(1);
    (of.shape.elements() as u64).saturating_mul(compared)
}

fn same_element(left: &Tensor, right: &Tensor) -> Result<(), Invalid> {
    match left.element == right.element {
        true => Ok(()),
        false => {
            let (left, right) = (left.element.name(), right.element.name());
            Err(Invalid(format!("{left} and {right} are not the same type of element")))
        }
    }
}

impl Tensor {
    /// The tensor itself, for a moment; what is left behind has no bytes.
    pub fn take(&mut self) -> Tensor {
        let storage = std::mem::replace(&mut self.storage, Storage::Host(Bytes::new()));
        Tensor { storage, ..self.clone() }
    }

    /// The byte where element `offset` begins, and the one behind `bytes` more.
    ///
    /// # Errors
    /// It has not so many elements.
    fn range(&self, offset: u64, bytes: usize) -> Result<std::ops::Range<usize>, Invalid> {
        let size = self.element.size();
        let start = usize::try_from(offset).ok().and_then(|offset| offset.checked_mul(size));
        let end = start.and_then(|start| start.checked_add(bytes));
        match start.zip(end) {
            Some((start, end)) if end <= self.shape.bytes(self.element) => Ok(start..end),
            _ => {
                let has = self.shape.elements();
                Err(Invalid(format!(
                    "what begins at element {offset} ends behind the last: the tensor has {has}"
                )))
            }
        }
    }

    /// Where so many elements are.
    ///
    /// # Errors
    /// It has not so many.
    pub fn elements(&self, offset: u64, count: u64) -> Result<std::ops::Range<usize>, Invalid> {
        let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(self.element.size()));
        // More bytes than there can be are as wrong as too many.
        self.range(offset, bytes.unwrap_or(usize::MAX))
    }

    /// Where the elements are that `bytes` are of.
    ///
    /// # Errors
    /// It has not so many, or the last one is not whole.
    pub fn bytes(&self, offset: u64, bytes: usize) -> Result<std::ops::Range<usize>, Invalid> {
        match bytes.is_multiple_of(self.element.size()) {
            true => self.range(offset, bytes),
            false => {
                let (size, name) = (self.element.size(), self.element.name());
                Err(Invalid(format!("{bytes} bytes are no whole number of {name}, which has {size}")))
            }
        }
    }
}

/// Something that computes with tensors.
#[async_trait]
pub trait TensorBackend: Send + Sync {
    /// Where its tensors are.
    fn device(&self) -> Device;

    /// Bytes that are left there for everybody; none where nobody knows.
    fn free_bytes(&self) -> Option<u64>;

    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`Error::NoMemory`]
    fn zeros(&self, output: Output) -> Result<Tensor, Error>;

    /// A tensor of these bytes, of which there are as many as its shape says.
    ///
    /// # Errors
    /// [`Error::NoMemory`]; [`Error::Invalid`] for another number of bytes.
    fn adopt(&self, output: Output, bytes: Vec<u8>) -> Result<Tensor, Error>;

    /// Overwrites bytes `range` of a tensor, as [`Tensor::bytes`] found them, with as many as that.
    ///
    /// # Errors
    /// Something else uses it at this time.
    fn write(&self, tensor: &mut Tensor, range: std::ops::Range<usize>, data: &[u8]) -> Result<(), Error>;

    /// Bytes `range` of a tensor, as [`Tensor::elements`] found them.
    ///
    /// # Errors
    /// A fault of the device.
    fn read(&self, tensor: &Tensor, range: std::ops::Range<usize>) -> Result<Vec<u8>, Error>;

    /// Computes what `operation` says; `output` has what [`Operation::result`] said.
    ///
    /// # Errors
    /// Whatever can be wrong.
    async fn compute(
        &self,
        operation: Operation,
        output: Output,
        workers: &dyn Workers,
    ) -> Result<Tensor, Error>;

    /// The `k` largest of each row of the last axis, the largest first: their places in the row, and what they are.
    /// Of equals the one that comes first; what is no number comes last. [`check_k`] has found `k` good.
    ///
    /// # Errors
    /// Whatever can be wrong.
    async fn top_k(&self, of: Tensor, k: usize, workers: &dyn Workers)
    -> Result<(Vec<u32>, Vec<f32>), Error>;
}

#[cfg(test)]
mod tests;
