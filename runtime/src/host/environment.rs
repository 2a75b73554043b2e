//! `wasi:cli/environment`: what the submission gave, paid for each time it is asked for.

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;

use super::{HostView, Stdio, Stop};
use crate::limits::Ledger;

/// The name that a program finds before its arguments.
const PROGRAM: &str = "task";

struct EnvironmentView<'a> {
    stdio: &'a Stdio,
    ledger: &'a Ledger,
}

struct Environments;

impl HasData for Environments {
    type Data<'a> = EnvironmentView<'a>;
}

impl EnvironmentView<'_> {
    fn carry(&self, bytes: usize) -> Result<(), Stop> {
        super::carry(self.ledger, bytes as u64)
    }
}

impl environment::Host for EnvironmentView<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let env = &self.stdio.env;
        self.carry(env.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        Ok(env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        let args = &self.stdio.args;
        self.carry(args.iter().map(String::len).sum())?;
        Ok(std::iter::once(PROGRAM.to_owned()).chain(args.iter().cloned()).collect())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    environment::add_to_linker::<T, Environments>(linker, |t| {
        let host = t.host().call();
        EnvironmentView { stdio: &host.stdio, ledger: &host.ledger }
    })
}
