//! How late events arrive while very many listen: every WebSocket hears some of them, a few hear many. They come from
//! what makes events anyway: tiny tasks, each of which begins and ends, and switches of the mode, each of which is a
//! decision.
//!
//! The listeners are one thread that does as little as it can, because it has the same cores as the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::figures::Figures;
use crate::http::{Connection, Request};
use crate::omnimind::{Omnimind, data_directory};

/// Time between two tasks, each of which makes two events: 100 a second for those who hear of tasks.
const TASK: Duration = Duration::from_millis(20);
/// Time between two switches of the mode: each is an event for everybody.
const SWITCH: Duration = Duration::from_millis(200);
/// So that no switch makes a second event: what guests may take of the processors stays as it is.
const CONFIG: &str = "protection: {limits: {cpu_percent: 75}}";
/// What is begun before the figures count.
const SETTLE: Duration = Duration::from_secs(1);
const DAY_MS: u64 = 86_400_000;

pub async fn run(listeners: usize, busy: usize, time: Duration) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many descriptors as there may be");
    let data = data_directory();
    std::fs::write(data.path().join("omnimind.yaml"), CONFIG).expect("the configuration");
    let directory = data.path().to_str().expect("a path in UTF-8");
    let server = Omnimind::start(data.path(), &["--config", directory]).await;
    let component = server.push("empty", &omnimind_benches::empty()).await;
    let before = server.process.resident();
    let (mut sockets, mut opened) = (Vec::new(), Vec::new());
    for number in 0..listeners {
        let channels: &[&str] = if number < busy { &["protection", "tasks"] } else { &["protection"] };
        let begun = Instant::now();
        let mut socket = open(server.process.address, &server.upgrade());
        opened.push(begun.elapsed());
        let subscribe = json!({"type": "subscribe", "channels": channels}).to_string();
        socket.write_all(&masked(subscribe.as_bytes())).expect("it takes it");
        sockets.push(socket);
    }
    let until = Instant::now() + SETTLE + time;
    let hearing = std::thread::spawn(move || hear(sockets, until - time, until));
    let (mut tasks, mut decisions) = (0, 0);
    let submit = server.submit(&json!({"component": component}), false);
    let switch = ["test", "dev"].map(|mode| Arc::new(server.switch(mode)));
    let (cpu, begun) = (server.process.cpu(), Instant::now());
    tokio::join!(
        every(server.process.address, TASK, until, || submit.clone(), &mut tasks),
        every(server.process.address, SWITCH, until, || switch[decided()].clone(), &mut decisions),
    );
    let cores = (server.process.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    let grown = server.process.resident() - before;
    let heard = hearing.join().expect("no panic");

    let seconds = time.as_secs_f64();
    println!(
        "\n{listeners} WebSockets open, {busy} of them listen to all tasks ({cores:.2} cores taken by the server)"
    );
    println!("{:<28}{:>9}{:>9}{:>10}{:>10}", "ms", "each/s", "p50", "p99", "max");
    let row = |name: &str, listeners: usize, delays: Vec<f64>, mark: &str| {
        let rate = delays.len() as f64 / seconds / listeners as f64;
        let figures = Figures::of(delays);
        print!(
            "{name:<28}{rate:>9.1}{:>9.1}{:>10.1}{:>10.1}",
            figures.median(),
            figures.at(0.99),
            figures.at(1.0)
        );
        println!("   {mark}");
    };
    let all: Vec<f64> = heard.tasks.iter().chain(&heard.decisions).copied().collect();
    row("events of tasks", busy, heard.tasks, "");
    row("events that all hear", listeners, heard.decisions, "");
    row("all", listeners, all, "p99 below 50");
    let opened = Figures::ms(&opened);
    println!("to open one: p50 {:.2} ms, P95 {:.2} ms   P95 below 100", opened.median(), opened.at(0.95));
    println!("memory for each: {:.1} KiB", grown as f64 / 1024.0 / listeners as f64);
}

/// Counts the switches.
fn decided() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) % 2
}

