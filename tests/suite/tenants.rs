//! Tenants and tokens: what is whose, who may do what, how much and how often.

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use omnimind_tests::server::{Reply, Server, eventually, scratch};
use omnimind_tests::web_socket::{Frame, UPGRADE, WebSocket};
use omnimind_tests::{binary, checkout, guest};
use serde_json::{Value, json};

/// A token, and the server that it is for.
struct Bearer<'a> {
    server: &'a Server,
    header: String,
    id: String,
}

/// A token of whatever says `new`.
fn token<'a>(server: &'a Server, new: Value) -> Bearer<'a> {
    let made = server.post("/api/tokens/", &new);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let word = |name: &str| made[name].as_str().expect("text").to_owned();
    Bearer { server, header: format!("Bearer {}", word("token")), id: word("id") }
}

impl Bearer<'_> {
    fn send(&self, method: &str, path: &str) -> Reply {
        self.server.request(method, path).header("Authorization", &self.header).send()
    }

    fn get(&self, path: &str) -> Reply {
        self.send("GET", path)
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.server.request("POST", path).header("Authorization", &self.header).json(body).send()
    }

    fn upload(&self, name: &str, path: &str) -> Reply {
        self.server.request("POST", path).header("Authorization", &self.header).wasm(&guest(name)).send()
    }

    fn submit(&self, task: &Value) -> String {
        let accepted = self.post("/api/tasks/", task);
        assert_eq!(accepted.status, 202, "{accepted:?}");
        accepted.json()["task_id"].as_str().expect("an id").to_owned()
    }

    fn status(&self, id: &str) -> String {
        self.get(&format!("/api/tasks/{id}")).json()["status"].as_str().expect("a status").to_owned()
    }

    fn wait_for(&self, id: &str, status: &str) {
        eventually(|| (self.status(id) == status).then_some(()));
    }
}

#[test]
fn what_is_a_tenants_is_seen_by_that_tenant_alone() {
    let server = Server::start();
    let (acme, other) =
        (token(&server, json!({"tenant": "acme"})), token(&server, json!({"tenant": "other"})));
    let colleague = token(&server, json!({"tenant": "acme"}));
    let uploaded = acme.upload("hostile/echo", "/api/components/?name=echo");
    assert_eq!(uploaded.status, 201);
    let digest = uploaded.json()["digest"].as_str().expect("a digest").to_owned();
    let task = json!({"component": "echo", "input": "secret", "description": "mine"});
    let id = acme.submit(&task);
    acme.wait_for(&id, "completed");
    assert_eq!(colleague.get(&format!("/api/tasks/{id}")).json()["result"], "secret", "the same tenant");

    let operator = Bearer { server: &server, header: server.authorization().to_owned(), id: String::new() };
    assert_eq!(acme.get("/tasks").json()["tasks"].as_array().map(Vec::len), Some(1), "and it is kept");
    for (stranger, who) in [(&other, "another tenant"), (&operator, "the operator")] {
        for path in ["", "/progress", "/history", "/analytics", "/output", "/logs", "/logs?follow=true"] {
            stranger.get(&format!("/api/tasks/{id}{path}")).problem(404, "not_found");
        }
        let unknown = "01a2067b-c322-7683-95b4-08bb7decd3e8";
        let [theirs, nobodys] =
            [&id, unknown].map(|id| stranger.send("DELETE", &format!("/api/tasks/{id}")).text());
        assert_eq!(theirs.replace(&id, unknown), nobodys, "no difference to one that there is not");
        for list in ["/api/tasks/", "/tasks"] {
            assert_eq!(stranger.get(list).json()["tasks"], json!([]), "{who}: {list}");
        }
        assert_eq!(stranger.get("/api/tasks/analytics/summary").json()["total"].as_u64().unwrap_or(0), 0);
        assert_eq!(stranger.get("/api/components/").json()["components"], json!([]), "{who}");
        for reference in ["echo", &digest] {
            stranger.get(&format!("/api/components/{reference}")).problem(404, "not_found");
            stranger.send("DELETE", &format!("/api/components/{reference}")).problem(404, "not_found");
            stranger.post("/api/tasks/", &json!({"component": reference})).problem(404, "not_found");
        }
    }
    // The same bytes are new to them, and their names lead elsewhere.
    assert_eq!(other.upload("hostile/echo", "/api/components/").status, 201);
    assert_eq!(other.upload("hostile/spin", "/api/components/?name=echo").status, 201);
    assert_eq!(acme.get("/api/components/echo").json()["digest"], digest.as_str());
    assert_eq!(other.send("DELETE", &format!("/api/components/{digest}")).status, 204);
    assert_eq!(acme.get(&format!("/api/tasks/{id}/output")).body, b"\"secret\"");
    acme.submit(&task);
    // An Idempotency-Key is one tenant's.
    let keyed = |bearer: &Bearer<'_>, component: &str| {
        let request = server.request("POST", "/api/tasks/").header("Authorization", &bearer.header);
        request.header("Idempotency-Key", "one").json(&json!({"component": component, "input": 1})).send()
    };
    let first = keyed(&acme, "echo").json()["task_id"].clone();
    assert_eq!(keyed(&colleague, "echo").json()["task_id"], first);
    other.upload("hostile/echo", "/api/components/?name=echo");
    let theirs = keyed(&other, "echo");
    assert_eq!((theirs.status, theirs.json()["task_id"] == first), (202, false));
}

