//! Bad input over HTTP: an exact answer, and a server that is none the worse for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use omnimind_tests::server::{Reply, Server};
use omnimind_tests::wire::{assert_healthy, assert_idle, assert_no_rust, memory_kib, shared};
use omnimind_tests::{bombs, guest};
use serde_json::{Value, json};

/// A component that imports a function `nowish` of an interface of ours.
fn importing(interface: &str) -> Vec<u8> {
    let (known, other) = ("wasi:clocks/monotonic-clock@0.2.0", format!("omnimind:runtime/{interface}"));
    assert_eq!(known.len(), other.len(), "lengths stand before names");
    let mut bytes = guest("hostile/import-misspelt-function").to_vec();
    let at = bytes.windows(known.len()).position(|name| name == known.as_bytes()).expect("the name");
    bytes[at..at + known.len()].copy_from_slice(other.as_bytes());
    bytes
}

#[test]
fn bytes_that_are_no_component_are_refused_in_every_form() {
    let server = Server::start();
    for (what, bytes, status, code) in [
        ("empty", Vec::new(), 400, "component_invalid"),
        ("four bytes", b"\0asm".to_vec(), 400, "component_invalid"),
        ("truncated", bombs::truncated(), 400, "component_invalid"),
        ("random", bombs::random_after_header(3), 400, "component_invalid"),
        ("huge counts", bombs::huge_claimed_counts(), 400, "component_invalid"),
        ("huge length", bombs::huge_claimed_length(), 400, "component_invalid"),
        ("text", bombs::text(), 400, "component_invalid"),
        ("nested text", bombs::text_nesting(), 400, "component_invalid"),
        ("gzip", bombs::gzip(), 400, "component_invalid"),
        ("ELF", bombs::elf(), 400, "component_invalid"),
        ("an artefact", bombs::precompiled_lookalike(), 400, "component_invalid"),
        ("a core module", bombs::core_module(), 400, "not_a_component"),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec(), 422, "missing_export"),
        ("fan-out", bombs::fanout(26), 422, "component_too_complex"),
        ("nesting", bombs::nested_components(1000), 422, "component_too_complex"),
        ("functions", bombs::many_functions(200_000), 422, "component_too_complex"),
        ("locals", bombs::many_locals(49_999), 422, "component_too_complex"),
        ("unknown import", guest("hostile/import-unknown").to_vec(), 422, "unknown_import"),
        ("misspelt import", guest("hostile/import-misspelt").to_vec(), 422, "unknown_import"),
        ("wrong import", guest("hostile/import-wrong-type").to_vec(), 422, "type_mismatch"),
        ("misspelt function", guest("hostile/import-misspelt-function").to_vec(), 422, "unknown_import"),
        ("misspelt function of a capability", importing("embedding@0.1.10"), 422, "unknown_import"),
        ("capability of another version", importing("embedding@0.9.10"), 422, "unknown_import"),
        ("misspelt capability", importing("embeddimg@0.1.10"), 422, "unknown_import"),
        ("no run", guest("hostile/export-missing").to_vec(), 422, "missing_export"),
        ("another run", guest("hostile/export-wrong-type").to_vec(), 422, "type_mismatch"),
    ] {
        for path in ["/api/components/?name=bad", "/api/tasks/?wait=60s", "/api/tasks/?dry_run=true"] {
            let reply = server.request("POST", path).wasm(&bytes).send();
            assert_eq!(
                (reply.status, &reply.json()["code"]),
                (status, &json!(code)),
                "{what} to {path}: {}",
                reply.text()
            );
            reply.problem(status, code);
        }
    }
    let problem = server.request("POST", "/api/components/").wasm(&bombs::truncated()).send().json();
    assert!(problem["offset"].is_u64(), "{problem}");
    let near =
        server.request("POST", "/api/components/").wasm(&guest("hostile/import-misspelt")).send().json();
    assert!(near["detail"].as_str().is_some_and(|text| text.contains("monotonic-clock@")), "{near}");
    let near = server.request("POST", "/api/components/").wasm(&importing("embeddimg@0.1.10")).send().json();
    assert!(near["detail"].as_str().is_some_and(|text| text.contains("runtime/embedding@")), "{near}");
    // Nothing half-done.
    assert_eq!(server.get("/api/components/").json(), json!({"components": []}));
    assert_eq!(server.get("/api/tasks/").json()["tasks"], json!([]));
    server.get("/api/components/bad").problem(404, "not_found");
    assert_idle(&server);
}

