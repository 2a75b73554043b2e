//! The servers that are measured, as children with a port and a log of their own.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{Connection, Request};

const PATIENCE: Duration = Duration::from_secs(120);

/// A child; killed where it is dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// From its start until it answered.
    pub ready: Duration,
    log: PathBuf,
}

/// A port that nobody listens on. Another process could take it before the child does; the child then says so.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a port")
}

impl Process {
    /// Starts it and waits until `GET path` answers 200. Its output goes to `log`.
    pub async fn start(command: &mut Command, address: SocketAddr, path: &str, log: &Path) -> Process {
        let file = File::create(log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let begun = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let mut process = Process { child, address, ready: Duration::ZERO, log: log.into() };
        let request = Request {
            bytes: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into(),
            statuses: &[200],
            holds: "",
        };
        while !answers(address, &request).await {
            let ended = process.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", process.log());
            assert!(begun.elapsed() < PATIENCE, "the server does not answer {path}\n{}", process.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.ready = begun.elapsed();
        process
    }

    /// SIGTERM, as a service manager sends it, and how long it took to end.
    pub fn stop(mut self) -> Duration {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a signal");
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert!(status.success(), "the server ended with {status}\n{}", self.log());
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("procfs");
        // The second field is a name in brackets and may hold blanks; these are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("ticks")).sum();
        // USER_HZ, 100 wherever Linux runs.
        Duration::from_millis(ticks * 10)
    }

    /// Memory that it holds, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("procfs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number");
        kib << 10
    }

    /// The end of what it said.
    fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn answers(address: SocketAddr, request: &Request) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    connection.send(request).await.is_ok_and(|answer| request.is_answered_by(&answer))
}
