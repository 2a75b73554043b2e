//! Compiled components on disk, by digest and engine.
//!
//! An artefact is native code: loading a forged one is running it. So the directory is private, every
//! artefact is sealed with a key that only this directory holds, and the seal is checked over the very
//! bytes that are then mapped (through the open descriptor, so that nothing can be swapped between the
//! two). This catches corruption and other users; whoever can already write as this user needs no
//! artefact to run code.
//!
//! ```text
//! artefacts/key                          32 random bytes
//! artefacts/ENGINE/HEX.cwasm             the artefact; never truncated or rewritten, only unlinked
//! artefacts/ENGINE/HEX.json              its seal
//! artefacts/ENGINE/HEX.refused.json      why there is none, for an hour
//! artefacts/UUID.tmp                     what is being written, locked by whoever writes
//! ```
//!
//! All together they keep to a number of bytes: what was loaded longest ago goes first. When that was, its
//! time of modification says, set at each load; the time of access is not kept on many file systems.

mod prune;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::adapt::Adapted;
use super::compiler::Allowance;
use super::prescan;
use super::refusal::Refusal;
use crate::private;
use crate::task::Digest;

/// How long a refusal is remembered.
const REMEMBER: Duration = Duration::from_secs(3600);

/// Bytes that all artefacts together may take. A large component's is 50 MB, most have less than one.
const MAX_BYTES: u64 = 4 << 30;

/// The directory of artefacts.
#[derive(Debug)]
pub struct Artefacts {
    root: PathBuf,
    key: [u8; 32],
    max_bytes: u64,
    /// Bytes there, as of the last look and what was written since.
    bytes: AtomicU64,
}

/// What is known of an artefact besides its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What the budget `instances` counts.
    pub core_instances: u64,
    /// How long compiling took.
    pub compiled_ms: u64,
    /// Bytes of the component as it was submitted.
    pub size: u64,
    /// What the component was made from, where it was not one.
    pub adapted: Option<Adapted>,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    about: About,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    refusal: Refusal,
    until_unix_s: u64,
}

/// An artefact that was found and is what was stored.
#[derive(Debug)]
pub struct Found {
    /// The open artefact. Map this, not its name.
    pub file: File,
    /// Its length and more.
    pub about: About,
}

impl Found {
    /// A path that leads to the open file, whatever happens to its name.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl Artefacts {
    /// Opens the directory `root`, or makes it. What killed processes left there goes, and what is too much.
    ///
    /// # Errors
    /// It cannot be made or is readable by others.
    pub fn open(root: PathBuf) -> std::io::Result<Artefacts> {
        Artefacts::open_up_to(root, MAX_BYTES)
    }

