//! How full the file system of the data directory is.

use std::path::Path;

use serde::Serialize;

use super::reading::{Missing, Reading};

/// A file system: `statvfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Disk {
    /// Share that is used of what we can use, as `df` shows it: what is reserved for root, or promised to others,
    /// is in neither.
    pub used_percent: f64,
    /// Bytes that are free for us.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

impl Disk {
    /// The file system of `dir`, now. It may block where that hangs.
    ///
    /// # Errors
    /// It cannot be read, or does not say its size.
    pub fn of(dir: &Path) -> Reading<Disk> {
        let found = rustix::fs::statvfs(dir)
            .map_err(|error| Missing::Failed(format!("{}: {error}", dir.display())))?;
        let total_bytes = found.f_blocks.saturating_mul(found.f_frsize);
        let free_bytes = found.f_bavail.saturating_mul(found.f_frsize).min(total_bytes);
        if total_bytes == 0 {
            // Some network file systems do not know.
            return Err(Missing::Failed(format!("{}: its file system does not say its size", dir.display())));
        }
        let used_bytes = found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize);
        let ours = used_bytes.saturating_add(free_bytes);
        let used_percent = if ours == 0 { 100.0 } else { used_bytes as f64 * 100.0 / ours as f64 };
        Ok(Disk { used_percent, free_bytes, total_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_a_file_system_and_one_that_is_gone_has_none() {
        let found = Disk::of(&std::env::temp_dir()).unwrap();
        assert!(found.used_percent >= 0.0 && found.used_percent <= 100.0, "{found:?}");
        assert!(Disk::of(Path::new("/nowhere/at/all")).unwrap_err().failure().is_some());
    }
}