#[test]
fn an_answer_is_not_longer_than_what_it_is_about() {
    let server = shared();
    let long = "a".repeat(4 << 20);
    for body in [
        json!({&long: 1}),
        json!({"priority": &long}),
        json!({"component": "x", "grants": {&long: true}}),
        json!({"component": "x", "limits": {&long: 1}}),
        json!({"component": &long}),
        json!({"component": "x", "retry": {"on": [&long]}}),
        json!({"component": "x", "args": vec!["x"; 300_000]}),
        json!({"component": "x", "grants": {"http": vec!["x"; 300_000]}}),
    ] {
        let reply = server.post("/api/tasks/", &body);
        assert!(reply.body.len() < 16 << 10, "{}", reply.body.len());
        assert!(matches!(reply.status, 404 | 422), "{}", reply.status);
    }
    let text = format!(
        r#"(component (import "omnimind:runtime/{}" (instance (export "f" (func)))))"#,
        "i".repeat(90_000)
    );
    let reply = server.request("POST", "/api/components/").wasm(&wat::parse_str(text).expect("text")).send();
    let problem = reply.problem(422, "unknown_import");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.len() < 1000 && detail.contains("tasks may import"), "{detail}");
}

#[test]
fn flipped_bits_have_an_answer() {
    let server = shared();
    for seed in 0..60 {
        let reply = server
            .request("POST", "/api/tasks/?wait=60s&limits.wall_ms=2000")
            .wasm(&bombs::bit_flipped(seed))
            .send();
        assert!(matches!(reply.status, 200 | 400 | 422), "seed {seed}: {reply:?}");
    }
    assert_healthy(&server);
}

#[test]
fn what_is_no_json_is_told_with_line_and_column() {
    let server = shared();
    let send = |body: &[u8]| server.request("POST", "/api/tasks/").body("application/json", body).send();
    let deep_list = "[".repeat(100_000);
    let deep_object = r#"{"a":"#.repeat(100_000);
    let deep_metadata =
        format!(r#"{{"component":"x","metadata":{{"a":{}{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in [
        b"".as_slice(),
        b"{",
        b"nul",
        b"{}x",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        br#"{"component":"\ud800"}"#,
        br#"{"component":"a","component":"a"}"#,
        br#"{"component":"x","metadata":{"a":{"b":1,"b":2}}}"#,
        br#"{"component":"x","limits":{"fuel":1e999}}"#,
        br#"{"component":"x","limits":{"fuel":NaN}}"#,
        br#"{"component":"x",}"#,
        b"{'component':'x'}",
        b"{\"component\":\"a\nb\"}",
        b"{\"component\":\"\0\"}",
        deep_list.as_bytes(),
        deep_object.as_bytes(),
        deep_metadata.as_bytes(),
    ] {
        let problem = send(body).problem(400, "invalid_json");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("line 1 column") || detail.contains("line 2 column"), "{detail}");
    }
    let problem = send(b"{\"component\":\"\xff\"}").problem(400, "invalid_json");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("byte 14")), "{problem}");
    assert_healthy(&server);
}