    fn open_up_to(root: PathBuf, max_bytes: u64) -> std::io::Result<Artefacts> {
        private::dir(&root)?;
        let metadata = fs::symlink_metadata(&root)?;
        let private = metadata.permissions().mode() & 0o077 == 0;
        if !private || !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(std::io::Error::new(
                ErrorKind::PermissionDenied,
                "it holds native code and must be a private directory of this user: chmod 700 and chown it",
            ));
        }
        let key = key(&root)?;
        let artefacts = Artefacts { root, key, max_bytes, bytes: AtomicU64::new(0) };
        artefacts.prune(max_bytes, &HashSet::new())?;
        Ok(artefacts)
    }

    /// The artefact of `digest` for the engine called `engine`, if it is there and intact. A damaged
    /// one is removed: it will be compiled again.
    pub fn find(&self, engine: &str, digest: &Digest) -> std::io::Result<Option<Found>> {
        let Some(file) = absent(open_ours(&self.file(engine, digest, "cwasm")))? else {
            return Ok(None);
        };
        let seal = absent(fs::read(self.file(engine, digest, "json")))?;
        let seal = seal.and_then(|bytes| serde_json::from_slice::<Seal>(&bytes).ok());
        if let Some(Seal { about, mac }) = seal
            && let Ok(stored) = blake3::Hash::from_hex(&mac)
            && self.mac(engine, digest, &about, &file)? == stored
        {
            // It was used now. A cache that cannot be written to is not pruned either.
            let _ = file.set_modified(SystemTime::now());
            return Ok(Some(Found { file, about }));
        }
        tracing::warn!(%digest, "a damaged artefact is removed and will be compiled again");
        self.remove(engine, digest)?;
        Ok(None)
    }

    /// An empty file to compile into, on the same file system as the directory.
    pub fn scratch(&self) -> std::io::Result<Scratch> {
        let path = self.root.join(format!("{}.tmp", uuid::Uuid::now_v7()));
        let file = private::file(&path)?;
        file.lock()?;
        Ok(Scratch { path, file })
    }

    /// Seals what was compiled into `scratch` and gives it its name. Of the others those that are not
    /// `in_use` make room for it, where there is too much.
    pub fn keep(
        &self,
        engine: &str,
        digest: &Digest,
        about: About,
        scratch: Scratch,
        in_use: impl FnOnce() -> HashSet<Digest>,
    ) -> std::io::Result<Found> {
        private::dir(&self.root.join(engine))?;
        let mac = self.mac(engine, digest, &about, &scratch.file)?.to_hex().to_string();
        let seal = serde_json::to_vec(&Seal { about: about.clone(), mac })?;
        scratch.file.sync_data()?;
        // The seal comes first: an artefact is looked for by its own name.
        self.write(&self.file(engine, digest, "json"), &seal)?;
        fs::rename(&scratch.path, self.file(engine, digest, "cwasm"))?;
        let written = prune::taken(&scratch.file.metadata()?);
        if self.bytes.fetch_add(written, Ordering::Relaxed).saturating_add(written) > self.max_bytes {
            let mut in_use = in_use();
            in_use.insert(*digest);
            self.prune(self.max_bytes, &in_use)?;
        }
        Ok(Found { file: scratch.file.try_clone()?, about })
    }

    /// Forgets an artefact. Whoever has it mapped keeps it.
    pub fn remove(&self, engine: &str, digest: &Digest) -> std::io::Result<()> {
        for extension in ["cwasm", "json"] {
            absent(fs::remove_file(self.file(engine, digest, extension)))?;
        }
        Ok(())
    }

    /// Remembers that `digest` was refused for what it is.
    pub fn remember(&self, engine: &str, digest: &Digest, refusal: &Refusal) -> std::io::Result<()> {
        private::dir(&self.root.join(engine))?;
        let until = unix_seconds().saturating_add(REMEMBER.as_secs());
        let note = serde_json::to_vec(&Remembered { refusal: refusal.clone(), until_unix_s: until })?;
        let path = self.file(engine, digest, "refused.json");
        self.write(&path, &note)?;
        self.bytes.fetch_add(prune::taken(&fs::metadata(path)?), Ordering::Relaxed);
        Ok(())
    }

    /// The refusal remembered for `digest`, if it is not an hour old.
    pub fn recall(&self, engine: &str, digest: &Digest) -> std::io::Result<Option<Refusal>> {
        let path = self.file(engine, digest, "refused.json");
        let Some(bytes) = absent(fs::read(&path))? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Remembered>(&bytes) {
            Ok(note) if note.until_unix_s > unix_seconds() => Ok(Some(note.refusal)),
            _ => {
                absent(fs::remove_file(&path))?;
                Ok(None)
            }
        }
    }

    fn file(&self, engine: &str, digest: &Digest, extension: &str) -> PathBuf {
        self.root.join(engine).join(format!("{}.{extension}", digest.hex()))
    }

    /// Over everything that a loaded artefact is believed for.
    fn mac(
        &self,
        engine: &str,
        digest: &Digest,
        about: &About,
        file: &File,
    ) -> std::io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(engine.as_bytes()).update(digest.as_bytes());
        hasher.update(&serde_json::to_vec(about)?);
        hasher.update_mmap_rayon(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(hasher.finalize())
    }

    /// Writes a small file in one step.
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut scratch = self.scratch()?;
        scratch.file.write_all(bytes)?;
        fs::rename(&scratch.path, path)
    }
}

/// A file that is removed when it was not given a name.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    /// Where to write.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Counts up when this crate turns bytes into artefacts differently: another adapter, another count, another rule
/// of what is refused, more that is known of each.
const RECIPE: u32 = 2;

/// The name of an engine: artefacts and refusals of another version, setting or cap are never even
/// looked at.
pub fn engine_name(engine: &wasmtime::Engine, flavour: &str) -> String {
    let mut hasher = DefaultHasher::new();
    RECIPE.hash(&mut hasher);
    format!("{:?}", (prescan::Caps::default(), Allowance::for_size(0), Allowance::for_size(1 << 20)))
        .hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{flavour}-{:016x}", hasher.finish())
}

fn key(root: &Path) -> std::io::Result<[u8; 32]> {
    let path = root.join("key");
    let mut key = [0; 32];
    if let Some(mut file) = absent(open_ours(&path))? {
        if file.read_exact(&mut key).is_ok() {
            return Ok(key);
        }
        // A key that was never written whole sealed nothing.
        fs::remove_file(&path)?;
    }
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    let scratch = root.join(format!("{}.tmp", uuid::Uuid::now_v7()));
    let mut file = private::file(&scratch)?;
    file.write_all(&key)?;
    file.sync_all()?;
    // Two first starts at once: the link decides, and the loser takes the winner's key.
    let linked = fs::hard_link(&scratch, &path);
    fs::remove_file(&scratch)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            open_ours(&path)?.read_exact(&mut key)?;
            Ok(key)
        }
        other => other.map(|()| key),
    }
}

/// Opens a file that is one, and that this user wrote: not a pipe, not a link to somewhere else.
fn open_ours(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        let message = format!("{} is not a file of this user: remove it", path.display());
        return Err(std::io::Error::new(ErrorKind::PermissionDenied, message));
    }
    Ok(file)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn absent<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
