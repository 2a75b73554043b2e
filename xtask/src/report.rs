//! `cargo xtask test --report`: every test in a process of its own, so that each has a time, a crash
//! costs one test, and a test that passes on a second try is known as flaky.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::layout::Layout;
use crate::test::{self, SLOW};

const AT_ONCE: usize = 2;
const TRIES: u32 = 3;
const SLOWEST: usize = 15;
/// Lines of a failed test's output that are shown, from its end.
const SHOWN_LINES: usize = 60;

/// A test binary, and how cargo would start it.
#[derive(Clone)]
struct Binary {
    label: String,
    executable: PathBuf,
    directory: PathBuf,
}

#[derive(Clone)]
struct Case {
    binary: Binary,
    name: String,
}

struct Finished {
    case: Case,
    took: Duration,
    tries: u32,
    /// The output of the last try, if that failed.
    failure: Option<String>,
}

/// Runs all that `args` selects; fails if a test failed on every try.
pub fn run(layout: &Layout, args: &test::Args) -> Result<()> {
    let mut binaries = binaries(test::guest_tests(layout))?;
    binaries.extend(self::binaries(test::workspace_tests(layout))?);
    let (mut cases, mut ignored, mut slow) = (Vec::new(), Vec::new(), Vec::new());
    for binary in &binaries {
        let only_ignored: HashSet<String> = list(binary, &["--ignored"], args)?.into_iter().collect();
        for name in list(binary, &[], args)? {
            let case = Case { binary: binary.clone(), name };
            if only_ignored.contains(&case.name) && !args.defense {
                ignored.push(case);
            } else if args.fast && case.name.contains(SLOW) {
                slow.push(case);
            } else {
                cases.push(case);
            }
        }
    }
    println!("report: {} tests in {} binaries, {AT_ONCE} at a time", cases.len(), binaries.len());
    let mut finished = run_all(cases);
    finished.sort_by_key(|one| std::cmp::Reverse(one.took));
    let documentation = if args.filter.is_empty() { run_doc_tests(layout)? } else { Counts::default() };
    print_lists(&finished, &ignored, &slow);
    let failed = finished.iter().filter(|one| one.failure.is_some()).count() + documentation.failed;
    let passed = finished.len() + documentation.passed + documentation.failed - failed;
    let skipped = ignored.len() + slow.len() + documentation.ignored;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("{failed} failed");
    }
    Ok(())
}

/// Builds the tests of a workspace and finds what was built.
fn binaries(mut command: Command) -> Result<Vec<Binary>> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        manifest_path: Option<PathBuf>,
        profile: Option<Profile>,
        target: Option<crate::cargo::Target>,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let messages =
        crate::cargo::output(command.args(["--no-run", "--message-format=json-render-diagnostics"]))?;
    let mut binaries = Vec::new();
    for line in messages.lines() {
        let message: Message =
            serde_json::from_str(line).context("cargo's messages are not as documented")?;
        if let Message {
            executable: Some(executable),
            manifest_path: Some(manifest),
            profile: Some(Profile { test: true }),
            target: Some(target),
        } = message
        {
            let directory = manifest.parent().context("a manifest has a directory")?.into();
            binaries.push(Binary { label: target.name, executable, directory });
        }
    }
    Ok(binaries)
}

impl Binary {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        // As under cargo; what we inherited is xtask's.
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        command
    }
}

fn list(binary: &Binary, more: &[&str], args: &test::Args) -> Result<Vec<String>> {
    let mut command = binary.command();
    command.args(["--list", "--format", "terse"]).args(more).args(&args.filter);
    let listed = crate::cargo::output(&mut command).with_context(|| {
        format!("{} does not list its tests (--report needs Rust's own test harness)", binary.label)
    })?;
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(String::from).collect())
}

