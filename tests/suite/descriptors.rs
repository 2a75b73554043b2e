//! A server that is short of descriptors neither spins nor ends, and serves whom it has.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use omnimind_tests::server::{self, Server, eventually, scratch};
use omnimind_tests::{block_on, pause};
use serde_json::{Value, json};

/// A server that may have no more descriptors than this.
fn launch(descriptors: u32, arguments: &[&str]) -> Server {
    let data_dir = scratch("descriptors");
    let serve = server::command(&data_dir);
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}")).arg(serve.get_program()).args(serve.get_args());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // All but one of the connections are for HTTP.
    command.env("OMNIMIND_WEBSOCKET__MAX_CONNECTIONS", "1").args(arguments);
    Server::launch(command, &data_dir).unwrap_or_else(|log| panic!("it does not start: {log}"))
}

/// Lets a running server have no more than this.
fn limit(server: &Server, descriptors: u64) {
    let pid = server.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={descriptors}:")]).status();
    assert!(limited.expect("this test needs prlimit: apt-get install util-linux").success());
}

/// The number that its next descriptor has.
fn next_descriptor(server: &Server) -> u64 {
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process");
    let open: Vec<u64> = open
        .map(|entry| entry.expect("one").file_name().to_string_lossy().parse().expect("a number"))
        .collect();
    (0..).find(|number| !open.contains(number)).expect("one")
}

/// CPU time that it takes in a second.
fn busy(server: &Server) -> Duration {
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("it has not ended");
        let after_name = stat.rsplit(") ").next().expect("more");
        after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    };
    let before = ticks();
    pause(Duration::from_secs(1));
    // USER_HZ is 100 everywhere.
    Duration::from_millis((ticks() - before) * 10)
}

/// A connection that comes from this address of this machine.
fn connect(server: &Server, from: Ipv4Addr) -> TcpStream {
    block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((from, 0))).expect("an address of this machine");
        let stream = socket.connect(server.address).await.expect("it listens").into_std().expect("a stream");
        stream.set_nonblocking(false).expect("a stream");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    })
}

/// One answer on a connection that stays: its status and its JSON.
fn ask(stream: &mut TcpStream, server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        server.authorization(),
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it takes it");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).expect("text").to_ascii_lowercase();
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    let length = head.split("content-length: ").nth(1).expect("a length").split('\r').next().expect("one");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("all of it");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[test]
fn more_connections_than_descriptors_wait_and_leave_room_for_files() {
    let server = launch(600, &[]);
    let echo = server.push("hostile/echo");
    let mut first = connect(&server, Ipv4Addr::LOCALHOST);
    assert_eq!(ask(&mut first, &server, "GET", "/api/v1/health/", "").0, 200);
    let open = || fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process").count();
    let before = open();
    let from = (2..6).cycle().map(|last| Ipv4Addr::new(127, 0, 0, last));
    // More than it takes, no more than the kernel lets wait.
    let crowd: Vec<TcpStream> = from.take(380).map(|from| connect(&server, from)).collect();
    let used = busy(&server);
    assert!(used < Duration::from_millis(300), "it spins: {used:?}");
    // Large enough for files of their own.
    let text = "0123456789".repeat(20_000);
    let task = json!({"component": echo, "input": text}).to_string();
    let (status, record) = ask(&mut first, &server, "POST", "/api/tasks/?wait=60s", &task);
    assert_eq!((status, &record["status"]), (200, &json!("completed")), "{}", record["failure"]);
    assert_eq!(record["result"], json!(text));
    let crowded = open() - before;
    assert!((250..340).contains(&crowded), "half of them are for connections: {crowded}");
    drop(crowd);
    let task = server.run(&json!({"component": echo, "input": "after"}));
    assert_eq!(task["result"], "after");
    assert!(!server.log.lock().expect("no panic").contains("could not be accepted"));
    let _ = fs::remove_dir_all(&server.data_dir);
}

#[test]
fn one_address_has_half_of_the_connections() {
    let server = launch(600, &[]);
    let [one, other] = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    // Half of half, and some more: those are closed unheard.
    let crowd: Vec<TcpStream> = (0..150).map(|_| connect(&server, one)).collect();
    let mut more = connect(&server, one);
    let _ = more.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(matches!(more.read(&mut [0; 100]), Ok(0) | Err(_)), "it was answered");
    assert_eq!(ask(&mut connect(&server, other), &server, "GET", "/api/v1/health/", "").0, 200);
    drop(crowd);
    eventually(|| {
        let mut stream = connect(&server, one);
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
        matches!(stream.read(&mut [0; 100]), Ok(1..)).then_some(())
    });
    let _ = fs::remove_dir_all(&server.data_dir);
}

#[test]
fn without_descriptors_nothing_spins_nothing_ends_and_no_end_is_lost() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let [sleep, output, echo] =
        ["sleep", "output", "echo"].map(|name| server.push(&format!("hostile/{name}")));
    for digest in [&sleep, &output, &echo] {
        server.run(&json!({"component": digest, "input_text": "1"}));
    }
    let mut first = connect(&server, Ipv4Addr::LOCALHOST);
    assert_eq!(ask(&mut first, &server, "GET", "/api/v1/health/", "").0, 200);
    let napping = server.submit(&json!({"component": sleep, "input_text": "1500"}));
    server.wait_for_status(&napping, "running");
    // These begin when there is not one descriptor: one comes from a file, one is to leave a file.
    let text = "0123456789".repeat(20_000);
    let from_file = server.submit(&json!({"component": echo, "input": text}));
    let large = server.submit(&json!({"component": output, "input_text": "100000"}));

    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("a process");
    let limits = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line").to_owned();
    let before: u64 = limits.split_whitespace().nth(3).expect("a number").parse().expect("a number");
    limit(&server, next_descriptor(&server) + 4);
    let crowd: Vec<TcpStream> = (0..40).map(|_| connect(&server, Ipv4Addr::LOCALHOST)).collect();
    eventually(|| server.log.lock().expect("no panic").contains("could not be accepted").then_some(()));
    let begun = Instant::now();
    let used = busy(&server);
    assert!(used < Duration::from_millis(300), "it spins: {used:?}");
    pause(Duration::from_secs(2).saturating_sub(begun.elapsed()));
    // Who is there is answered; what would need a file is refused, and nothing is in doubt after that.
    let (status, record) = ask(&mut first, &server, "GET", &format!("/api/tasks/{large}"), "");
    assert_eq!(status, 200);
    assert_ne!(record["status"], "failed", "{record}");
    let task = json!({"component": echo, "input": text}).to_string();
    let (status, problem) = ask(&mut first, &server, "POST", "/api/tasks/", &task);
    assert!(status >= 500, "{status} {problem}");

    limit(&server, before);
    drop(crowd);
    assert_eq!(server.wait_for_status(&napping, "completed")["result"], 1500);
    let task = server.wait_for(&large, |task| task["completed_at"] != Value::Null);
    assert_eq!(task["result_text"], json!("x".repeat(100_000)), "{}", task["failure"]);
    let task = server.wait_for(&from_file, |task| task["completed_at"] != Value::Null);
    assert_eq!(task["result"], json!(text), "{}", task["failure"]);
    assert_eq!(server.run(&json!({"component": echo, "input": "after"}))["result"], "after");
}
