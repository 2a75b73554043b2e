//! `cargo xtask test`: the guests first, then the tests of both workspaces.
//!
//! Tests that need minutes have `slow_` in their names; tests that try to bring the machine to its knees
//! are `#[ignore]`d and run by `--defense`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::{cargo, guests, model, ollama, report};

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
    /// Fails where a language's toolchain, a model or Ollama is not there, instead of leaving out what needs it
    #[arg(long, conflicts_with = "report")]
    pub require_toolchains: bool,
    /// Parts of test names, and whatever else a test binary takes
    #[arg(last = true)]
    pub filter: Vec<String>,
}

impl Args {
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
    let missing = guests::run(layout, &guests::Args::default()).context("building the guests")?;
    let provided = [
        ("vectors beside those of sentence-transformers", model::provide(layout)),
        ("answers of a real Ollama", ollama::provide(layout)),
    ];
    if args.report {
        not_run(&missing, &provided);
        return report::run(layout, args);
    }
    let mut tally = Tally::default();
    let suites =
        [("the guests' own tests", guest_tests(layout)), ("the workspace's tests", workspace_tests(layout))];
    for (what, mut suite) in suites {
        args.pass_to(&mut suite);
        if args.require_toolchains {
            suite.env("OMNIMIND_TOOLCHAINS", "required");
        }
        let ended = tally.run(&mut suite).context(what);
        if ended.is_err() {
            println!("{tally}");
            return ended;
        }
    }
    not_run(&missing, &provided);
    println!("{tally}");
    Ok(())
}

fn not_run(missing: &BTreeMap<String, String>, provided: &[(&str, Result<()>)]) {
    for (language, why) in missing {
        println!("NOT RUN: tests of guests written in {language}: {why}");
    }
    for (what, provided) in provided {
        if let Err(why) = provided {
            println!("NOT RUN: {what}: {why:#}");
        }
    }
}

/// What the test binaries counted, added up: cargo closes with the last one's line, which may be empty.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Runs a cargo test, shows what it prints and adds up its results.
    fn run(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
        for line in BufReader::new(child.stdout.take().context("a pipe")?).lines() {
            let line = line.context("reading the output of cargo test")?;
            println!("{line}");
            self.add(&line);
        }
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "cargo test: {status}");
        Ok(())
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.ignored)
    }
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

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn results_add_up() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
        );
        tally.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add("test tests::results ... ok");
        assert_eq!(tally.to_string(), "7 passed, 2 failed, 1 skipped");
    }
}
