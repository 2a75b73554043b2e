//! `/ws` and what no client sends that means well (hostile-inputs.md, E16 and E18).

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use omnimind_tests::server::{Reply, Server};
use omnimind_tests::web_socket::{CLOSE, Frame, PING, PONG, TEXT, UPGRADE, WebSocket, frame};
use omnimind_tests::wire::{assert_healthy, head, memory_kib, shared};
use serde_json::json;

fn refused(server: &Server, line: &str, lines: &str) -> Reply {
    let head = format!("{}{lines}", head(server, line));
    WebSocket::try_open(server, &head).err().unwrap_or_else(|| panic!("taken: {lines}"))
}

#[test]
fn what_is_no_upgrade_is_refused() {
    let server = shared();
    let get = "GET /ws";
    let without = |name: &str| -> String {
        let lines = UPGRADE.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        lines.collect()
    };
    for lines in [
        String::new(),
        without("Upgrade"),
        without("Sec-WebSocket-Version"),
        UPGRADE.replace(" 13", " 12"),
        UPGRADE.replace(" 13", " 13, 12"),
        format!("{UPGRADE}Sec-WebSocket-Version: 12\r\n"),
        UPGRADE.replace("websocket\r\n", "h2c\r\n"),
    ] {
        let reply = refused(&server, get, &lines);
        reply.problem(426, "upgrade_required");
        let header = |name: &str| reply.headers.get(name).map(String::as_str);
        assert_eq!((header("sec-websocket-version"), header("upgrade")), (Some("13"), Some("websocket")));
    }
    for lines in [
        without("Connection"),
        UPGRADE.replace("Connection: Upgrade", "Connection: keep-alive"),
        without("Sec-WebSocket-Key"),
        UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"),
        UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all !!!"),
        format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        format!("{UPGRADE}Content-Length: 5\r\n"),
    ] {
        refused(&server, get, &lines).problem(400, "bad_request");
    }
    refused(&server, "POST /ws", &format!("{UPGRADE}Content-Length: 0\r\n"))
        .problem(405, "method_not_allowed");
    // The answer to a HEAD has no body, and no protocol after it.
    let mut looking = server.connect();
    looking.write_all(format!("{}{UPGRADE}\r\n", head(&server, "HEAD /ws")).as_bytes()).expect("it is sent");
    let mut status = [0; 12];
    looking.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 405");
    refused(&server, "GET /ws?since=0", UPGRADE).problem(422, "invalid_request");
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let lines = format!("{UPGRADE}Origin: {origin}\r\n");
        refused(&server, get, &lines).problem(403, "origin_not_allowed");
    }
    let ours = format!("{}{UPGRADE}Origin: http://{}\r\n", head(&server, get), server.address);
    assert!(WebSocket::try_open(&server, &ours).is_ok(), "a page of its own");
    let anonymous = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{UPGRADE}", server.address);
    WebSocket::try_open(&server, &anonymous).err().expect("refused").problem(401, "unauthorized");
    // Names of protocols and extensions that nobody here speaks are not agreed to.
    let more = "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    assert!(WebSocket::try_open(&server, &format!("{}{UPGRADE}{more}", head(&server, get))).is_ok());
}

