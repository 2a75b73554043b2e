//! The HTTP contract, checked from outside: contract.py of the design, where it lies beside the checkout.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cargo;
use crate::layout::Layout;

/// Longest wait for the server to listen.
const START: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
}

/// Where the checker lies; none for a checkout without the design beside it.
pub fn checker(layout: &Layout) -> Option<PathBuf> {
    let path = layout.root.parent()?.join("shared/tools/contract/contract.py");
    path.is_file().then_some(path)
}

/// Runs `checker` against a server that was just started on an empty data directory.
pub fn run(layout: &Layout, checker: &PathBuf) -> Result<()> {
    let mut build = cargo::command(&layout.root);
    cargo::run(build.args(["build", "--release", "--quiet", "--package", "omnimind"]))?;
    let data_dir = layout.target.join("contract-data");
    let _ = fs::remove_dir_all(&data_dir);
    let log = layout.target.join("contract.log");
    let mut serve = Command::new(layout.target.join("release/omnimind"));
    serve.args(["serve", "--port", "0", "--data-dir"]).arg(&data_dir);
    let child =
        serve.stderr(fs::File::create(&log)?).stdout(Stdio::null()).spawn().context("omnimind serve")?;
    let _server = EndsWithThis(child);
    let base = address(&log)?;
    let credentials: Credentials = serde_json::from_slice(&fs::read(data_dir.join("credentials.json"))?)?;
    let mut check = Command::new("python3");
    check.arg(checker).args([&base, &credentials.user, &credentials.password]);
    cargo::run(&mut check).with_context(|| format!("the server's own words are in {}", log.display()))
}

/// What the server says it listens on.
fn address(log: &PathBuf) -> Result<String> {
    let begun = Instant::now();
    while begun.elapsed() < START {
        let said = fs::read_to_string(log)?;
        let address = said.lines().find_map(|line| line.strip_prefix("omnimind listens on "));
        // The last line may be half written.
        if let Some(address) = address.filter(|_| said.ends_with('\n')) {
            return Ok(address.trim().to_owned());
        }
        sleep(Duration::from_millis(20));
    }
    bail!("the server does not listen: {}", fs::read_to_string(log)?)
}

struct EndsWithThis(Child);

impl Drop for EndsWithThis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
