//! A server for one command alone, which ends with it and leaves nothing behind.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::super::{Failed, serving_file, settings};
use super::connection::{Connection, Here, ServerArgs};
use crate::limits::Mode;
use crate::private;

/// How long the server may take to start.
const START: Duration = Duration::from_secs(60);

/// `omnimind serve`, for as long as this lives.
pub struct OwnServer {
    dir: PathBuf,
    child: Child,
}

impl OwnServer {
    /// Starts one for the command `name`, in a temporary directory and on a free port, with nothing of what is
    /// configured for others.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(name: &str, mode: Mode) -> Result<OwnServer, Failed> {
        // A name that nobody knows before: what somebody put there would be taken for ours.
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Failed::runtime)?;
        let dir = format!("omnimind-{name}-{:016x}", u64::from_le_bytes(random));
        let dir = std::env::temp_dir().join(dir);
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.with_context(|| dir.display().to_string()).map_err(Failed::runtime)?;
        let log = dir.join("serve.log");
        let program = std::env::current_exe().map_err(Failed::runtime)?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--mode", mode.name(), "--port", "0", "--while-stdin", "--data-dir"])
            .arg(&dir);
        // Nothing of what is set for another server, and no configuration that lies here.
        for name in settings::variables() {
            command.env_remove(name);
        }
        // However this process ends, its end of the pipe does too, and with it the server.
        command.current_dir(&dir).stdin(Stdio::piped()).stdout(Stdio::null());
        let log_file = private::file(&log).map_err(Failed::runtime)?;
        let child = command.stderr(log_file).spawn().map_err(Failed::runtime)?;
        let mut server = OwnServer { dir, child };
        let begun = Instant::now();
        while serving_file::running(&server.dir).is_none() {
            let ended = server.child.try_wait().map_err(Failed::runtime)?.is_some();
            if ended || begun.elapsed() > START {
                let log = fs::read_to_string(log).unwrap_or_default();
                return Err(Failed::runtime(anyhow!("the {name}'s server does not start: {}", log.trim())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    /// The way to it.
    ///
    /// # Errors
    /// Its credentials cannot be read.
    pub fn connection(&self) -> Result<Connection, Failed> {
        let here = Here { data_dir: self.dir.clone(), url: None, secret: None };
        Connection::find(&ServerArgs::default(), &here)
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
