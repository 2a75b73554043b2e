//! `cargo xtask`: what has to be done around the workspace and cargo alone does not do.
//!
//! One file per subcommand; run `cargo xtask help` for what each does.

mod cargo;
mod ci;
mod contract;
mod dist;
mod fuzz;
mod guests;
mod languages;
mod layout;
mod model;
mod ollama;
mod peers;
mod pypi;
mod report;
mod test;
mod toolchain;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds the guests, runs the tests and the checks"
)]
enum Command {
    /// Builds the sample guests and assembles the hostile ones into <target dir>/guests
    Guests(guests::Args),
    /// Builds the guests and runs the tests of both workspaces
    Test(test::Args),
    /// Packs the binary and what belongs to it into <target dir>/dist, with a checksum
    Dist,
    /// Gets what the benches compare with into <target dir>/peers
    Peers(peers::Args),
    /// Fuzzes what reads bytes of strangers; inputs and faults are kept in <target dir>/fuzz
    Fuzz(fuzz::Args),
    /// What a change must pass: format, lints, prebuilt guests, a smoke run of benches and fuzzing, tests
    Ci(ci::Args),
}

fn main() -> ExitCode {
    if let Some(exit) = fuzz::is_rustc() {
        return exit;
    }
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Not `main`'s own way of printing an error: with RUST_BACKTRACE it buries the text.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    let layout = layout::Layout::find()?;
    match command {
        Command::Guests(args) => guests::run(&layout, args).map(|_| ()),
        Command::Test(args) => test::run(&layout, args),
        Command::Dist => dist::run(&layout),
        Command::Fuzz(args) => fuzz::run(&layout, args),
        Command::Peers(args) => peers::run(&layout, args),
        Command::Ci(args) => ci::run(&layout, args),
    }
}
