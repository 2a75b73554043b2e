//! `guest-tasks/prebuilt`: the samples as files of the repository, for whoever has no wasm toolchain.
//!
//! A built file in a repository is only worth something while it belongs to the sources beside it:
//! SOURCES.json says from which sources each was built, and `--check` compares. It compares digests and
//! does not build, because another compiler version gives other bytes from the same sources.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::sample::Sample;
use super::source::Digest;
use crate::layout::Layout;
use crate::toolchain::Toolchain;

/// Binary files stay in the history of a repository for ever.
const MAX_BYTES: usize = 110_000;
const WAY_OUT: &str = "run `cargo xtask guests --update-prebuilt` and commit guest-tasks/prebuilt";

#[derive(Deserialize, Serialize)]
struct Entry {
    /// See [`Digest::of_files`].
    sources_sha256: String,
    wasm_sha256: String,
    rustc: String,
}

type Entries = BTreeMap<String, Entry>;

/// Fails if a sample's prebuilt file is missing, altered, or built from other sources. `all` says that
/// `samples` is all there are, so that files of others are an error.
pub fn check(layout: &Layout, samples: &[Sample], all: bool) -> Result<()> {
    let entries = load(layout)?;
    let mut wrong = Vec::new();
    for sample in samples {
        let name = &sample.name;
        let path = layout.guest_tasks().join(format!("prebuilt/{name}.wasm"));
        match (entries.get(name), fs::read(&path)) {
            (None, _) => wrong.push(format!("{name}: not in prebuilt/SOURCES.json")),
            (_, Err(why)) => wrong.push(format!("{name}: cannot read prebuilt/{name}.wasm: {why}")),
            (Some(entry), _) if entry.sources_sha256 != sample.sources.0 => {
                wrong.push(format!("{name}: the sources moved on since prebuilt/{name}.wasm was built"))
            }
            (Some(entry), Ok(wasm)) if entry.wasm_sha256 != Digest::of(&wasm).0 => wrong
                .push(format!("{name}: prebuilt/{name}.wasm is not the file that SOURCES.json describes")),
            (Some(_), Ok(wasm)) => super::print_line(name, wasm.len() as u64, "prebuilt is current"),
        }
    }
    for name in entries.keys().filter(|_| all) {
        if !samples.iter().any(|sample| sample.name == *name) {
            wrong.push(format!("{name}: in prebuilt/SOURCES.json, but no sample has this name"));
        }
    }
    if !wrong.is_empty() {
        bail!("{}\n{WAY_OUT}", wrong.join("\n"));
    }
    Ok(())
}

/// Copies the built samples whose sources moved on, and notes what they were built from. Of others the file stays:
/// another compiler's would say the same in other bytes, in the history for ever.
pub fn update(layout: &Layout, samples: &[Sample], all: bool) -> Result<()> {
    let directory = layout.guest_tasks().join("prebuilt");
    fs::create_dir_all(&directory)?;
    let rustc = Toolchain::find(&layout.root)?.version(&layout.root)?;
    let mut entries = load(layout)?;
    for sample in samples {
        let name = &sample.name;
        let there = fs::read(directory.join(format!("{name}.wasm"))).unwrap_or_default();
        if entries.get(name).is_some_and(|entry| {
            entry.sources_sha256 == sample.sources.0 && entry.wasm_sha256 == Digest::of(&there).0
        }) {
            super::print_line(name, there.len() as u64, "prebuilt is current");
            continue;
        }
        let wasm = fs::read(layout.guests().join(format!("{name}.wasm")))
            .with_context(|| format!("{name} was not built"))?;
        if wasm.len() > MAX_BYTES {
            bail!(
                "{name} has {} bytes, prebuilt files may have {MAX_BYTES}: use lighter crates, or avoid \
                 formatting of floats and derived Debug",
                wasm.len()
            );
        }
        super::write(&directory.join(format!("{name}.wasm")), &wasm)?;
        let entry = Entry {
            sources_sha256: sample.sources.0.clone(),
            wasm_sha256: Digest::of(&wasm).0,
            rustc: rustc.clone(),
        };
        entries.insert(name.clone(), entry);
        super::print_line(name, wasm.len() as u64, "copied to prebuilt");
    }
    if all {
        entries.retain(|name, _| samples.iter().any(|sample| sample.name == *name));
        remove_others(layout, &entries)?;
    }
    let mut text = serde_json::to_string_pretty(&entries)?;
    text.push('\n');
    super::write(&directory.join("SOURCES.json"), text.as_bytes())
}

fn remove_others(layout: &Layout, entries: &Entries) -> Result<()> {
    for file in fs::read_dir(layout.guest_tasks().join("prebuilt"))? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let wasm = path.extension().is_some_and(|extension| extension == "wasm");
        if wasm && !entries.contains_key(name.as_ref()) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn load(layout: &Layout) -> Result<Entries> {
    let path = layout.guest_tasks().join("prebuilt/SOURCES.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("{} is not as this command writes it; {WAY_OUT}", path.display())),
        Err(_) => Ok(Entries::new()),
    }
}
