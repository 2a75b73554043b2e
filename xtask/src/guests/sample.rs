//! The samples: members of the guest workspace that make a cdylib, built for wasm32 and made components.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use super::source::Digest;
use super::stamp::Stamps;
use crate::cargo::{self, Metadata};
use crate::layout::Layout;
use crate::toolchain::{TARGET, Toolchain};

/// Changes of the recipe make everything stale.
const RECIPE: &str = include_str!("sample.rs");

/// A sample crate.
pub struct Sample {
    pub name: String,
    /// What cargo calls the file it makes.
    library: String,
    /// Of its own files and all it is built with.
    pub sources: Digest,
}

/// All of them, by name.
pub fn find(layout: &Layout) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for package in Metadata::of(&layout.guest_manifest())?.packages {
        let mut targets = package.targets.into_iter();
        let Some(library) = targets.find(|t| t.kind.iter().any(|kind| kind == "cdylib")) else {
            continue;
        };
        let directory = package.manifest_path.parent().context("a manifest has a directory")?;
        let directory = directory
            .strip_prefix(&layout.root)
            .with_context(|| format!("{} lies outside the checkout", package.manifest_path.display()))?;
        let directory = directory.to_str().context("a guest's path is not UTF-8")?;
        let paths = [
            directory,
            "guest-tasks/sdk",
            "guest-tasks/wasi",
            "guest-tasks/Cargo.toml",
            "guest-tasks/Cargo.lock",
            "wit",
        ];
        samples.push(Sample {
            sources: Digest::of_files(&layout.root, &paths)?,
            name: package.name,
            library: library.name.replace('-', "_"),
        });
    }
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(samples)
}

/// Builds those that are not current.
pub fn build(layout: &Layout, samples: &[Sample], stamps: &mut Stamps) -> Result<()> {
    let mut stale = Vec::new();
    for sample in samples {
        match stamps.size_if_current(&sample.name, &sample.sources.with_recipe(RECIPE)) {
            Some(size) => super::print_line(&sample.name, size, "up to date"),
            None => stale.push(sample),
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let toolchain = Toolchain::find(&layout.root)?;
    let mut build = toolchain.cargo(&layout.guest_tasks());
    build.args(["build", "--quiet", "--release", "--target", TARGET]);
    for sample in &stale {
        build.args(["--package", &sample.name]);
    }
    isolate(&mut build, layout);
    cargo::run(&mut build).context("a sample guest does not build; the compiler's message is above")?;
    for sample in stale {
        let module = layout.guest_build().join(TARGET).join("release");
        let module = module.join(format!("{}.wasm", sample.library));
        let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        let component = componentize(&bytes).with_context(|| {
            format!("{}: not a component of world `task` (does it call omnimind_guest::task!?)", sample.name)
        })?;
        stamps.write(&sample.name, &sample.sources.with_recipe(RECIPE), &component)?;
        super::print_line(&sample.name, component.len() as u64, "built");
    }
    Ok(())
}

/// A module with the component's type in its custom sections, as the component.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Keeps what the caller set for its own build out of this one, so that the same sources give the same
/// bytes, and this machine's paths out of the result.
pub fn isolate(build: &mut Command, layout: &Layout) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PROFILE_", "CARGO_BUILD_"].iter().any(|prefix| text.starts_with(prefix)) {
            build.env_remove(&name);
        }
    }
    let home = env::var_os("HOME").unwrap_or_default();
    let cargo_home = env::var("CARGO_HOME").unwrap_or(format!("{}/.cargo", home.display()));
    let flags = [
        format!("--remap-path-prefix={}=/omnimind", layout.root.display()),
        format!("--remap-path-prefix={cargo_home}=/cargo"),
    ];
    build
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // Empty also overrides a wrapper from cargo's configuration.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .env("CARGO_TARGET_DIR", layout.guest_build());
}