/// Sends a request in each `period`; one that is late because of the one before is sent at once.
async fn every(
    address: SocketAddr,
    period: Duration,
    until: Instant,
    request: impl Fn() -> Arc<Request>,
    count: &mut u32,
) {
    let mut connection = Connection::open(address).await.expect("a connection");
    let begun = Instant::now();
    while Instant::now() < until {
        let request = request();
        let answer = connection.send(&request).await.expect("an answer");
        assert!(request.is_answered_by(&answer), "{}", answer.text());
        *count += 1;
        tokio::time::sleep_until((begun + period * *count).into()).await;
    }
}

fn open(address: SocketAddr, head: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.write_all(head).expect("it takes it");
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    // The first message is behind the head.
    while !answer.ends_with(b"}") {
        let read = socket.read(&mut some).expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&some[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    socket.set_nonblocking(true).expect("an option");
    socket
}

/// A message as a client sends it, with a mask that does nothing.
fn masked(text: &[u8]) -> Vec<u8> {
    assert!(text.len() < 126);
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text].concat()
}

/// How late events came, in milliseconds.
#[derive(Default)]
struct Heard {
    tasks: Vec<f64>,
    decisions: Vec<f64>,
}

fn hear(mut sockets: Vec<TcpStream>, from: Instant, until: Instant) -> Heard {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    for (number, socket) in sockets.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, socket, data, epoll::EventFlags::IN).expect("it is watched");
    }
    let mut heard = Heard::default();
    let mut partial = vec![Vec::new(); sockets.len()];
    let mut buffer = vec![0; 64 << 10];
    let mut ready = Vec::with_capacity(1024);
    let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while Instant::now() < until {
        ready.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut ready), Some(&patience)).expect("a wait");
        for event in &ready {
            let number = event.data.u64() as usize;
            let read = match sockets[number].read(&mut buffer) {
                Ok(0) => panic!("a connection was closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            let (now, counts) = (Instant::now(), &mut heard);
            let partial = &mut partial[number];
            // Nearly always a whole number of messages, that need not be copied.
            let left = match partial.is_empty() {
                true => messages(&buffer[..read], now >= from, counts),
                false => {
                    partial.extend_from_slice(&buffer[..read]);
                    let left = messages(partial, now >= from, counts);
                    partial.drain(..partial.len() - left);
                    continue;
                }
            };
            partial.extend_from_slice(&buffer[read - left..read]);
        }
    }
    heard
}

/// Takes whole messages; how many bytes are left behind them.
fn messages(mut bytes: &[u8], counts: bool, heard: &mut Heard) -> usize {
    loop {
        let (start, length) = match bytes {
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            [_, 126, ..] => return bytes.len(),
            [_, length, ..] if *length < 126 => (2, usize::from(*length)),
            [_, _, ..] => panic!("a message of 64 KiB"),
            _ => return bytes.len(),
        };
        let Some(payload) = bytes.get(start..start + length) else { return bytes.len() };
        if let Some(delays) = match payload.get(9..20) {
            Some(b"task_update") => Some(&mut heard.tasks),
            Some(b"protection_") => Some(&mut heard.decisions),
            Some(b"lagged\",\"ch") => panic!("something was lost: {}", String::from_utf8_lossy(payload)),
            _ => None,
        }
        .filter(|_| counts)
        {
            delays.push(delay_ms(payload));
        }
        bytes = &bytes[start + length..];
    }
}

/// From the event's time, which has milliseconds, until now.
fn delay_ms(message: &[u8]) -> f64 {
    const BEFORE: &[u8] = b"\"timestamp\":\"2026-01-01T";
    const NAME: usize = 13;
    let at = (0..message.len() - BEFORE.len()).rev().find(|at| message[*at..].starts_with(&BEFORE[..NAME]));
    let time = &message[at.expect("every message has one") + BEFORE.len()..];
    let number = |range: std::ops::Range<usize>| {
        time[range].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    };
    let sent = ((number(0..2) * 60 + number(3..5)) * 60 + number(6..8)) * 1000 + number(9..12);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now_ms = now.as_secs_f64() * 1000.0 % DAY_MS as f64;
    // Over midnight too.
    (now_ms - sent as f64 + DAY_MS as f64) % DAY_MS as f64
}
