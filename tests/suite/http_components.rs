//! Components over HTTP: uploaded, named, described, removed.

use base64::Engine as _;
use omnimind_tests::server::{Server, command, eventually, scratch};
use omnimind_tests::wire::{assert_idle, form, shared, with_section};
use omnimind_tests::{bombs, guest};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn an_upload_is_described() {
    let server = Server::start();
    let wasm = guest("hostile/sleep");
    let reply = server.request("POST", "/api/components/?name=sleeper").wasm(&wasm).send();
    assert_eq!(reply.status, 201, "{reply:?}");
    let info = reply.json();
    assert_eq!(info["digest"], digest_of(&wasm));
    assert_eq!(
        (&info["name"], &info["size"], &info["kind"]),
        (&json!("sleeper"), &json!(wasm.len()), &json!("task"))
    );
    let imports: Vec<_> = info["imports"].as_array().expect("imports").iter().collect();
    assert!(
        imports.iter().any(|name| name.as_str().is_some_and(|name| name.starts_with("wasi:io/poll"))),
        "{info}"
    );
    assert_eq!((&info["exports"], &info["capabilities"]), (&json!(["run"]), &json!([])));
    assert!(info["compiled_ms"].is_u64(), "{info}");

    let again = server.request("POST", "/api/components/?name=sleeper").wasm(&wasm).send();
    assert_eq!((again.status, again.json()), (200, info.clone()), "known");
    for reference in ["sleeper", info["digest"].as_str().expect("a digest")] {
        assert_eq!(server.get(&format!("/api/components/{reference}")).json(), info);
    }
    assert_eq!(server.get("/api/components/").json(), json!({"components": [info]}));

    let module = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory (export "memory") 1) (func (export "_start")))"#,
    )
    .expect("text");
    let reply = server.request("POST", "/api/components/").body("application/octet-stream", &module).send();
    assert_eq!((reply.status, &reply.json()["kind"]), (201, &json!("command")), "{reply:?}");
    assert_eq!(reply.json()["digest"], digest_of(&module), "of the bytes as they were sent");
}

#[test]
fn the_record_says_what_a_component_was_made_from() {
    let data_dir = scratch("adapted");
    let start =
        || Server::launch(command(&data_dir), &data_dir).unwrap_or_else(|log| panic!("no start: {log}"));
    let adapted = |server: &Server, name: &str| {
        server.get(&format!("/api/components/{name}")).json().get("adapted").cloned()
    };
    let module = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
        (memory (export "memory") 1) (func (export "_start")))"#,
    )
    .expect("text");
    let mut server = start();
    let component = server.push("hostile/echo");
    for (name, status) in [("first", 201), ("second", 200)] {
        let upload = server.request("POST", &format!("/api/components/?name={name}")).wasm(&module).send();
        assert_eq!((upload.status, &upload.json()["adapted"]), (status, &json!("wasi 0.1")), "{upload:?}");
    }
    assert_eq!(adapted(&server, &component), None);
    server.terminate();

    // What the registry says comes from the store now, and what a new name says from the cached artefact.
    let server = start();
    assert_eq!(adapted(&server, "second"), Some(json!("wasi 0.1")));
    let upload = server.request("POST", "/api/components/?name=third").wasm(&module).send();
    assert_eq!((upload.status, &upload.json()["adapted"]), (200, &json!("wasi 0.1")), "{upload:?}");
}

