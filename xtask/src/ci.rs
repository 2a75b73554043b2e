//! `cargo xtask ci`: what a change must pass, in the order in which it fails soonest. Stops at the first
//! failure. A check that cannot run here is named as skipped, never counted as passed.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::cargo::{self, Metadata};
use crate::layout::Layout;
use crate::{contract, guests, test};

enum Outcome {
    Passed,
    Skipped(&'static str),
}
use Outcome::{Passed, Skipped};

type Step = (&'static str, fn(&Layout) -> Result<Outcome>);

const STEPS: &[Step] = &[
    ("format", format),
    ("lints", lints),
    ("prebuilt guests", prebuilt),
    ("benches run", benches),
    ("contract", contract),
    (LAST, tests),
];

const LAST: &str = "tests";

/// Runs the subcommand.
pub fn run(layout: &Layout) -> Result<()> {
    // The tests come last and close with their own line, so each step says at once how it went.
    for (name, step) in STEPS {
        println!("\n== ci: {name}");
        let started = Instant::now();
        let outcome = step(layout).with_context(|| format!("ci stopped: step `{name}` failed"))?;
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Passed if *name == LAST => {}
            Passed => println!("== ci: {name} passed in {seconds:.1} s"),
            Skipped(why) => println!("== ci: {name} SKIPPED: {why}"),
        }
    }
    Ok(())
}

fn format(layout: &Layout) -> Result<Outcome> {
    if !cargo::succeeds(cargo::command(&layout.root).args(["fmt", "--version"])) {
        return Ok(Skipped("this toolchain has no rustfmt (rustup component add rustfmt)"));
    }
    let way_out = "run `cargo fmt --all`, and once more with --manifest-path guest-tasks/Cargo.toml";
    cargo::run(cargo::command(&layout.root).args(["fmt", "--all", "--check"])).context(way_out)?;
    cargo::run(layout.guest_cargo("fmt").args(["--all", "--check"])).context(way_out)?;
    Ok(Passed)
}

fn lints(layout: &Layout) -> Result<Outcome> {
    if !cargo::succeeds(cargo::command(&layout.root).args(["clippy", "--version"])) {
        return Ok(Skipped("this toolchain has no clippy (rustup component add clippy)"));
    }
    let mut main = cargo::command(&layout.root);
    main.args(["clippy", "--release"]);
    for mut clippy in [main, layout.guest_cargo("clippy")] {
        cargo::run(clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    }
    Ok(Passed)
}

fn prebuilt(layout: &Layout) -> Result<Outcome> {
    guests::run(layout, &guests::Args::check()).map(|()| Passed)
}

fn tests(layout: &Layout) -> Result<Outcome> {
    test::run(layout, &test::Args::default()).map(|()| Passed)
}

fn contract(layout: &Layout) -> Result<Outcome> {
    let Some(checker) = contract::checker(layout) else {
        return Ok(Skipped("../shared/tools/contract/contract.py is not beside this checkout"));
    };
    contract::run(layout, &checker).map(|()| Passed)
}

fn benches(layout: &Layout) -> Result<Outcome> {
    let packages = Metadata::of(&layout.root.join("Cargo.toml"))?.packages;
    let mut targets = packages.iter().flat_map(|package| &package.targets);
    if !targets.any(|target| target.kind.iter().any(|kind| kind == "bench")) {
        return Ok(Skipped("the workspace has no benches yet"));
    }
    // The benches run guests too.
    guests::run(layout, &guests::Args::default()).context("building the guests")?;
    // Only bench targets: without --bench, cargo would run the unit tests once more, in the bench profile.
    let mut bench = cargo::command(&layout.root);
    cargo::run(bench.args(["bench", "--workspace", "--bench", "*", "--", "--test"]))?;
    Ok(Passed)
}
