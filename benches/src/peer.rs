//! Programs in Python that benches compare with.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process that answers each line with a line.
pub struct Peer {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts Python, if `cargo xtask peers` got one with `package`.
    pub fn start(python: &Path, package: &str, arguments: &[&OsStr]) -> Option<Peer> {
        let has = |python: &Path| {
            let mut probe = Command::new(python);
            probe.args(["-c", &format!("import {package}")]).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        };
        if !has(python) {
            println!("{package} SKIPPED: {} has it not; cargo xtask peers --torch gets it", python.display());
            return None;
        }
        let mut command = Command::new(python);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python starts");
        let (to, from) = (process.stdin.take().expect("piped"), process.stdout.take().expect("piped"));
        Some(Peer { process, to, from: BufReader::new(from) })
    }

    /// What it answers.
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.to, "{line}").expect("it listens");
        let mut answer = String::new();
        self.from.read_line(&mut answer).expect("it answers");
        answer.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