#[test]
fn the_machine_is_the_operators() {
    let server = Server::start();
    let acme = token(&server, json!({"tenant": "acme"}));
    for (method, path) in [
        ("GET", "/api/v1/protection/"),
        ("GET", "/api/v1/protection/decisions"),
        ("PUT", "/api/v1/protection/mode"),
        ("PUT", "/api/v1/limits/attestation"),
        ("POST", "/api/sign-in"),
        ("GET", "/api/tokens/"),
        ("POST", "/api/tokens/"),
        ("DELETE", "/api/tokens/0123456789abcdef"),
        ("GET", "/metrics"),
        ("GET", "/api/metrics"),
        ("GET", "/api/omnimind/metrics/real"),
        ("GET", "/api/v1/performance/summary"),
        ("GET", "/api/cache/"),
        ("DELETE", "/api/cache/"),
        ("DELETE", "/api/cache/task_list"),
        ("GET", "/api/v1/logging/level"),
        ("PUT", "/api/v1/logging/level"),
        ("GET", "/api/events?channels=metrics"),
        ("GET", "/api/events?channels=security"),
        ("GET", "/api/events?channels=protection"),
    ] {
        acme.send(method, path).problem(403, "forbidden");
    }
    for path in ["/api/v1/health/", "/api/v1/limits", "/api/tasks/"] {
        assert_eq!(acme.get(path).status, 200, "{path}");
    }
    // How the machine is, in a word; figures of what keeps its own tasks waiting.
    let health = acme.get("/api/v1/health/").json();
    for (name, check) in health["checks"].as_object().expect("checks") {
        assert!(check["status"].is_string(), "{name}: {check}");
        assert_eq!(check["details"].is_object(), name == "queue", "{name}: {check}");
        assert_eq!(acme.get(&format!("/api/v1/health/{name}")).json()["details"], check["details"]);
    }
    assert!(acme.get("/api/v1/health/summary").json()["uptime_s"].is_null());
    let missing = acme.get("/api/components/text-stats").problem(404, "not_found");
    assert!(missing["detail"].as_str().is_some_and(|text| text.contains("of its own")), "{missing}");
    let second = token(&server, json!({"tenant": "default"}));
    assert_eq!(
        second.get("/api/v1/protection/").status,
        200,
        "the tenant operates the machine, however it comes"
    );
    // But makes nothing of a token that would outlive it.
    for path in ["/api/tokens/", "/api/sign-in"] {
        second.send("POST", path).problem(403, "forbidden");
    }
    // What was open ends with the token.
    let mut events = server.connect();
    let head = format!(
        "GET /api/events HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
        server.address, acme.header
    );
    events.write_all(head.as_bytes()).expect("it listens");
    events.read_exact(&mut [0; 100]).expect("it has begun");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n{UPGRADE}",
        server.address, acme.header
    );
    let mut socket = WebSocket::try_open(&server, &head).unwrap_or_else(|reply| panic!("{reply:?}"));
    assert_eq!(socket.message()["type"], "connected");
    assert_eq!(server.delete(&format!("/api/tokens/{}", acme.id)).status, 204);
    events.read_to_end(&mut Vec::new()).expect("the end");
    assert_eq!(socket.ending(), Frame::Close(1008, "the token is not good any more".to_owned()));
}

