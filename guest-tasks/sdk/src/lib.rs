//! Write OmniMind tasks in Rust.
//!
//! A task is a function from bytes to bytes. This crate exports that function the way the runtime expects
//! it (world `task` of `wit/`) and gives it what the runtime offers a running task: progress, checkpoints,
//! budgets, cancellation ([`context`]), tensors ([`tensor`]), vectors of texts ([`embedding`]), and texts that language
//! models write ([`inference`]). A whole guest is one file:
//!
//! ```
//! fn shout(input: Vec<u8>) -> Result<Vec<u8>, String> {
//!     let text = String::from_utf8(input).map_err(|e| format!("the input is not UTF-8: {e}"))?;
//!     Ok(text.to_uppercase().into_bytes())
//! }
//!
//! omnimind_guest::task!(shout);
//! # fn main() {}
//! ```
//!
//! in a crate with `crate-type = ["cdylib"]`, built for `wasm32-unknown-unknown`.
//!
//! An error text ends the task as failed with kind `guest_error`, and clients read it: say what was wrong
//! and what would be right. A panic ends the task as `trap`; its place and message are in the log.
//!
//! A guest imports only the functions it calls: one that never touches [`context`] imports nothing
//! but standard error, for panics.
//! Outside the runtime, in native unit tests, there is nothing behind [`context`] and its functions panic:
//! keep the logic in functions of its own and test those.

/// The code generated from `wit/` and WASI's standard error; public for [`task!`] and for what the wrappers leave out.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: ["../wasi/io", "../wasi/cli", "../../wit"],
        inline: "
            package omnimind:guest;
            world guest {
                include omnimind:runtime/everything@0.1.0;
                import wasi:cli/stderr@0.2.0;
            }
        ",
        world: "omnimind:guest/guest",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "omnimind_guest::bindings",
    });
}

pub mod context;
pub mod embedding;
mod error;
pub mod inference;
#[cfg(feature = "json")]
pub mod json;
#[doc(hidden)]
pub mod panic;
pub mod tensor;

pub use error::{BudgetExhausted, Error};

/// Makes a function this guest's task. It must be a `fn(Vec<u8>) -> Result<Vec<u8>, String>`; a guest has one.
#[macro_export]
macro_rules! task {
    ($run:path) => {
        const _: () = {
            struct Task;
            impl $crate::bindings::Guest for Task {
                fn run(
                    input: ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    $crate::panic::log();
                    $run(input)
                }
            }
    $crate::bindings::export!(Task with_types_in $crate::bindings);
        };
    };
}
