//! What a task may use: nothing is implied, and what is missing is said exactly.

use omnimind_tests::guest;
use omnimind_tests::server::Server;
use omnimind_tests::wire::shared;
use serde_json::{Value, json};

#[test]
fn in_prod_nothing_is_granted_that_was_not_asked_for() {
    let server = Server::with(&["--mode", "prod"]);
    let digest = server.push("hostile/import-capability");
    let info = server.get(&format!("/api/components/{digest}")).json();
    assert_eq!(info["capabilities"], json!(["tensor"]), "{info}");
    let problem = server.post("/api/tasks/", &json!({"component": digest})).problem(403, "capability_denied");
    assert_eq!(problem["grants"], json!({"tensor": true}));
    let detail = problem["detail"].as_str().expect("text");
    let (_, exact) = detail.split_once("\"grants\": ").expect("the JSON to add");
    assert_eq!(serde_json::from_str::<Value>(exact).expect("JSON"), json!({"tensor": true}));
    // What it says works.
    let granted = server.run(&json!({"component": digest, "grants": problem["grants"], "input": 1}));
    assert_eq!(granted["result"], 1, "{granted}");
    // The next obstacle of another one is that there is no such thing.
    let unavailable = server.push("hostile/import-unavailable");
    let memory = || json!({"vector_memory": {"collections": ["notes"], "write": false}});
    let reply = server.post("/api/tasks/", &json!({"component": unavailable, "grants": memory()}));
    reply.problem(503, "capability_unavailable");
    assert!(!reply.headers.contains_key("retry-after"), "waiting does not help: {reply:?}");
    for other in [json!({}), json!({"tensor": false}), json!({"embedding": true, "inference": ["m"]})] {
        let reply = server.post("/api/tasks/", &json!({"component": digest, "grants": other}));
        reply.problem(403, "capability_denied");
    }
    // Inline too, and a dry run says the same in its own words.
    let wasm = guest("hostile/import-capability");
    server.request("POST", "/api/tasks/").wasm(&wasm).send().problem(403, "capability_denied");
    let dry = |grants: Value| {
        server.post("/api/tasks/?dry_run=true", &json!({"component": digest, "grants": grants})).json()
    };
    let said = dry(json!({}));
    assert_eq!(said["capabilities"], json!({"needed": ["tensor"], "granted": [], "missing": ["tensor"]}));
    let Value::Object(refused) = &said["admission"] else { panic!("{said}") };
    assert_eq!((&refused["state"], &refused["reason"]), (&json!("refused"), &json!("capability_denied")));
    assert!(
        refused["detail"].as_str().expect("text").contains("add \"grants\": {\"tensor\":true}"),
        "{said}"
    );
    let said = dry(json!({"tensor": true}));
    assert_eq!(said["capabilities"], json!({"needed": ["tensor"], "granted": ["tensor"], "missing": []}));
    assert_eq!(said["admission"]["state"], "admitted", "{said}");
    let task = json!({"component": unavailable, "grants": memory()});
    let said = server.post("/api/tasks/?dry_run=true", &task).json();
    assert_eq!(said["admission"]["reason"], "capability_unavailable");
    assert_eq!(server.get("/api/tasks/").json()["tasks"].as_array().map(Vec::len), Some(1), "one was stored");
    // Who needs nothing is not asked.
    assert_eq!(server.run(&json!({"component": server.push("hostile/echo"), "input": 1}))["result"], 1);
    assert_eq!(server.get("/api/tasks/").json()["tasks"].as_array().map(Vec::len), Some(2));
}

#[test]
fn in_dev_tensors_are_granted_unless_the_submission_says_otherwise() {
    let server = shared();
    let digest = server.push("hostile/import-capability");
    assert_eq!(server.run(&json!({"component": digest, "input": 1}))["result"], 1);
    let nothing = server.post("/api/tasks/", &json!({"component": digest, "grants": {}}));
    nothing.problem(403, "capability_denied");
}

#[test]
fn files_and_sockets_need_no_grant_and_give_nothing() {
    let server = shared();
    let files = server.run(&json!({"component": server.push("hostile/wasi-files"), "grants": {}}));
    assert_eq!(files["result"], 0, "no directory is open: {files}");
    let sockets = server.run(&json!({"component": server.push("hostile/wasi-sockets"), "grants": {}}));
    assert_eq!(sockets["result_text"], "denied", "{sockets}");
}

#[test]
fn grants_of_another_shape_are_refused() {
    let server = shared();
    let digest = server.push("hostile/echo");
    let long = "x".repeat(300);
    for (field, grants) in [
        ("grants.files", json!({"files": true})),
        ("grants.tensor", json!({"tensor": "yes"})),
        ("grants.tensor", json!({"tensor": 1})),
        ("grants.embedding", json!({"embedding": null})),
        ("grants.inference", json!({"inference": true})),
        ("grants.inference[1]", json!({"inference": ["m", 5]})),
        ("grants.inference", json!({"inference": [""]})),
        ("grants.inference", json!({"inference": ["a b"]})),
        ("grants.inference", json!({"inference": ["a\u{0}"]})),
        ("grants.inference", json!({"inference": [long]})),
        ("grants.inference", json!({"inference": vec!["m"; 101]})),
        ("grants.vector_memory", json!({"vector_memory": true})),
        ("grants.vector_memory.collection", json!({"vector_memory": {"collection": ["x"]}})),
        ("grants.vector_memory.collections", json!({"vector_memory": {"collections": ["../x"]}})),
        ("grants.vector_memory.collections", json!({"vector_memory": {"collections": ["UP"]}})),
        ("grants.vector_memory.collections", json!({"vector_memory": {"collections": ["__system"]}})),
        ("grants.vector_memory.collections", json!({"vector_memory": {"collections": ["x".repeat(64)]}})),
        ("grants.vector_memory.write", json!({"vector_memory": {"collections": ["x"], "write": "yes"}})),
        ("grants.http", json!({"http": ["ftp://a.example"]})),
        ("grants.http", json!({"http": ["https://"]})),
        ("grants.http", json!({"http": ["https://a.example/path"]})),
        ("grants.http", json!({"http": ["https://user@a.example"]})),
        ("grants.http", json!({"http": ["https://a.example?q"]})),
        ("grants.http", json!({"http": ["*"]})),
        ("grants.keyvalue", json!({"keyvalue": ["a\nb"]})),
        ("grants", json!("all")),
        ("grants", json!(true)),
    ] {
        let reply = server.post("/api/tasks/", &json!({"component": digest, "grants": grants}));
        assert_eq!(reply.status, 422, "{grants}: {}", reply.text());
        assert_eq!(reply.problem(422, "invalid_request")["field"], field, "{grants}");
    }
    let good = json!({"tensor": true, "embedding": true, "inference": ["llama3:8b"], "http": ["https://api.example.com"],
        "vector_memory": {"collections": ["notes"], "write": true}, "keyvalue": ["bucket"], "config": ["name"]});
    assert_eq!(server.run(&json!({"component": digest, "grants": good}))["status"], "completed");
}
