//! Compression and tags: what a client asked for and what it has already, and nothing that it must not get.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use omnimind_tests::server::{Reply, Server, eventually};
use omnimind_tests::wire::{answer, head, shared};
use serde_json::{Value, json};

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip");
    let mut gzip = gzip.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let (mut stdin, bytes) = (gzip.stdin.take().expect("piped"), bytes.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = gzip.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("it is taken");
    assert!(output.status.success(), "it is not gzip");
    output.stdout
}

fn ask(server: &Server, method: &str, path: &str, accept: &str) -> Reply {
    server.request(method, path).header("Accept-Encoding", accept).send()
}

fn encoding(reply: &Reply) -> Option<&str> {
    reply.headers.get("content-encoding").map(String::as_str)
}

/// Runs `hostile/echo` on this; the path of its output.
fn echoed(server: &Server, input: &Value) -> String {
    let mut task = json!({"component": server.push("hostile/echo")});
    task.as_object_mut().expect("an object").extend(input.as_object().expect("an object").clone());
    let record = server.run(&task);
    format!("/api/tasks/{}/output", record["task_id"].as_str().expect("an id"))
}

fn text(bytes: usize) -> String {
    "All happy families are alike. ".chars().cycle().take(bytes).collect()
}

#[test]
fn text_is_compressed_for_who_asks_for_it() {
    let server = shared();
    let small = echoed(&server, &json!({"input_text": text(200_000)}));
    let json = echoed(&server, &json!({"input": [text(20_000)]}));
    for path in [&small, &json, "/api/v1/limits"] {
        let plain = server.get(path);
        assert_eq!((plain.status, encoding(&plain)), (200, None));
        assert_eq!(plain.headers["vary"].to_ascii_lowercase(), "accept-encoding", "{path}");
        for accept in ["gzip", "br, gzip;q=0.5"] {
            // While many are at it, others get it as it is.
            let packed = eventually(|| {
                let reply = ask(&server, "GET", path, accept);
                (reply.status != 200 || encoding(&reply).is_some()).then_some(reply)
            });
            assert_eq!((packed.status, encoding(&packed)), (200, Some("gzip")), "{path}, {accept}");
            assert!(
                packed.body.len() < plain.body.len() / 2,
                "{} of {}",
                packed.body.len(),
                plain.body.len()
            );
            assert_eq!(gunzip(&packed.body), plain.body);
            assert_eq!(packed.headers["vary"].to_ascii_lowercase(), "accept-encoding");
            assert_eq!(packed.headers["content-type"], plain.headers["content-type"]);
        }
        for accept in ["identity", "gzip;q=0", "br", "x"] {
            assert_eq!(encoding(&ask(&server, "GET", path, accept)), None, "{path}, {accept}");
        }
    }
}

#[test]
fn what_is_small_or_large_or_no_text_or_has_a_secret_is_not() {
    let server = shared();
    let get = |path: &str| ask(&server, "GET", path, "gzip");
    let small = get(&echoed(&server, &json!({"input_text": text(500)})));
    let large = get(&echoed(&server, &json!({"input_text": text(2 << 20)})));
    let bytes = STANDARD.encode([0xff; 100_000]);
    let bytes = get(&echoed(&server, &json!({"input_base64": bytes})));
    assert_eq!(bytes.headers["content-type"], "application/octet-stream");
    for (reply, length) in [(small, 500), (large, 2 << 20), (bytes, 100_000)] {
        assert_eq!((encoding(&reply), reply.body.len()), (None, length));
    }
    // An answer to a POST may have a secret in it, beside what the client sent.
    let link = ask(&server, "POST", "/api/sign-in", "gzip");
    assert_eq!((link.status, encoding(&link)), (201, None));
    let task = json!({"component": server.push("hostile/echo"), "input_text": text(10_000)});
    let request =
        server.request("POST", "/api/tasks/?wait=60s").header("Accept-Encoding", "gzip").json(&task);
    let reply = request.send();
    assert_eq!((reply.status, encoding(&reply)), (200, None));
    // Events come as they happen.
    let mut stream = server.connect();
    let request = format!("{}Accept-Encoding: gzip\r\n\r\n", head(&server, "GET /api/events"));
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut first = [0; 1024];
    let read = std::io::Read::read(&mut stream, &mut first).expect("an answer");
    let first = String::from_utf8_lossy(&first[..read]).to_ascii_lowercase();
    assert!(first.contains("text/event-stream") && !first.contains("content-encoding"), "{first}");
}

#[test]
fn who_has_an_answer_does_not_get_it_again() {
    let server = Server::start();
    let digest = server.push("hostile/echo");
    let output = echoed(&server, &json!({"input": [text(5000)]}));
    let component = format!("/api/components/{digest}");
    for path in ["/api/components/", "/api/v1/limits", &component, &output] {
        let first = server.get(path);
        let tag = first.headers.get("etag").unwrap_or_else(|| panic!("{path}: {first:?}")).clone();
        assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{tag}");
        assert_eq!(first.headers["cache-control"], "private, no-cache", "{path}");
        for (method, accept, known) in [
            ("GET", "", tag.clone()),
            ("GET", "gzip", tag.clone()),
            ("HEAD", "", tag.clone()),
            ("GET", "", format!("\"x\", {tag}")),
            ("GET", "", tag.trim_start_matches("W/").to_owned()),
        ] {
            let request = server.request(method, path).header("Accept-Encoding", accept);
            let again = request.header("If-None-Match", &known).send();
            assert_eq!((again.status, again.body.len()), (304, 0), "{method} {path}: {again:?}");
            assert_eq!(again.headers["etag"], tag);
            for absent in ["content-type", "content-length", "content-encoding"] {
                assert!(!again.headers.contains_key(absent), "{absent}: {again:?}");
            }
        }
        let other = server.request("GET", path).header("If-None-Match", "W/\"x\"").send();
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
    // What has changed has another.
    let before = server.get("/api/components/");
    server.push("primes");
    let after = server.request("GET", "/api/components/").header("If-None-Match", &before.headers["etag"]);
    assert_eq!(after.send().status, 200);
    // Nobody sees what is not his, whatever he has.
    let anonymous = server.request("GET", &output).anonymous().header("If-None-Match", "*").send();
    anonymous.problem(401, "unauthorized");
}

#[test]
fn what_is_no_answer_to_a_question_has_no_tag() {
    let server = shared();
    let task = json!({"component": server.push("hostile/echo"), "input": 1});
    let reply =
        server.request("POST", "/api/tasks/?wait=60s").header("If-None-Match", "*").json(&task).send();
    assert_eq!((reply.status, reply.headers.get("etag")), (200, None));
    let missing = server.request("GET", "/api/tasks/nobody").header("If-None-Match", "*").send();
    assert_eq!((missing.status, missing.headers.get("etag")), (404, None));
    assert_eq!(missing.headers["cache-control"], "no-store");
}

#[test]
fn a_body_that_is_compressed_is_refused() {
    let server = shared();
    for coding in ["gzip", "identity", "x"] {
        let request = format!(
            "{}Content-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
            head(&server, "POST /api/tasks/")
        );
        answer(&server, request.as_bytes()).problem(415, "unsupported_media_type");
    }
}