#[test]
fn a_wrong_field_is_named() {
    let server = shared();
    let digest = server.push("hostile/echo");
    let digit = format!("sha256:{}", "A".repeat(64));
    for (field, task) in [
        ("inptu", json!({"inptu": 1})),
        ("component", json!({"component": 5})),
        ("component", json!({"component": "../x"})),
        ("component", json!({"component": "a\u{0}"})),
        ("component", json!({"component": ""})),
        ("component", json!({"component": digit})),
        ("priority", json!({"priority": "urgent"})),
        ("priority", json!({"priority": 1})),
        ("args", json!({"args": "x"})),
        ("args[1]", json!({"args": ["x", 1]})),
        ("args", json!({"args": ["a\u{0}"]})),
        ("args", json!({"args": vec!["x"; 1000]})),
        ("args", json!({"args": ["x".repeat(70_000)]})),
        ("env.A", json!({"env": {"A": 1}})),
        ("env", json!({"env": {"A=B": "x"}})),
        ("env", json!({"env": {"": "x"}})),
        ("env", json!({"env": ["A=1"]})),
        ("limits.fuel", json!({"limits": {"fuel": -1}})),
        ("limits.fuel", json!({"limits": {"fuel": "5"}})),
        ("limits.fuel", json!({"limits": {"fuel": 1.5}})),
        ("limits.fuel", json!({"limits": {"fuel": 0}})),
        ("limits.fuel", json!({"limits": {"fuel": 1_000_000_000_000_000_000_u64}})),
        ("limits.stack_bytes", json!({"limits": {"stack_bytes": 1}})),
        ("limits.memory_bytes", json!({"limits": {"memory_bytes": 5_000_000_000_u64}})),
        ("limits.feul", json!({"limits": {"feul": 1}})),
        ("limits", json!({"limits": [1]})),
        ("retry.max_attempts", json!({"retry": {"max_attempts": 0}})),
        ("retry.max_attempts", json!({"retry": {"max_attempts": 21}})),
        ("retry.max_attempts", json!({"retry": {"max_attempts": 1_000_000_000_000_u64}})),
        ("retry.backoff_ms", json!({"retry": {"backoff_ms": -1}})),
        ("retry.backoff_ms", json!({"retry": {"backoff_ms": u64::MAX}})),
        ("retry.on[0]", json!({"retry": {"on": ["cosmic_rays"]}})),
        ("retry.on", json!({"retry": {"on": vec!["trap"; 1000]}})),
        ("retry.jitter", json!({"retry": {"jitter": 1}})),
        ("retry", json!({"retry": [1, null, 5]})),
        ("deterministic", json!({"deterministic": 1})),
        ("durable", json!({"durable": false})),
        ("profile", json!({"profile": true})),
        ("description", json!({"description": "a\u{1b}[31m"})),
        ("description", json!({"description": "a\r\nSet-Cookie: x"})),
        ("description", json!({"description": "x".repeat(5000)})),
        ("metadata", json!({"metadata": [1]})),
        ("metadata", json!({"metadata": {"k": "x".repeat(70_000)}})),
        ("input", json!({"input": 1, "input_text": "x"})),
        ("input_base64", json!({"input_base64": "!!"})),
        ("input_base64", json!({"input_base64": "YQ"})),
    ] {
        let mut whole = task.clone();
        if whole.get("component").is_none() {
            whole["component"] = json!(digest);
        }
        let reply = server.post("/api/tasks/", &whole);
        assert_eq!(
            reply.status,
            422,
            "{}: {}",
            task.to_string().chars().take(60).collect::<String>(),
            reply.text()
        );
        let problem = reply.problem(422, "invalid_request");
        assert_eq!(problem["field"], field, "{problem}");
        assert_no_rust(problem["detail"].as_str().expect("text"));
    }
    for (task, detail) in [
        (json!({"args": "x"}), "args: an array is expected, not \"x\""),
        (json!({"limits": [1]}), "limits: an object is expected, not an array"),
        (json!({"deterministic": 1}), "deterministic: true or false is expected, not 1"),
        (json!({"priority": 1}), "priority: a string is expected"),
        (json!([]), "(the body): an object is expected, not an array"),
    ] {
        assert_eq!(server.post("/api/tasks/", &task).problem(422, "invalid_request")["detail"], detail);
    }
    let problem = server.post("/api/tasks/", &json!({"component": digest, "limits": {"feul": 1}})).json();
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("did you mean fuel")), "{problem}");
    let problem =
        server.post("/api/tasks/", &json!({"component": digest, "limits": {"wall_ms": 3_600_001}})).json();
    assert!(
        problem["detail"].as_str().is_some_and(|text| text.contains("3600000")),
        "it names the maximum: {problem}"
    );
}

