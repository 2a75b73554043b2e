//! What a task is after the process that ran it was killed.

use std::path::{Path, PathBuf};

use omnimind_tests::checkout;
use omnimind_tests::server::{self, Server, scratch};
use serde_json::{Value, json};

/// A data directory, and the server that runs on it.
struct Restarts {
    data_dir: PathBuf,
    arguments: &'static [&'static str],
    server: Server,
}

impl Restarts {
    fn begin(arguments: &'static [&'static str]) -> Restarts {
        let data_dir = scratch("restarts");
        let server = launch(&data_dir, arguments);
        Restarts { data_dir, arguments, server }
    }

    fn kill_and_start_again(&mut self) {
        self.server.kill();
        self.server = launch(&self.data_dir, self.arguments);
    }
}

impl Drop for Restarts {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.data_dir);
        }
    }
}

fn launch(data_dir: &Path, arguments: &[&str]) -> Server {
    let mut command = server::command(data_dir);
    command.args(arguments);
    Server::launch(command, data_dir).unwrap_or_else(|log| panic!("it does not start: {log}"))
}

fn events(server: &Server, id: &str) -> Vec<Value> {
    let history = server.get(&format!("/api/tasks/{id}/history")).json();
    history["events"].as_array().expect("a list").clone()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

/// For ever, as far as a test is concerned.
fn spin(digest: &str) -> Value {
    json!({"component": digest, "limits": {"fuel": 10_000_000_000_000_u64}})
}

#[test]
fn an_interrupted_task_is_tried_again_and_the_third_time_given_up() {
    let mut restarts = Restarts::begin(&[]);
    let digest = restarts.server.push("hostile/spin");
    let id = restarts.server.submit(&spin(&digest));
    for attempt in 1..=3 {
        let running = |task: &Value| task["status"] == "running" && task["attempts"] == attempt;
        restarts.server.wait_for(&id, running);
        restarts.kill_and_start_again();
    }
    let task = restarts.server.task(&id);
    assert_eq!((&task["status"], &task["failure"]["kind"]), (&json!("failed"), &json!("lost")), "{task}");
    assert_eq!(task["attempts"], 3, "{task}");
    let events = events(&restarts.server, &id);
    let thrice = ["started", "interrupted"].repeat(3);
    assert_eq!(names(&events), [&["submitted"], &*thrice, &["failed"]].concat());
    // And stays so.
    restarts.kill_and_start_again();
    assert_eq!(restarts.server.task(&id), task);
}

#[test]
fn an_attempt_is_counted_before_it_begins() {
    // The kill comes with the answer, long before anything else could have been stored.
    let mut restarts = Restarts::begin(&[]);
    let digest = restarts.server.push("hostile/spin");
    let id = restarts.server.submit(&spin(&digest));
    restarts.kill_and_start_again();
    let task = restarts.server.wait_for_status(&id, "running");
    assert_eq!(task["attempts"], 2, "{task}");
    let events = events(&restarts.server, &id);
    assert_eq!(names(&events), ["submitted", "started", "interrupted", "started"]);
}

#[test]
fn a_cancelled_task_is_not_run_again() {
    let mut restarts = Restarts::begin(&["--max-concurrent-tasks", "3"]);
    let (sleep, spin_digest) = (restarts.server.push("hostile/sleep"), restarts.server.push("hostile/spin"));
    // One that never looks whether it is cancelled, one that looks too late, one that has not begun.
    for round in 0..5 {
        let server = &restarts.server;
        let deaf = server.submit(&spin(&spin_digest));
        let asleep = server.submit(&json!({"component": sleep, "input_text": "3600000"}));
        let third = server.submit(&json!({"component": sleep, "input_text": "3600000"}));
        let waiting = server.submit(&json!({"component": sleep, "input_text": "3600000"}));
        server.wait_for_status(&deaf, "running");
        server.wait_for_status(&asleep, "running");
        assert_eq!(server.task(&waiting)["status"], "pending");
        let order = match round % 3 {
            0 => [&deaf, &asleep, &waiting],
            1 => [&waiting, &deaf, &asleep],
            _ => [&asleep, &waiting, &deaf],
        };
        for id in order {
            let reply = server.delete(&format!("/api/tasks/{id}?grace=60s"));
            assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        }
        restarts.kill_and_start_again();
        for id in order {
            let task = restarts.server.task(id);
            let events = events(&restarts.server, id);
            assert_eq!(task["status"], "cancelled", "round {round}: {task} {events:?}");
            assert!(names(&events).iter().filter(|name| **name == "started").count() < 2, "{events:?}");
        }
        restarts.server.delete(&format!("/api/tasks/{third}"));
        restarts.server.wait_for_status(&third, "cancelled");
    }
}

#[test]
fn checkpoints_survive_a_kill() {
    let skeleton = std::fs::read_to_string(checkout().join("guest-tasks/hostile/skeleton.inc"));
    let guest = include_str!("resume.wat").replace(";; include types", omnimind_tests::TYPES);
    let guest = guest.replacen("\n  ;; include skeleton", &format!("\n{}", skeleton.expect("text")), 1);
    let guest = wat::parse_str(guest).expect("text");
    let mut restarts = Restarts::begin(&[]);
    let reply = restarts.server.request("POST", "/api/components/").wasm(&guest).send();
    let digest = reply.json()["digest"].as_str().expect("a digest").to_owned();
    // In a row, and in a file of its own.
    let sizes = [10, 100_000];
    let ids = sizes
        .map(|size| restarts.server.submit(&json!({"component": digest, "input_text": size.to_string()})));
    for id in &ids {
        restarts.server.wait_for(id, |task| task["progress"] == 50.0);
    }
    restarts.kill_and_start_again();
    for (id, size) in ids.iter().zip(sizes) {
        let task = restarts.server.wait_for_status(id, "completed");
        assert_eq!((&task["attempts"], &task["result_text"]), (&json!(2), &json!("x".repeat(size))));
    }
}

#[test]
fn a_retry_that_is_due_later_is_still_due_later() {
    let mut restarts = Restarts::begin(&[]);
    let digest = restarts.server.push("hostile/error-text");
    let echo = restarts.server.push("hostile/echo");
    let failing = |backoff_ms: u64| {
        let retry = json!({"max_attempts": 2, "on": ["guest_error"], "backoff_ms": backoff_ms});
        json!({"component": digest, "input_text": "1", "retry": retry})
    };
    let [soon, late] = [2_000, 3_600_000].map(|backoff_ms| {
        let id = restarts.server.submit(&failing(backoff_ms));
        restarts.server.wait_for(&id, |task| task["status"] == "pending" && task["attempts"] == 1);
        id
    });
    restarts.kill_and_start_again();
    let task = restarts.server.wait_for_status(&soon, "failed");
    assert_eq!((&task["attempts"], &task["failure"]["kind"]), (&json!(2), &json!("guest_error")), "{task}");
    let events = events(&restarts.server, &soon);
    assert_eq!(names(&events), ["submitted", "started", "retry_scheduled", "started", "failed"]);
    // Not before half of the wait: the other half is jitter.
    let at = |index: usize| events[index]["at"].as_str().expect("a time").parse::<jiff::Timestamp>();
    let waited = at(3).expect("a time").duration_since(at(2).expect("a time"));
    assert!(waited.as_millis() >= 1000, "{events:?}");
    restarts.server.run(&json!({"component": echo, "input": 1}));
    let task = restarts.server.task(&late);
    assert_eq!((&task["status"], &task["attempts"]), (&json!("pending"), &json!(1)), "{task}");
}
