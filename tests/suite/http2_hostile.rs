//! HTTP/2 clients that ask for work and want nothing: each loses its connection, and nobody else notices.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use omnimind_tests::server::Server;
use omnimind_tests::usage;
use omnimind_tests::wire::{assert_healthy, shared};

use super::http_wire::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, SETTINGS, frame, frames, get, http2,
};

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
    let mut reading = BufReader::new(stream.try_clone().expect("a descriptor"));
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            loop {
                match next(&mut reading) {
                    // It has taken them all and asks whether we are there: for want of an answer it would end too.
                    Ok((PING, 0, ..)) => return false,
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
fn the_limits_that_a_client_is_told_of_hold() {
    let server = shared();
    let mut stream = http2(&server);
    let (kind, _, _, settings) = next(&mut stream).expect("its settings");
    assert_eq!(kind, SETTINGS);
    let told = |id: u16| {
        let one = settings.chunks(6).find(|one| one[..2] == id.to_be_bytes()).expect("it is told");
        u32::from_be_bytes([one[2], one[3], one[4], one[5]])
    };
    // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE.
    assert_eq!([3, 4, 6].map(told), [100, 256 << 10, 16 << 10]);
    // It may say first that it has heard ours.
    let (id, more) = loop {
        let (kind, _, id, more) = next(&mut stream).expect("the connection's window");
        if kind == WINDOW_UPDATE {
            break (id, more);
        }
    };
    // To a megabyte: it begins with 64 KiB less one.
    assert_eq!((id, more), (0, ((1_u32 << 20) - 65_535).to_be_bytes().to_vec()));

    // A list of 12 KiB is taken; one of 20 KiB is too large, whatever it is cut into.
    let mut header = vec![0x00, 1, b'a', 0x7f, 0xa1, 0x1e];
    header.extend_from_slice(&[b'x'; 4000]);
    for (count, is_taken) in [(3, true), (5, false)] {
        let mut stream = http2(&server);
        stream.write_all(&frame(HEADERS, END_STREAM, 1, &get())).expect("it is sent");
        for number in 1..=count {
            let flags = if number == count { END_HEADERS } else { 0 };
            stream.write_all(&frame(CONTINUATION, flags, 1, &header)).expect("it is sent");
        }
        let answers = frames(&mut stream);
        let (_, _, block) = answers.iter().find(|(kind, ..)| *kind == HEADERS).expect("an answer");
        // `:status 200` is one byte.
        assert_eq!(block[0] == 0x88, is_taken, "{count}: {block:?}");
    }
}

#[test]
fn streams_that_the_server_has_to_reset_end_the_connection() {
    let server = shared();
    let mut stream = http2(&server);
    // Each has a window beyond 2^31.
    for n in 0..500 {
        let id = 2 * n + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, id, &get());
        bytes.extend(frame(WINDOW_UPDATE, 0, id, &0x7fff_ffff_u32.to_be_bytes()));
        if stream.write_all(&bytes).is_err() {
            break;
        }
    }
    let answers = frames(&mut stream);
    let (kind, _, why) = answers.last().expect("an answer");
    // Last stream, and ENHANCE_YOUR_CALM.
    assert_eq!((*kind, &why[4..8]), (GOAWAY, [0, 0, 0, 11].as_slice()), "{} frames", answers.len());
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
fn next(stream: &mut impl Read) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
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
        // One that is used, and says not even that it lives.
        let gone = scope.spawn(|| {
            let mut stream = http2(&server);
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut block = vec![0x82, 0x86, 0x04, 11];
            block.extend_from_slice(b"/api/events");
            block.extend_from_slice(&[0x01, 9]);
            block.extend_from_slice(b"localhost");
            let authorization = server.authorization();
            block.extend_from_slice(&[0x0f, 0x08, u8::try_from(authorization.len()).expect("short")]);
            block.extend_from_slice(authorization.as_bytes());
            stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).expect("it is sent");
            let begun = Instant::now();
            let mut heard = false;
            while let Ok((kind, ..)) = next(&mut stream) {
                heard |= kind == DATA;
                assert!(begun.elapsed() < PATIENCE, "it stays");
            }
            assert!(heard, "there were events");
            begun.elapsed()
        });
        let gone = gone.join().expect("no panic");
        assert!(gone > Duration::from_secs(30) && gone < Duration::from_secs(100), "{gone:?}");
        for (what, thread) in [("idle", idle), ("used", used), ("shut", shut), ("one byte", one_byte)] {
            let stayed = thread.join().expect("no panic");
            assert!(stayed < PATIENCE, "{what}: {stayed:?}");
            assert!(stayed > Duration::from_secs(50), "{what}: {stayed:?}, which is too soon");
        }
    });
    assert_healthy(&server);
}
