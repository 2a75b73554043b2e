//! Running cargo and other programs, with errors that say which one failed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The cargo that runs this xtask, in `root`.
pub fn command(root: &Path) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo tells this program of its own package, ring's build script takes for its own: it would be built
    // anew, and all that stands on it, by every cargo that hears something else.
    for (name, _) in env::vars_os() {
        let of_package = |prefix| name.to_str().is_some_and(|name| name.starts_with(prefix));
        if of_package("CARGO_PKG_") || of_package("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(root);
    command
}

/// Runs with the terminal's output; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start: {}", shown(command)))?;
    if !status.success() {
        bail!("{status}: {}", shown(command));
    }
    Ok(())
}

/// Runs and returns standard output; errors still go to the terminal.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start: {}", shown(command)))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, shown(command));
    }
    String::from_utf8(output.stdout).with_context(|| format!("not UTF-8: {}", shown(command)))
}

/// True if it runs and succeeds; all its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    quiet.stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A program on PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let directories = env::var_os("PATH")?;
    env::split_paths(&directories).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// The command line as one would type it, without the way to the program.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// The part of `cargo metadata` that is used here.
#[derive(Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    pub target_directory: PathBuf,
}

/// A member of the workspace.
#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub manifest_path: PathBuf,
    pub targets: Vec<Target>,
}

/// Something a package builds.
#[derive(Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

impl Metadata {
    /// Of the workspace with this manifest; dependencies are not resolved.
    pub fn of(manifest: &Path) -> Result<Metadata> {
        let root = manifest.parent().context("a manifest lies in a directory")?;
        let json = output(
            command(root)
                .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
                .arg(manifest),
        )?;
        serde_json::from_str(&json).context("the output of cargo metadata is not as documented")
    }
}
