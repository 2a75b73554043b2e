//! A digest over source files: the same on every machine, different after any change, rename or removal.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::layout::is_made;

/// A sha256 in hexadecimal.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest(pub String);

impl Digest {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let digest = Sha256::digest(bytes);
        Digest(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Of files and directories (all files below) given relative to `root`: for each file, in the order of
    /// the relative paths, the path, a zero byte, the length as 8 bytes (little-endian) and the contents.
    pub fn of_files(root: &Path, paths: &[&str]) -> Result<Digest> {
        let mut files = Vec::new();
        for path in paths {
            collect(root, Path::new(path), &mut files)?;
        }
        let mut files: Vec<String> = files.iter().map(|path| portable(path)).collect();
        files.sort();
        files.dedup();
        let mut all = Vec::new();
        for file in files {
            let path = root.join(&file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            all.extend_from_slice(file.as_bytes());
            all.push(0);
            all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            all.extend_from_slice(&bytes);
        }
        Ok(Digest::of(&all))
    }

    /// Of these sources built by that recipe.
    pub fn with_recipe(&self, recipe: &str) -> Digest {
        Digest::of(format!("{}{recipe}", self.0).as_bytes())
    }
}

fn collect(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(path);
    if full.is_file() {
        files.push(path.into());
        return Ok(());
    }
    let cannot = || format!("cannot list {}", full.display());
    for entry in fs::read_dir(&full).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        let text = name.to_string_lossy();
        // Build output, and what editors and systems leave behind.
        if !is_made(&name) && !text.starts_with('.') && !text.ends_with('~') {
            collect(root, &path.join(name), files)?;
        }
    }
    Ok(())
}

fn portable(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(files: &[(&str, &str)]) -> Digest {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Digest::of_files(root.path(), &["src"]).unwrap()
    }

    #[test]
    fn contents_names_and_borders_between_files_count() {
        let base = digest(&[("src/a", "one"), ("src/deep/b", "two")]);
        assert_eq!(base, digest(&[("src/deep/b", "two"), ("src/a", "one")]));
        assert_ne!(base, digest(&[("src/a", "one!"), ("src/deep/b", "two")]));
        assert_ne!(base, digest(&[("src/c", "one"), ("src/deep/b", "two")]));
        assert_ne!(base, digest(&[("src/a", "onet"), ("src/deep/b", "wo")]));
        assert_ne!(base, digest(&[("src/a", "one")]));
    }

    #[test]
    fn build_output_and_hidden_files_do_not_count() {
        let with = digest(&[("src/a", "one"), ("src/target/x", ""), ("src/.a.swp", "")]);
        assert_eq!(with, digest(&[("src/a", "one")]));
    }
}
