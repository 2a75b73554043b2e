//! Rust's view of `wit/`: the one `bindgen!` of the runtime.
#![allow(missing_docs, reason = "generated; the documents are in wit/")]

wasmtime::component::bindgen!({
    path: ["../guest-tasks/wasi/io", "../wit"],
    world: "omnimind:runtime/everything",
    imports: {
        "omnimind:runtime/task-context.save-checkpoint": async | trappable,
        "omnimind:runtime/task-context.load-checkpoint": async | trappable,
        "omnimind:runtime/embedding": async | trappable,
        "omnimind:runtime/inference.generate": async | trappable,
        "omnimind:runtime/inference.chat": async | trappable,
        "omnimind:runtime/inference.models": async | trappable,
        "omnimind:runtime/inference.[method]token-stream.next": async | trappable,
        "omnimind:runtime/tensor.[static]tensor.random": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.matmul": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.transpose": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.add": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.scale": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.softmax": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.normalize": async | trappable,
        "omnimind:runtime/tensor.[method]tensor.top-k": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "omnimind:runtime/inference.token-stream": TokenStream,
        "omnimind:runtime/tensor.tensor": crate::backend::tensor::Tensor,
        "wasi:io": wasmtime_wasi::p2::bindings::io,
    },
});

/// An answer that a guest takes piece by piece.
pub struct TokenStream(pub crate::backend::inference::Stream);

#[async_trait::async_trait]
impl wasmtime_wasi::p2::Pollable for TokenStream {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

/// What every guest exports; which imports it has is between it and the linker.
pub type TaskPre<T> = EverythingPre<T>;
