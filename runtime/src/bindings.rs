//! Rust's view of `wit/`: the one `bindgen!` of the runtime.
#![allow(missing_docs, reason = "generated; the documents are in wit/")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "omnimind:runtime/task",
    imports: {
        "omnimind:runtime/task-context.save-checkpoint": async | trappable,
        "omnimind:runtime/task-context.load-checkpoint": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});