#[test]
fn an_array_is_no_object() {
    let server = shared();
    let digest = server.push("hostile/echo");
    let positional = json!([digest, 1, null, null, [], {}, "low", {}, null, {"max_attempts": 1}, false, null, false, null, null]);
    for body in [positional, json!([]), json!(null), json!(5), json!("text")] {
        server.post("/api/tasks/", &body).problem(422, "invalid_request");
    }
    for grants in
        [json!([]), json!([true]), json!({"vector_memory": []}), json!({"vector_memory": [["notes"], true]})]
    {
        let reply = server.post("/api/tasks/", &json!({"component": digest, "grants": grants}));
        reply.problem(422, "invalid_request");
    }
}

#[test]
fn a_wrong_query_parameter_is_named() {
    let server = shared();
    let wasm = guest("hostile/echo");
    for (field, query) in [
        ("limits.fuel", "limits.fuel=x"),
        ("limits.fuel", "limits.fuel=-1"),
        ("limits.nope", "limits.nope=1"),
        ("limits.limits.fuel", "limits.limits.fuel=7"),
        ("retry.max_attempts", "retry.max_attempts=99999999999"),
        ("retry.on", "retry.on=trap,rain"),
        ("retry.backoff_ms", "retry.backoff_ms=1s"),
        ("grants", "grants=5"),
        ("input", "input=a&input_base64=YQ=="),
        ("metadata", "metadata=5"),
        ("env", "env=A"),
        ("deterministic", "deterministic=yes"),
        ("durable", "durable=false"),
        ("wait", "wait=abc"),
        ("wait", "wait=-1"),
        ("wait", "wait=1h"),
        ("dry_run", "dry_run=maybe"),
        ("input", "input=a&input=b"),
        ("input_text", "input=a&input_text=b"),
        ("priority", "priority=urgent"),
        ("digest", "digest=abc"),
        ("nope", "nope=1"),
        ("password", "password=x"),
    ] {
        let reply = server.request("POST", &format!("/api/tasks/?{query}")).wasm(&wasm).send();
        assert_eq!(reply.status, 422, "{query}: {}", reply.text());
        assert_eq!(reply.problem(422, "invalid_request")["field"], field, "{query}");
    }
    // Nowhere is anything ignored, least of all a wait.
    for (method, path) in [
        ("GET", "/api/tasks/x"),
        ("GET", "/api/tasks/x/"),
        ("GET", "/api/tasks/x/progress"),
        ("GET", "/api/tasks/x/output"),
        ("GET", "/api/tasks/analytics/summary"),
        ("GET", "/api/components"),
        ("DELETE", "/api/components/x"),
        ("GET", "/api/v1/health/"),
        ("GET", "/api/v1/health/engine"),
        ("GET", "/api/v1/limits"),
        ("GET", "/api/metrics"),
        ("GET", "/api/cache"),
        ("GET", "/api/tokens"),
        ("GET", "/api/v1/protection"),
        ("PUT", "/api/v1/protection/mode"),
        ("POST", "/api/ws-ticket"),
        ("GET", "/readyz"),
        ("GET", "/api/v1/health/engine/trend"),
        ("GET", "/api/tasks/x/logs"),
        ("DELETE", "/api/tasks/x"),
    ] {
        let reply = server.request(method, &format!("{path}?wait=10s")).send();
        assert_eq!(reply.problem(422, "invalid_request")["field"], "wait", "{method} {path}");
    }
    let other = format!("/api/tasks/?digest=sha256:{}", "0".repeat(64));
    server.request("POST", &other).wasm(&wasm).send().problem(422, "digest_mismatch");
    // With a JSON body these have a place already.
    server.post("/api/tasks/?input=x", &json!({"component": "x"})).problem(422, "invalid_request");
}

