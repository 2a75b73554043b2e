//! Remembers what each output was built from, so that the next call can leave it alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::source::Digest;
use crate::layout::Layout;

/// The digest of what each guest was built from, by name.
pub struct Stamps {
    directory: PathBuf,
    digests: BTreeMap<String, String>,
}

impl Stamps {
    /// Reads them; a missing or unreadable file means that everything is built again.
    pub fn load(layout: &Layout) -> Result<Stamps> {
        let directory = layout.guests();
        let text = fs::read_to_string(directory.join("stamps.json")).unwrap_or_default();
        Ok(Stamps { directory, digests: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// The size of the output, if it is there and was built from these sources.
    pub fn size_if_current(&self, name: &str, sources: &Digest) -> Option<u64> {
        let same = self.digests.get(name).is_some_and(|digest| *digest == sources.0);
        let file = fs::metadata(self.output(name)).ok()?;
        (same && file.len() > 0).then_some(file.len())
    }

    /// Writes the output and notes what it was built from.
    pub fn write(&mut self, name: &str, sources: &Digest, wasm: &[u8]) -> Result<()> {
        super::write(&self.output(name), wasm)?;
        self.digests.insert(name.into(), sources.0.clone());
        self.save()
    }

    /// Removes the outputs under `prefix` whose source is gone.
    pub fn keep_only(&mut self, prefix: &str, keep: impl Fn(&str) -> bool) -> Result<()> {
        let gone = |name: &String| name.starts_with(prefix) && !keep(name);
        for name in self.digests.keys().filter(|name| gone(name)) {
            let output = self.output(name);
            fs::remove_file(&output)
                .or_else(|e| if output.exists() { Err(e) } else { Ok(()) })
                .with_context(|| format!("cannot remove {}", output.display()))?;
        }
        self.digests.retain(|name, _| !gone(name));
        self.save()
    }

    /// Where a guest's component lies.
    pub fn output(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.wasm"))
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.digests)?;
        super::write(&self.directory.join("stamps.json"), &text)
    }
}
