//! `cargo xtask fuzz`: what reads bytes of strangers, under libFuzzer.
//!
//! `cargo fuzz run --fuzz-dir tests/fuzz` does the same and builds wasmtime anew for it. Here only the workspace's own
//! code is built to tell where it has been: this program stands in for rustc, which cargo asks it to be for members
//! only. So it works on a stable toolchain, in a minute.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::layout::Layout;

/// Set where this program is to be rustc.
const WRAPPER: &str = "OMNIMIND_FUZZ_RUSTC";

/// What libFuzzer learns by, and what makes a fault seen.
const FLAGS: [&str; 9] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Copt-level=1",
    "-Cdebug-assertions=yes",
    "-Coverflow-checks=yes",
    "--cfg=fuzzing",
];

/// What is fuzzed, and where in the checkout or among the built guests its first inputs are.
const TARGETS: [(&str, Option<&str>); 7] = [
    ("component", Some("guests")),
    ("submission", Some("tests/fuzz/seeds/submission")),
    ("configuration", Some("config")),
    ("websocket", Some("tests/fuzz/seeds/websocket")),
    ("http2", None),
    ("limiter", None),
    ("policy", None),
];

/// `cargo xtask fuzz …`
#[derive(clap::Args)]
pub struct Args {
    /// Which of component, submission, configuration, websocket, http2, limiter, policy [default: all]
    targets: Vec<String>,
    /// How long each
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Runs the subcommand.
pub fn run(layout: &Layout, args: &Args) -> Result<()> {
    let known = TARGETS.map(|(name, _)| name);
    if let Some(other) = args.targets.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no target `{other}`: there are {}", known.join(", "));
    }
    let wanted = |name: &str| args.targets.is_empty() || args.targets.iter().any(|target| target == name);
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| wanted(name)).collect();
    all(layout, &targets, args.seconds)
}

/// Every target, for so long that it is seen to work.
pub fn smoke(layout: &Layout) -> Result<()> {
    all(layout, &TARGETS, 5)
}

fn all(layout: &Layout, targets: &[(&str, Option<&str>)], seconds: u32) -> Result<()> {
    let mut build = cargo::command(&layout.root);
    // All of the workspace, and a test that is empty: with fewer members, and for no test, cargo would build
    // dependencies, wasmtime among them, with other features.
    build.args([
        "build",
        "--release",
        "--workspace",
        "--features",
        "omnimind-fuzz/libfuzzer",
        "--test",
        "as-tests",
    ]);
    for (name, _) in targets {
        build.arg("--bin").arg(format!("fuzz-{name}"));
    }
    build.env("RUSTC_WORKSPACE_WRAPPER", env::current_exe()?).env(WRAPPER, "1");
    cargo::run(&mut build).context("building what is fuzzed needs a C++ compiler")?;
    for (name, seeds) in targets {
        fuzz(layout, name, *seeds, seconds).with_context(|| format!("fuzzing {name}"))?;
    }
    Ok(())
}

fn fuzz(layout: &Layout, name: &str, seeds: Option<&str>, seconds: u32) -> Result<()> {
    let directory = layout.target.join("fuzz").join(name);
    let corpus = directory.join("corpus");
    fs::create_dir_all(&corpus)?;
    println!("== fuzz: {name}, {seconds} s");
    let mut command = Command::new(layout.target.join("release").join(format!("fuzz-{name}")));
    command.current_dir(&directory).arg(&corpus);
    command.args(seeds.map(|seeds| seeds_at(layout, seeds)));
    command.arg(format!("-max_total_time={seconds}"));
    // An input that takes that long, or that much, is a fault too.
    command.args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", "-close_fd_mask=1"]);
    command.args(["-print_final_stats=1", "-verbosity=0"]);
    cargo::run(&mut command).with_context(|| format!("the input is in {}", directory.display()))
}

fn seeds_at(layout: &Layout, seeds: &str) -> PathBuf {
    match seeds {
        "guests" => layout.guests(),
        in_checkout => layout.root.join(in_checkout),
    }
}

/// Whether this is to be rustc; then it is, with [`FLAGS`] for what becomes part of a target.
pub fn is_rustc() -> Option<ExitCode> {
    env::var_os(WRAPPER)?;
    let mut arguments = env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    // Build scripts run without libFuzzer.
    let name = arguments.iter().skip_while(|argument| *argument != OsStr::new("--crate-name")).nth(1);
    let is_part = name.is_some_and(|name| name.to_string_lossy().starts_with("fuzz_") || name == "omnimind");
    rustc.args(&arguments).args(FLAGS.iter().filter(|_| is_part));
    let status = rustc.status().ok()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