#[test]
fn a_proxy_has_a_name_of_its_own_and_browsers_behind_it_are_of_its_origin() {
    let server = Server::set_up(&[], |command| {
        command
            .env("OMNIMIND_SERVER__TRUSTED_PROXIES", "127.0.0.1")
            .env("OMNIMIND_SERVER__TLS_PROXY", "true");
    });
    let asked = |origin: &str| {
        let request = server.request("GET", "/api/tasks/").header("Host", "tasks.example.com");
        request.header("Origin", origin).send()
    };
    assert_eq!(asked("https://tasks.example.com").status, 200);
    asked("http://tasks.example.com").problem(403, "origin_not_allowed");
    asked("https://evil.example.com").problem(403, "origin_not_allowed");
    let link = server.request("POST", "/api/sign-in").send().json();
    let signed = server.request("GET", link["path"].as_str().expect("a path")).anonymous().send();
    assert!(signed.headers["set-cookie"].contains("Secure"), "{signed:?}");
}

#[test]
fn a_token_is_told_once_and_good_until_it_is_revoked() {
    let server = Server::start();
    let acme = token(
        &server,
        json!({"tenant": "acme", "description": "ci", "share": 50, "requests_per_minute": 6000}),
    );
    let listed = server.get("/api/tokens/");
    let row = &listed.json()["tokens"][0];
    assert_eq!((&row["id"], &row["tenant"], &row["share"]), (&json!(acme.id), &json!("acme"), &json!(50)));
    assert!(!listed.text().contains("argon2") && !listed.text().contains(&acme.header[7..]));
    let kept = std::fs::read_to_string(server.data_dir.join("tokens.json")).expect("tokens");
    assert!(kept.contains("$argon2id$") && !kept.contains(&acme.header[7..]), "{kept}");
    assert_eq!(acme.get("/api/tasks/").status, 200);
    assert_eq!(server.delete(&format!("/api/tokens/{}", acme.id)).status, 204);
    let refused = acme.get("/api/tasks/");
    refused.problem(401, "unauthorized");
    // Whoever gives the whole token where its id belongs does not find it in an answer, or in the log.
    let secret = &acme.header["Bearer ".len()..];
    let unknown = server.delete(&format!("/api/tokens/{secret}"));
    unknown.problem(404, "not_found");
    assert!(!unknown.text().contains(secret) && unknown.text().contains(&acme.id), "{unknown:?}");
    server.get(&format!("/nowhere/{secret}"));
    eventually(|| server.log.lock().expect("no panic").contains("/nowhere/om_").then_some(()));
    assert!(!server.log.lock().expect("no panic").contains(secret));
    // Whatever is wrong with one, the answer is the same.
    let wrong = |header: &str| server.request("GET", "/api/tasks/").header("Authorization", header).send();
    for header in ["Bearer", "Bearer x", "Bearer om_0123456789abcdef_x", "bearer  ", "Token x"] {
        assert_eq!(wrong(header).body, refused.body, "{header}");
    }
    assert_eq!(server.request("GET", "/api/tasks/?token=x").anonymous().send().status, 401);
    for (body, status, code) in [
        (json!({}), 422, "invalid_request"),
        (json!({"tenant": "Acme"}), 422, "invalid_request"),
        (json!({"tenant": "../x"}), 422, "invalid_request"),
        (json!({"tenant": "a", "share": 0}), 422, "invalid_request"),
        (json!({"tenant": "default", "share": 5}), 422, "invalid_request"),
        (json!({"tenant": "a", "shares": 1}), 422, "invalid_request"),
        (json!({"tenant": "a", "expires_at": "2020-01-01T00:00:00Z"}), 422, "invalid_request"),
        (json!({"tenant": "a", "grants": {"http": ["nowhere"]}}), 422, "invalid_request"),
    ] {
        server.post("/api/tokens/", &body).problem(status, code);
    }
}

