//! `cargo xtask ci`: what a change must pass, in the order in which it fails soonest. Stops at the first
//! failure. A check that cannot run here is named as skipped, never counted as passed.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, Metadata};
use crate::layout::Layout;
use crate::{contract, fuzz, guests, test};

enum Outcome {
    Passed,
    Skipped(&'static str),
}
use Outcome::{Passed, Skipped};

type Step = (&'static str, fn(&Layout, &Args) -> Result<Outcome>);

const STEPS: &[Step] = &[
    ("format", format),
    ("lints", lints),
    ("prebuilt guests", prebuilt),
    ("guests in all languages", toolchains),
    ("benches run", benches),
    ("fuzz", fuzzing),
    ("contract", contract),
    (LAST, tests),
];

const LAST: &str = "tests";

/// `cargo xtask ci …`
#[derive(clap::Args)]
pub struct Args {
    /// Passes where a language's toolchain is not there: the tests of its guests are then not run
    #[arg(long)]
    without_toolchains: bool,
}

/// Runs the subcommand.
pub fn run(layout: &Layout, args: &Args) -> Result<()> {
    // The tests come last and close with their own line, so each step says at once how it went.
    for (name, step) in STEPS {
        println!("\n== ci: {name}");
        let started = Instant::now();
        let outcome = step(layout, args).with_context(|| format!("ci stopped: step `{name}` failed"))?;
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Passed if *name == LAST => {}
            Passed => println!("== ci: {name} passed in {seconds:.1} s"),
            Skipped(why) => println!("== ci: {name} SKIPPED: {why}"),
        }
    }
    Ok(())
}

fn format(layout: &Layout, _: &Args) -> Result<Outcome> {
    if !cargo::succeeds(cargo::command(&layout.root).args(["fmt", "--version"])) {
        return Ok(Skipped("this toolchain has no rustfmt (rustup component add rustfmt)"));
    }
    let way_out = "run `cargo fmt --all`, and once more with --manifest-path guest-tasks/Cargo.toml";
    cargo::run(cargo::command(&layout.root).args(["fmt", "--all", "--check"])).context(way_out)?;
    cargo::run(layout.guest_cargo("fmt").args(["--all", "--check"])).context(way_out)?;
    Ok(Passed)
}

fn lints(layout: &Layout, _: &Args) -> Result<Outcome> {
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

fn prebuilt(layout: &Layout, _: &Args) -> Result<Outcome> {
    guests::run(layout, &guests::Args::check()).map(|_| Passed)
}

/// Builds every guest, and says which could not be.
fn toolchains(layout: &Layout, args: &Args) -> Result<Outcome> {
    let missing = guests::run(layout, &guests::Args::default()).context("building the guests")?;
    match missing.is_empty() {
        true => Ok(Passed),
        false if args.without_toolchains => Ok(Skipped("not all of them; see NOT BUILT above")),
        false => bail!(
            "no toolchain for {}; --without-toolchains goes on without",
            missing.into_keys().collect::<Vec<_>>().join(", ")
        ),
    }
}

fn tests(layout: &Layout, args: &Args) -> Result<Outcome> {
    let all = test::Args { require_toolchains: !args.without_toolchains, ..test::Args::default() };
    test::run(layout, &all).map(|()| Passed)
}

fn contract(layout: &Layout, _: &Args) -> Result<Outcome> {
    let Some(checker) = contract::checker(layout) else {
        return Ok(Skipped("../shared/tools/contract/contract.py is not beside this checkout"));
    };
    contract::run(layout, &checker).map(|()| Passed)
}

/// A few seconds of each target: that they run, and find nothing at once.
fn fuzzing(layout: &Layout, _: &Args) -> Result<Outcome> {
    fuzz::smoke(layout).map(|()| Passed)
}

fn benches(layout: &Layout, _: &Args) -> Result<Outcome> {
    let packages = Metadata::of(&layout.root.join("Cargo.toml"))?.packages;
    let mut targets = packages.iter().flat_map(|package| &package.targets);
    if !targets.any(|target| target.kind.iter().any(|kind| kind == "bench")) {
        return Ok(Skipped("the workspace has no benches yet"));
    }
    // Only bench targets: without --bench, cargo would run the unit tests once more, in the bench profile.
    let mut bench = cargo::command(&layout.root);
    cargo::run(bench.args(["bench", "--workspace", "--bench", "*", "--", "--test"]))?;
    Ok(Passed)
}
