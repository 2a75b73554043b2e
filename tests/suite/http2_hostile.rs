//! HTTP/2 clients that ask for work and want nothing: each loses its connection, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use omnimind_tests::server::Server;
use omnimind_tests::usage;
use omnimind_tests::wire::{assert_healthy, shared};

use super::http_wire::{END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, frame, get, http2};

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;

/// Frames that are sent, if the server takes them all.
const FLOOD: usize = 300_000;

/// A head of a POST that goes on.
fn post() -> Vec<u8> {
    let mut block = get();
    block[0] = 0x83;
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// Sends `one` again and again and reads whatever comes; whether the server ended that.
fn is_ended(server: &Server, first: &[u8], one: &[u8]) -> bool {
    let mut stream = http2(server);
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(first).expect("it is sent");
    let mut reading = stream.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut some = [0; 1 << 16];
            loop {
                match reading.read(&mut some) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return error.kind() != ErrorKind::WouldBlock,
                }
            }
        });
        let many = one.repeat(1000);
        // What is in the buffers between was taken by nobody.
        let _ = (0..FLOOD / 1000).all(|_| stream.write_all(&many).is_ok());
        reader.join().expect("no panic")
    })
}

#[test]
fn frames_for_nothing_end_the_connection_though_their_answers_are_read() {
    let server = Server::start();
    assert_healthy(&server);
    usage::forget_peak(server.pid());
    let before = usage::resident(server.pid());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Somebody else goes on meanwhile.
        let other = scope.spawn(|| {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                assert_healthy(&server);
                answers += 1;
            }
            answers
        });
        let floods = [
            ("pings", Vec::new(), frame(PING, 0, 0, &[7; 8])),
            ("settings", Vec::new(), frame(SETTINGS, 0, 0, &[])),
            ("settings that say something", Vec::new(), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
            ("priorities", Vec::new(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
            ("empty data", post(), frame(DATA, 0, 1, &[])),
            ("windows", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("frames that nobody knows", Vec::new(), frame(0x42, 0, 0, &[1])),
        ];
        let ended = floods.map(|(what, first, one)| (what, is_ended(&server, &first, &one)));
        over.store(true, Ordering::Relaxed);
        assert!(other.join().expect("no panic") > 0);
        assert!(ended.iter().all(|(_, ended)| *ended), "{FLOOD} of them were taken: {ended:?}");
    });
    let grown = usage::peak(server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
}

#[test]
fn who_asks_again_and_again_on_one_connection_is_served() {
    let server = shared();
    let mut stream = http2(&server);
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.set_nodelay(true).expect("a socket");
    for n in 0..2000_u32 {
        let id = 2 * n + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, id, &get());
        bytes.extend(frame(PING, 0, 0, &[0; 8]));
        stream.write_all(&bytes).expect("it is sent");
        // The end of its data.
        loop {
            let (kind, flags, stream_id, payload) = next(&mut stream).expect("it goes on");
            let taken = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
            if kind == DATA && !payload.is_empty() {
                stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &taken)).expect("it is sent");
            }
            if kind == DATA && stream_id == id && flags & END_STREAM != 0 {
                break;
            }
        }
    }
}

/// Kind, flags, stream and payload of the next frame.
fn next(stream: &mut TcpStream) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// Answers what the server asks to know that the client lives, until it closes; how long that took.
fn stays(mut stream: TcpStream, patience: Duration) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    while let Ok((kind, flags, _, payload)) = next(&mut stream) {
        assert!(begun.elapsed() < patience, "it stays");
        if kind == PING && flags & ACK == 0 && stream.write_all(&frame(PING, ACK, 0, &payload)).is_err() {
            break;
        }
    }
    begun.elapsed()
}

#[test]
fn slow_connections_that_nobody_uses_and_answers_that_nobody_takes_are_given_up() {
    const PATIENCE: Duration = Duration::from_secs(150);
    let server = Server::start();
    std::thread::scope(|scope| {
        let idle = scope.spawn(|| stays(http2(&server), PATIENCE));
        let used = scope.spawn(|| {
            // One answer, taken, and nothing more.
            let mut stream = http2(&server);
            stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get())).expect("it is sent");
            stays(stream, PATIENCE)
        });
        let shut = scope.spawn(|| {
            let mut stream = http2(&server);
            // No stream has a window.
            stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).expect("it is sent");
            for n in 0..100 {
                let head = frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &get());
                stream.write_all(&head).expect("it is sent");
            }
            stays(stream, PATIENCE)
        });
        let one_byte = scope.spawn(|| {
            let mut stream = http2(&server);
            stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])).expect("it is sent");
            stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get())).expect("it is sent");
            stays(stream, PATIENCE)
        });
        for (what, thread) in [("idle", idle), ("used", used), ("shut", shut), ("one byte", one_byte)] {
            let stayed = thread.join().expect("no panic");
            assert!(stayed < PATIENCE, "{what}: {stayed:?}");
            assert!(stayed > Duration::from_secs(50), "{what}: {stayed:?}, which is too soon");
        }
    });
    assert_healthy(&server);
}
