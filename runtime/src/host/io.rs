//! `wasi:io`: wasmtime's own, with a price on the lists that `poll` makes the host build.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};

use super::HostView;
use crate::limits::Ledger;

/// Bytes a pollable costs the host in one call of `poll`: its handle in, its index out.
const BYTES_PER_POLLABLE: u64 = 8;

struct Streams;

impl HasData for Streams {
    type Data<'a> = &'a mut ResourceTable;
}

struct PollView<'a> {
    table: &'a mut ResourceTable,
    ledger: &'a Ledger,
}

struct Polls;

impl HasData for Polls {
    type Data<'a> = PollView<'a>;
}

impl poll::Host for PollView<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        let bytes = BYTES_PER_POLLABLE.saturating_mul(pollables.len() as u64);
        super::carry(self.ledger, bytes)?;
        poll::Host::poll(self.table, pollables).await
    }
}

impl poll::HostPollable for PollView<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::block(self.table, pollable).await
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        poll::HostPollable::ready(self.table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(self.table, pollable)
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    error::add_to_linker::<T, Streams>(linker, |t| &mut t.host().call().table)?;
    streams::add_to_linker::<T, Streams>(linker, |t| &mut t.host().call().table)?;
    poll::add_to_linker::<T, Polls>(linker, |t| {
        let host = t.host().call();
        PollView { table: &mut host.table, ledger: &host.ledger }
    })
}
