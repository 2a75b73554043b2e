//! The host functions that guests import, one file for each interface.
//!
//! Every call goes through [`HostCtx::call`], which counts it; every byte that a guest can make the
//! host copy is spent from `host_call_bytes` by the function that copies it. Refusals are WIT errors
//! that the guest can handle, except those that end the task: these are a [`Stop`].

mod clocks;
mod embedding;
mod environment;
mod inference;
mod io;
mod lent;
mod random;
mod sockets;
mod stdio;
mod task_context;
mod tensor;

use std::sync::Arc;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bindings::omnimind::runtime::types::{BudgetExhausted, Error};
use crate::limits::{Budget, Exhausted, Ledger, Refused};

pub use clocks::VirtualClock;
pub use lent::Lent;
pub use stdio::{LogSink, OutputSink, Stdio};
pub use task_context::TaskContext;

/// A host call that ends the task, because going on would pass a limit that guests cannot handle.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A budget of the boundary is used up.
    #[error("{0}")]
    Exhausted(#[from] Exhausted),
    /// One call asked for more than one call may carry.
    #[error("{asked} bytes ({what}); one call may carry {limit}")]
    TooMuchAtOnce {
        /// Which call.
        what: &'static str,
        /// Bytes asked for.
        asked: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// What the host functions of one task work on. Part of the store's data.
pub struct HostCtx {
    /// What the task has spent.
    pub ledger: Arc<Ledger>,
    /// Live resources: streams, pollables, and whatever capabilities add.
    pub table: ResourceTable,
    /// Standard streams, arguments, environment.
    pub stdio: Stdio,
    /// The task as the guest sees it.
    pub task: TaskContext,
    /// What it computes with.
    pub lent: Lent,
    /// Real time, or in deterministic mode a clock that only sleeping advances.
    pub clock: Option<Arc<VirtualClock>>,
    /// Answers of language models that it takes piece by piece.
    streams: usize,
    random: random::Random,
    /// Made at the first call that needs it: most tasks never do, and it costs a microsecond.
    wasi: Option<Box<WasiCtx>>,
    uncharged_calls: u64,
}

/// Lets the host functions find their state in the store's data.
pub trait HostView: Send + 'static {
    /// The state.
    fn host(&mut self) -> &mut HostCtx;
}

impl HostCtx {
    /// The state of one task that has made no call yet.
    pub fn new(
        ledger: Arc<Ledger>,
        stdio: Stdio,
        task: TaskContext,
        lent: Lent,
        clock: Option<Arc<VirtualClock>>,
    ) -> HostCtx {
        let mut table = ResourceTable::new();
        let handles = ledger.limits().get(Budget::Handles);
        table.set_max_capacity(usize::try_from(handles).unwrap_or(usize::MAX));
        let random = random::Random::new(clock.is_some());
        let wasi = None;
        HostCtx { ledger, table, stdio, task, lent, clock, streams: 0, random, wasi, uncharged_calls: 0 }
    }

    /// Notes that a host function was called. Every getter handed to a linker goes through here.
    fn call(&mut self) -> &mut HostCtx {
        self.uncharged_calls += 1;
        self
    }

    /// Calls noted since this was last asked, for the call hook to charge.
    pub fn take_uncharged_calls(&mut self) -> u64 {
        std::mem::take(&mut self.uncharged_calls)
    }
}

impl WasiView for HostCtx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let HostCtx { wasi, stdio, table, .. } = self;
        let ctx = wasi.get_or_insert_with(|| {
            // No preopened directories, no addresses, no name lookup: files and sockets can be
            // imported (adapted guests do) and are refused at the call.
            let mut builder = WasiCtxBuilder::new();
            stdio.install(&mut builder);
            Box::new(builder.build())
        });
        WasiCtxView { ctx, table }
    }
}

/// Pays for bytes that a host function copies, in or out, before anything is done with them.
fn carry(ledger: &Ledger, bytes: u64) -> Result<(), Stop> {
    Ok(ledger.spend(Budget::HostCallBytes, bytes)?)
}

/// What a capability answers: a refusal is remembered, for a guest that gives up after it.
fn told<T>(ledger: &Ledger, answer: Result<T, Error>) -> Result<T, Error> {
    ledger.note(match &answer {
        Err(Error::BudgetExhausted(BudgetExhausted { budget, requested, .. })) => {
            Budget::from_name(budget).map(|budget| Refused::Budget(budget, *requested))
        }
        Err(Error::AccessDenied(_)) => Some(Refused::Denied),
        Err(Error::Unavailable(_) | Error::TimedOut(_)) => Some(Refused::Unavailable),
        _ => None,
    });
    answer
}

/// Refuses what a call brings back if the host has no room for it.
fn has_room(ledger: &Ledger, bytes: u64) -> Result<(), Error> {
    let remaining = ledger.room_for_an_answer();
    match bytes <= remaining {
        true => Ok(()),
        false => {
            let budget = Budget::MemoryBytes.name().to_owned();
            Err(Error::BudgetExhausted(BudgetExhausted { budget, requested: bytes, remaining }))
        }
    }
}

/// Adds everything that every task may import.
///
/// All of `wasi:cli/imports@0.2` is there, because adapted and interpreted guests import files and
/// sockets without using them.
pub fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    task_context::add_to_linker(linker)?;
    tensor::add_to_linker(linker)?;
    embedding::add_to_linker(linker)?;
    inference::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    environment::add_to_linker(linker)?;
    io::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;

    let l = linker;
    wasi::cli::exit::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::stdin::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::stdout::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::stderr::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::terminal_input::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::terminal_output::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, |t| t.host().call().cli())?;
    wasi::filesystem::types::add_to_linker::<T, WasiFilesystem>(l, |t| t.host().call().filesystem())?;
    wasi::filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, |t| t.host().call().filesystem())?;
    wasi::sockets::tcp::add_to_linker::<T, WasiSockets>(l, |t| t.host().call().sockets())?;
    wasi::sockets::tcp_create_socket::add_to_linker::<T, WasiSockets>(l, |t| t.host().call().sockets())?;
    wasi::sockets::udp::add_to_linker::<T, WasiSockets>(l, |t| t.host().call().sockets())?;
    wasi::sockets::udp_create_socket::add_to_linker::<T, WasiSockets>(l, |t| t.host().call().sockets())?;
    wasi::sockets::instance_network::add_to_linker::<T, WasiSockets>(l, |t| t.host().call().sockets())?;
    let network = wasi::sockets::network::LinkOptions::default();
    wasi::sockets::network::add_to_linker::<T, WasiSockets>(l, &network, |t| t.host().call().sockets())?;
    Ok(())
}
