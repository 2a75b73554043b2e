//! The hostile guests: text in `guest-tasks/hostile/*.wat`, assembled with what they share. Nothing is validated here:
//! to be invalid is the point of some.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::source::Digest;
use super::stamp::Stamps;
use crate::layout::Layout;

const RECIPE: &str = include_str!("hostile.rs");

/// What a line `;; include NAME` stands for: the module every guest begins with, our `error`, language models.
const INCLUDED: [&str; 3] = ["skeleton", "types", "inference"];

/// A hostile guest.
pub struct Hostile {
    /// `hostile/NAME`.
    pub name: String,
    path: PathBuf,
}

/// All of them, by name.
pub fn find(layout: &Layout) -> Result<Vec<Hostile>> {
    let directory = layout.guest_tasks().join("hostile");
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let cannot = || format!("cannot list {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push(Hostile { name: format!("hostile/{name}"), path });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Assembles those that are not current. A text that does not assemble does not keep the others from it.
/// `all` says that `guests` is all there are, so that outputs of others can go.
pub fn assemble(layout: &Layout, guests: &[Hostile], stamps: &mut Stamps, all: bool) -> Result<()> {
    let mut broken = Vec::new();
    let mut current = 0;
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let mut included = Vec::new();
    for name in INCLUDED {
        let text = read(&layout.guest_tasks().join(format!("hostile/{name}.inc")))?;
        // On one line, so that errors name the right lines of the guest.
        included.push((format!(";; include {name}"), text.replace('\n', " ")));
    }
    for guest in guests {
        let text = read(&guest.path)?;
        let text = included.iter().fold(text, |text, (line, with)| text.replace(line, with));
        let sources = Digest::of(text.as_bytes()).with_recipe(RECIPE);
        if stamps.size_if_current(&guest.name, &sources).is_some() {
            current += 1;
            continue;
        }
        match wat::Parser::new().parse_bytes(Some(&guest.path), text.as_bytes()) {
            Ok(wasm) => {
                stamps.write(&guest.name, &sources, &wasm)?;
                super::print_line(&guest.name, wasm.len() as u64, "assembled");
            }
            Err(error) => broken.push(error.to_string()),
        }
    }
    if all {
        stamps.keep_only("hostile/", |name| guests.iter().any(|guest| guest.name == name))?;
    }
    if current > 0 {
        println!("{:<36} {current:>8} of {} up to date", "hostile", guests.len());
    }
    if !broken.is_empty() {
        let directory = layout.guest_tasks().join("hostile");
        bail!(
            "{} of {} texts in {} do not assemble:\n\n{}",
            broken.len(),
            guests.len(),
            directory.display(),
            broken.join("\n\n")
        );
    }
    Ok(())
}
