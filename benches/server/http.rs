//! A client that costs as little as one can, so that what is measured is the server: requests are rendered once, an
//! answer is read into one buffer and taken apart only as far as to know where it ends.
//!
//! One request at a time on a connection. Not a client for anything but these benches: no redirects, no trailers,
//! no answers that end with the connection.

use std::borrow::Cow;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Rendered, with what counts as its right answer.
pub struct Request {
    pub bytes: Vec<u8>,
    pub statuses: &'static [u16],
    /// What the body must hold; empty for anything.
    pub holds: &'static str,
}

impl Request {
    pub fn is_answered_by(&self, answer: &Answer) -> bool {
        let holds = self.holds.as_bytes();
        self.statuses.contains(&answer.status)
            && (holds.is_empty() || answer.body.windows(holds.len()).any(|window| window == holds))
    }
}

pub struct Answer<'a> {
    pub status: u16,
    pub body: Cow<'a, [u8]>,
}

impl Answer<'_> {
    /// For messages.
    pub fn text(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.status, body.chars().take(500).collect::<String>())
    }
}

/// Kept open from request to request.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    pub async fn send(&mut self, request: &Request) -> Result<Answer<'_>> {
        self.buffer.clear();
        self.stream.write_all(&request.bytes).await?;
        while parse(&self.buffer)?.is_none() {
            self.buffer.reserve(16 << 10);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        // Once more, because the borrow checker does not let an answer out of that loop; it costs 1 µs.
        parse(&self.buffer)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

/// The answer, if all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<Answer<'_>>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let head = std::str::from_utf8(head).map_err(|_| invalid("a head that is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid("no status"))?;
    let mut body_of = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().map_err(|_| invalid("content-length"))?;
            body_of = Some(body.get(..length).map(Cow::Borrowed));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            body_of = Some(chunks(body)?.map(Cow::Owned));
        }
    }
    let body = body_of.ok_or_else(|| invalid("neither a length nor chunks"))?;
    Ok(body.map(|body| Answer { status, body }))
}

/// The chunks put together, if the last one is there.
fn chunks(mut bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(line) = find(bytes, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[..line]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| invalid("size of a chunk"))?;
        bytes = &bytes[line + 2..];
        // With the line's end that follows each chunk, also the empty one that is the last.
        let Some(chunk) = bytes.get(..size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&chunk[..size]);
        bytes = &bytes[size + 2..];
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not HTTP as this client knows it: {what}"))
}
