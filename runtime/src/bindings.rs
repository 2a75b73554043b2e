//! Rust's view of `wit/`: the one `bindgen!` of the runtime.
#![allow(missing_docs, reason = "generated; the documents are in wit/")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "omnimind:runtime/everything",
    imports: {
        "omnimind:runtime/task-context.save-checkpoint": async | trappable,
        "omnimind:runtime/task-context.load-checkpoint": async | trappable,
        "omnimind:runtime/embedding": async | trappable,
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
        "omnimind:runtime/tensor.tensor": crate::backend::tensor::Tensor,
    },
});

/// What every guest exports; which imports it has is between it and the linker.
pub type TaskPre<T> = EverythingPre<T>;