#[test]
fn a_token_that_expires_is_good_until_then() {
    let server = Server::start();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let acme = token(&server, json!({"tenant": "acme", "expires_at": until.to_string()}));
    assert_eq!(acme.get("/api/tasks/").status, 200);
    eventually(|| (acme.get("/api/tasks/").status == 401).then_some(()));
    assert!(jiff::Timestamp::now() >= until);
    assert_eq!(server.get("/api/tokens/").json()["tokens"][0]["expired"], true);
}

#[test]
fn who_guesses_tokens_is_slowed_down_and_who_has_one_is_not() {
    let server = Server::start();
    let acme = token(&server, json!({"tenant": "acme"}));
    assert_eq!(acme.get("/api/tasks/").status, 200);
    let guess = |n: u32| {
        let header = format!("Bearer om_{n:016x}_guess");
        server.request("GET", "/api/tasks/").header("Authorization", &header).send()
    };
    let slowed = (0..30).map(guess).find(|reply| reply.status != 401).expect("it is slowed down");
    slowed.problem(429, "rate_limited");
    assert!(slowed.headers.contains_key("retry-after"));
    assert_eq!(acme.get("/api/tasks/").status, 200, "it was let in a moment ago");
    assert_eq!(server.get("/api/tasks/").status, 200, "and so is whoever has the password");
    let log = server.log.lock().expect("no panic").clone();
    assert_eq!(log.matches("again and again").count(), 1, "{log}");
}

#[test]
fn a_token_has_its_own_rate() {
    let server = Server::start();
    let slow = token(&server, json!({"tenant": "acme", "requests_per_minute": 3}));
    let fast = token(&server, json!({"tenant": "acme"}));
    for _ in 0..3 {
        assert_eq!(slow.get("/api/tasks/").status, 200);
    }
    let refused = slow.get("/api/tasks/");
    refused.problem(429, "rate_limited");
    let wait: u64 = refused.headers["retry-after"].parse().expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(slow.get("/api/v1/health/").status, 200, "whoever looks whether it lives");
    for _ in 0..20 {
        assert_eq!(fast.get("/api/tasks/").status, 200);
    }
}

