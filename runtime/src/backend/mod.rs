//! What is lent to guests, behind traits: one folder for each capability, one file for each implementation.
//!
//! A backend knows nothing of wasmtime. It computes with what it is given, in pieces ([`work`]) that are short, so
//! that deadline, cancellation and other tasks have their turn in between.

mod gemm;
pub mod tensor;
pub mod work;

use std::sync::Arc;

/// What there is of each capability.
#[derive(Clone)]
pub struct Backends {
    /// Tensors.
    pub tensor: Arc<dyn tensor::TensorBackend>,
}

impl Default for Backends {
    fn default() -> Backends {
        Backends { tensor: Arc::new(tensor::Cpu::default()) }
    }
}
