//! `DATA_DIR/server.json`: where the server listens that has this data directory.
//!
//! The file outlives a server that was killed, and then anybody on this machine may listen on its port. So a
//! client that finds it asks whether the process that wrote it still lives, before it sends a password there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::private;

const NAME: &str = "server.json";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Serving {
    /// Where to send requests.
    url: String,
    /// The file with its certificate, where it speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cacert: Option<PathBuf>,
    pid: u32,
    /// Clock ticks from the machine's start to the process's: a process id alone is used again.
    started: u64,
}

/// The file, for as long as this lives.
#[derive(Debug)]
pub struct Announced {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Where a server is that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Where to send requests.
    pub url: String,
    /// The file with its certificate, where it speaks TLS.
    pub cacert: Option<PathBuf>,
}

/// Writes the file for this process, which is found at `url` and has its certificate in the file `cacert`.
///
/// # Errors
/// It cannot be written.
pub fn announce(data_dir: &Path, url: &str, cacert: Option<&Path>) -> anyhow::Result<Announced> {
    let path = data_dir.join(NAME);
    let pid = std::process::id();
    let cacert = cacert.map(Path::to_owned);
    let serving = Serving { url: url.to_owned(), cacert, pid, started: started(pid).unwrap_or(0) };
    let bytes = serde_json::to_vec(&serving)?;
    private::replace(&path, &bytes)?;
    Ok(Announced { path, bytes })
}

impl Drop for Announced {
    fn drop(&mut self) {
        // The next server may be there already.
        if fs::read(&self.path).is_ok_and(|there| there == self.bytes) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The server that has `data_dir` and lives.
pub fn running(data_dir: &Path) -> Option<Running> {
    let stored = fs::read(data_dir.join(NAME)).ok()?;
    let Serving { url, cacert, pid, started: then } = serde_json::from_slice(&stored).ok()?;
    let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    (started(pid) == Some(then) && owner == rustix::process::geteuid().as_raw())
        .then_some(Running { url, cacert })
}

/// When a process began: field 22 of proc_pid_stat(5), counted behind the name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_process_that_is_gone_leads_nowhere() {
        let dir = std::env::temp_dir().join(format!("omnimind-serving-{}", std::process::id()));
        private::dir(&dir).unwrap();
        assert_eq!(running(&dir), None);
        let cert = Path::new("/etc/cert.pem");
        let announced = announce(&dir, "https://127.0.0.1:81", Some(cert)).unwrap();
        let expected = Running { url: "https://127.0.0.1:81".to_owned(), cacert: Some(cert.to_owned()) };
        assert_eq!(running(&dir), Some(expected));
        // Another process with the same id: it began at another time.
        let mut stored: Serving = serde_json::from_slice(&fs::read(dir.join(NAME)).unwrap()).unwrap();
        stored.started += 1;
        fs::write(dir.join(NAME), serde_json::to_vec(&stored).unwrap()).unwrap();
        assert_eq!(running(&dir), None);
        drop(announced);
        assert!(dir.join(NAME).exists(), "it is another server's by now");
        fs::remove_dir_all(dir).unwrap();
    }
}
