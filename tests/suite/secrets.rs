//! Secrets are in no log, no message and no list of processes, and in no file that others can read.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use omnimind_tests::server::{Server, command, eventually, scratch};
use omnimind_tests::wire::exchange;

use super::http_wire::{END_HEADERS, END_STREAM, HEADERS, frame, frames, get, http2};

const PASSWORD: &str = "quite-a-secret-4711";

#[test]
fn the_log_at_its_loudest_has_no_secret() {
    let server = Server::set_up(&["--log-level", "trace"], |command| {
        command.env("OMNIMIND_DASHBOARD_USER", "ada").env("OMNIMIND_DASHBOARD_PASS", PASSWORD);
    });
    let pair = STANDARD.encode(format!("ada:{PASSWORD}"));
    assert_eq!(server.authorization(), format!("Basic {pair}"));
    assert_eq!(server.get("/api/tasks/").status, 200);
    let digest = server.push("hostile/echo");
    server.run(&serde_json::json!({"component": digest, "input": 1}));
    // Where it does not belong, it is not repeated.
    let wrong = server.get(&format!("/api/tasks/?password={PASSWORD}"));
    wrong.problem(422, "invalid_request");
    let bad = format!("GET / HTTP/1.1\r\nAuthorization : Basic {pair}\r\n\r\n");
    let answer = exchange(&server, bad.as_bytes(), std::time::Duration::from_secs(5));
    for text in [wrong.text(), String::from_utf8_lossy(&answer).into_owned()] {
        assert!(!text.contains(PASSWORD) && !text.contains(&pair), "{text}");
    }
    // The same by HTTP/2, whose frames are logged too.
    let mut stream = http2(&server);
    let mut block = get();
    let value = server.authorization();
    block.extend_from_slice(&[0x0f, 0x08, u8::try_from(value.len()).expect("short")]);
    block.extend_from_slice(value.as_bytes());
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).expect("it is sent");
    assert!(frames(&mut stream).iter().any(|(kind, ..)| *kind == HEADERS));
    let cookie =
        server.request("POST", "/api/sign-in").send().json()["path"].as_str().expect("a path").to_owned();
    let ticket = cookie.split_once('=').expect("a ticket").1.to_owned();
    let reply = server.request("GET", &cookie).anonymous().send();
    let session = reply.headers["set-cookie"].split(['=', ';']).nth(1).expect("a value").to_owned();
    server.request("GET", "/api/tasks/").anonymous().header("Cookie", &format!("a={session}")).send();

    let log = eventually(|| {
        let log = server.log.lock().expect("no panic").clone();
        log.contains("\"/sign-in\"").then_some(log)
    });
    for (what, secret) in
        [("password", PASSWORD), ("header", &pair), ("ticket", &ticket), ("session", &session)]
    {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "the {what}: {line:?}");
    }
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(PASSWORD), "{process:?}");
    }
}

#[test]
fn credentials_that_others_can_read_are_told_of_and_taken_from_them() {
    let data_dir = scratch("readable");
    let start = || Server::launch(command(&data_dir), &data_dir).unwrap_or_else(|log| panic!("{log}"));
    drop(start());
    let file = data_dir.join("credentials.json");
    let mode = || fs::metadata(&file).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    let server = start();
    assert_eq!(mode(), 0o600);
    let log = server.log.lock().expect("no panic").clone();
    assert!(log.contains("others could read") && log.contains("credentials.json"), "{log}");
    drop(server);
    fs::remove_dir_all(data_dir).expect("a directory");
}
