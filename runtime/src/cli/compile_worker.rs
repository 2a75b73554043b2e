//! `omnimind compile-worker`: what the runtime starts to compile a component. Not for people.

use std::io::Write;
use std::process::ExitCode;

use crate::engine::worker;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    cpu_seconds: u64,
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    artefact_bytes: u64,
}

pub fn run(args: &Args) -> ExitCode {
    match worker::run(args.cpu_seconds, args.memory_bytes, args.artefact_bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
