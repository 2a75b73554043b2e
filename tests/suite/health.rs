//! How it is: for people (summary, trend), and for orchestrators (alive, ready).

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use omnimind_tests::disk::Disk;
use omnimind_tests::pause;
use omnimind_tests::server::{Reply, Server, eventually};
use omnimind_tests::wire::{head, shared};
use serde_json::{Value, json};

const CHECKS: [&str; 9] =
    ["cpu", "embedding", "engine", "filesystem", "inference", "limits", "memory", "queue", "task_store"];

#[test]
fn the_summary_says_what_is_ill_and_since_when() {
    let server = shared();
    let summary = server.get("/api/v1/health/summary").json();
    assert_eq!(summary["overall_status"], "healthy", "{summary}");
    assert_eq!(summary["counts"], json!({"healthy": CHECKS.len(), "degraded": 0, "unhealthy": 0}));
    assert_eq!(
        (&summary["not_healthy"], &summary["version"]),
        (&json!([]), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert!(summary["uptime_s"].is_u64() && summary["since"].as_str().is_some_and(|at| at.ends_with('Z')));
    let open = server.request("GET", "/api/v1/health/summary/").anonymous().send();
    assert_eq!(open.status, 200);
    assert_eq!((open.json()["version"].is_null(), open.json()["uptime_s"].is_null()), (true, true));

    // In mode prod limits are to be proven.
    let unproven = Server::with(&["--mode", "prod"]);
    let since = |summary: &Value| summary["not_healthy"][0]["since"].as_str().expect("a time").to_owned();
    let first = unproven.get("/api/v1/health/summary").json();
    assert_eq!((&first["overall_status"], &first["counts"]["degraded"]), (&json!("degraded"), &json!(1)));
    let ill = &first["not_healthy"][0];
    assert_eq!((&ill["check"], &ill["status"]), (&json!("limits"), &json!("degraded")));
    assert!(ill["error"].as_str().is_some_and(|why| why.contains("no current proof")), "{ill}");
    let samples = |server: &Server| server.get("/api/v1/health/limits/trend").json()["samples_kept"].as_u64();
    eventually(|| (samples(&unproven) >= Some(2)).then_some(()));
    let later = unproven.get("/api/v1/health/summary").json();
    assert_eq!(since(&later), since(&first), "it is as it was");
    let open = unproven.request("GET", "/api/v1/health/summary").anonymous().send().json();
    assert_eq!(since(&open), since(&first));
    assert!(open["not_healthy"][0]["error"].is_null(), "{open}");
}

#[test]
fn every_check_has_a_trend() {
    let server = Server::start();
    let trend = |check: &str, query: &str| server.get(&format!("/api/v1/health/{check}/trend{query}"));
    eventually(|| (trend("engine", "").json()["samples_kept"].as_u64() >= Some(2)).then_some(()));
    for check in CHECKS {
        let trend = trend(check, "/").json();
        let kept = trend["samples_kept"].as_u64().expect("a number");
        assert!(kept >= 2, "{check}: {trend}");
        let counts = &trend["counts"];
        let sum: Option<u64> =
            ["healthy", "degraded", "unhealthy"].iter().map(|of| counts[of].as_u64()).sum();
        assert_eq!(sum, Some(kept));
        assert_eq!(trend["healthy_share"], counts["healthy"].as_f64().expect("a number") / kept as f64);
        assert_eq!((&trend["check"], &trend["interval_ms"]), (&json!(check), &json!(2000)));
        let times = &trend["response_time_ms"];
        assert!(
            times["p50"].as_f64() <= times["p95"].as_f64() && times["p95"].as_f64() <= times["max"].as_f64()
        );
        let samples = trend["samples"].as_array().expect("a list");
        assert_eq!(samples.len() as u64, kept.min(100));
        assert_eq!(samples[0]["at"], trend["to"], "newest first");
        assert!(samples[0]["at"].as_str() > samples[1]["at"].as_str() && samples[0]["status"].is_string());
    }
    assert_eq!(trend("engine", "?limit=1").json()["samples"].as_array().map(Vec::len), Some(1));
    assert_eq!(trend("engine", "?limit=0").json()["samples"], json!([]));
    for bad in ["?limit=-1", "?limit=1801", "?limit=x", "?since=1"] {
        trend("engine", bad).problem(422, "invalid_request");
    }
    for unknown in ["summary", "nothing", "%20", "livez"] {
        let problem = trend(unknown, "").problem(404, "not_found");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("task_store")), "{problem}");
    }
    let open = server.request("GET", "/api/v1/health/engine/trend").anonymous().send().json();
    assert!(open["samples"].is_null() && open["samples_kept"].as_u64() >= Some(2), "{open}");
}

