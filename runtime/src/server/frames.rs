//! Frames of HTTP/2 that ask for work and bring nothing: pings, settings, empty data.
//!
//! hyper answers each of them, as fast as they come: a client that takes the answers keeps a processor busy
//! with them. So they are counted where they are read, and who sends thousands of them for nothing loses the
//! connection. Streams that are opened and reset, and heads without end, hyper counts by itself.

use std::time::Instant;

/// What a client sends first that speaks HTTP/2.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Such frames at once, and in a second.
const BURST: u64 = 10_000;
const RATE: u64 = 1000;

/// Bytes of answers that are worth one more: who takes much says so often.
const WORTH: u64 = 1 << 10;

const HEAD: usize = 9;

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Counts the frames of one connection.
pub struct Frames {
    place: Place,
    left: u64,
    refilled: Instant,
    /// Bytes that were written since the last one they were worth.
    written: u64,
}

/// Where in the stream of bytes the next one is.
enum Place {
    /// So far into the preface.
    Preface(usize),
    /// In a frame's head, of which this is known.
    Head([u8; HEAD], usize),
    /// In a frame's payload, with so much to come.
    Payload(usize),
    /// It is not HTTP/2.
    Elsewhere,
}

impl Frames {
    /// Of a connection that begins.
    pub fn new() -> Frames {
        Frames { place: Place::Preface(0), left: BURST, refilled: Instant::now(), written: 0 }
    }

    /// Whether the client has begun to speak HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.place, Place::Head(..) | Place::Payload(_))
    }

    /// Bytes that were written to the client.
    pub fn wrote(&mut self, bytes: usize) {
        if matches!(self.place, Place::Elsewhere) {
            return;
        }
        self.written += bytes as u64;
        self.left = (self.left + self.written / WORTH).min(BURST);
        self.written %= WORTH;
    }

    /// Bytes that were read from it. False: these are too many frames for nothing.
    #[must_use]
    pub fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Elsewhere => return true,
                Place::Preface(seen) => {
                    let rest = PREFACE.get(*seen..).unwrap_or_default();
                    let take = rest.len().min(bytes.len());
                    let (now, later) = bytes.split_at(take);
                    if !rest.starts_with(now) {
                        self.place = Place::Elsewhere;
                        return true;
                    }
                    bytes = later;
                    *seen += take;
                    if *seen == PREFACE.len() {
                        self.place = Place::Head([0; HEAD], 0);
                    }
                }
                Place::Head(head, seen) => {
                    // Byte by byte: there are nine.
                    let Some((byte, later)) = bytes.split_first() else { break };
                    if let Some(place) = head.get_mut(*seen) {
                        *place = *byte;
                    }
                    bytes = later;
                    *seen += 1;
                    if *seen == HEAD {
                        let [a, b, c, kind, flags, ..] = *head;
                        let length = u32::from_be_bytes([0, a, b, c]) as usize;
                        self.place = match length {
                            0 => Place::Head([0; HEAD], 0),
                            _ => Place::Payload(length),
                        };
                        if is_for_nothing(kind, flags, length) && !self.spend() {
                            return false;
                        }
                    }
                }
                Place::Payload(left) => {
                    let take = (*left).min(bytes.len());
                    bytes = bytes.get(take..).unwrap_or_default();
                    *left -= take;
                    if *left == 0 {
                        self.place = Place::Head([0; HEAD], 0);
                    }
                }
            }
        }
        true
    }

    fn spend(&mut self) -> bool {
        if self.left == 0 {
            let passed = u64::try_from(self.refilled.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.left = (passed.saturating_mul(RATE) / 1000).min(BURST);
            self.refilled = Instant::now();
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

fn is_for_nothing(kind: u8, flags: u8, length: usize) -> bool {
    match kind {
        DATA => length == 0 && flags & END_STREAM == 0,
        CONTINUATION => length == 0 && flags & END_HEADERS == 0,
        PRIORITY | SETTINGS | PING | WINDOW_UPDATE => true,
        // Of kinds that nobody knows.
        kind => kind > CONTINUATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[length[1], length[2], length[3], kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.read(PREFACE));
        frames
    }

    /// How many of `frame` are taken before the end, cut into pieces of `size`.
    fn taken(frame: &[u8], size: usize) -> u64 {
        let mut frames = begun();
        let all = frame.repeat(20_000);
        let mut read = 0;
        for piece in all.chunks(size) {
            if !frames.read(piece) {
                break;
            }
            read += piece.len();
        }
        (read / frame.len()) as u64
    }

    #[test]
    fn frames_for_nothing_are_counted_however_they_are_cut() {
        for (what, bytes) in [
            ("pings", frame(PING, 0, &[0; 8])),
            ("settings", frame(SETTINGS, 0, &[])),
            ("empty data", frame(DATA, 0, &[])),
            ("heads that go on with nothing", frame(CONTINUATION, 0, &[])),
            ("priorities", frame(PRIORITY, 0, &[0, 0, 0, 3, 1])),
            ("windows", frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
            ("unknown ones", frame(0x20, 0, &[1])),
        ] {
            for size in [1, 7, 9, 4096] {
                let taken = taken(&bytes, size);
                assert!((BURST - 500..BURST + 5000).contains(&taken), "{what}, {size}: {taken}");
            }
        }
    }

    #[test]
    fn what_brings_something_is_free() {
        for bytes in [frame(DATA, 0, b"x"), frame(DATA, END_STREAM, b""), frame(1, 4, b"head")] {
            assert_eq!(taken(&bytes, 1000), 20_000);
        }
        let mut other = Frames::new();
        assert!(other.read(b"GET / HTTP/1.1\r\n"));
        assert!(other.read(&frame(PING, 0, &[0; 8]).repeat(20_000)), "it is not HTTP/2");
    }

    #[test]
    fn who_takes_much_may_say_so_often() {
        let mut frames = begun();
        let window = frame(WINDOW_UPDATE, 0, &[0, 0, 64, 0]);
        for _ in 0..100_000 {
            frames.wrote(16 << 10);
            assert!(frames.read(&window));
        }
    }
}
