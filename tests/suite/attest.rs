//! `omnimind attest`: it finds what holds, the server keeps what it found, and nothing is left behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use omnimind::limits::Budget;
use omnimind_tests::server::{Server, command, scratch};
use omnimind_tests::{binary, checkout};
use serde_json::{Value, json};

fn attest(data_dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(data_dir).arg("attest").args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        command.env_remove(name);
    }
    command.current_dir(checkout()).stdin(Stdio::null()).output().expect("it starts")
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}\n{error}");
    text
}

fn limits(server: &Server) -> Value {
    let reply = server.get("/api/v1/limits");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn health(server: &Server) -> Value {
    server.get("/api/v1/health/limits").json()
}

/// A report that says that every limit holds.
fn good(server: &Server) -> Value {
    let known = limits(server);
    let proof = |budget: Budget| json!({"name": budget.name(), "verdict": "holds", "configured": 1, "stopped_at": 1, "overshoot": 0});
    json!({"mode": known["mode"], "version": known["version"], "engine": known["engine"],
        "limits": Budget::ALL.map(proof)})
}

fn put(server: &Server, report: &Value) -> omnimind_tests::server::Reply {
    server.request("PUT", "/api/v1/limits/attestation").json(report).send()
}

#[test]
fn every_limit_holds_and_the_server_keeps_the_proof() {
    let data_dir = scratch("attest");
    let start = || Server::launch(command(&data_dir), &data_dir).expect("it starts");
    let mut server = start();
    let before = limits(&server);
    assert_eq!((&before["mode"], &before["attested"]), (&json!("dev"), &Value::Null));
    let text = ends(&attest(&data_dir, &[]), 0);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let sum = text.lines().last().expect("lines");
    assert!(sum.starts_with("19 limits, ") && sum.contains("all hold (dev, "), "{text}");
    for budget in Budget::ALL {
        assert!(text.contains(budget.name()), "{}: {text}", budget.name());
    }
    // What it brought is gone, but for the tasks.
    assert_eq!(server.get("/api/components/").json()["components"], json!([]));
    let tasks = server.get("/api/tasks/?limit=1000").json();
    let tasks = tasks["tasks"].as_array().expect("tasks");
    assert!(tasks.iter().all(|task| task["description"] == "attest" && task["attempts"] == 1), "{tasks:?}");
    assert!(tasks.iter().all(|task| !matches!(task["status"].as_str(), Some("running" | "pending"))));

    let kept = limits(&server);
    assert_eq!(kept["attested"]["is_current"], true, "{kept}");
    assert!(kept["attested"]["machine"]["cores"].as_u64() >= Some(1), "{kept}");
    let of = kept["limits"].as_array().expect("limits");
    assert_eq!(of.len(), Budget::ALL.len());
    for limit in of {
        let proof = &limit["proof"];
        assert_eq!(proof["verdict"], "holds", "{limit}");
        assert!(
            proof["configured"].is_u64() && proof["age_s"].is_u64() && proof["at"].is_string(),
            "{limit}"
        );
    }
    assert_eq!(
        (&of[0]["proof"]["stopped_at"], &of[0]["proof"]["overshoot"]),
        (&json!(50_000_000), &json!(0))
    );
    assert_eq!(health(&server)["details"]["unproven"], json!([]));

    assert_eq!(server.terminate(), Some(0));
    server = start();
    let again = limits(&server);
    assert_eq!(again["attested"]["at"], kept["attested"]["at"], "it survives a restart");
    assert_eq!(again["attested"]["is_current"], true);
    // The same file on a server in another mode proves nothing of that one.
    assert_eq!(server.terminate(), Some(0));
    let mut prod = command(&data_dir);
    prod.args(["--mode", "prod"]);
    server = Server::launch(prod, &data_dir).expect("it starts");
    assert_eq!(limits(&server)["attested"]["is_current"], false);
    assert_eq!(health(&server)["status"], "degraded");
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("it is there");
}

#[test]
fn in_prod_the_health_wants_a_proof() {
    let server = Server::with(&["--mode", "prod"]);
    let seen = health(&server);
    assert_eq!(
        (&seen["status"], &seen["remediation"]),
        (&json!("degraded"), &json!("run `omnimind attest`"))
    );
    assert!(seen["error"].as_str().is_some_and(|error| error.contains("memory_bytes")), "{seen}");
    assert_eq!(server.get("/api/v1/health").json()["overall_status"], "degraded");

    let output = attest(&server.data_dir, &["--mode", "prod", "--json"]);
    let report: Value = serde_json::from_str(&ends(&output, 0)).expect("one JSON document");
    assert_eq!((&report["verdict"], &report["mode"]), (&json!("holds"), &json!("prod")));
    let limits = report["limits"].as_array().expect("limits");
    assert_eq!(limits.len(), Budget::ALL.len());
    for limit in limits {
        for attack in limit["attacks"].as_array().expect("attacks") {
            assert_eq!(
                (&attack["verdict"], &attack["twin"]),
                (&json!("holds"), &json!("completed")),
                "{limit}"
            );
        }
    }
    let attacks = |name: &str| {
        let limit = limits.iter().find(|limit| limit["name"] == name).expect("a limit");
        limit["attacks"].as_array().expect("attacks").clone()
    };
    let guests: Vec<Value> = attacks("wall_ms").iter().map(|attack| attack["guest"].clone()).collect();
    assert_eq!(guests, ["spin", "sleep"]);
    assert!(attacks("wall_ms").iter().all(|attack| attack["here_ms"].is_u64()));
    let usual = Budget::MemoryBytes.bounds(omnimind::limits::Mode::Prod).default;
    assert!(attacks("memory_bytes").iter().any(|attack| attack["configured"] == usual), "the mode's own");
    assert_eq!(health(&server)["status"], "healthy");
    assert_eq!(server.get("/api/v1/health").json()["overall_status"], "healthy");

    let dev = attest(&server.data_dir, &["--mode", "dev"]);
    ends(&dev, 2);
    assert!(String::from_utf8_lossy(&dev.stderr).contains("is in mode prod, not dev"), "{dev:?}");
}

#[test]
fn where_no_server_runs_it_starts_its_own() {
    let (data_dir, temporary) = (scratch("attest"), scratch("attest-tmp"));
    std::fs::create_dir_all(&temporary).expect("a directory");
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(&data_dir).args(["attest", "--mode", "test"]).env("TMPDIR", &temporary);
    command.env_remove("OMNIMIND_URL").current_dir(checkout()).stdin(Stdio::null());
    let text = ends(&command.output().expect("it starts"), 0);
    assert!(text.contains("all hold (test, "), "{text}");
    assert_eq!(std::fs::read_dir(&temporary).expect("a directory").count(), 0, "nothing is left");
    assert!(!data_dir.exists(), "and nothing is made where it is not needed");
    std::fs::remove_dir_all(temporary).expect("it is there");
    // A server that is named and is not there is not replaced.
    ends(&attest(&data_dir, &["--server", "http://127.0.0.1:9"]), 6);
    ends(&attest(&data_dir, &["--mode", "production"]), 2);
}

#[test]
fn a_server_that_runs_no_guest_holds_nothing() {
    let dir = scratch("attest-config");
    std::fs::create_dir_all(&dir).expect("a directory");
    // No guest here has one instance only: every attack is stopped, and no twin comes through.
    let config = dir.join("omnimind.yaml");
    std::fs::write(&config, "limits:\n  default: {instances: 1}\n  max: {instances: 1}\n").expect("written");
    let server = Server::with(&["--config", config.to_str().expect("UTF-8")]);
    let text = ends(&attest(&server.data_dir, &[]), 1);
    assert!(
        text.contains("fuel, spin: the attack should have been fuel_exhausted, and was instance_limit"),
        "{text}"
    );
    assert!(text.contains("instances, spin: the server did not take the twin"), "{text}");
    assert!(
        text.contains(": fails: fuel, ") && text.contains("; unproven: instances, cancel (dev, "),
        "{text}"
    );
    let kept = limits(&server);
    assert_eq!(kept["limits"][0]["proof"]["verdict"], "fails", "{kept}");
    assert_eq!(kept["limits"][6]["proof"]["verdict"], "unproven", "{kept}");
    std::fs::remove_dir_all(dir).expect("it is there");
}

#[test]
fn health_tells_what_is_not_proven() {
    let server = Server::with(&["--mode", "prod"]);
    let mut report = good(&server);
    report["limits"][3]["verdict"] = json!("fails");
    assert_eq!(put(&server, &report).status, 200);
    let seen = health(&server);
    assert_eq!(
        (&seen["status"], &seen["details"]["unproven"]),
        (&json!("degraded"), &json!(["table_elements"]))
    );
    report["limits"][3]["verdict"] = json!("unproven");
    assert_eq!(put(&server, &report).status, 200);
    assert_eq!(health(&server)["status"], "degraded");
    report["limits"].as_array_mut().expect("limits").remove(3);
    assert_eq!(put(&server, &report).status, 200);
    assert_eq!(health(&server)["status"], "degraded", "what is not said is not proven");
    assert_eq!(limits(&server)["limits"][3]["proof"], Value::Null);
}

#[test]
fn a_report_is_checked_field_by_field() {
    let server = Server::start();
    let report = good(&server);
    let wrong = |change: &dyn Fn(&mut Value), status: u16, field: &str| {
        let mut report = report.clone();
        change(&mut report);
        let reply = put(&server, &report);
        let code = if status == 422 { "invalid_request" } else { "conflict" };
        let problem = reply.problem(status, code);
        assert!(problem["field"].as_str().unwrap_or_default() == field, "{problem}");
    };
    wrong(&|report| report["more"] = json!(1), 422, "more");
    wrong(&|report| report["limits"][2]["more"] = json!(1), 422, "limits[2].more");
    wrong(&|report| report["limits"][2]["verdict"] = json!("perhaps"), 422, "limits[2].verdict");
    wrong(&|report| report["limits"][2]["overshoot"] = json!(-1), 422, "limits[2].overshoot");
    wrong(&|report| report["limits"][2]["name"] = json!("feul"), 422, "limits[2].name");
    wrong(&|report| report["limits"][2]["name"] = json!("fuel"), 422, "limits[2].name");
    wrong(&|report| report["limits"][2] = json!(["fuel", "holds", 1, 1, 1]), 422, "limits[2]");
    wrong(&|report| report["limits"] = json!({}), 422, "limits");
    for (field, other) in [("mode", "prod"), ("version", "0.0.1"), ("engine", "wasmtime 1")] {
        wrong(&|report| report[field] = json!(other), 409, "");
    }
    put(&server, &json!([])).problem(422, "invalid_request");
    let request = || server.request("PUT", "/api/v1/limits/attestation/");
    request().body("text/plain", b"{}").send().problem(415, "unsupported_media_type");
    request().body("application/json", b"{").send().problem(400, "invalid_json");
    let large = request().body("application/json", &vec![b' '; (64 << 10) + 1]).send();
    assert!(large.problem(413, "too_large")["detail"].as_str().expect("text").contains("64 KiB"));
    request().anonymous().json(&report).send().problem(401, "unauthorized");
    server.get("/api/v1/limits/attestation").problem(405, "method_not_allowed");
    assert_eq!(limits(&server)["attested"], Value::Null, "nothing of this was kept");
    assert_eq!(health(&server)["status"], "healthy", "in dev nobody waits for it");
    assert_eq!(put(&server, &report).status, 200);
    assert_eq!(limits(&server)["attested"]["is_current"], true);
}

#[test]
fn a_damaged_report_is_as_good_as_none() {
    let data_dir = scratch("attest");
    let start = || Server::launch(command(&data_dir), &data_dir).expect("it starts");
    let mut server = start();
    assert_eq!(put(&server, &good(&server)).status, 200);
    let file = data_dir.join("attestation.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    server.kill();
    let whole = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    server = start();
    assert_eq!(limits(&server)["attested"], Value::Null);
    let log = server.log.lock().expect("no panic").clone();
    assert!(log.contains("attestation.json"), "{log}");
    assert_eq!(put(&server, &good(&server)).status, 200, "and a new one takes its place");
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("it is there");
}