fn probe(server: &Server, path: &str) -> Reply {
    server.request("GET", path).anonymous().send()
}

#[test]
fn probes_are_answered_to_everybody() {
    let server = shared();
    for (path, word) in
        [("/livez", "alive\n"), ("/livez/", "alive\n"), ("/readyz", "ready\n"), ("/readyz/", "ready\n")]
    {
        for authorization in ["", "Basic bm9ib2R5Om5vdGhpbmc=", "nonsense"] {
            let reply = server.request("GET", path).header("Authorization", authorization).send();
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, word),
                "{path} {authorization}: {reply:?}"
            );
        }
        server.request("POST", path).anonymous().send().problem(405, "method_not_allowed");
    }
    server.request("GET", "/livezz").anonymous().send().problem(401, "unauthorized");
}

#[track_caller]
fn assert_not_ready(reply: &Reply, reason: &str) {
    let problem = reply.problem(503, "not_ready");
    assert_eq!(problem["reason"], reason, "{problem}");
}

#[test]
fn a_disk_without_room_is_not_ready_until_there_is_some() {
    let disk = Disk::small(48);
    let server = disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"));
    assert_eq!(probe(&server, "/readyz").status, 200);
    disk.fill(true);
    let reply = eventually(|| Some(probe(&server, "/readyz")).filter(|reply| reply.status == 503));
    assert_not_ready(&reply, "disk");
    assert_eq!(probe(&server, "/livez").status, 200);
    let full = || {
        let check = server.get("/api/v1/health/filesystem").json();
        check["status"] == "degraded" && check["error"].as_str().is_some_and(|why| why.contains("% full"))
    };
    // One that is pretended has room for whoever only looks.
    if disk.is_real() {
        eventually(|| full().then_some(()));
    }
    disk.fill(false);
    eventually(|| (probe(&server, "/readyz").status == 200).then_some(()));
}

#[test]
fn a_disk_that_is_slow_is_told_of_and_used() {
    let disk = Disk::pretended();
    let server = disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"));
    let store = || server.get("/api/v1/health/task_store").json();
    disk.slow_syncs(true);
    let slow = eventually(|| Some(store()).filter(|check| check["status"] != "healthy"));
    assert_eq!(
        (&slow["status"], &slow["error"]),
        (&json!("degraded"), &json!("a write took longer than 2 s"))
    );
    assert_eq!((server.get("/api/v1/health/").status, probe(&server, "/readyz").status), (200, 200));
    disk.slow_syncs(false);
    eventually(|| (store()["status"] == "healthy").then_some(()));
}

#[test]
fn a_store_that_failed_is_not_ready() {
    let disk = Disk::pretended();
    let server = disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"));
    let echo = server.push("hostile/echo");
    disk.fail_writes(true);
    server.post("/api/tasks/", &json!({"component": echo, "input": 1})).problem(507, "storage_unavailable");
    disk.fail_writes(false);
    assert_not_ready(&probe(&server, "/readyz"), "store");
    assert_eq!(
        server.get("/metrics").text().lines().find(|line| line.starts_with("omnimind_ready ")),
        Some("omnimind_ready 0")
    );
}

#[test]
fn a_server_that_ends_says_so_to_who_is_still_there() {
    let mut server = Server::set_up(&["--drain", "60"], |command| {
        command.env("OMNIMIND_SERVER__TIMEOUT_KEEP_ALIVE", "60");
    });
    let sleep = server.push("hostile/sleep");
    let id = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    server.wait_for_status(&id, "running");
    // Their requests have begun, so the end does not close them.
    let open = |path: &str| {
        let mut stream = server.connect();
        stream.write_all(head(&server, &format!("GET {path}")).as_bytes()).expect("it is sent");
        stream
    };
    let streams = ["/readyz", "/livez", "/metrics"].map(open);
    pause(Duration::from_millis(300));
    server.signal("TERM");
    eventually(|| TcpStream::connect(server.address).is_err().then_some(()));
    let [ready, alive, figures] = streams.map(|mut stream| {
        stream.write_all(b"Connection: close\r\n\r\n").expect("it is sent");
        Reply::read(&mut stream).expect("an answer")
    });
    assert_not_ready(&ready, "ending");
    assert_eq!((alive.status, alive.text().as_str()), (200, "alive\n"));
    assert!(figures.text().contains("\nomnimind_ready 0\n"), "{figures:?}");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}
