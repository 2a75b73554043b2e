//! `cargo xtask test`: the guests first, then the tests of both workspaces.
//!
//! Tests that need minutes have `slow_` in their names; tests that try to bring the machine to its knees
//! are `#[ignore]`d and run by `--defense`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::{cargo, guests, report};

/// In the name of a test that `--fast` leaves out.
pub const SLOW: &str = "slow_";

/// `cargo xtask test …`
#[derive(clap::Args, Default)]
pub struct Args {
    /// Leaves out the tests with `slow_` in their names
    #[arg(long, conflicts_with = "defense")]
    pub fast: bool,
    /// Also the #[ignore]d tests: every hostile guest, the long runs
    #[arg(long)]
    pub defense: bool,
    /// Each test in a process of its own, timed; failing ones are tried again to tell the flaky from the failed
    #[arg(long)]
    pub report: bool,
    /// Parts of test names, and whatever else a test binary takes
    #[arg(last = true)]
    pub filter: Vec<String>,
}

impl Args {
    /// What `ci` asks for.
    pub fn fast() -> Args {
        Args { fast: true, ..Args::default() }
    }

    fn pass_to(&self, command: &mut Command) {
        command.arg("--");
        if self.fast {
            command.args(["--skip", SLOW]);
        }
        if self.defense {
            command.arg("--include-ignored");
        }
        command.args(&self.filter);
    }
}

/// Runs the subcommand.
pub fn run(layout: &Layout, args: &Args) -> Result<()> {
    guests::run(layout, &guests::Args::default()).context("building the guests")?;
    if args.report {
        return report::run(layout, args);
    }
    let mut samples = guest_tests(layout);
    args.pass_to(&mut samples);
    cargo::run(&mut samples).context("the guests' own tests")?;
    let mut tests = workspace_tests(layout);
    args.pass_to(&mut tests);
    cargo::run(&mut tests).context("the workspace's tests")
}

/// The guests' unit tests, on the host; the development profile, for its overflow checks.
pub fn guest_tests(layout: &Layout) -> Command {
    layout.guest_cargo("test")
}

/// The tests of the main workspace.
pub fn workspace_tests(layout: &Layout) -> Command {
    let mut command = cargo::command(&layout.root);
    command.args(["test", "--release", "--workspace"]);
    command
}
