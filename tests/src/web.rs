//! A web server of a test's own, as good or as bad as the test needs it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The body, as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection is closed.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    pub fn json(body: &Value) -> Reply {
        Reply::new(200, body.to_string())
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cut(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }
}

/// A server on a thread of its own, until it is dropped.
pub struct Web {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Web {
    /// Answers each request with what `handler` says. One at a time on each connection, and each connection once.
    pub fn serve(handler: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (ended, handler) = (Arc::new(AtomicBool::new(false)), Arc::new(handler));
        let over = ended.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), handler) = (stream, handler.clone()) else { continue };
                std::thread::spawn(move || answer(stream, &*handler));
            }
        });
        Web { address, ended }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(stream: TcpStream, handler: &(dyn Fn(Request) -> Reply + Sync)) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut request =
        Request { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Request::default() };
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        request.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    lines.read_exact(&mut request.body).ok()?;
    let head_only = request.method == "HEAD";
    let Reply { status, headers, body, cut } = handler(request);
    let mut stream = stream;
    let mut head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if !head_only {
        stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]).ok()?;
    }
    Some(())
}

/// An Ollama with the model `name` of `dimensions`: the vector of a text says how often it has which letter. A text
/// of more than `max` words is too long. Each batch is given to `seen` first.
pub fn ollama(
    name: &str,
    dimensions: usize,
    max: usize,
    seen: impl Fn(&[String]) + Send + Sync + 'static,
) -> Web {
    let name = name.to_owned();
    Web::serve(move |request| {
        let asked = request.json();
        if asked["model"] != name {
            return Reply::new(404, json!({"error": "model not found, try pulling it first"}).to_string());
        }
        match request.path.as_str() {
            "/api/show" => Reply::json(&json!({
                "capabilities": ["embedding"],
                "model_info": {
                    "general.architecture": "bert", "bert.embedding_length": dimensions, "bert.context_length": max,
                },
            })),
            "/api/embed" => {
                assert_eq!(asked["truncate"], false, "nothing is cut silently");
                let texts = asked["input"].as_array().expect("texts").iter();
                let texts: Vec<String> =
                    texts.map(|text| text.as_str().expect("a text").to_owned()).collect();
                seen(&texts);
                if texts.iter().any(|text| text.split_whitespace().count() > max) {
                    return Reply::new(
                        400,
                        json!({"error": "the input length exceeds the context length"}).to_string(),
                    );
                }
                let vector = |text: &String| {
                    let mut vector = vec![0.5; dimensions];
                    text.bytes().for_each(|byte| vector[usize::from(byte) % dimensions] += 1.0);
                    vector
                };
                let words: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
                let vectors: Vec<Vec<f32>> = texts.iter().map(vector).collect();
                Reply::json(&json!({"model": name, "embeddings": vectors, "prompt_eval_count": words}))
            }
            _ => Reply::new(404, "404 page not found"),
        }
    })
}
