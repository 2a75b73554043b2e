//! A client that asks an Ollama with nothing around it, and a server that costs next to nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use omnimind_tests::ollama::MODEL;
use serde_json::{Value, json};

use crate::{CONTEXT, Took};

/// One connection, which is kept.
pub struct Client {
    host: String,
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(url: &str) -> Client {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let lines = BufReader::new(stream.try_clone().expect("a socket"));
        Client { host, stream, lines }
    }

    /// The same request as the runtime's.
    pub fn ask(&mut self, prompt: &str, tokens: u32) -> Took {
        let body = json!({
            "model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": true,
            "truncate": false, "shift": false,
            "options": {"temperature": 0.0, "num_ctx": CONTEXT, "num_predict": tokens},
        })
        .to_string();
        let begun = Instant::now();
        let (host, length) = (&self.host, body.len());
        let head = format!(
            "POST /api/chat HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all((head + &body).as_bytes()).expect("it listens");
        let ms = || begun.elapsed().as_secs_f64() * 1000.0;
        let mut took = Took { first: 0.0, whole: 0.0, pieces: 0.0 };
        let mut line = String::new();
        loop {
            line.clear();
            self.lines.read_line(&mut line).expect("it answers");
            if took.whole > 0.0 && line == "0\r\n" {
                self.lines.read_line(&mut line).expect("the end of the answer");
                return took;
            }
            // Besides: the head, and how long each piece is.
            if !line.starts_with('{') {
                assert!(!line.is_empty(), "the connection is closed");
                continue;
            }
            let said: Value = serde_json::from_str(&line).expect("JSON");
            if said["message"]["content"].as_str().is_some_and(|text| !text.is_empty()) {
                took.pieces += 1.0;
                if took.first == 0.0 {
                    took.first = ms();
                }
            }
            if said["done"] == true {
                took.whole = ms();
            }
        }
    }
}

/// An Ollama that writes as many tokens as it may, each as soon as it can.
pub struct AtOnce {
    url: String,
}

impl AtOnce {
    /// Until the process ends.
    pub fn serve() -> AtOnce {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || while answer(&stream).is_some() {});
            }
        });
        AtOnce { url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";

/// Answers one request of a connection; none where there are no more.
fn answer(mut stream: &TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut lines, mut length) = (BufReader::new(stream), 0);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?
            }
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let asked: Value = serde_json::from_slice(&body).ok()?;
    let tokens = asked["options"]["num_predict"].as_u64()?;
    // A prompt is answered in other words than a conversation.
    let piece = match asked["messages"].is_null() {
        true => json!({"model": MODEL, "done": false, "response": "a "}),
        false => json!({"model": MODEL, "done": false, "message": {"role": "assistant", "content": "a "}}),
    };
    let end = json!({
        "model": MODEL, "done": true, "done_reason": "length", "prompt_eval_count": 12, "eval_count": tokens,
    });
    let chunk = |said: &Value| format!("{:x}\r\n{said}\n\r\n", said.to_string().len() + 1);
    stream.write_all(HEAD.as_bytes()).ok()?;
    let piece = chunk(&piece);
    (0..tokens).try_for_each(|_| stream.write_all(piece.as_bytes())).ok()?;
    stream.write_all((chunk(&end) + "0\r\n\r\n").as_bytes()).ok()
}