#[test]
fn a_name_moves_and_tasks_keep_what_they_began_with() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let put =
        |name: &str| server.request("POST", "/api/components/?name=mine").wasm(&guest(name)).send().json();
    let first = put("hostile/echo");
    let blocker = server.submit(&json!({"component": server.push("hostile/sleep"), "input": 3_600_000}));
    server.wait_for_status(&blocker, "running");
    let waiting = server.submit(&json!({"component": "mine", "input": 5}));
    let second = put("hostile/describe");
    assert_ne!(first["digest"], second["digest"]);
    assert_eq!(server.get("/api/components/mine").json()["digest"], second["digest"]);
    let old = server.get(&format!("/api/components/{}", first["digest"].as_str().expect("a digest"))).json();
    assert_eq!(
        (&old["name"], &old["names"]),
        (&Value::Null, &json!([])),
        "it is still there, without the name"
    );
    server.delete(&format!("/api/tasks/{blocker}"));
    let record = server.wait_for_status(&waiting, "completed");
    assert_eq!((&record["result"], &record["digest"]), (&json!(5), &first["digest"]), "{record}");
    let now = server.run(&json!({"component": "mine", "input": 5}));
    assert_eq!((&now["result_text"], &now["digest"]), (&now["task_id"], &second["digest"]));
    // Two names for one component.
    let both = server.request("POST", "/api/components/?name=yours").wasm(&guest("hostile/describe")).send();
    assert_eq!((both.status, &both.json()["names"]), (200, &json!(["mine", "yours"])), "{both:?}");
}

#[test]
fn a_component_in_use_stays() {
    let server = Server::start();
    let sleep = server.push("hostile/sleep");
    let id = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    server.delete(&format!("/api/components/{sleep}")).problem(409, "conflict");
    server.delete(&format!("/api/tasks/{id}"));
    server.wait_for_status(&id, "cancelled");
    assert_eq!(server.delete(&format!("/api/components/{sleep}")).status, 204);
    server.delete(&format!("/api/components/{sleep}")).problem(404, "not_found");
    server.get(&format!("/api/components/{sleep}")).problem(404, "not_found");
    server.post("/api/tasks/", &json!({"component": sleep})).problem(404, "not_found");
    assert_eq!(server.task(&id)["digest"], sleep, "its tasks remember it");
    assert_eq!(server.push("hostile/sleep"), sleep);
    assert_eq!(
        server.run(&json!({"component": sleep, "input": 1}))["status"],
        "completed",
        "and it comes back"
    );
}

#[test]
fn removing_while_submitting_never_leaves_a_task_without_its_component() {
    let server = Server::start();
    let wasm = guest("hostile/echo");
    let digest = server.push("hostile/echo");
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| {
            for _ in 0..60 {
                server.delete(&format!("/api/components/{digest}"));
                server.request("POST", "/api/components/").wasm(&wasm).send();
            }
        });
        while !removing.is_finished() {
            let reply = server.post("/api/tasks/?wait=60s", &json!({"component": digest, "input": 1}));
            match reply.status {
                200 => assert_eq!(reply.json()["status"], "completed", "{reply:?}"),
                _ => drop(reply.problem(404, "not_found")),
            }
        }
    });
    assert_idle(&server);
}

