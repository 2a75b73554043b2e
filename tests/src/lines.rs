//! A server that answers as it is told, byte by byte: what a service does that misbehaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::server::eventually;

/// What it does next.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends a head: `200`, `302 location: http://…`.
    Head(String),
    /// Sends this.
    Send(String),
    /// Sends this so many times.
    Repeat(String, usize),
    /// Does nothing for a while.
    Wait(Duration),
    /// Does nothing until the client has gone.
    Hang,
}

impl Act {
    /// Sends a line of JSON.
    pub fn line(line: &Value) -> Act {
        Act::Send(format!("{line}\n"))
    }

    /// The head of an answer that is one.
    pub fn ok() -> Act {
        Act::Head("200".to_owned())
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub body: Value,
    /// How many were asked before it.
    pub before: usize,
}

/// Answers each request as `script` says, and closes the connection after that.
pub struct Lines {
    url: String,
    /// How often a client went before the end.
    pub left: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Lines {
    pub fn serve(script: impl Fn(Asked) -> Vec<Act> + Send + Sync + 'static) -> Lines {
        Lines::on(TcpListener::bind("127.0.0.1:0").expect("a port"), script)
    }

    /// The same where another one was: at its URL.
    pub fn serve_again(url: &str, script: impl Fn(Asked) -> Vec<Act> + Send + Sync + 'static) -> Lines {
        Lines::on(eventually(|| TcpListener::bind(address(url)).ok()), script)
    }

    fn on(listener: TcpListener, script: impl Fn(Asked) -> Vec<Act> + Send + Sync + 'static) -> Lines {
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (left, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (gone, over, script, count) =
            (left.clone(), ended.clone(), Arc::new(script), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (gone, script, before) =
                    (gone.clone(), script.clone(), count.fetch_add(1, Ordering::Relaxed));
                std::thread::spawn(move || {
                    if answer(stream, before, &*script).is_none() {
                        gone.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Lines { url, left, ended }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it; returns when nobody listens there any more.
    pub fn end(self) {
        let url = self.url.clone();
        drop(self);
        eventually(|| TcpStream::connect(address(&url)).is_err().then_some(()));
    }
}

fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(address(&self.url));
    }
}

/// Answers; none where the client went before the end.
fn answer(mut stream: TcpStream, before: usize, script: &dyn Fn(Asked) -> Vec<Act>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0);
    lines.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let path = first.split_whitespace().nth(1)?.to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    for act in script(Asked { path, body, before }) {
        match act {
            Act::Head(head) => {
                let (status, more) = head.split_once(' ').unwrap_or((&head, ""));
                let more = if more.is_empty() { String::new() } else { format!("{more}\r\n") };
                stream
                    .write_all(format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{more}\r\n").as_bytes())
                    .ok()?;
            }
            Act::Send(text) => stream.write_all(text.as_bytes()).ok()?,
            Act::Repeat(text, times) => {
                (0..times).try_for_each(|_| stream.write_all(text.as_bytes())).ok()?
            }
            Act::Wait(time) => std::thread::sleep(time),
            Act::Hang => {
                // Nothing more is sent to it, so what is read is its end.
                let _ = stream.read(&mut [0]);
                return None;
            }
        }
    }
    Some(())
}
