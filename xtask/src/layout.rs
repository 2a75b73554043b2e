//! Where things are: the checkout, and the directory that builds write to.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cargo::{self, Metadata};

/// The directories every subcommand works on.
pub struct Layout {
    /// The checkout.
    pub root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR`, or what cargo's configuration says.
    pub target: PathBuf,
}

impl Layout {
    /// Asks the environment and cargo.
    pub fn find() -> Result<Layout> {
        // Asked at run time, where cargo sets it: one target directory may serve several checkouts, and cargo
        // then takes the binary of another one for its own.
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let root = Path::new(&manifest_dir).parent().context("xtask/ has no parent directory")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            // Relative to where cargo was called, as cargo itself takes it.
            Some(dir) => std::path::absolute(dir)?,
            None => Metadata::of(&root.join("Cargo.toml"))?.target_directory,
        };
        Ok(Layout { root, target })
    }

    /// The workspace of the samples and their SDK.
    pub fn guest_tasks(&self) -> PathBuf {
        self.root.join("guest-tasks")
    }

    /// Its manifest.
    pub fn guest_manifest(&self) -> PathBuf {
        self.guest_tasks().join("Cargo.toml")
    }

    /// Where built guests end up, and where tests look for them.
    pub fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// What `cargo xtask peers` got, and where the server bench looks for it.
    pub fn peers(&self) -> PathBuf {
        self.target.join("peers")
    }

    /// Where models are that tests and benches look for.
    pub fn models(&self) -> PathBuf {
        self.target.join("models")
    }

    /// Where the Ollama is that tests run beside, and its model.
    pub fn ollama(&self) -> PathBuf {
        self.target.join("ollama")
    }

    /// The guest workspace's own target directory, so that nothing lands in the checkout.
    pub fn guest_build(&self) -> PathBuf {
        self.target.join("guest-build")
    }

    /// Copies of the guests that are projects, for their own toolchains to build.
    pub fn projects(&self) -> PathBuf {
        self.target.join("guest-projects")
    }

    /// A data directory with artefacts of theirs, where tests find it.
    pub fn compiled(&self) -> PathBuf {
        self.target.join("guests-compiled")
    }

    /// `cargo` for a command on the guest workspace, on the host target.
    pub fn guest_cargo(&self, subcommand: &str) -> std::process::Command {
        let mut command = cargo::command(&self.root);
        command.arg(subcommand).arg("--manifest-path");
        command.arg(self.guest_manifest());
        command.env("CARGO_TARGET_DIR", self.guest_build());
        command
    }
}

/// What tools leave in a project's directory: no source of anything.
pub fn is_made(name: &OsStr) -> bool {
    ["target", "build", "node_modules", "__pycache__", ".venv"].iter().any(|made| name == *made)
}

/// Copies a file, or a directory with all that is in it, behind links too; what is made stays behind.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if !from.is_dir() {
        fs::copy(from, to).with_context(|| from.display().to_string())?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if !is_made(&name) {
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}