fn run_all(cases: Vec<Case>) -> Vec<Finished> {
    let total = cases.len();
    let queue = Mutex::new(cases.into_iter());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (sender, queue) = (sender.clone(), &queue);
            scope.spawn(move || {
                // A poisoned lock would mean that a sibling panicked; the scope then panics anyway.
                while let Some(case) = queue.lock().ok().and_then(|mut cases| cases.next()) {
                    if sender.send(run_one(case)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut finished = Vec::with_capacity(total);
        for one in receiver {
            let word = match (&one.failure, one.tries) {
                (Some(_), _) => "FAILED",
                (None, 1) => "ok",
                (None, _) => "flaky",
            };
            let done = finished.len() + 1;
            println!("[{done}/{total}] {word:<6} {:>8.2} s  {}", one.took.as_secs_f64(), one.case);
            finished.push(one);
        }
        finished
    })
}

fn run_one(case: Case) -> Finished {
    let mut tries = 0;
    loop {
        tries += 1;
        let started = Instant::now();
        let mut command = case.binary.command();
        command.args([&case.name, "--exact", "--include-ignored"]).stdin(Stdio::null());
        let (passed, text) = match command.output() {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                (output.status.success(), format!("{text}{}", output.status))
            }
            Err(why) => (false, format!("cannot start {}: {why}", case.binary.executable.display())),
        };
        if passed || tries == TRIES {
            let failure = (!passed).then_some(text);
            return Finished { case, took: started.elapsed(), tries, failure };
        }
    }
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// Documentation tests have no binary to list: rustdoc runs them all and its closing lines are added up.
fn run_doc_tests(layout: &Layout) -> Result<Counts> {
    let mut counts = Counts::default();
    for mut command in [test::guest_tests(layout), test::workspace_tests(layout)] {
        let output = command.arg("--doc").stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let before = counts.failed;
        for line in text.lines().filter(|line| line.starts_with("test result:")) {
            counts.passed += count_before(line, "passed");
            counts.failed += count_before(line, "failed");
            counts.ignored += count_before(line, "ignored");
        }
        if !output.status.success() {
            println!("{text}");
            // It may have failed before it came to a test.
            counts.failed = counts.failed.max(before + 1);
        }
    }
    println!("report: documentation tests: {} passed, {} failed", counts.passed, counts.failed);
    Ok(counts)
}

/// `3` of `…; 3 failed; …`.
fn count_before(line: &str, word: &str) -> usize {
    let mut words = line.split_whitespace();
    let mut last = "";
    words
        .find_map(|one| match one.trim_end_matches(';') == word {
            true => last.parse().ok(),
            false => {
                last = one;
                None
            }
        })
        .unwrap_or(0)
}

fn print_lists(finished: &[Finished], ignored: &[Case], slow: &[Case]) {
    println!("\nslowest:");
    for one in finished.iter().take(SLOWEST) {
        println!("  {:>8.2} s  {}", one.took.as_secs_f64(), one.case);
    }
    let flaky: Vec<_> = finished.iter().filter(|one| one.failure.is_none() && one.tries > 1).collect();
    println!("\nflaky: {}", flaky.len());
    for one in flaky {
        println!("  {} (passed on try {})", one.case, one.tries);
    }
    let failed: Vec<_> = finished.iter().filter_map(|one| Some((one, one.failure.as_ref()?))).collect();
    println!("\nfailed: {}", failed.len());
    for (one, text) in failed {
        println!("  {} (on all {TRIES} tries); the end of its output:", one.case);
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            println!("    {line}");
        }
    }
    println!("\nnot run: {} ignored (--defense runs them), {} left out by --fast", ignored.len(), slow.len());
    for case in ignored.iter().chain(slow) {
        println!("  {case}");
    }
    println!();
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {}", self.binary.label, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::count_before;

    #[test]
    fn the_closing_line_of_a_test_run_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(count_before(line, "passed"), 12);
        assert_eq!(count_before(line, "failed"), 3);
        assert_eq!(count_before(line, "ignored"), 1);
        assert_eq!(count_before(line, "absent"), 0);
    }
}
