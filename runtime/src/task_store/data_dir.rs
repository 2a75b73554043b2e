//! The directory that one server owns.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::private;

/// A data directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// The directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("data directory {path} is in use by another omnimind{}: stop that one, or give --data-dir another directory", .holder.as_deref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// Which directory.
        path: PathBuf,
        /// The other process's id, where it could be read.
        holder: Option<String>,
    },
    /// It is somebody else's.
    #[error(
        "data directory {path} belongs to another user (uid {owner}): give --data-dir a directory of your own"
    )]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// It cannot be made, read or written.
    #[error("data directory {path}: {why}; it must be a directory that this user can write to")]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why. Not called `source`: it would be told twice.
        why: std::io::Error,
    },
}

impl DataDir {
    /// Makes the directory if there is none, and locks it.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |why| DataDirError::Unusable { path, why }
        };
        private::dir(path).map_err(unusable(path))?;
        // From here on its real name: a link that is moved later leads nowhere else.
        let path = fs::canonicalize(path).map_err(unusable(path))?;
        let found = fs::metadata(&path).map_err(unusable(&path))?;
        if found.mode() & 0o022 != 0 {
            tracing::warn!(path = %path.display(), "others may write to the data directory: chmod 700 it");
        }
        let owner = found.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(DataDirError::Foreign { path, owner });
        }
        let lock = path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&lock)
            .map_err(unusable(&lock))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = fs::read_to_string(&lock).ok().map(|pid| pid.trim().to_owned());
                return Err(DataDirError::InUse { path, holder: holder.filter(|pid| !pid.is_empty()) });
            }
            Err(error) => return Err(unusable(&lock)(error.into())),
        }
        // For the message above, and nothing else: a full disk does not keep the server from starting.
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        match written {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(unusable(&lock)(error)),
            _ => Ok(DataDir { path, _lock: file }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