#[test]
fn a_component_says_what_it_is() {
    let server = shared();
    let about = json!({
        "description": "adds", "input_schema": {"type": "object"}, "output_schema": {"type": "number"},
        "grants": {"tensor": true}, "limits": {"fuel": 1000},
    });
    let wasm = with_section(&guest("hostile/echo"), "omnimind:component", about.to_string().as_bytes());
    let reply = server.request("POST", "/api/components/").wasm(&wasm).send();
    assert_eq!(reply.status, 201, "{reply:?}");
    let info = reply.json();
    for (field, value) in about.as_object().expect("an object") {
        assert_eq!(info[field], *value, "{field}");
    }
    assert_eq!(info["capabilities"], json!([]), "a wish is no need");
    let record = server.run(&json!({"component": info["digest"], "input": 1}));
    assert_ne!(record["receipt"]["budgets"]["fuel"]["limit"], 1000, "it is shown, and nothing more");

    for (what, section) in [
        ("no JSON", "{"),
        ("another shape", r#"{"description": 5}"#),
        ("an unknown field", r#"{"descripton": "x"}"#),
        ("an unknown limit", r#"{"limits": {"feul": 1}}"#),
        ("more than any mode allows", r#"{"limits": {"fuel": 18446744073709551615}}"#),
        ("an unknown grant", r#"{"grants": {"files": true}}"#),
    ] {
        let wasm = with_section(&guest("hostile/echo"), "omnimind:component", section.as_bytes());
        let problem =
            server.request("POST", "/api/components/").wasm(&wasm).send().problem(422, "invalid_request");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("omnimind:component")), "{what}");
        server.get(&format!("/api/components/{}", digest_of(&wasm))).problem(404, "not_found");
    }
    let long = format!(r#"{{"description": "{}"}}"#, "x".repeat(300_000));
    let wasm = with_section(&guest("hostile/echo"), "omnimind:component", long.as_bytes());
    server.request("POST", "/api/components/").wasm(&wasm).send().problem(422, "invalid_request");
}

#[test]
fn a_form_can_carry_the_description() {
    let server = Server::start();
    let wasm = with_section(&guest("hostile/echo"), "omnimind:component", br#"{"description": "inside"}"#);
    let upload = |metadata: &str, name: &str| {
        let (media_type, body) = form(&[
            ("component", "application/wasm", &wasm),
            ("metadata", "application/json", metadata.as_bytes()),
            ("name", "text/plain", name.as_bytes()),
        ]);
        server.request("POST", "/api/components/").body(&media_type, &body).send()
    };
    let reply = upload(r#"{"description": "beside", "limits": {"wall_ms": 5}}"#, "beside");
    assert_eq!(reply.status, 201, "{reply:?}");
    let info = reply.json();
    assert_eq!((&info["description"], &info["name"]), (&json!("beside"), &json!("beside")), "it counts");
    assert_eq!(info["limits"], json!({"wall_ms": 5}));
    assert_eq!(upload(r#"{"description": "new"}"#, "beside").json()["description"], "new");
    assert_eq!(server.get("/api/components/beside").json()["description"], "new");
    for metadata in ["", "[1]", r#"{"limits": {"nope": 1}}"#] {
        upload(metadata, "beside").problem(422, "invalid_request");
    }
    upload("{}", "../up").problem(422, "invalid_request");
    let (media_type, body) = form(&[("metadata", "application/json", b"{}")]);
    server
        .request("POST", "/api/components/")
        .body(&media_type, &body)
        .send()
        .problem(422, "invalid_request");
}

#[test]
fn an_upload_need_not_be_waited_for() {
    let server = Server::start();
    let send = |wasm: &[u8]| {
        let upload = server.request("POST", "/api/components/?name=later").header("Prefer", "respond-async");
        let reply = upload.wasm(wasm).send();
        assert_eq!((reply.status, &reply.json()["status"]), (202, &json!("compiling")), "{reply:?}");
        assert_eq!(reply.json()["digest"], digest_of(wasm));
        format!("/api/components/{}", digest_of(wasm))
    };
    let wasm = guest("hostile/echo");
    let path = send(&wasm);
    let info = eventually(|| Some(server.get(&path).json()).filter(|info| info["kind"] == "task"));
    assert_eq!(info["names"], json!(["later"]));
    assert_eq!(send(&wasm), path, "known, and still no problem");
    assert_eq!(server.get(&path).json()["kind"], "task");
    // What is refused says so to whoever asks afterwards.
    for n in 0..100_u8 {
        let path = send(&[b"\0asm\x0d\0\x01\0", [n; 9].as_slice()].concat());
        let refused = eventually(|| Some(server.get(&path)).filter(|reply| reply.status != 200));
        refused.problem(400, "component_invalid");
    }
    let path = send(&bombs::fanout(30));
    let refused = eventually(|| Some(server.get(&path)).filter(|reply| reply.status != 200));
    refused.problem(422, "component_too_complex");
}

#[test]
fn names_are_plain_and_digests_are_checked() {
    let server = shared();
    let wasm = guest("hostile/echo");
    let upload = |query: &str| server.request("POST", &format!("/api/components/?{query}")).wasm(&wasm);
    for bad in [
        "",
        "..%2fup",
        "a%20b",
        "-a",
        ".a",
        "a%00",
        "a%0d%0aSet-Cookie:x",
        "%ff",
        "sha256:00",
        &"x".repeat(129),
    ] {
        let problem = upload(&format!("name={bad}")).send().problem(422, "invalid_request");
        assert_eq!(problem["field"], "name");
    }
    assert!(matches!(upload(&format!("name={}", "x".repeat(128))).send().status, 200 | 201));
    let (good, other) = (digest_of(&wasm), format!("sha256:{}", "0".repeat(64)));
    assert!(matches!(upload(&format!("digest={good}")).send().status, 200 | 201));
    upload(&format!("digest={other}")).send().problem(422, "digest_mismatch");
    upload("digest=md5:0").send().problem(422, "invalid_request");
    let content = |digest: &str| upload("").header("Content-Digest", digest).send();
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    assert_eq!(content(&format!("sha-256=:{}:", encode(&Sha256::digest(&wasm)))).status, 200);
    content(&format!("sha-256=:{}:", encode(&[0; 32]))).problem(422, "digest_mismatch");
    content("sha-256=:AAAA:").problem(422, "invalid_request");
    upload("nmae=x").send().problem(422, "invalid_request");
}

#[test]
fn a_component_that_came_with_a_refused_submission_is_not_kept() {
    let server = Server::start();
    let echo = guest("hostile/echo");
    let submit = |query: &str| server.request("POST", &format!("/api/tasks/?{query}")).wasm(&echo).send();
    submit("limits.fuel=0").problem(422, "invalid_request");
    submit("durable=false").problem(422, "invalid_request");
    assert_eq!(server.get("/api/components/").json()["components"].as_array().map(Vec::len), Some(0));
    assert_eq!(submit("wait=10s").status, 200);
    assert_eq!(server.get("/api/components/").json()["components"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_digest_of_a_form_is_not_taken_for_the_components() {
    let server = shared();
    let echo = guest("hostile/echo");
    let (boundary, body) = form(&[("component", "application/wasm", &echo)]);
    // RFC 9530: it is the digest of the whole body.
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&body));
    let reply = server
        .request("POST", "/api/components/")
        .header("Content-Digest", &format!("sha-256=:{digest}:"))
        .body(&boundary, &body)
        .send();
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
}

#[test]
fn a_command_has_so_many_arguments_and_no_more() {
    let server = shared();
    let digest = server.push("hostile/command-exit");
    let task = |count: usize| json!({"component": digest, "args": vec!["x"; count]});
    assert_eq!(server.post("/api/tasks/?dry_run=true", &task(256)).status, 200);
    server.post("/api/tasks/?dry_run=true", &task(257)).problem(422, "invalid_request");
}

#[test]
fn a_component_that_is_deleted_beside_submissions_is_there_or_not() {
    let server = Server::start();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(4);
    let (mut deleted, mut refused, mut ran) = (0, 0, 0);
    let echo = server.push("hostile/echo");
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| {
            let mut deleted = 0;
            while std::time::Instant::now() < deadline {
                match server.delete(&format!("/api/components/{echo}")).status {
                    204 => deleted += 1,
                    status => assert_eq!(status, 409),
                }
                server.push("hostile/echo");
            }
            deleted
        });
        while std::time::Instant::now() < deadline {
            // With a key it is stored first and run then, which is the longer way.
            let task = serde_json::json!({"component": echo, "input": 1});
            let request = server.request("POST", "/api/tasks/?wait=10s").json(&task);
            let reply = request.header("Idempotency-Key", &format!("{}", ran + refused)).send();
            match reply.status {
                404 => refused += 1,
                status => {
                    assert_eq!((status, &reply.json()["status"]), (200, &"completed".into()), "{reply:?}");
                    ran += 1;
                }
            }
        }
        deleted = deleting.join().expect("no panic");
    });
    assert!(deleted > 10 && ran > 10, "{deleted} deleted, {ran} ran, {refused} refused");
}
