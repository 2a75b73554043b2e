//! Below HTTP: requests that are to be read in two ways, heads without end, frames by the thousand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use omnimind_tests::server::Server;
use omnimind_tests::wire::{answer, assert_healthy, exchange, head, memory_kib, shared, statuses, timed};

const PATIENCE: Duration = Duration::from_secs(5);

/// A request with good credentials, some more lines, and a body, closing.
fn request(server: &Server, line: &str, more: &str, body: &str) -> Vec<u8> {
    format!("{}Connection: close\r\n{more}\r\n{body}", head(server, line)).into_bytes()
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let server = shared();
    let json = "Content-Type: application/json\r\n";
    for (what, more, body) in [
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n", "{}x"),
        ("two lengths in one", "Content-Length: 2, 3\r\n", "{}x"),
        ("a length with a sign", "Content-Length: +2\r\n", "{}"),
        ("a negative length", "Content-Length: -2\r\n", "{}"),
        ("a length in hex", "Content-Length: 0x2\r\n", "{}"),
        ("a length beyond 64 bits", "Content-Length: 99999999999999999999999\r\n", "{}"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("chunked is not the last", "Transfer-Encoding: chunked, identity\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("coded before it is cut", "Transfer-Encoding: gzip, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("a blank before the colon", "Transfer-Encoding : chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("a folded line", "X-A: b\r\n c\r\n", ""),
        ("a line without a colon", "X-A\r\n", ""),
        ("a zero byte", "X-A: a\0b\r\n", ""),
        ("two hosts", "Host: evil.example\r\n", ""),
        ("the same host twice", "Host: 127.0.0.1\r\n", ""),
    ] {
        let bytes = request(&server, "POST /api/tasks/", &format!("{json}{more}"), body);
        assert_eq!(statuses(&exchange(&server, &bytes, PATIENCE)), [400], "{what}");
    }
    // Two lengths that agree are one.
    let bytes = request(
        &server,
        "POST /api/tasks/",
        &format!("{json}Content-Length: 2\r\nContent-Length: 2\r\n"),
        "{}",
    );
    assert_eq!(statuses(&exchange(&server, &bytes, PATIENCE)), [422]);
    assert_healthy(&server);
}

#[test]
fn a_length_beside_chunks_smuggles_nothing() {
    let server = shared();
    let smuggled = format!("{}\r\n", head(&server, "GET /api/v1/health/"));
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 400\r\n",
    ] {
        // By the chunks the body ends before the second request, by the length somewhere in the middle.
        let post = head(&server, "POST /api/tasks/");
        let bytes =
            format!("{post}Content-Type: application/json\r\n{lines}\r\n2\r\n{{}}\r\n0\r\n\r\n{smuggled}");
        let (answers, took) = timed(|| exchange(&server, bytes.as_bytes(), PATIENCE));
        let statuses = statuses(&answers);
        assert!(matches!(*statuses, [400] | [422]), "one answer, and the end: {statuses:?}");
        assert!(took < PATIENCE, "it is closed");
    }
}

#[test]
fn a_request_names_one_host() {
    let server = shared();
    let authorization = server.authorization();
    let get = |hosts: &str| {
        let bytes = format!(
            "GET /api/tasks/ HTTP/1.1\r\n{hosts}Authorization: {authorization}\r\nConnection: close\r\n\r\n"
        );
        answer(&server, bytes.as_bytes())
    };
    assert_eq!(get("").status, 400, "HTTP/1.1 says that there is one");
    assert_eq!(get("Host: localhost\r\nHost: evil.example\r\n").status, 400);
    assert_eq!(get("Host: localhost\r\nHost: localhost\r\n").status, 400);
    for good in ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:80"] {
        assert_eq!(get(&format!("Host: {good}\r\n")).status, 200, "{good}");
    }
    for bad in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "local host"] {
        get(&format!("Host: {bad}\r\n")).problem(403, "origin_not_allowed");
    }
    let old = format!("GET /api/tasks/ HTTP/1.0\r\nAuthorization: {authorization}\r\n\r\n");
    assert_eq!(statuses(&exchange(&server, old.replace("/1.0", "/1.1").as_bytes(), PATIENCE)), [400]);
    let text = String::from_utf8_lossy(&exchange(&server, old.as_bytes(), PATIENCE)).into_owned();
    assert!(text.starts_with("HTTP/1.0 200"), "before 1.1 there was none: {text}");
}

#[test]
fn heads_have_an_end() {
    let server = shared();
    let before = memory_kib(&server, "VmRSS");
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    for (what, line, more) in [
        ("101 headers", "GET /".to_owned(), many),
        ("one of 400 KB", "GET /".to_owned(), format!("X: {}\r\n", "y".repeat(400_000))),
        (
            "credentials of 1 MB",
            "GET /".to_owned(),
            format!("Authorization: Basic {}\r\n", "A".repeat(1 << 20)),
        ),
        ("a path of 70 KB", format!("GET /{}", "a".repeat(70_000)), String::new()),
    ] {
        let bytes = request(&server, &line, &more, "");
        let answers = statuses(&exchange(&server, &bytes, PATIENCE));
        assert!(matches!(*answers, [431] | [414]), "{what}: {answers:?}");
    }
    // One that never ends: the connection does.
    let mut stream = server.connect();
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").expect("it is sent");
    let sent = (0..10_000).take_while(|_| stream.write_all(&[b'y'; 16 << 10]).is_ok()).count();
    assert!(sent < 2000, "{} KiB of a head were taken", sent * 16);
    assert!(memory_kib(&server, "VmRSS") < before + (8 << 10));
    assert_healthy(&server);
}

