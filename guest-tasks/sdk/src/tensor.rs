//! Tensors that live on the host, on the CPU or a GPU: what is computed of them does not cross the sandbox.
//!
//! The task needs the grant `tensor`. Bytes of tensors count against `tensor_bytes` until they are dropped, what is
//! computed against `tensor_flops`.

use crate::Error;
use crate::bindings::omnimind::runtime::tensor as host;

/// Where tensors are, what they are made of, how products are computed; and a tensor. Its documents are in
/// `wit/tensor.wit`.
pub use host::{Device, ElementType, Precision, Tensor};

/// Elements of one call to the host, and back: a few mebibytes.
const PIECE: usize = 1 << 20;

/// The device new tensors are placed on, and bytes free there for this task.
pub fn placement() -> (Device, u64) {
    host::placement()
}

/// A float32 tensor of these numbers, row after row, moved in pieces.
pub fn from_f32(shape: &[u32], numbers: &[f32]) -> Result<Tensor, Error> {
    let tensor = Tensor::zeros(shape, ElementType::Float32)?;
    let mut bytes = Vec::with_capacity(4 * PIECE.min(numbers.len()));
    for (piece, numbers) in numbers.chunks(PIECE).enumerate() {
        bytes.clear();
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        tensor.write((piece * PIECE) as u64, &bytes)?;
    }
    Ok(tensor)
}

/// `count` numbers of a float32 tensor from element `offset` on, moved in pieces.
pub fn read_f32(tensor: &Tensor, offset: u64, count: usize) -> Result<Vec<f32>, Error> {
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        let piece = PIECE.min(count - numbers.len());
        let bytes = tensor.read(offset + numbers.len() as u64, piece as u64)?;
        numbers.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    Ok(numbers)
}
