//! Bytes that are too large for a row: one file for each content, named by its BLAKE3 hash.
//!
//! A file is whole and on the disk, its name included, before a row may name it. It is never written
//! again. Files that no row names are swept; what somebody is about to name is pinned.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::private;

/// The name of some content.
pub type Hash = [u8; 32];

/// A directory of blobs; clones are the same.
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    pins: Mutex<HashMap<Hash, usize>>,
}

/// What went wrong while a blob was kept.
#[derive(Debug)]
pub enum KeepError {
    /// Before anything could be in doubt: nothing was kept.
    Write(io::Error),
    /// The disk did not confirm.
    Sync(io::Error),
}

/// Keeps one blob from being swept.
#[derive(Debug)]
pub struct Pin {
    blobs: Blobs,
    hash: Hash,
}

impl Pin {
    /// The blob's name.
    pub fn hash(&self) -> Hash {
        self.hash
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.blobs.0.pins.lock();
        if let Some(count) = pins.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.hash);
            }
        }
    }
}

impl Blobs {
    /// The blobs in `dir`, which is made if it is not there. What a killed process left half-written goes.
    pub fn open(dir: PathBuf) -> io::Result<Blobs> {
        private::dir(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(Blobs(Arc::new(Inner { dir, pins: Mutex::default() })))
    }

    /// The blobs in `dir`, of which nothing is touched.
    pub fn at(dir: PathBuf) -> Blobs {
        Blobs(Arc::new(Inner { dir, pins: Mutex::default() }))
    }

    /// Where the blob of that name lies.
    pub fn path(&self, hash: &Hash) -> PathBuf {
        self.0.dir.join(blake3::Hash::from_bytes(*hash).to_hex().as_str())
    }

    /// Keeps `bytes`. Blocks until they are on the disk.
    pub fn keep(&self, bytes: &[u8]) -> Result<Pin, KeepError> {
        let hash = *blake3::hash(bytes).as_bytes();
        let pin = self.pin(hash);
        let path = self.path(&hash);
        if fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64) {
            // Young again, or a sweep that has already looked for who names it could take it.
            let file = File::open(&path).map_err(KeepError::Write)?;
            file.set_modified(SystemTime::now()).map_err(KeepError::Write)?;
            // Written by somebody who may not have synced it yet.
            let dir = File::open(&self.0.dir).map_err(KeepError::Write)?;
            file.sync_all().and_then(|()| dir.sync_all()).map_err(KeepError::Sync)?;
            return Ok(pin);
        }
        let scratch = self.0.dir.join(format!("{}.tmp", uuid::Uuid::now_v7()));
        // Opened before anything is in doubt: a lack of descriptors is no failed fsync.
        let dir = File::open(&self.0.dir).map_err(KeepError::Write)?;
        let written = write_new(&scratch, bytes).map_err(KeepError::Write).and_then(|file| {
            file.sync_all().map_err(KeepError::Sync)?;
            fs::rename(&scratch, &path).map_err(KeepError::Write)?;
            dir.sync_all().map_err(KeepError::Sync)
        });
        if written.is_err() {
            let _ = fs::remove_file(&scratch);
        }
        written.map(|()| pin)
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// It is not there, or is not what was kept.
    pub fn read(&self, hash: &Hash) -> io::Result<Vec<u8>> {
        let path = self.path(hash);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        if blake3::hash(&bytes).as_bytes() != hash {
            let message = format!("{}: its content is not what was stored", path.display());
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        Ok(bytes)
    }

    /// Bytes of a blob; 0 if it is not there.
    pub fn len(&self, hash: &Hash) -> u64 {
        fs::metadata(self.path(hash)).map_or(0, |found| found.len())
    }

    /// Removes one blob, unless it is pinned; returns how many bytes that freed.
    pub fn remove(&self, hash: &Hash) -> u64 {
        let pins = self.0.pins.lock();
        if pins.contains_key(hash) {
            return 0;
        }
        let bytes = self.len(hash);
        match fs::remove_file(self.path(hash)) {
            Ok(()) => bytes,
            Err(error) => {
                tracing::debug!(%error, "a blob that was to be removed");
                0
            }
        }
    }

    /// Removes every blob that is not in `used`, not pinned, and older than `age`.
    pub fn sweep(&self, used: &HashSet<Hash>, age: Duration) -> io::Result<u64> {
        let mut removed = 0;
        for (hash, path) in self.all()? {
            // Before the look at its age: who keeps it now pins it first, and then makes it young.
            let pins = self.0.pins.lock();
            let old = fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|passed| passed >= age));
            if old && !used.contains(&hash) && !pins.contains_key(&hash) {
                fs::remove_file(path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Every blob there is.
    pub fn all(&self) -> io::Result<Vec<(Hash, PathBuf)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.0.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Ok(hash) = blake3::Hash::from_hex(name.as_encoded_bytes()) {
                all.push((*hash.as_bytes(), entry.path()));
            }
        }
        Ok(all)
    }

    /// Bytes of all blobs.
    pub fn size(&self) -> io::Result<u64> {
        let sizes =
            self.all()?.into_iter().map(|(_, path)| fs::metadata(path).map_or(0, |found| found.len()));
        Ok(sizes.sum())
    }

    fn pin(&self, hash: Hash) -> Pin {
        *self.0.pins.lock().entry(hash).or_default() += 1;
        Pin { blobs: self.clone(), hash }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = private::file(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (PathBuf, Blobs) {
        let dir = std::env::temp_dir().join(format!("omnimind-blobs-{}", uuid::Uuid::now_v7()));
        (dir.clone(), Blobs::open(dir).unwrap())
    }

    #[test]
    fn what_nobody_names_is_swept_and_what_is_pinned_stays() {
        let (dir, blobs) = blobs();
        let named = blobs.keep(b"named").unwrap().hash();
        let pin = blobs.keep(b"pinned").unwrap();
        let pinned = pin.hash();
        let other = blobs.keep(b"other").unwrap().hash();
        blobs.sweep(&HashSet::from([named]), Duration::ZERO).unwrap();
        assert_eq!(blobs.read(&named).unwrap(), b"named");
        assert_eq!(blobs.read(&pinned).unwrap(), b"pinned");
        assert!(blobs.read(&other).is_err());
        drop(pin);
        blobs.sweep(&HashSet::new(), Duration::ZERO).unwrap();
        assert!(blobs.all().unwrap().is_empty());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_changed_blob_is_not_read() {
        let (dir, blobs) = blobs();
        let hash = blobs.keep(b"content").unwrap().hash();
        fs::write(blobs.path(&hash), b"C0ntent").unwrap();
        assert_eq!(blobs.read(&hash).unwrap_err().kind(), ErrorKind::InvalidData);
        fs::remove_dir_all(dir).unwrap();
    }
}
