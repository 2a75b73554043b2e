//! Tensors in the host's memory.
//!
//! ```text
//! operation ─▶ kernel (product, each, rows, top_k) ─▶ bands of rows of the result ─▶ pieces, in turns with guests
//! ```

mod bands;
mod each;
mod product;
mod rows;
mod top_k;

use std::ops::Range;

use async_trait::async_trait;
use bytemuck::Pod;
use bytes::{Bytes, BytesMut};

use super::element::with_element;
use super::{Device, Error, Invalid, Operation, Output, Precision, Storage, Tensor, TensorBackend};
use crate::backend::work::Workers;
use bands::Bands;

/// Tensors in the host's memory, computed with by its processors.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// Most rows and columns that one piece of a product has.
    block: usize,
}

impl Cpu {
    /// In whose products a piece has up to `block` rows and columns, if that is less than what suits the machine.
    pub fn new(block: usize) -> Cpu {
        Cpu { block: block.max(1) }
    }
}

impl Default for Cpu {
    fn default() -> Cpu {
        Cpu::new(usize::MAX)
    }
}

/// The bytes as elements. Little-endian, like all that this runs on; the allocator aligns to 8 bytes and more.
fn elements<T: Pod>(bytes: &[u8]) -> &[T] {
    bytemuck::try_cast_slice(bytes).unwrap_or_default()
}

fn elements_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    bytemuck::try_cast_slice_mut(bytes).unwrap_or_default()
}

/// Whether elements of any type can be in these bytes.
fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().cast::<u64>().is_aligned()
}

/// Zeros that take no memory until they are written to.
fn zeroed(bytes: usize) -> Result<BytesMut, Error> {
    let zeros: Vec<u8> =
        bytemuck::allocation::try_zeroed_vec(bytes).map_err(|()| Error::NoMemory { bytes })?;
    match Bytes::from(zeros).try_into_mut() {
        Ok(zeros) if is_aligned(&zeros) => Ok(zeros),
        _ => Err(Error::Internal("the allocator does not align to 8 bytes".to_owned())),
    }
}

impl Output {
    fn bytes(&self) -> usize {
        self.shape.bytes(self.element)
    }

    fn tensor(self, bytes: Bytes) -> Tensor {
        let Output { shape, element, held } = self;
        Tensor { shape, element, precision: Precision::Highest, storage: Storage::Host(bytes), held }
    }
}

impl Tensor {
    fn host(&self) -> &Bytes {
        let Storage::Host(bytes) = &self.storage;
        bytes
    }
}

#[async_trait]
impl TensorBackend for Cpu {
    fn device(&self) -> Device {
        Device::Cpu
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn zeros(&self, output: Output) -> Result<Tensor, Error> {
        let zeros = zeroed(output.bytes())?;
        Ok(output.tensor(zeros.freeze()))
    }

    fn adopt(&self, output: Output, bytes: Vec<u8>) -> Result<Tensor, Error> {
        let wanted = output.bytes();
        if bytes.len() != wanted {
            let (has, shape, element) = (bytes.len(), &output.shape, output.element.name());
            return Err(Invalid(format!("{has} bytes: {shape} of {element} has {wanted}")).into());
        }
        if is_aligned(&bytes) {
            return Ok(output.tensor(bytes.into()));
        }
        let mut copy = zeroed(wanted)?;
        copy.copy_from_slice(&bytes);
        Ok(output.tensor(copy.freeze()))
    }

    fn write(&self, tensor: &mut Tensor, range: Range<usize>, data: &[u8]) -> Result<(), Error> {
        let Storage::Host(bytes) = &mut tensor.storage;
        let mut unique = std::mem::take(bytes).try_into_mut().map_err(|shared| {
            *bytes = shared;
            Error::Internal("the tensor is in use".to_owned())
        })?;
        let place = unique.get_mut(range).filter(|place| place.len() == data.len());
        let written = place.map(|place| place.copy_from_slice(data));
        *bytes = unique.freeze();
        written.ok_or_else(|| Error::Internal("a write to no place of the tensor".to_owned()))
    }

    fn read(&self, tensor: &Tensor, range: Range<usize>) -> Result<Vec<u8>, Error> {
        let bytes = tensor.host().get(range).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| Error::Internal("a read of no place of the tensor".to_owned()))
    }

    async fn compute(
        &self,
        operation: Operation,
        output: Output,
        workers: &dyn Workers,
    ) -> Result<Tensor, Error> {
        let bands = Bands {
            out: zeroed(output.bytes())?,
            cost: operation.flops(),
            held: output.held.clone(),
            workers,
        };
        let (shape, element, block) = (output.shape.clone(), output.element, self.block);
        let computed = with_element!(element, T => match operation {
            Operation::Random { seed, .. } => each::random::<T>(bands, seed).await,
            Operation::Matmul(left, right) => product::product::<T>(bands, left, right, block).await,
            Operation::Transpose(of) => rows::transpose::<T>(bands, of, &shape).await,
            Operation::Add(left, right) => each::add::<T>(bands, left, right).await,
            Operation::Scale(of, factor) => each::scale::<T>(bands, of, factor).await,
            Operation::Softmax(of) => rows::softmax::<T>(bands, of).await,
            Operation::Normalize(of) => rows::normalize::<T>(bands, of).await,
        });
        Ok(output.tensor(computed?.freeze()))
    }

    async fn top_k(
        &self,
        of: Tensor,
        k: usize,
        workers: &dyn Workers,
    ) -> Result<(Vec<u32>, Vec<f32>), Error> {
        with_element!(of.element, T => top_k::largest::<T>(of, k, workers).await)
    }
}
