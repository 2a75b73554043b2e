//! Finds, or makes, a Rust that can build for wasm32-unknown-unknown.
//!
//! rustup has the target on most machines, or can download it. Where it cannot (no rustup, no way to its
//! server), Debian's packages hold what it takes: `xtask/wasm-toolchain.sh` turns them into a private
//! toolchain. Nothing outside rustup's directory and the private toolchain's is changed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// The target the samples are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Names the private toolchain's directory; it need not exist.
const VARIABLE: &str = "OMNIMIND_WASM_TOOLCHAIN";

/// A Rust with std for [`TARGET`].
pub struct Toolchain {
    /// The private toolchain's settings; `None` is the Rust that runs this.
    environment: Option<PathBuf>,
}

impl Toolchain {
    /// Looks for one, then tries to get one. Prints what takes long or changes something.
    pub fn find(root: &Path) -> Result<Toolchain> {
        let ours = Toolchain { environment: None };
        if ours.has_std(root) {
            return Ok(ours);
        }
        let directory = private_directory()?;
        let private = Toolchain { environment: Some(directory.join("env.sh")) };
        if private.has_std(root) {
            return Ok(private);
        }
        println!("guests: no std for {TARGET} yet");
        if add_by_rustup(root) && ours.has_std(root) {
            return Ok(ours);
        }
        if let Err(why) = make_private(root, &directory) {
            bail!("{why:#}\n{}", way_out(&directory));
        }
        if !private.has_std(root) {
            bail!("{} was made and does not work\n{}", directory.display(), way_out(&directory));
        }
        Ok(private)
    }

    /// `cargo` with this toolchain's settings, in `directory`.
    pub fn cargo(&self, directory: &Path) -> Command {
        self.command("CARGO", "cargo", r#". "$0" && exec "$@""#, directory)
    }

    fn rustc(&self, directory: &Path) -> Command {
        // env.sh sets RUSTC; the one given is not used.
        self.command("RUSTC", "rustc", r#". "$0" && shift && exec "$RUSTC" "$@""#, directory)
    }

    /// The program that `variable` names, else the one on PATH; after env.sh by `script` if there is one.
    fn command(&self, variable: &str, name: &str, script: &str, directory: &Path) -> Command {
        let program = env::var_os(variable).unwrap_or_else(|| name.into());
        let mut command = match &self.environment {
            Some(settings) => {
                let mut command = Command::new("sh");
                command.args(["-c", script]).arg(settings).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(directory);
        command
    }

    /// What `rustc --version` says.
    pub fn version(&self, root: &Path) -> Result<String> {
        let version = cargo::output(self.rustc(root).arg("--version"))?;
        Ok(version.trim().into())
    }

    fn has_std(&self, root: &Path) -> bool {
        if self.environment.as_ref().is_some_and(|script| !script.is_file()) {
            return false;
        }
        let mut rustc = self.rustc(root);
        let output = rustc.args(["--print=target-libdir", "--target", TARGET]).output();
        let Some(directory) = output.ok().filter(|o| o.status.success()) else {
            return false;
        };
        let directory = String::from_utf8_lossy(&directory.stdout).trim().to_owned();
        let mut files = fs::read_dir(directory).into_iter().flatten().flatten();
        files.any(|file| {
            let name = file.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    }
}

fn private_directory() -> Result<PathBuf> {
    if let Some(directory) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(std::path::absolute(directory)?);
    }
    let home = env::var_os("HOME").with_context(|| format!("neither {VARIABLE} nor HOME is set"))?;
    Ok(Path::new(&home).join(".cache/omnimind/wasm-toolchain"))
}

fn add_by_rustup(root: &Path) -> bool {
    if cargo::find_program("rustup").is_none() {
        return false;
    }
    println!("guests: trying rustup target add {TARGET} wasm32-wasip1");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET, "wasm32-wasip1"]).current_dir(root);
    let added = cargo::run(&mut rustup);
    if let Err(why) = &added {
        println!("guests: that did not work ({why:#}); going on without rustup");
    }
    added.is_ok()
}

fn make_private(root: &Path, directory: &Path) -> Result<()> {
    let missing = ["bash", "apt-get", "dpkg"].map(|name| (name, cargo::find_program(name)));
    if let Some((name, _)) = missing.iter().find(|(_, path)| path.is_none()) {
        bail!("no private toolchain can be made here: {name} is not on PATH");
    }
    println!("guests: making {} out of Debian packages (about 3 minutes, once)", directory.display());
    cargo::run(Command::new(root.join("xtask/wasm-toolchain.sh")).arg(directory))
}

fn way_out(directory: &Path) -> String {
    format!(
        "The guests need Rust's std for {TARGET}. Either of these gets it:\n\
         \n    rustup target add {TARGET} wasm32-wasip1\n    xtask/wasm-toolchain.sh {}\n\n\
         (the second on Debian; {VARIABLE} names another directory). \
         guest-tasks/prebuilt/ holds the samples already built.",
        directory.display()
    )
}
