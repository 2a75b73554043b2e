//! The server's side that the bench needs: started on a data directory, its credentials, its requests.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Connection, Request};
use crate::process::{Process, free_address};

pub const HEALTH: &str = "/api/v1/health/";

/// A server of this build.
pub struct Omnimind {
    pub process: Process,
    authorization: String,
}

/// A directory that goes with the bench, on the disk that is built on: /tmp may be memory, and what is durable has
/// to reach a disk.
pub fn data_directory() -> TempDir {
    let mut directory = tempfile::Builder::new();
    directory.prefix("bench-server-");
    directory.tempdir_in(omnimind_tests::target_dir()).expect("a data directory")
}

impl Omnimind {
    /// `omnimind serve` on this data directory, ready.
    pub async fn start(data: &Path, arguments: &[&str]) -> Omnimind {
        let address = free_address();
        let mut serve = Command::new(omnimind_tests::binary());
        serve.args(["serve", "--mode", "dev", "--host", "127.0.0.1", "--port", &address.port().to_string()]);
        serve.arg("--data-dir").arg(data).args(arguments);
        // Not the caller's configuration: neither its variables nor a ./config.
        serve.current_dir(data);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OMNIMIND_") {
                serve.env_remove(name);
            }
        }
        let process = Process::start(&mut serve, address, HEALTH, &data.join("bench.log")).await;
        let credentials = std::fs::read(data.join("credentials.json")).expect("credentials.json");
        let credentials: Value = serde_json::from_slice(&credentials).expect("JSON");
        let part = |name: &str| credentials[name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
        let authorization = BASE64_STANDARD.encode(format!("{}:{}", part("user"), part("password")));
        Omnimind { process, authorization }
    }

    /// Uploads a component; its digest.
    pub async fn push(&self, name: &str, wasm: &[u8]) -> String {
        let path = format!("/api/components/?name={name}");
        let answer = self.call(self.render("POST", &path, "application/wasm", wasm, &[200, 201])).await;
        answer["digest"].as_str().expect("a digest").to_owned()
    }

    /// What [`Omnimind::push`] sends, without a name.
    pub fn upload(&self, wasm: &[u8]) -> Request {
        self.render("POST", "/api/components/", "application/wasm", wasm, &[200, 201])
    }

    /// A submission; `wait` asks for the finished record.
    pub fn submit(&self, task: &Value, wait: bool) -> Arc<Request> {
        let (path, statuses): (_, &[u16]) =
            if wait { ("/api/tasks/?wait=10s", &[200]) } else { ("/api/tasks/", &[202]) };
        let body = task.to_string();
        let request = self.render("POST", path, "application/json", body.as_bytes(), statuses);
        // A task that failed is a finished one too.
        Arc::new(Request { holds: if wait { "\"completed\"" } else { "" }, ..request })
    }

    pub fn get(&self, path: &str) -> Request {
        self.render("GET", path, "", b"", &[200])
    }

    /// Another mode.
    pub fn switch(&self, mode: &str) -> Request {
        let body = json!({"mode": mode}).to_string();
        self.render("PUT", "/api/v1/protection/mode", "application/json", body.as_bytes(), &[200])
    }

    /// The head of a request for a WebSocket.
    pub fn upgrade(&self) -> Vec<u8> {
        let request = self.render("GET", "/ws", "", b"", &[101]);
        let head = String::from_utf8(request.bytes).expect("text");
        let more = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        (head.trim_end().to_owned() + "\r\n" + more).into_bytes()
    }

    pub fn cancel(&self, task_id: &str) -> Request {
        self.render("DELETE", &format!("/api/tasks/{task_id}"), "", b"", &[200, 202])
    }

    /// Sends it on a connection of its own, and expects JSON.
    pub async fn call(&self, request: Request) -> Value {
        let mut connection = Connection::open(self.process.address).await.expect("a connection");
        let answer = connection.send(&request).await.expect("an answer");
        assert!(request.is_answered_by(&answer), "{}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Submits a task that does not end while the bench runs, and returns its id.
    pub async fn occupy(&self, component: &str, input: u64) -> String {
        // The most that the mode `dev` gives.
        let limits = json!({"fuel": 10_000_000_000_000_u64, "wall_ms": 3_600_000});
        let task = json!({"component": component, "input": input, "limits": limits});
        let request = self.submit(&task, false);
        let mut connection = Connection::open(self.process.address).await.expect("a connection");
        let answer = connection.send(&request).await.expect("an answer");
        assert!(request.is_answered_by(&answer), "{}", answer.text());
        task_id(&answer.body)
    }

    fn render(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
        statuses: &'static [u16],
    ) -> Request {
        let (address, authorization) = (self.process.address, &self.authorization);
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {authorization}\r\n"
        );
        if !content_type.is_empty() {
            text += &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Request { bytes, statuses, holds: "" }
    }
}

/// Of the record in an answer.
pub fn task_id(record: &[u8]) -> String {
    let record: Value = serde_json::from_slice(record).expect("a record");
    record["task_id"].as_str().expect("a task_id").to_owned()
}
