//! A WebSocket of which every byte is the test's.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::wire::head;

/// What makes a request one for a WebSocket.
pub const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The first bytes of frames that are whole messages.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

pub struct WebSocket {
    stream: TcpStream,
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Message(Value),
    Ping,
    Pong(Vec<u8>),
    /// With its code and reason.
    Close(u16, String),
    /// The connection's end, with or without a reset.
    End,
}

impl WebSocket {
    /// An open one, past its `connected`.
    #[track_caller]
    pub fn open(server: &Server) -> WebSocket {
        let mut socket = WebSocket::try_open(server, &format!("{}{UPGRADE}", head(server, "GET /ws")))
            .unwrap_or_else(|reply| panic!("no upgrade: {reply:?}"));
        assert_eq!(socket.message()["type"], "connected");
        socket
    }

    /// Sends this head, less its last line; the answer, where it is another than an upgrade.
    pub fn try_open(server: &Server, head: &str) -> Result<WebSocket, Reply> {
        WebSocket::over(server.connect(), head)
    }

    /// The same over a stream that there is.
    pub fn over(mut stream: TcpStream, head: &str) -> Result<WebSocket, Reply> {
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("it takes it");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        if answer.starts_with(b"HTTP/1.1 101 ") {
            let text = String::from_utf8(answer).expect("text").to_ascii_lowercase();
            // RFC 6455, section 1.3, has the answer to this key.
            assert!(text.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{text}");
            return Ok(WebSocket { stream });
        }
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let length =
            text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).expect("all of it");
        answer.extend(body);
        Err(Reply::read(&mut answer.as_slice()).expect("an answer"))
    }

    /// Where it goes over.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes as they are; whether it took them.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A frame with this first byte, masked as a client's is; whether it took it.
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> bool {
        self.raw(&frame(first, payload))
    }

    /// Says something; what comes next.
    pub fn say(&mut self, message: &Value) -> Value {
        assert!(self.frame(TEXT, message.to_string().as_bytes()));
        self.message()
    }

    /// Subscribes; what comes next.
    pub fn subscribe(&mut self, channels: &[&str]) -> Value {
        self.say(&json!({"type": "subscribe", "channels": channels}))
    }

    /// The next message, pings being left out.
    #[track_caller]
    pub fn message(&mut self) -> Value {
        loop {
            match self.next_frame() {
                Frame::Message(message) if message["type"] != "ping" => return message,
                Frame::Message(_) | Frame::Ping => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The messages up to the first for which `last` holds, and that one.
    #[track_caller]
    pub fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message());
            if messages.last().is_some_and(&last) {
                return messages;
            }
        }
    }

    /// Everything up to a close or the end: that one.
    pub fn ending(&mut self) -> Frame {
        loop {
            let frame = self.next_frame();
            if matches!(frame, Frame::Close(..) | Frame::End) {
                return frame;
            }
        }
    }

    /// What comes next.
    pub fn next_frame(&mut self) -> Frame {
        match self.read_frame() {
            Ok(frame) => frame,
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Frame::End
            }
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    fn read_frame(&mut self) -> std::io::Result<Frame> {
        let mut two = [0; 2];
        self.stream.read_exact(&mut two)?;
        let length = match two[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).expect("no mask, a length")];
        self.stream.read_exact(&mut payload)?;
        Ok(match two[0] {
            TEXT => Frame::Message(serde_json::from_slice(&payload).expect("JSON")),
            PING => Frame::Ping,
            PONG => Frame::Pong(payload),
            CLOSE => match payload.split_at_checked(2) {
                Some((code, reason)) => Frame::Close(
                    u16::from_be_bytes([code[0], code[1]]),
                    String::from_utf8(reason.to_vec()).expect("a reason is text"),
                ),
                None => Frame::Close(1005, String::new()),
            },
            other => panic!("a frame that begins with {other:#x}"),
        })
    }
}

/// A frame as a client sends it.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [7, 11, 13, 17];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
