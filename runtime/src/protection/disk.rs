//! How full the file system of the data directory is.

use std::path::Path;

use serde::Serialize;

use super::reading::{Missing, Reading};

/// A file system: `statvfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Disk {
    /// Share that is not free for us; what is reserved for root counts as used.
    pub used_percent: f64,
    /// Bytes that are free for us.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// Looks now. It may block where the file system hangs.
pub fn look(data_dir: &Path) -> Reading<Disk> {
    let found = rustix::fs::statvfs(data_dir)
        .map_err(|error| Missing::Failed(format!("{}: {error}", data_dir.display())))?;
    let total_bytes = found.f_blocks.saturating_mul(found.f_frsize);
    let free_bytes = found.f_bavail.saturating_mul(found.f_frsize).min(total_bytes);
    if total_bytes == 0 {
        // Some network file systems do not know.
        return Err(Missing::Failed(format!(
            "{}: its file system does not say its size",
            data_dir.display()
        )));
    }
    let used_percent = (total_bytes - free_bytes) as f64 * 100.0 / total_bytes as f64;
    Ok(Disk { used_percent, free_bytes, total_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_a_file_system_and_one_that_is_gone_has_none() {
        let found = look(&std::env::temp_dir()).unwrap();
        assert!(found.used_percent >= 0.0 && found.used_percent <= 100.0, "{found:?}");
        assert!(look(Path::new("/nowhere/at/all")).unwrap_err().failure().is_some());
    }
}
