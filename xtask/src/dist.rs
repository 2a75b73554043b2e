//! `cargo xtask dist`: what is given to somebody who has no Rust, as one file and its checksum.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{self, Metadata};
use crate::guests::{self, source::Digest};
use crate::layout::{Layout, copy};

/// Files and directories of the checkout that go with the binary.
const BESIDE: [&str; 8] =
    ["README.md", "LICENSE", "CHANGELOG.md", "docs", "config", "wit", "clients", "guest-tasks/prebuilt"];

/// Guests that the binary looks for in `interpreters/` beside it.
const INTERPRETERS: [&str; 2] = ["python-run", "js-run"];

/// Builds the binary and packs it: `<target dir>/dist/omnimind-VERSION-ARCH-OS.tar.gz`, and `.sha256` beside it.
pub fn run(layout: &Layout) -> Result<()> {
    let mut build = cargo::command(&layout.root);
    cargo::run(build.args(["build", "--release", "--package", "omnimind", "--bin", "omnimind"]))?;
    let packages = Metadata::of(&layout.root.join("Cargo.toml"))?.packages;
    let package =
        packages.iter().find(|package| package.name == "omnimind").context("no package omnimind")?;
    let name = format!("omnimind-{}-{ARCH}-{OS}", package.version);
    let dist = layout.target.join("dist");
    let dir = dist.join(&name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;

    let binary = dir.join("omnimind");
    fs::copy(layout.target.join("release/omnimind"), &binary).context("the built binary")?;
    cargo::run(Command::new("strip").arg(&binary)).context("strip is part of binutils")?;
    for path in BESIDE {
        copy(&layout.root.join(path), &dir.join(path)).with_context(|| path.to_owned())?;
    }
    let missing = guests::run(layout, &guests::Args::only(&INTERPRETERS))?;
    anyhow::ensure!(missing.is_empty(), "an interpreter could not be built: {missing:?}");
    for interpreter in INTERPRETERS {
        let file = format!("{interpreter}.wasm");
        copy(&layout.guests().join(&file), &dir.join("interpreters").join(&file)).with_context(|| file)?;
    }

    let archive = dist.join(format!("{name}.tar.gz"));
    // The same files give the same archive, whoever packs them and when.
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--use-compress-program=gzip -n",
    ]);
    cargo::run(tar.arg("-C").arg(&dist).arg("-cf").arg(&archive).arg(&name))?;
    let bytes = fs::read(&archive)?;
    let line = format!("{}  {name}.tar.gz\n", Digest::of(&bytes).0);
    fs::write(dist.join(format!("{name}.tar.gz.sha256")), &line)?;
    println!(
        "{} ({:.1} MB; the binary {:.1} MB)",
        archive.display(),
        megabytes(&archive)?,
        megabytes(&binary)?
    );
    print!("{line}");
    Ok(())
}

fn megabytes(path: &Path) -> Result<f64> {
    Ok(fs::metadata(path)?.len() as f64 / 1e6)
}