#[test]
fn what_is_no_web_socket_closes_with_a_code() {
    let server = shared();
    let with_length = |first: u8, length: u64| {
        let mut bytes = vec![first, 0xff];
        bytes.extend(length.to_be_bytes());
        bytes.extend([1, 2, 3, 4]);
        bytes
    };
    let text = b"{\"type\":\"ping\"}";
    let fragments = |count: usize, size: usize| {
        let mut bytes = frame(0x01, &vec![b' '; size]);
        let one = frame(0x00, &vec![b' '; size]);
        for _ in 1..count {
            bytes.extend(&one);
        }
        bytes
    };
    for (what, bytes, code) in [
        ("no mask", [&[TEXT, text.len() as u8], text.as_slice()].concat(), 1002),
        ("RSV1, as of a compressed one", frame(TEXT | 0x40, text), 1002),
        ("RSV2", frame(TEXT | 0x20, text), 1002),
        ("RSV3", frame(TEXT | 0x10, text), 1002),
        ("an opcode that is not taken", frame(0x83, text), 1002),
        ("a control opcode that is not taken", frame(0x8b, text), 1002),
        ("a continuation of nothing", frame(0x80, text), 1002),
        ("a message within a message", [frame(0x01, text), frame(TEXT, text)].concat(), 1002),
        ("a control frame of 126 bytes", frame(PING, &[0; 126]), 1002),
        ("a control frame in parts", frame(PING & 0x7f, b""), 1002),
        ("a length of 2^63", with_length(TEXT, 1 << 63), 1009),
        ("a length of 2^64 - 1", with_length(TEXT, u64::MAX), 1009),
        ("a ping of 2^63", with_length(PING, 1 << 63), 1009),
        ("a frame over 16 KiB", frame(TEXT, &[b' '; (16 << 10) + 1]), 1009),
        ("a message over 64 KiB", fragments(5, 16 << 10), 1009),
        ("very many fragments", fragments(1_000_000, 0), 1009),
        ("very many fragments of a byte", fragments(100_000, 1), 1009),
        ("invalid UTF-8", frame(TEXT, b"{\"type\":\"\xff\"}"), 1007),
        ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("half a letter in fragments", [frame(0x01, b"\xc3"), frame(0x80, b"")].concat(), 1007),
    ] {
        let mut socket = WebSocket::open(&server);
        // It may be closed before all of it is taken.
        socket.raw(&bytes);
        let ending = socket.ending();
        assert!(
            matches!(&ending, Frame::Close(given, reason) if *given == code && !reason.is_empty()),
            "{what}: {ending:?}"
        );
        assert_eq!(socket.next_frame(), Frame::End, "{what}");
    }
    // What is just under is taken.
    let mut socket = WebSocket::open(&server);
    let mut long = vec![b' '; 64 << 10];
    long[..text.len()].copy_from_slice(text);
    let (first, rest) = long.split_at(16 << 10);
    let parts: Vec<&[u8]> = rest.chunks(16 << 10).collect();
    socket.frame(0x01, first);
    socket.frame(0x00, parts[0]);
    socket.frame(PING, b"in between");
    socket.frame(0x00, parts[1]);
    socket.frame(0x80, parts[2]);
    assert_eq!(socket.next_frame(), Frame::Pong(b"in between".to_vec()));
    assert_eq!(socket.message()["type"], "pong");
    assert_healthy(&server);
}

#[test]
fn floods_are_cut_off() {
    let server = shared();
    let before = memory_kib(&server, "VmRSS");
    let wrong = frame(TEXT, b"{\"type\":\"nonsense\"}");
    let right = frame(TEXT, b"{\"type\":\"subscribe\",\"channels\":[\"task:1\"]}");
    for (what, one) in [
        ("pings", frame(PING, b"")),
        ("pongs", frame(PONG, b"x")),
        ("nonsense", wrong),
        ("subscriptions", right),
    ] {
        let mut socket = WebSocket::open(&server);
        for _ in 0..1000 {
            socket.raw(&one.repeat(10));
        }
        let ending = socket.ending();
        assert!(matches!(ending, Frame::Close(1008, _)), "{what}: {ending:?}");
    }
    assert!(memory_kib(&server, "VmRSS") < before + (16 << 10));
    // Nobody who means well is: a full load of subscriptions, and a ping now and then.
    let mut socket = WebSocket::open(&server);
    for _ in 0..50 {
        assert_eq!(socket.say(&json!({"type": "ping"}))["type"], "pong");
    }
}

#[test]
fn a_close_is_answered_and_then_it_is_the_end() {
    let server = shared();
    for (what, payload, code) in [
        ("none", vec![], 1005),
        ("1000", 1000_u16.to_be_bytes().to_vec(), 1000),
        ("with a reason", [&1001_u16.to_be_bytes(), b"bye".as_slice()].concat(), 1001),
        ("one that is not sent", 1005_u16.to_be_bytes().to_vec(), 1002),
        ("half a code", vec![3], 1002),
        ("a reason that is not UTF-8", [&1000_u16.to_be_bytes(), b"\xff".as_slice()].concat(), 1007),
    ] {
        let mut socket = WebSocket::open(&server);
        socket.frame(CLOSE, &payload);
        let ending = socket.ending();
        assert!(matches!(ending, Frame::Close(given, _) if given == code), "{what}: {ending:?}");
        assert_eq!(socket.next_frame(), Frame::End, "{what}");
    }
    // Who is closed, and goes on sending as if nothing had been said, is not listened to for long.
    let mut socket = WebSocket::open(&server);
    socket.frame(0x83, b"");
    assert!(matches!(socket.ending(), Frame::Close(1002, _)));
    let begun = Instant::now();
    while socket.frame(TEXT, b"{}") {
        std::thread::sleep(Duration::from_millis(20));
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not held open");
    }
}
