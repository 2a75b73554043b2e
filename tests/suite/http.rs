//! The HTTP contract for tasks, as a client meets it: every form of a submission, and what comes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use omnimind_tests::server::{Reply, Server, eventually};
use omnimind_tests::wire::{Events, assert_idle, form, shared, timed};
use omnimind_tests::{guest, pause};
use serde_json::{Value, json};

const SHOW: &str = include_str!("show.wat");
const SAYS_AND_SPINS: &str = include_str!("says-and-spins.wat");

fn upload(server: &Server, text: &str) -> String {
    let bytes = wat::parse_str(text).expect("text");
    let reply = server.request("POST", "/api/components/").wasm(&bytes).send();
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    reply.json()["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn a_record_has_every_field_of_the_contract() {
    let server = shared();
    let digest = server.push("hostile/echo");
    let reply = server.post(
        "/api/tasks/?wait=60s",
        &json!({"component": digest, "input": {"a": [1, null]}, "priority": "high", "description": "words",
            "metadata": {"k": ["v"]}, "limits": {"fuel": 1_000_000}, "deterministic": true}),
    );
    assert_eq!(reply.status, 200, "{reply:?}");
    let record = reply.json();
    let id = record["task_id"].as_str().expect("an id");
    assert_eq!(reply.headers["location"], format!("/api/tasks/{id}"));
    assert_eq!(reply.headers["content-type"], "application/json");
    for (field, value) in [
        ("component", json!(digest)),
        ("digest", json!(digest)),
        ("description", json!("words")),
        ("status", json!("completed")),
        ("priority", json!("high")),
        ("progress", json!(100.0)),
        ("attempts", json!(1)),
        ("durable", json!(true)),
        ("result", json!({"a": [1, null]})),
        ("failure", Value::Null),
        ("metadata", json!({"k": ["v"]})),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    let times = ["created_at", "started_at", "completed_at"].map(|name| record[name].as_str().expect(name));
    assert!(
        times.is_sorted() && times.iter().all(|time| time.len() == 24 && time.ends_with('Z')),
        "{times:?}"
    );
    let fuel = &record["receipt"]["budgets"]["fuel"];
    assert_eq!((&fuel["asked"], &fuel["limit"]), (&json!(1_000_000), &json!(1_000_000)));
    assert!(fuel["used"].as_u64().is_some_and(|used| used > 0 && used < 1_000_000), "{fuel}");
    assert_eq!(server.task(id), record, "the same with a GET");
    assert_eq!(server.get(&format!("/api/tasks/{id}/")).json(), record, "and with a slash");
}

#[test]
fn an_input_is_json_or_text_or_bytes() {
    let server = shared();
    let digest = server.push("hostile/echo");
    for (given, field, value) in [
        (json!({}), "result_text", json!("")),
        (json!({"input": null}), "result", Value::Null),
        (json!({"input": [1.0, "ü", {"b": false}]}), "result", json!([1.0, "ü", {"b": false}])),
        (json!({"input": "text"}), "result", json!("text")),
        (json!({"input_text": "as is"}), "result_text", json!("as is")),
        (json!({"input_text": "{\"a\": 1}"}), "result", json!({"a": 1})),
        (json!({"input_base64": "AP8="}), "result_base64", json!("AP8=")),
        (json!({"input_base64": STANDARD.encode("plain")}), "result_text", json!("plain")),
    ] {
        let mut task = given.clone();
        task["component"] = json!(digest);
        let record = server.run(&task);
        assert_eq!(record.get(field), Some(&value), "{given}: {record}");
        let results = ["result", "result_text", "result_base64"];
        assert_eq!(results.iter().filter(|name| record.get(**name).is_some()).count(), 1, "{record}");
    }
}

#[test]
fn json_reaches_the_guest_as_it_was_written() {
    let server = shared();
    let digest = server.push("hostile/echo");
    // Spaces, the order of keys, a number that no double holds, escapes.
    let input = r#"{ "b": 12345678901234567890123, "a":1.10, "c": "\u00fc" }"#;
    let body = format!(r#"{{"component": "{digest}", "input": {input}}}"#);
    let reply =
        server.request("POST", "/api/tasks/?wait=60s").body("application/json", body.as_bytes()).send();
    let id = reply.json()["task_id"].as_str().expect("an id").to_owned();
    assert_eq!(server.get(&format!("/api/tasks/{id}/output")).text(), input);
    assert!(reply.text().contains("12345678901234567890123"), "{}", reply.text());
}

#[test]
fn a_component_is_run_without_being_uploaded_before() {
    let server = Server::start();
    let wasm = guest("hostile/echo");
    let query = "wait=60s&input=h%C3%AB+llo&priority=low&description=a%20b&limits.fuel=123456&deterministic=true\
        &metadata=%7B%22a%22%3A1%7D&retry.max_attempts=2";
    let record = server.request("POST", &format!("/api/tasks/?{query}")).wasm(&wasm).send().json();
    assert_eq!(record["result_text"], "hë llo", "{record}");
    assert_eq!((&record["priority"], &record["description"]), (&json!("low"), &json!("a b")));
    assert_eq!(record["receipt"]["budgets"]["fuel"]["limit"], 123_456);
    assert_eq!(record["metadata"], json!({"a": 1}));
    // It is kept like an uploaded one.
    let digest = record["digest"].as_str().expect("a digest");
    assert_eq!(server.get(&format!("/api/components/{digest}")).status, 200);
    assert_eq!(server.run(&json!({"component": digest, "input": 5}))["result"], 5);
}

#[test]
fn a_form_has_everything_in_one_call() {
    let server = shared();
    let wasm = guest("hostile/echo");
    let task = br#"{"priority": "critical", "metadata": {"n": 1}}"#;
    let (media_type, body) = form(&[
        ("task", "application/json", task),
        ("input", "application/octet-stream", b"\x00\xff--EDG"),
        ("component", "application/wasm", &wasm),
    ]);
    let record = server.request("POST", "/api/tasks/?wait=60s").body(&media_type, &body).send().json();
    assert_eq!(record["result_base64"], STANDARD.encode(b"\x00\xff--EDG"), "{record}");
    assert_eq!((&record["priority"], &record["metadata"]), (&json!("critical"), &json!({"n": 1})));

    // Named and sent: they must be the same.
    let other = server.push("hostile/describe");
    let task = format!(r#"{{"component": "{other}"}}"#);
    let (media_type, body) =
        form(&[("task", "application/json", task.as_bytes()), ("component", "application/wasm", &wasm)]);
    server.request("POST", "/api/tasks/").body(&media_type, &body).send().problem(422, "digest_mismatch");
    for parts in [
        &[("task", "application/json", b"{\"input\": 1}".as_slice()), ("input", "text/plain", b"2")][..],
        &[("component", "application/wasm", &*wasm), ("surprise", "text/plain", b"2")],
        &[("component", "application/wasm", &*wasm), ("component", "application/wasm", &*wasm)],
        &[("input", "text/plain", b"no component")],
    ] {
        let (media_type, body) = form(parts);
        let reply = server.request("POST", "/api/tasks/").body(&media_type, &body).send();
        reply.problem(422, "invalid_request");
    }
    let cut = &body[..body.len() - 20];
    server.request("POST", "/api/tasks/").body(&media_type, cut).send().problem(422, "invalid_request");
    let nameless = "multipart/form-data";
    server.request("POST", "/api/tasks/").body(nameless, &body).send().problem(422, "invalid_request");
}

#[test]
fn a_command_gets_arguments_environment_and_input() {
    let server = shared();
    let digest = upload(&server, SHOW);
    let record = server.run(&json!({"component": digest, "args": ["a", "b c"], "env": {"K": "v=w"},
        "input_text": "stdin"}));
    let shown = record["result_text"].as_str().unwrap_or_else(|| panic!("{record}"));
    assert!(shown.ends_with("a\0b c\0K=v=w\0stdin"), "{shown:?}");

    let wasm = wat::parse_str(SHOW).expect("text");
    let path = "/api/tasks/?wait=60s&arg=x&arg=&arg=z&env=A%3D1&env=B%3D&input=in";
    let record = server.request("POST", path).wasm(&wasm).send().json();
    let shown = record["result_text"].as_str().unwrap_or_else(|| panic!("{record}"));
    assert!(shown.ends_with("x\0\0z\0A=1\0B=\0in"), "{shown:?}");
}

#[test]
fn a_client_waits_as_long_as_it_says() {
    let server = shared();
    let sleep = server.push("hostile/sleep");
    let task = json!({"component": sleep, "input": 700});
    let prefer =
        |value: &str| server.request("POST", "/api/tasks/").header("Prefer", value).json(&task).send();
    assert_eq!(server.post("/api/tasks/?wait=0", &task).status, 202);
    let reply = server.post("/api/tasks/?wait=50ms", &task);
    assert_eq!((reply.status, &reply.json()["status"]), (202, &json!("running")), "{reply:?}");
    assert_eq!(prefer("wait=0.05").status, 202);
    assert_eq!(prefer("respond-async, wait=20").status, 200);
    assert_eq!(prefer("wait=soon").status, 202, "a preference that makes no sense is none");
    assert_eq!(server.post("/api/tasks/?wait=100m", &task).status, 200, "60 s at most");
}

#[test]
fn a_repeated_submission_is_the_first_one() {
    let server = shared();
    let digest = server.push("hostile/echo");
    let send = |key: &str, task: &Value| {
        server.request("POST", "/api/tasks/?wait=60s").header("Idempotency-Key", key).json(task).send()
    };
    let task = json!({"component": digest, "input": {"n": 1}, "priority": "low"});
    let first = send("once", &task);
    let again = send("once", &task);
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json(), again.json());
    for other in [
        json!({"component": digest, "input": {"n": 2}, "priority": "low"}),
        json!({"component": digest, "input": {"n": 1}, "priority": "high"}),
        json!({"component": digest, "input_text": "{\"n\":1} ", "priority": "low"}),
        json!({"component": digest, "input": {"n": 1}, "priority": "low", "limits": {"fuel": 5}}),
        json!({"component": digest, "input": {"n": 1}, "priority": "low", "retry": {"max_attempts": 2}}),
    ] {
        send("once", &other).problem(409, "idempotency_conflict");
    }
    assert_ne!(send("twice", &task).json()["task_id"], first.json()["task_id"]);
    send("", &task); // No header at all.
    for bad in ["x".repeat(256), "\u{fc}".to_owned()] {
        send(&bad, &task).problem(422, "invalid_request");
    }
    // A dry run remembers nothing.
    let dry = server.request("POST", "/api/tasks/?dry_run=true").header("Idempotency-Key", "dry").json(&task);
    assert_eq!(dry.send().status, 200);
    assert_eq!(send("dry", &json!({"component": digest, "input": 9})).json()["result"], 9);
    // Nor does a submission that was refused.
    send("refused", &json!({"component": "nobody-has-this"})).problem(404, "not_found");
    assert_eq!(send("refused", &task).status, 200);
}

#[test]
fn of_many_submissions_with_one_key_at_once_one_runs() {
    let server = Server::start();
    let digest = server.push("hostile/echo");
    let task = json!({"component": digest, "input": 1});
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let send = || server.request("POST", "/api/tasks/").header("Idempotency-Key", "k").json(&task).send();
        let sent: Vec<_> = (0..40).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let ids: std::collections::HashSet<String> =
        replies.iter().map(|reply| reply.json()["task_id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 39);
    assert_eq!(server.get("/api/tasks/").json()["tasks"].as_array().map(Vec::len), Some(1));
    assert_idle(&server);
}

#[test]
fn a_dry_run_explains_and_leaves_nothing() {
    let server = Server::start();
    let wasm = guest("hostile/echo");
    let reply = server.request("POST", "/api/tasks/?dry_run=true&limits.fuel=7").wasm(&wasm).send();
    let said = reply.json();
    assert_eq!(reply.status, 200, "{said}");
    assert_eq!(said["limits"]["effective"]["fuel"], 7);
    assert_eq!(said["limits"]["effective"]["wall_ms"], 300_000);
    assert_eq!(said["capabilities"], json!({"needed": [], "granted": [], "missing": []}));
    assert_eq!(said["admission"], json!({"state": "admitted"}));
    assert_eq!(said.get("task_id"), None);
    assert_eq!(server.get("/api/tasks/").json()["tasks"], json!([]));
    assert_eq!(server.get("/api/components/").json()["components"], json!([]));
    // What would be refused is refused.
    let digest = server.push("hostile/echo");
    let dry = |task: &Value| server.post("/api/tasks/?dry_run=true", task);
    dry(&json!({"component": "nobody"})).problem(404, "not_found");
    dry(&json!({"component": digest, "limits": {"fuel": u64::MAX}})).problem(422, "invalid_request");
    let large = "x".repeat(2000);
    let large = json!({"component": digest, "limits": {"input_bytes": 1000}, "input_text": large});
    dry(&large).problem(413, "too_large");
    server.post("/api/tasks/", &large).problem(413, "too_large");
    assert_eq!(server.get("/api/tasks/").json()["tasks"], json!([]));
}

#[test]
fn logs_are_seen_while_the_task_runs_and_afterwards() {
    let server = shared();
    let id = server.submit(&json!({"component": upload(&server, SAYS_AND_SPINS)}));
    let log = || server.get(&format!("/api/tasks/{id}/logs"));
    eventually(|| (log().body == b"begun\n").then_some(()));
    assert_eq!(server.task(&id)["status"], "running");
    let mut following = Events::open(&server, &format!("/api/tasks/{id}/logs?follow=true"));
    let first = following.next_event().expect("an event");
    assert_eq!((first.name.as_str(), &first.data["text"]), ("log", &json!("begun\n")));
    server.get(&format!("/api/tasks/{id}/output")).problem(404, "not_found");
    assert_eq!(server.delete(&format!("/api/tasks/{id}")).status, 200);
    let rest = following.until(|event| event.name == "end");
    assert_eq!(rest.last().map(|event| &event.data["status"]), Some(&json!("cancelled")));
    let more: String = rest.iter().filter_map(|event| event.data["text"].as_str()).collect();
    assert_eq!(more, "", "nothing comes twice");
    assert_eq!(log().body, b"begun\n", "it is kept");
    assert_eq!(log().headers["content-type"], "text/plain; charset=utf-8");
}

#[test]
fn of_a_long_log_head_and_tail_are_kept() {
    let server = shared();
    let digest = server.push("hostile/log");
    let record = server.run(&json!({"component": digest, "input": 1_000_000, "limits": {"log_bytes": 1000}}));
    let id = record["task_id"].as_str().expect("an id");
    let log = server.get(&format!("/api/tasks/{id}/logs")).text();
    assert!(log.contains("… 999000 bytes dropped …"), "{} bytes", log.len());
    assert_eq!(log.matches('x').count(), 1000);
    let mut following = Events::open(&server, &format!("/api/tasks/{id}/logs?follow=true"));
    let events = following.until(|event| event.name == "end");
    let followed: String = events.iter().filter_map(|event| event.data["text"].as_str()).collect();
    assert_eq!(followed, log);
    server.get(&format!("/api/tasks/{id}/logs?follow=maybe")).problem(422, "invalid_request");
}

#[test]
fn an_output_is_never_a_page() {
    let server = shared();
    let digest = server.push("hostile/echo");
    for (input, media_type) in [
        (b"{\"a\": 1}".as_slice(), "application/json"),
        (b"<script>alert(1)</script>", "text/plain; charset=utf-8"),
        (b"\xff<html>", "application/octet-stream"),
        (b"", "text/plain; charset=utf-8"),
    ] {
        let record = server.run(&json!({"component": digest, "input_base64": STANDARD.encode(input)}));
        let id = record["task_id"].as_str().expect("an id");
        let output = server.get(&format!("/api/tasks/{id}/output"));
        assert_eq!((output.body.as_slice(), output.headers["content-type"].as_str()), (input, media_type));
        assert_eq!(output.headers["x-content-type-options"], "nosniff");
        assert!(output.headers["content-security-policy"].contains("sandbox"));
    }
}

#[test]
fn a_task_is_cancelled_wherever_it_is() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let (spin, sleep) = (server.push("hostile/spin"), server.push("hostile/sleep"));
    let running = server.submit(&json!({"component": spin, "limits": {"fuel": 9_000_000_000_000_u64}}));
    server.wait_for_status(&running, "running");
    let pending = server.submit(&json!({"component": spin}));
    let reply = server.delete(&format!("/api/tasks/{pending}"));
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("cancelled")), "{reply:?}");
    let never = server.task(&pending);
    assert_eq!(
        (&never["attempts"], &never["started_at"], &never["failure"]),
        (&json!(0), &Value::Null, &Value::Null)
    );

    let (reply, took) = timed(|| server.delete(&format!("/api/tasks/{running}")));
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("cancelled")), "{reply:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    server.delete(&format!("/api/tasks/{running}")).problem(409, "conflict");
    server.delete(&format!("/api/tasks/{pending}")).problem(409, "conflict");

    // With a grace it may still finish; without one it would not have.
    let graceful = server.submit(&json!({"component": sleep, "input": 3000}));
    server.wait_for_status(&graceful, "running");
    assert_eq!(server.delete(&format!("/api/tasks/{graceful}?grace=20s")).status, 202);
    pause(Duration::from_millis(100));
    assert_eq!(server.task(&graceful)["status"], "running");
    let ended = server.wait_for(&graceful, |task| task["completed_at"] != Value::Null);
    assert!(["completed", "cancelled"].iter().any(|status| ended["status"] == *status), "{ended}");
    let patient = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    server.wait_for_status(&patient, "running");
    let asked = server.delete(&format!("/api/tasks/{patient}?grace=300ms"));
    // The end came within the half second that is waited for it; on a busy machine a little later.
    assert!(matches!(asked.status, 200 | 202), "{asked:?}");
    assert_eq!(server.wait_for_status(&patient, "cancelled")["attempts"], 1);
    for bad in ["grace=x", "grace=-1", "grace=301s", "grase=1"] {
        server.delete(&format!("/api/tasks/{patient}?{bad}")).problem(422, "invalid_request");
    }
    assert_idle(&server);
}
