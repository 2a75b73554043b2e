//! A server of its own for a test, and a small client for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{binary, target_dir};

/// Longest time any answer may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// An `omnimind serve` that ends with the test, and its data directory with it.
pub struct Server {
    pub address: SocketAddr,
    pub data_dir: PathBuf,
    child: Child,
    authorization: String,
    /// What it has written to standard error.
    pub log: Arc<Mutex<String>>,
    /// Whether the data directory goes with it.
    pub(crate) owned: bool,
}

/// A fresh directory for a test's data.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = target_dir().join("test-data").join(format!("{name}-{}-{count}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

/// `omnimind serve` on any free port, with whatever environment a test needs.
pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["serve", "--port", "0", "--data-dir"]).arg(data_dir);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        command.env_remove(name);
    }
    // Tests run side by side, and each is the others' outside load: nothing is to be paused for that.
    command.env("OMNIMIND_PROTECTION__LIMITS__STARTUP_GRACE", "3600");
    command
}

impl Server {
    /// A server in mode dev with a data directory of its own.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// The same with more arguments.
    pub fn with(arguments: &[&str]) -> Server {
        Server::set_up(arguments, |_| {})
    }

    /// The same with whatever else `more` does to the command.
    pub fn set_up(arguments: &[&str], more: impl FnOnce(&mut Command)) -> Server {
        let data_dir = scratch("server");
        let mut command = command(&data_dir);
        command.args(arguments);
        more(&mut command);
        let mut server = Server::launch(command, &data_dir).unwrap_or_else(|log| panic!("no start: {log}"));
        server.owned = true;
        server
    }

    /// Starts `command`, which serves from `data_dir`; the log and the exit status, if it ends instead. The
    /// directory stays.
    pub fn launch(command: Command, data_dir: &Path) -> Result<Server, String> {
        let (server, mut lines) = Server::launch_unread(command, data_dir)?;
        let rest = server.log.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                rest.lock().expect("no panic").push_str(&line);
                line.clear();
            }
        });
        Ok(server)
    }

    /// The same, with its standard error from the line on that says where it listens: nobody reads that.
    pub fn launch_unread(
        mut command: Command,
        data_dir: &Path,
    ) -> Result<(Server, BufReader<ChildStderr>), String> {
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("omnimind starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("text") == 0 {
                let status = child.wait().expect("it ends");
                return Err(format!("{}({status})", log.lock().expect("no panic")));
            }
            log.lock().expect("no panic").push_str(&line);
            let url = line.trim().strip_prefix("omnimind listens on ");
            if let Some(address) = url.and_then(|url| url.split_once("://")) {
                break address.1.parse().expect("an address");
            }
        };
        let stored = std::fs::read(data_dir.join("credentials.json")).expect("credentials");
        let stored: Value = serde_json::from_slice(&stored).expect("JSON");
        let word = |name: &str| stored[name].as_str().expect("text").to_owned();
        let authorization =
            format!("Basic {}", STANDARD.encode(format!("{}:{}", word("user"), word("password"))));
        let server =
            Server { address, data_dir: data_dir.to_owned(), child, authorization, log, owned: false };
        Ok((server, lines))
    }

    /// The value of a good `Authorization`.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no time for anything.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for the end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }

    /// What `omnimind COMMAND` comes to for somebody who has this server's data directory.
    pub fn omnimind(&self, command: &str, arguments: &[&str]) -> std::process::Output {
        let mut omnimind = Command::new(binary());
        omnimind.arg(command).args(arguments).arg("--data-dir").arg(&self.data_dir);
        omnimind.env_remove("OMNIMIND_URL").output().expect("omnimind starts")
    }

    /// A request with credentials.
    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        let headers = vec![("Authorization".to_owned(), self.authorization.clone())];
        Request { server: self, method: method.into(), path: path.into(), headers, body: Vec::new() }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send()
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path).send()
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path).json(body).send()
    }

    /// Uploads the built guest `name`; its digest.
    pub fn push(&self, name: &str) -> String {
        let reply = self.request("POST", "/api/components/").wasm(&crate::guest(name)).send();
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        reply.json()["digest"].as_str().expect("a digest").to_owned()
    }

    /// Submits and does not wait; the id.
    pub fn submit(&self, task: &Value) -> String {
        let reply = self.post("/api/tasks/", task);
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()["task_id"].as_str().expect("an id").to_owned()
    }

    /// Submits and waits for the end; the record.
    pub fn run(&self, task: &Value) -> Value {
        let reply = self.post("/api/tasks/?wait=60s", task);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// One task's record.
    pub fn task(&self, id: &str) -> Value {
        let reply = self.get(&format!("/api/tasks/{id}"));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// Waits until `wanted` holds of a task's record.
    pub fn wait_for(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(|| Some(self.task(id)).filter(|task| wanted(task)))
    }

    /// Waits until a task has this status.
    pub fn wait_for_status(&self, id: &str, status: &str) -> Value {
        self.wait_for(id, |task| task["status"] == status)
    }

    /// A raw connection, for what no client would send.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.owned {
            let _ = std::fs::remove_dir_all(&self.data_dir);
        }
    }
}

/// Tries until there is something.
#[track_caller]
pub fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A request that is being put together.
pub struct Request<'a> {
    server: &'a Server,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request<'_> {
    /// Adds a header, or replaces it; an empty value removes it.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Without credentials.
    pub fn anonymous(self) -> Self {
        self.header("Authorization", "")
    }

    pub fn body(mut self, media_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("Content-Type", media_type)
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    pub fn wasm(self, body: &[u8]) -> Self {
        self.body("application/wasm", body)
    }

    /// Sends it and reads the whole answer.
    pub fn send(self) -> Reply {
        self.try_send().expect("an answer")
    }

    /// The same where the server may be gone.
    pub fn try_send(self) -> std::io::Result<Reply> {
        let Request { server, method, path, headers, body } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", server.address));
        }
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(server.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(head.as_bytes())?;
        // A refusal may come before all of the body is taken.
        let _ = stream.write_all(&body);
        Reply::read(&mut stream)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads an answer to the end of the connection.
    pub fn read(stream: &mut impl Read) -> std::io::Result<Reply> {
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        Reply::parse(&bytes).ok_or_else(|| {
            read.err()
                .unwrap_or_else(|| std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "half an answer"))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Reply> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let rest = &bytes[end + 4..];
        let body = match (headers.get("content-length"), headers.get("transfer-encoding")) {
            (Some(length), _) => rest.get(..length.parse().ok()?)?.to_vec(),
            (None, Some(_)) => unchunked(rest),
            (None, None) => rest.to_vec(),
        };
        Some(Reply { status, headers, body })
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts that it is this problem, whole and in its form; the JSON.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{} {}", self.status, self.text());
        assert_eq!(self.headers.get("content-type").map(String::as_str), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], json!(status));
        for field in ["type", "title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
        }
        problem
    }
}

/// What has come of a chunked body, whole or not.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let chunk = rest.get(end + 2..end + 2 + size).unwrap_or(&rest[end + 2..]);
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}