#[test]
fn odd_requests_have_plain_answers() {
    let server = shared();
    for (what, line, expected) in [
        ("another place", "CONNECT 127.0.0.1:22", [404, 405]),
        ("the server itself", "OPTIONS *", [404, 405]),
        ("absolute", &format!("GET http://{}/api/tasks/", server.address), [200, 200]),
    ] {
        let bytes = request(&server, line, "", "");
        let answers = statuses(&exchange(&server, &bytes, PATIENCE));
        assert!(matches!(*answers, [status] if expected.contains(&status)), "{what}: {answers:?}");
    }
    for garbage in [
        b"GET /api/tasks\r\n\r\n".as_slice(),
        b"GET / HTTP/3.7\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client comes by\r\n\r\n",
        b"\r\n\r\n\r\n\0\0\0\0\r\n\r\n",
    ] {
        let answers = statuses(&exchange(&server, garbage, PATIENCE));
        assert!(matches!(*answers, [] | [400]), "{garbage:?}: {answers:?}");
    }
    // Behind one another on one connection: as many answers, in order.
    let two = format!("{0}\r\n{0}Connection: close\r\n\r\n", head(&server, "GET /api/tasks/nobody"));
    assert_eq!(statuses(&exchange(&server, two.as_bytes(), PATIENCE)), [404, 404]);
    // A chunk that is none.
    let bytes = request(
        &server,
        "POST /api/tasks/",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
        "ZZ\r\n{}\r\n0\r\n\r\n",
    );
    let answers = statuses(&exchange(&server, &bytes, PATIENCE));
    assert!(matches!(*answers, [400] | [408]), "{answers:?}");
    let bytes = request(
        &server,
        "POST /api/tasks/",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
        "fffffffffffffffff\r\n{}",
    );
    let answers = statuses(&exchange(&server, &bytes, PATIENCE));
    assert!(matches!(*answers, [400] | [408] | [413]), "{answers:?}");
    assert_healthy(&server);
}

#[test]
fn many_connections_that_say_nothing_keep_nobody_out() {
    let server = Server::start();
    let idle: Vec<TcpStream> = (0..600).map(|_| server.connect()).collect();
    let (_, took) = timed(|| assert_healthy(&server));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(memory_kib(&server, "VmRSS") < 120 << 10);
    drop(idle);
    assert_healthy(&server);
}

// HTTP/2 with prior knowledge.

pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// `GET /api/v1/health` with nothing but the pseudo-headers, in HPACK.
pub(super) fn get() -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(0x04, "/api/v1/health"), (0x01, "localhost")] {
        block.push(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

pub(super) fn http2(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(3))).expect("a timeout");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("it is sent");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).expect("it is sent");
    stream
}

/// Kind, stream and payload of every frame that comes, until nothing more does.
pub(super) fn frames(stream: &mut TcpStream) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let last = head[3] == GOAWAY;
        frames.push((head[3], id, payload));
        if last {
            break;
        }
    }
    frames
}

/// Sends `bytes` again and again, at most `times`; what came back, which ends with a GOAWAY if one was sent.
fn flood(server: &Server, times: usize, mut bytes: impl FnMut(u32) -> Vec<u8>) -> Vec<(u8, u32, Vec<u8>)> {
    let mut stream = http2(server);
    let mut reading = stream.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        let answers = scope.spawn(move || frames(&mut reading));
        for n in 0..u32::try_from(times).expect("few") {
            if stream.write_all(&bytes(n)).is_err() {
                break;
            }
        }
        answers.join().expect("no panic")
    })
}

fn is_ended(frames: &[(u8, u32, Vec<u8>)]) -> bool {
    frames.last().is_some_and(|(kind, ..)| *kind == GOAWAY)
}

#[test]
fn http_2_is_answered() {
    let server = shared();
    let mut stream = http2(&server);
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get())).expect("it is sent");
    let answers = frames(&mut stream);
    let headers = answers.iter().find(|(kind, id, _)| (*kind, *id) == (HEADERS, 1)).expect("an answer");
    assert_eq!(headers.2[0], 0x88, ":status 200");
    assert!(answers.iter().any(|(kind, id, body)| (*kind, *id) == (0, 1) && body.starts_with(b"{")));
}

