//! What no well-behaved client sends, and what none would read: raw bytes, frames, streams of events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use wasm_encoder::{ComponentSection, CustomSection};

use crate::server::{Reply, Server};

/// The server that tests share which only look at answers. It ends with the last test that holds it.
pub fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start());
    *shared = Arc::downgrade(&server);
    server
}

/// Memory of a process, in KiB: `VmRSS`, `VmHWM`.
pub fn memory_kib(server: &Server, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of that name");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Asserts that the server answers, and has nothing left that runs or waits.
#[track_caller]
pub fn assert_idle(server: &Server) {
    crate::server::eventually(|| {
        let queue = server.get("/api/v1/health/queue").json();
        let (running, pending) = (&queue["details"]["running"], &queue["details"]["pending"]);
        (*running == 0 && *pending == 0).then_some(())
    });
    assert_healthy(server);
}

/// Asserts that what a client is told is said in JSON's words.
#[track_caller]
pub fn assert_no_rust(words: &str) {
    for rust in [
        "struct ",
        "enum ",
        "sequence",
        "a map",
        "variant",
        "invalid type",
        "invalid value",
        "u64",
        "u32",
        "u8",
    ] {
        assert!(!words.contains(rust), "{words}");
    }
}

/// Asserts that the server is well, as anybody sees it.
#[track_caller]
pub fn assert_healthy(server: &Server) {
    let health = server.request("GET", "/api/v1/health/").anonymous().send();
    assert_eq!(health.status, 200, "{health:?}");
    assert_eq!(health.json()["overall_status"], "healthy", "{health:?}");
}

/// The first lines of a request with good credentials, up to the empty line.
pub fn head(server: &Server, line: &str) -> String {
    let (address, authorization) = (server.address, server.authorization());
    format!("{line} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\n")
}

/// Everything that comes back for `bytes` until the server closes, or says nothing for `patience`.
pub fn exchange(server: &Server, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let mut stream = server.connect();
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    stream.set_write_timeout(Some(patience)).expect("a timeout");
    // It may answer, and close, before all of it is written.
    let _ = stream.write_all(bytes);
    read_all(&mut stream)
}

/// Everything that comes until the end, or until nothing more does.
pub fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 16 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut some) {
        all.extend_from_slice(&some[..read]);
    }
    all
}

/// The statuses of the HTTP/1 answers in `bytes`.
pub fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let answers = text.split("HTTP/1.1 ").skip(1);
    answers.filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
}

/// The one answer to `bytes`, which ask for the connection to be closed.
pub fn answer(server: &Server, bytes: &[u8]) -> Reply {
    let mut stream = server.connect();
    let _ = stream.write_all(bytes);
    Reply::read(&mut stream).expect("an answer")
}

/// A form: its media type and its bytes.
pub fn form(parts: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, media_type, content) in parts {
        let head = format!(
            "--EDGE\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--EDGE--\r\n");
    ("multipart/form-data; boundary=EDGE".to_owned(), body)
}

/// `component` with a custom section at its end.
pub fn with_section(component: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    CustomSection { name: name.into(), data: data.into() }.append_to_component(&mut bytes);
    bytes
}

/// A stream of server-sent events.
pub struct Events {
    lines: BufReader<TcpStream>,
}

/// One of them.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Events {
    /// Asks for `path`, which answers `200` and goes on.
    pub fn open(server: &Server, path: &str) -> Events {
        let mut stream = server.connect();
        let request = format!("{}\r\n", head(server, &format!("GET {path}")));
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut lines = BufReader::new(stream);
        let mut status = String::new();
        lines.read_line(&mut status).expect("an answer");
        assert!(status.contains(" 200 "), "{status}");
        Events { lines }
    }

    /// Where they come from.
    pub fn stream(&self) -> &TcpStream {
        self.lines.get_ref()
    }

    /// The next one; none at the end of the stream.
    pub fn next_event(&mut self) -> Option<Event> {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.lines.read_line(&mut line).expect("more in time") == 0 {
                return None;
            }
            let text = line.trim_end();
            if let Some(text) = text.strip_prefix("event: ") {
                text.clone_into(&mut name);
            } else if let Some(data) = text.strip_prefix("data: ") {
                let data = serde_json::from_str(data).expect("JSON");
                return Some(Event { name, data });
            }
        }
    }

    /// The events up to the first for which `last` holds, and that one.
    pub fn until(&mut self, last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next_event().expect("it goes on");
            let is_last = last(&event);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
}

/// The longest of some times, and the middle one.
pub fn longest_and_middle(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() - 1], times[times.len() / 2])
}

/// How long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = work();
    (result, begun.elapsed())
}