#[test]
fn what_is_not_there_is_404_in_every_spelling() {
    let server = shared();
    let nobody = "01890f3e-7c4a-7cc1-98c5-4f6f0a2b1c3d";
    let real = server.run(&json!({"component": server.push("hostile/echo")}))["task_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let long = "a".repeat(10_000);
    let (upper, braces) = (format!("{{{real}}}"), real.replace('-', ""));
    for id in [
        nobody,
        "x",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%00",
        "%ff",
        "%c3%28",
        "%e2%82%ac",
        "%zz",
        "*",
        "-",
        "%20",
        "1%27%20OR%201=1",
        &upper,
        &braces,
        &long,
    ] {
        for part in ["", "/progress", "/history", "/analytics", "/output", "/logs"] {
            let reply = server.get(&format!("/api/tasks/{id}{part}"));
            assert_eq!(reply.status, 404, "{id}{part}: {}", reply.text());
            reply.problem(404, "not_found");
        }
        server.delete(&format!("/api/tasks/{id}")).problem(404, "not_found");
        server.get(&format!("/api/components/{id}")).problem(404, "not_found");
        server.delete(&format!("/api/components/{id}")).problem(404, "not_found");
        server.get(&format!("/api/v1/health/{id}")).problem(404, "not_found");
    }
    for path in [
        "/api",
        "/api/",
        "/api/tasks/../components",
        "//api/tasks",
        "/api//tasks",
        "/API/tasks",
        "/etc/passwd",
        "/%2e%2e/",
    ] {
        server.get(path).problem(404, "not_found");
    }
    assert_eq!(server.get(&format!("/api/tasks/{real}")).status, 200);
}

#[test]
fn types_and_methods_that_do_not_fit() {
    let server = shared();
    for media_type in
        ["text/plain", "text/xml", "application/x-www-form-urlencoded", "application/json5", "", "\u{fc}"]
    {
        for path in ["/api/tasks/", "/api/components/"] {
            let reply = server.request("POST", path).body(media_type, b"{}").send();
            reply.problem(415, "unsupported_media_type");
        }
    }
    server.request("POST", "/api/components/").json(&json!({})).send().problem(415, "unsupported_media_type");
    let encoded = server.request("POST", "/api/tasks/").json(&json!({})).header("Content-Encoding", "gzip");
    encoded.send().problem(415, "unsupported_media_type");
    let wasm =
        server.request("POST", "/api/components/").wasm(&bombs::gzip()).header("Content-Encoding", "gzip");
    wasm.send().problem(415, "unsupported_media_type");
    let loud = server.request("POST", "/api/tasks/").body("Application/JSON ; charset=utf-8", b"{}").send();
    loud.problem(422, "invalid_request");
    for (method, path, allow) in [
        ("PUT", "/api/tasks/", "POST"),
        ("DELETE", "/api/tasks/", "GET"),
        ("OPTIONS", "/api/tasks/", "POST"),
        ("TRACE", "/api/components/", "POST"),
        ("BREW", "/api/components/", "POST"),
        ("POST", "/api/tasks/x/output", "GET"),
        ("POST", "/api/v1/health/", "GET"),
        ("POST", "/", "GET"),
    ] {
        let reply = server.request(method, path).send();
        reply.problem(405, "method_not_allowed");
        assert!(reply.headers["allow"].contains(allow), "{method} {path}: {reply:?}");
    }
}

#[test]
fn wrong_credentials_all_look_the_same() {
    let server = Server::start();
    let get = |value: &str| server.request("GET", "/api/tasks/").header("Authorization", value).send();
    let basic = |pair: &[u8]| format!("Basic {}", STANDARD.encode(pair));
    let first = get("");
    first.problem(401, "unauthorized");
    assert!(first.headers["www-authenticate"].starts_with("Basic realm="));
    for value in [
        "Basic",
        "Basic !!!",
        "Bearer token",
        "Digest a=b",
        &basic(b"nocolon"),
        &basic(b"omnimind:"),
        &basic(b":"),
        &basic(b"\xff:\xfe"),
        &basic(b"omnimind:a\0b"),
        &format!("Basic {}", "A".repeat(20_000)),
    ] {
        let reply = get(value);
        assert_eq!((reply.status, &reply.body), (401, &first.body), "{value}");
        assert_eq!(reply.headers["www-authenticate"], first.headers["www-authenticate"]);
    }
    // By the query there is nothing to be had, and two are none.
    let pair = server.authorization().trim_start_matches("Basic ").to_owned();
    for query in [format!("token={pair}"), format!("authorization=Basic%20{pair}")] {
        server
            .request("GET", &format!("/api/tasks/?{query}"))
            .anonymous()
            .send()
            .problem(401, "unauthorized");
    }
    for path in ["/api/components/", "/api/events", "/api/tasks/x", "/metrics", "/nothing", "/api/v1/healthy"]
    {
        server.request("GET", path).anonymous().send().problem(401, "unauthorized");
    }
    server.request("POST", "/api/v1/health/").anonymous().send().problem(401, "unauthorized");
    let seen = server.request("GET", "/api/v1/health/").anonymous().send().json();
    assert!(seen["checks"]["engine"].get("details").is_none(), "details are for who is signed in: {seen}");
    assert!(server.get("/api/v1/health/").json()["checks"]["engine"]["details"].is_object());
    assert_eq!(server.request("GET", "/").anonymous().send().status, 200);
}

#[test]
fn guessing_is_slowed_down_for_the_guesser() {
    let server = Server::start();
    let guess = |user: &str| {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:guess")));
        server.request("GET", "/api/tasks/").header("Authorization", &value).send()
    };
    let replies: Vec<Reply> = (0..30).map(|_| guess("admin")).collect();
    assert_eq!(replies[0].status, 401);
    let slowed = replies.iter().find(|reply| reply.status == 429).expect("30 guesses are too many");
    slowed.problem(429, "rate_limited");
    assert!(slowed.headers["retry-after"].parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(server.get("/api/tasks/").status, 200, "others are not");
    assert_eq!(server.request("GET", "/api/v1/health/").anonymous().send().status, 200);
    // Names that are tried once each are not remembered for ever.
    let before = memory_kib(&server, "VmRSS");
    for n in 0..300 {
        assert_eq!(guess(&format!("user{n}")).status, 401);
    }
    assert!(memory_kib(&server, "VmRSS") < before + 8192);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let server = shared();
    let address = server.address;
    let get = |name: &str, value: &str| server.request("GET", "/api/tasks/").header(name, value).send();
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1.evil.example", ""]
    {
        if !origin.is_empty() {
            get("Origin", origin).problem(403, "origin_not_allowed");
        }
    }
    assert_eq!(get("Origin", &format!("http://{address}")).status, 200);
    let post =
        server.request("POST", "/api/tasks/").header("Origin", "https://evil.example").json(&json!({}));
    post.send().problem(403, "origin_not_allowed");
}

#[test]
fn guest_text_does_not_break_out_of_an_answer() {
    let server = shared();
    let record = server.run(&json!({"component": server.push("hostile/error-control-characters")}));
    let message = record["failure"]["message"].as_str().expect("text");
    assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
    let record = server.run(&json!({"component": server.push("hostile/error-text"), "input": 100_000}));
    let message = record["failure"]["message"].as_str().expect("text");
    assert!(message.len() < 5000, "{} bytes", message.len());
    assert_eq!(record["failure"]["kind"], Value::from("guest_error"));
}
