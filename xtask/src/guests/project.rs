//! The guests that are projects with a `component.yaml`: whatever language, built by `omnimind build` as their
//! authors would build them, on a copy, so that nothing lands in the checkout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::source::Digest;
use super::stamp::Stamps;
use crate::cargo;
use crate::languages::Languages;
use crate::layout::{Layout, copy};

/// Changes of the recipe make everything stale.
const RECIPE: &str = include_str!("project.rs");
/// The tools, too.
const TOOLS: &str = include_str!("../languages.rs");

/// The file that makes a directory a project.
const MANIFEST: &str = "component.yaml";

/// A project in `guest-tasks/`.
pub struct Project {
    pub name: String,
    /// As `omnimind new --lang` calls it.
    pub language: String,
    /// From the checkout's root.
    directory: PathBuf,
    /// Of its files and of the WIT that it reaches by links.
    sources: Digest,
}

/// All of them, by name.
pub fn find(layout: &Layout) -> Result<Vec<Project>> {
    let mut found = Vec::new();
    let mut open = vec![layout.guest_tasks()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == MANIFEST) {
                found.push(read(layout, &directory)?);
            } else if path.is_dir() && !path.is_symlink() && !path.ends_with("guest-tasks/templates") {
                open.push(path);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn read(layout: &Layout, directory: &Path) -> Result<Project> {
    let manifest = directory.join(MANIFEST);
    let text = fs::read_to_string(&manifest)?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split('#').next()).map(|value| value.trim().to_owned());
        value.with_context(|| format!("{} has no {key}", manifest.display()))
    };
    let directory = directory.strip_prefix(&layout.root)?.to_owned();
    let path = directory.to_str().context("a guest's path is not UTF-8")?;
    let sources = Digest::of_files(&layout.root, &[path])?;
    Ok(Project { name: value("name")?, language: value("language")?, directory, sources })
}

/// Builds those that are not current, with the binary of this checkout. Returns the languages whose tools cannot
/// be had here, and why; what is written in them is not there then.
pub fn build(layout: &Layout, projects: &[Project], stamps: &mut Stamps) -> Result<BTreeMap<String, String>> {
    let mut stale = Vec::new();
    for project in projects {
        match stamps.size_if_current(&project.name, &project.stamp()) {
            Some(size) => super::print_line(&project.name, size, "up to date"),
            None => stale.push(project),
        }
    }
    if stale.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut languages = Languages::new()?;
    stale.retain(|project| languages.provide(&project.language));
    if !stale.is_empty() {
        let mut binary = cargo::command(&layout.root);
        cargo::run(binary.args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "omnimind",
            "--bin",
            "omnimind",
        ]))?;
    }
    for project in stale {
        let wasm = project.build(layout, &languages)?;
        stamps.write(&project.name, &project.stamp(), &wasm)?;
        super::print_line(&project.name, wasm.len() as u64, "built");
    }
    Ok(languages.missing)
}

impl Project {
    fn stamp(&self) -> Digest {
        self.sources.with_recipe(RECIPE).with_recipe(TOOLS)
    }

    fn build(&self, layout: &Layout, languages: &Languages) -> Result<Vec<u8>> {
        let place = layout.projects().join(&self.name);
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
        }
        copy(&layout.root.join(&self.directory), &place)?;
        let output = place.join("omnimind-output.wasm");
        let mut build = std::process::Command::new(layout.target.join("release/omnimind"));
        build.arg("build").arg(&place).arg("--output").arg(&output);
        // What is compiled for the check is compiled: the tests' servers begin with these artefacts.
        build.arg("--data-dir").arg(layout.compiled());
        build.env("PATH", languages.path()?);
        // What tools print is for the case that they fail.
        let made = build.output().context("omnimind build")?;
        if !made.status.success() {
            bail!("{} does not build:\n{}", self.directory.display(), String::from_utf8_lossy(&made.stderr));
        }
        fs::read(&output).with_context(|| output.display().to_string())
    }
}