#[test]
fn http_2_that_is_turned_off_is_not_answered() {
    let server = Server::set_up(&[], |command| {
        command.env("OMNIMIND_SERVER__HTTP2", "false");
    });
    let mut stream = http2(&server);
    let _ = stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get()));
    assert!(frames(&mut stream).iter().all(|(kind, ..)| *kind != HEADERS), "it was answered");
    assert_healthy(&server);
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    let server = Server::start();
    let before = memory_kib(&server, "VmRSS");
    let answers = flood(&server, 20_000, |n| {
        let id = 2 * n + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, id, &get());
        bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        bytes
    });
    assert!(is_ended(&answers), "{} frames", answers.len());
    assert!(memory_kib(&server, "VmRSS") < before + (16 << 10));
    assert_healthy(&server);
}

#[test]
fn headers_that_go_on_for_ever_end_the_connection() {
    let server = Server::start();
    let before = memory_kib(&server, "VmRSS");
    // Literals that are not to be indexed, of 4 KB each.
    let mut block = vec![0x00, 1, b'a', 0x7f, 0xa1, 0x1e];
    block.extend_from_slice(&[b'x'; 4000]);
    let answers = flood(&server, 5_000, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &get()),
        _ => frame(CONTINUATION, 0, 1, &block),
    });
    assert!(is_ended(&answers), "{} frames", answers.len());
    assert!(memory_kib(&server, "VmRSS") < before + (16 << 10));

    // Nothing in them at all.
    let answers = flood(&server, 200_000, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &get()),
        _ => frame(CONTINUATION, 0, 1, &[]),
    });
    assert!(is_ended(&answers), "{} frames", answers.len());
    assert!(memory_kib(&server, "VmRSS") < before + (16 << 10));
    assert_healthy(&server);
}

#[test]
fn compressed_headers_do_not_grow_without_bound() {
    let server = Server::start();
    let before = memory_kib(&server, "VmRSS");
    // One entry of 4 KB into the dynamic table, then ten thousand references of a byte to it.
    let mut block = get();
    block.extend_from_slice(&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
    block.extend_from_slice(&[b'x'; 4000]);
    block.extend_from_slice(&[0xbe; 10_000]);
    let mut stream = http2(&server);
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).expect("it is sent");
    let answers = frames(&mut stream);
    let refused = answers.iter().any(|(kind, _, payload)| match *kind {
        GOAWAY | RST_STREAM => true,
        HEADERS => payload.first() != Some(&0x88),
        _ => false,
    });
    assert!(refused, "{answers:?}");
    assert!(memory_kib(&server, "VmRSS") < before + (8 << 10));
    assert_healthy(&server);
}

#[test]
fn settings_and_pings_that_nobody_reads_pile_up_nowhere() {
    let server = Server::start();
    let before = memory_kib(&server, "VmRSS");
    for (kind, payload) in [(SETTINGS, [].as_slice()), (PING, &[0; 8])] {
        let mut stream = http2(&server);
        let one = frame(kind, 0, 0, payload);
        let many = one.repeat(1000);
        // It may close, or let us wait; what it may not do is take everything and keep the answers.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) && stream.write_all(&many).is_ok() {}
        assert_healthy(&server);
        let kept = memory_kib(&server, "VmRSS").saturating_sub(before);
        assert!(kept < 24 << 10, "{kind}: {kept} KiB");
    }
}

#[test]
fn a_connection_has_no_more_streams_than_it_was_told() {
    let server = Server::start();
    let before = memory_kib(&server, "VmRSS");
    // POSTs whose bodies never come.
    let mut block = vec![0x83, 0x86, 0x04, 10];
    block.extend_from_slice(b"/api/tasks");
    block.extend_from_slice(&[0x01, 9]);
    block.extend_from_slice(b"localhost");
    let authorization = server.authorization();
    block.extend_from_slice(&[0x0f, 0x08, u8::try_from(authorization.len()).expect("short")]);
    block.extend_from_slice(authorization.as_bytes());
    block.extend_from_slice(&[0x0f, 0x10, 16]);
    block.extend_from_slice(b"application/json");
    let answers = flood(&server, 10_000, |n| frame(HEADERS, END_HEADERS, 2 * n + 1, &block));
    let refused = answers.iter().filter(|(kind, ..)| *kind == RST_STREAM).count();
    assert!(is_ended(&answers) || refused > 9000, "{refused} of 10000 streams were refused");
    assert!(memory_kib(&server, "VmRSS") < before + (16 << 10));
    assert_healthy(&server);
}

#[test]
fn frames_that_make_no_sense_end_the_connection_alone() {
    let server = shared();
    for (what, bytes) in [
        ("too long", frame(HEADERS, END_HEADERS, 1, &[0; 60_000])),
        ("settings of odd size", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a window of nothing", frame(8, 0, 0, &[0; 4])),
        ("a stream of the server's", frame(HEADERS, END_STREAM | END_HEADERS, 2, &get())),
        ("broken compression", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 50])),
        ("data for nobody", frame(0, 0, 99, b"x")),
    ] {
        let mut stream = http2(&server);
        stream.write_all(&bytes).expect("it is sent");
        assert!(is_ended(&frames(&mut stream)), "{what}");
    }
    assert_healthy(&server);
}