#[test]
fn requests_of_an_address_are_limited_where_the_configuration_says() {
    let limited = |more: &[(&str, &str)]| {
        Server::set_up(&[], |command| {
            command
                .env("OMNIMIND_RATE_LIMITING__ENABLED", "true")
                .env("OMNIMIND_RATE_LIMITING__BURST_LIMIT", "5");
            command.env("OMNIMIND_RATE_LIMITING__REQUESTS_PER_MINUTE", "6");
            command.envs(more.iter().copied());
        })
    };
    let server = limited(&[]);
    let from = |server: &Server, address: &str| {
        let request = server.request("GET", "/api/tasks/").anonymous();
        request.header("X-Forwarded-For", address).send()
    };
    let statuses: Vec<u16> = (0..7).map(|n| from(&server, &format!("9.9.9.{n}")).status).collect();
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[5..], [429; 2], "what a client says of its address is nothing");
    assert_eq!(server.get("/api/v1/health/").status, 200);
    // A proxy that is trusted says who asks.
    let server = limited(&[("OMNIMIND_SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
    for n in 0..7 {
        assert_eq!(from(&server, &format!("9.9.9.{n}")).status, 401, "each is another one");
    }
    let statuses: Vec<u16> = (0..7).map(|n| from(&server, &format!("6.6.6.{n}, 8.8.8.8")).status).collect();
    assert_eq!(statuses[5..], [429; 2], "what stands before it anybody may have written");
}

#[test]
fn prod_limits_requests_and_dev_does_not() {
    for (mode, refused) in [("prod", true), ("dev", false)] {
        let server = Server::set_up(&["--mode", mode], |command| {
            command.env("OMNIMIND_RATE_LIMITING__BURST_LIMIT", "3");
            command.env("OMNIMIND_RATE_LIMITING__REQUESTS_PER_MINUTE", "3");
        });
        let statuses: Vec<u16> = (0..5).map(|_| server.get("/api/tasks/").status).collect();
        assert_eq!(statuses.contains(&429), refused, "{mode}: {statuses:?}");
    }
}

#[test]
fn requests_that_are_worked_on_have_a_number_and_those_that_wait_are_not_counted() {
    let server = Server::set_up(&[], |command| {
        command.env("OMNIMIND_SERVER__LIMIT_CONCURRENCY", "1");
    });
    let sleep = server.push("hostile/sleep");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let task = json!({"component": sleep, "input": 3000});
            // Whoever looks may have the one place.
            eventually(|| {
                Some(server.post("/api/tasks/?wait=30s", &task)).filter(|reply| reply.status == 200)
            })
        });
        let is_running =
            |reply: Reply| reply.status == 200 && reply.json()["tasks"][0]["status"] == "running";
        eventually(|| is_running(server.get("/api/tasks/")).then_some(()));
        for _ in 0..5 {
            assert_eq!(server.get("/api/tasks/").status, 200, "somebody waits, and nobody works");
        }
        assert_eq!(waiting.join().expect("no panic").json()["status"], "completed");
    });
    // An upload that does not end.
    let head = format!(
        "POST /api/components/ HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/wasm\r\nContent-Length: 1000000\r\n\r\n",
        server.address,
        server.authorization()
    );
    // One that comes while somebody still looks is refused itself.
    let (upload, refused) = eventually(|| {
        let mut upload = server.connect();
        upload.write_all(head.as_bytes()).expect("it listens");
        std::thread::sleep(Duration::from_millis(100));
        let reply = server.get("/api/tasks/");
        (reply.status != 200).then_some((upload, reply))
    });
    refused.problem(503, "overloaded");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(server.get("/api/v1/health/").status, 200);
    drop(upload);
    eventually(|| (server.get("/api/tasks/").status == 200).then_some(()));
    // Who cancels a task waits half a second for its end.
    let id = eventually(|| {
        let reply = server.post("/api/tasks/", &json!({"component": sleep, "input": 3_600_000}));
        (reply.status == 202).then(|| reply.json()["task_id"].as_str().expect("an id").to_owned())
    });
    eventually(|| (server.get("/api/tasks/?status=running").text().contains(&id)).then_some(()));
    let path = format!("/api/tasks/{id}?grace=300s");
    std::thread::scope(|scope| {
        eventually(|| {
            let begun = Instant::now();
            let cancelling = scope.spawn(|| server.delete(&path).status);
            std::thread::sleep(Duration::from_millis(150));
            let meanwhile = server.get("/api/tasks/").status;
            let in_time = begun.elapsed() < Duration::from_millis(450);
            let cancelled = cancelling.join().expect("no panic");
            (in_time && (cancelled, meanwhile) == (202, 200)).then_some(())
        });
    });
}

#[test]
fn whoever_submits_much_keeps_nobody_else_waiting() {
    let server = Server::with(&["--max-concurrent-tasks", "2"]);
    let (flood, other) =
        (token(&server, json!({"tenant": "flood"})), token(&server, json!({"tenant": "other"})));
    for tenant in [&flood, &other] {
        assert_eq!(tenant.upload("hostile/sleep", "/api/components/?name=sleep").status, 201);
    }
    let nap = json!({"component": "sleep", "input": 300, "priority": "critical"});
    let flooded: Vec<String> = (0..20).map(|_| flood.submit(&nap)).collect();
    let one = other.submit(&json!({"component": "sleep", "input": 1, "priority": "low"}));
    other.wait_for(&one, "completed");
    let waiting = flooded.iter().filter(|id| flood.status(id) == "pending").count();
    assert!(waiting >= 10, "{waiting} of the flood wait; the other one has ended");
    flood.wait_for(flooded.last().expect("some"), "completed");
}

