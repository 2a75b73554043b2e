//! Instantiates a component and calls it.

use wasmtime::Store;

use super::classify;
use super::prepared::{Entry, Prepared};
use super::store::Ctx;
use crate::task::Failure;

/// What a call that did not fail brought back.
pub(super) enum Returned {
    Output(Vec<u8>),
    /// A command's `run` returned; its output is what it wrote.
    Exited,
    Error(Box<Failure>),
}

/// Instantiates and calls; the post-return is part of the call.
pub(super) async fn call(
    store: &mut Store<Ctx>,
    prepared: &Prepared,
    input: &[u8],
) -> wasmtime::Result<Returned> {
    match &prepared.entry {
        Entry::Task(pre) => {
            let task = pre.instantiate_async(&mut *store).await?;
            store.data_mut().instantiated = true;
            Ok(match task.call_run(store, input).await? {
                Ok(output) => Returned::Output(output),
                Err(text) => Returned::Error(Box::new(classify::guest_error(&text))),
            })
        }
        Entry::Command(pre) => {
            let command = pre.instantiate_async(&mut *store).await?;
            store.data_mut().instantiated = true;
            Ok(match command.wasi_cli_run().call_run(store).await? {
                Ok(()) => Returned::Exited,
                Err(()) => Returned::Error(Box::new(classify::exited(1))),
            })
        }
    }
}