#[test]
fn a_tenant_holds_no_more_places_than_its_share() {
    let server = Server::with(&["--max-concurrent-tasks", "4"]);
    let (half, whole) =
        (token(&server, json!({"tenant": "half", "share": 50})), token(&server, json!({"tenant": "whole"})));
    for tenant in [&half, &whole] {
        assert_eq!(tenant.upload("hostile/sleep", "/api/components/?name=sleep").status, 201);
    }
    let nap = json!({"component": "sleep", "input": 1500});
    let running = |tenant: &Bearer<'_>| {
        tenant.get("/api/tasks/?status=running").json()["tasks"].as_array().expect("tasks").len()
    };
    let ids: Vec<String> = (0..4).map(|_| half.submit(&nap)).collect();
    eventually(|| (running(&half) == 2).then_some(()));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        assert!(running(&half) <= 2);
    }
    let theirs = whole.submit(&nap);
    eventually(|| (whole.status(&theirs) != "pending").then_some(()));
    // The whole machine, from now on: a second token says more.
    token(&server, json!({"tenant": "half"}));
    let more: Vec<String> = (0..4).map(|_| half.submit(&nap)).collect();
    eventually(|| (running(&half) >= 3).then_some(()));
    for id in ids.iter().chain(&more) {
        half.wait_for(id, "completed");
    }
}

#[test]
fn a_share_goes_with_the_token_that_named_it() {
    let server = Server::with(&["--max-concurrent-tasks", "4"]);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let whole = token(&server, json!({"tenant": "acme", "expires_at": soon.to_string()}));
    let quarter = token(&server, json!({"tenant": "acme", "share": 25}));
    assert_eq!(quarter.upload("hostile/sleep", "/api/components/?name=sleep").status, 201);
    eventually(|| (whole.get("/api/tasks/").status == 401).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    let ids: Vec<String> =
        (0..3).map(|_| quarter.submit(&json!({"component": "sleep", "input": 800}))).collect();
    eventually(|| {
        let running = quarter.get("/api/tasks/?status=running").json();
        assert!(running["tasks"].as_array().expect("tasks").len() <= 1, "a quarter of four: {running}");
        (quarter.status(ids.last().expect("one")) == "completed").then_some(())
    });
}

#[test]
fn tasks_may_use_what_their_token_allows() {
    let server = Server::start();
    let none = token(&server, json!({"tenant": "acme", "grants": {"embedding": true}}));
    let some = token(&server, json!({"tenant": "acme", "grants": {"tensor": true}}));
    assert_eq!(none.upload("hostile/import-capability", "/api/components/?name=tensors").status, 201);
    for grants in [json!({"tensor": true}), Value::Null] {
        let task = json!({"component": "tensors", "grants": grants});
        let problem = none.post("/api/tasks/", &task).problem(403, "capability_denied");
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.contains("this token does not allow")),
            "{problem}"
        );
        let dry = none.post("/api/tasks/?dry_run=true", &task).json();
        assert_eq!(dry["capabilities"]["missing"], json!(["tensor"]), "{dry}");
        assert_eq!(some.post("/api/tasks/", &task).status, 202);
    }
}

fn omnimind(data_dir: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).arg("--data-dir").arg(data_dir);
    command
}

fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_line_makes_tokens_with_a_server_and_without() {
    let dir = scratch("tokens");
    let create = ["token", "create", "--tenant", "acme", "--expires", "30d", "--share", "25"];
    let (code, before, told) = said(&mut omnimind(&dir, &create));
    assert_eq!(code, Some(0), "{told}");
    assert!(before.starts_with("om_") && before.trim().lines().count() == 1, "{before}");
    let mut server =
        Server::launch(omnimind_tests::server::command(&dir), &dir).unwrap_or_else(|log| panic!("{log}"));
    let (code, during, told) = said(&mut omnimind(&dir, &create));
    assert_eq!(code, Some(0), "{told}");
    for secret in [&before, &during] {
        let header = format!("Bearer {}", secret.trim());
        assert_eq!(server.request("GET", "/api/tasks/").header("Authorization", &header).send().status, 200);
    }
    let (code, list, _) = said(&mut omnimind(&dir, &["token", "list"]));
    assert_eq!((code, list.matches("acme").count(), list.matches("25 %").count()), (Some(0), 2, 2), "{list}");
    // The clients come in with one.
    let url = format!("http://{}", server.address);
    let mut client = omnimind(&scratch("elsewhere"), &["task", "list", "--server", &url]);
    assert_eq!(said(client.env("OMNIMIND_TOKEN", during.trim())).0, Some(0));
    // With the end of its line, as out of a file; and what no header could carry.
    assert_eq!(said(client.env("OMNIMIND_TOKEN", &during)).0, Some(0));
    for wrong in ["om_0123456789abcdef_x\nom_0123456789abcdef_y", "om_\u{7}secret", "tökensecret"] {
        let (code, _, told) = said(client.env("OMNIMIND_TOKEN", wrong));
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("OMNIMIND_TOKEN: a token is one word") && !told.contains("secret"), "{told}");
    }
    assert_eq!(said(client.env("OMNIMIND_TOKEN", "om_0123456789abcdef_x")).0, Some(7));
    let id = during.split('_').nth(1).expect("an id");
    assert_eq!(said(&mut omnimind(&dir, &["token", "revoke", id])).0, Some(0));
    assert_eq!(said(&mut omnimind(&dir, &["token", "revoke", id])).0, Some(8));
    assert_eq!(said(client.env("OMNIMIND_TOKEN", during.trim())).0, Some(7));
    for (wrong, what) in [
        (&["token", "create", "--tenant", "Ä"][..], "tenant"),
        (&["token", "create", "--tenant", "a", "--expires", "30"], "30d"),
        (&["token", "create", "--tenant", "a", "--grants", "{\"tensors\": true}"], "tensors"),
        (&["token", "create", "--tenant", "a", "--share", "200"], "share"),
    ] {
        let (code, _, told) = said(&mut omnimind(&dir, wrong));
        assert!(code == Some(2) && told.contains(what), "{wrong:?}: {told}");
    }
    // The same is listed with a server and without.
    let listed = || {
        let (code, rows, _) = said(&mut omnimind(&dir, &["token", "list"]));
        let (json_code, json, _) = said(&mut omnimind(&dir, &["token", "list", "--json"]));
        assert_eq!((code, json_code, rows.lines().count()), (Some(0), Some(0), 2), "{rows} {json}");
        serde_json::from_str::<Value>(&json).expect("JSON")
    };
    let by_the_server = listed();
    assert_eq!(by_the_server["tokens"][0]["share"], 25, "{by_the_server}");
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(listed(), by_the_server);
    // What nothing is called is refused without a server, too.
    for grants in [r#"{"http": ["example.com"]}"#, r#"{"tensors": true}"#, "[true]"] {
        for print in [&["--print"][..], &[]] {
            let (code, out, told) =
                said(omnimind(&dir, &["token", "create", "--tenant", "a", "--grants", grants]).args(print));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{grants}: {told}");
        }
    }
    assert_eq!(
        said(&mut omnimind(&dir, &["token", "revoke", before.split('_').nth(1).expect("an id")])).0,
        Some(0)
    );
    assert_eq!(said(&mut omnimind(&dir, &["token", "list"])).1.matches("acme").count(), 0);
    std::fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn tokens_may_stand_in_the_configuration() {
    let dir = scratch("tokens");
    let (_, secret, told) = said(&mut omnimind(&dir, &["token", "create", "--tenant", "acme", "--print"]));
    let line = told.lines().find_map(|line| line.trim().strip_prefix("- ")).expect("a line");
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("omnimind.yaml");
    let write = |line: &str| {
        std::fs::write(&file, format!("authentication:\n  tokens:\n    - {line}\n")).expect("a file")
    };
    write(line);
    let mut command = omnimind_tests::server::command(&dir.join("data"));
    command.arg("--config").arg(&file);
    let server = Server::launch(command, &dir.join("data")).unwrap_or_else(|log| panic!("{log}"));
    let header = format!("Bearer {}", secret.trim());
    assert_eq!(server.request("GET", "/api/tasks/").header("Authorization", &header).send().status, 200);
    let listed = server.get("/api/tokens/").json()["tokens"][0].clone();
    assert_eq!(listed["configured"], true);
    let id = listed["id"].as_str().expect("an id");
    server.delete(&format!("/api/tokens/{id}")).problem(409, "conflict");
    drop(server);
    // As the document has them.
    let document = std::fs::read_to_string(checkout().join("docs/api.md")).expect("a document");
    let (_, example) = document.split_once("```yaml\nauthentication:\n  tokens:\n").expect("the example");
    let example = example.split("```").next().expect("its text");
    std::fs::write(&file, format!("authentication:\n  tokens:\n{example}")).expect("a file");
    let hash = line.split('"').find(|word| word.starts_with("$argon2id")).expect("a hash");
    let mut check = Command::new(binary());
    let check = check.args(["config", "check"]).arg(&file).env("RESEARCH_TOKEN_HASH", hash);
    let (code, _, told) = said(check);
    assert_eq!(code, Some(0), "{told}");
    let with_grants = |grants: &str| line.replacen('{', &format!("{{grants: {grants}, "), 1);
    for (wrong, what) in [
        (line.replace("acme", "Acme"), "tenant"),
        (line.replace("argon2id", "argon2i"), "hash"),
        (line.replace("\"hash\"", "\"secret\""), "unknown field"),
        (format!("{line}\n    - {line}"), "comes twice"),
        ("word".to_owned(), "item 1"),
        (
            with_grants("{tensors: true}"),
            "grants.tensors: unknown field `tensors`, expected one of `tensor`, `embedding`, `inference`, `vector_memory`, `http`, `keyvalue`, `config`",
        ),
        (with_grants("{http: [example.com]}"), "grants.http: an origin like https://api.example.com"),
        (
            with_grants("{vector_memory: {collections: [Notes]}}"),
            "grants.vector_memory.collections: a collection's name",
        ),
    ] {
        write(&wrong);
        let mut check = Command::new(binary());
        let (code, out, told) = said(check.args(["config", "check"]).arg(&file));
        assert!(
            code == Some(2) && told.contains(what) && told.contains("omnimind.yaml:2"),
            "{what}: {out}{told}"
        );
    }
    std::fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn prod_refuses_what_would_leave_it_open() {
    let refused = |args: &[&str], variables: &[(&str, &str)], what: &str| {
        let mut command = omnimind_tests::server::command(&scratch("prod"));
        command.args(["--mode", "prod"]).args(args).envs(variables.iter().copied());
        let (code, _, told) = said(&mut command);
        assert!(code == Some(2) && told.contains(what), "{told}");
    };
    refused(&["--host", "0.0.0.0"], &[], "server.tls_proxy");
    refused(&[], &[("OMNIMIND_AUTHENTICATION__ENABLED", "false")], "anybody could run tasks");
    let short = [("OMNIMIND_DASHBOARD_USER", "admin"), ("OMNIMIND_DASHBOARD_PASS", "admin")];
    refused(&[], &short, "12 characters");
    let server = Server::set_up(&["--mode", "prod", "--host", "0.0.0.0"], |command| {
        command.env("OMNIMIND_SERVER__TLS_PROXY", "true");
        command
            .envs([("OMNIMIND_DASHBOARD_USER", "admin"), ("OMNIMIND_DASHBOARD_PASS", "a longer password")]);
    });
    assert_eq!(server.address.ip().to_string(), "0.0.0.0");
}
