//! Who runs when: priorities, waits that cost no slot, places, retries, and a server that answers meanwhile.

use std::time::Duration;

use omnimind_tests::pause;
use omnimind_tests::server::{Server, eventually};
use omnimind_tests::wire::{assert_idle, longest_and_middle, timed};
use serde_json::{Value, json};

/// More than any test lasts.
const LONG: u64 = 3_600_000;

fn spin(server: &Server) -> Value {
    json!({"component": server.push("hostile/spin"), "limits": {"fuel": 10_000_000_000_000_u64, "wall_ms": LONG}})
}

fn time(record: &Value, field: &str) -> u64 {
    // …T12:34:56.789Z: within one test the hours do not go round, and if they do, it is run again.
    let text = record[field].as_str().unwrap_or_else(|| panic!("{field}: {record}"));
    let number = |at: usize, len: usize| text[at..at + len].parse::<u64>().expect("digits");
    ((number(11, 2) * 60 + number(14, 2)) * 60 + number(17, 2)) * 1000 + number(20, 3)
}

fn event_names(server: &Server, id: &str) -> Vec<String> {
    let history = server.get(&format!("/api/tasks/{id}/history")).json();
    let events = history["events"].as_array().unwrap_or_else(|| panic!("{history}"));
    events.iter().map(|event| event["event"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn the_urgent_go_first_and_equals_in_the_order_they_came() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let sleep = server.push("hostile/sleep");
    let submit = |ms: u64, priority: &str| {
        server.submit(&json!({"component": sleep, "input": ms, "priority": priority}))
    };
    let blocker = submit(LONG, "low");
    server.wait_for_status(&blocker, "running");
    let order = ["low", "medium", "critical", "high", "critical", "low", "medium", "high"];
    // Long enough to tell one start from the next.
    let ids = order.map(|priority| submit(10, priority));
    server.delete(&format!("/api/tasks/{blocker}"));
    let mut records: Vec<Value> = ids.iter().map(|id| server.wait_for_status(id, "completed")).collect();
    records.sort_by_key(|record| time(record, "started_at"));
    let started: Vec<_> = records.iter().map(|record| record["task_id"].as_str().expect("an id")).collect();
    assert_eq!(started, [2, 4, 3, 7, 1, 6, 0, 5].map(|at| ids[at].as_str()));
    // One after the other.
    for two in records.windows(2) {
        assert!(time(&two[0], "completed_at") <= time(&two[1], "started_at"), "{two:?}");
    }
    assert!(records[7]["receipt"]["queue_ms"].as_u64() >= Some(70), "{}", records[7]["receipt"]);
    assert_idle(&server);
}

#[test]
fn tasks_that_wait_do_not_keep_others_from_computing() {
    let server = Server::start();
    let sleep = server.push("hostile/sleep");
    let computing = server.submit(&spin(&server));
    server.wait_for_status(&computing, "running");
    let (_, took) = timed(|| {
        let ids: Vec<String> =
            (0..40).map(|_| server.submit(&json!({"component": sleep, "input": 1000}))).collect();
        for id in &ids {
            server.wait_for_status(id, "completed");
        }
    });
    // One after the other on two cores it would be twenty seconds.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(server.task(&computing)["status"], "running");
    let reply = server.delete(&format!("/api/tasks/{computing}"));
    assert_eq!(reply.json()["status"], "cancelled", "{reply:?}");
    let cpu = reply.json()["receipt"]["cpu_ms"].as_u64().expect("a number");
    assert!(cpu > 500, "it computed meanwhile: {cpu} ms");
}

#[test]
fn there_are_never_more_instances_than_the_mode_allows() {
    // More is not to be had for the asking.
    let server = Server::with(&["--max-concurrent-tasks", "200"]);
    let sleep = server.push("hostile/sleep");
    let ids: Vec<String> =
        (0..70).map(|_| server.submit(&json!({"component": sleep, "input": 2000}))).collect();
    let load = || server.get("/api/v1/health/queue").json()["details"].clone();
    assert_eq!(load()["places"], 50);
    let mut most = 0;
    loop {
        let load = load();
        most = most.max(load["running"].as_u64().expect("a number"));
        if load["running"] == 0 && load["pending"] == 0 {
            break;
        }
        let running = server.get("/api/tasks/?status=running&limit=1000").json();
        assert!(running["tasks"].as_array().is_some_and(|tasks| tasks.len() <= 50), "{running}");
        pause(Duration::from_millis(20));
    }
    assert_eq!(most, 50);
    for id in &ids {
        assert_eq!(server.task(id)["status"], "completed");
    }
}

#[test]
fn a_short_task_is_not_starved_by_those_that_compute() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    let task = spin(&server);
    let spinning: Vec<String> = (0..8).map(|_| server.submit(&task)).collect();
    for id in &spinning {
        server.wait_for_status(id, "running");
    }
    for priority in ["low", "medium", "high", "critical"] {
        let (record, took) =
            timed(|| server.run(&json!({"component": echo, "input": 1, "priority": priority})));
        assert_eq!(record["status"], "completed");
        assert!(took < Duration::from_secs(5), "{priority}: {took:?}");
    }
    let still = server.get("/api/tasks/?status=running").json();
    assert_eq!(still["tasks"].as_array().map(Vec::len), Some(8), "they go on");
}

#[test]
fn what_spins_neither_delays_answers_nor_resists_its_end() {
    let server = Server::start();
    let task = spin(&server);
    let spinning: Vec<String> = (0..50).map(|_| server.submit(&task)).collect();
    for id in &spinning {
        server.wait_for_status(id, "running");
    }
    let ask = || timed(|| server.request("GET", "/api/v1/health/").anonymous().send()).1;
    let (longest, middle) = longest_and_middle((0..100).map(|_| ask()).collect());
    // Loose: other tests run beside this one.
    assert!(
        longest < Duration::from_secs(1) && middle < Duration::from_millis(100),
        "{longest:?}, {middle:?}"
    );
    let (_, submitting) = timed(|| server.submit(&task));
    assert!(submitting < Duration::from_secs(2), "{submitting:?}");
    let cancel = |id: &String| timed(|| server.delete(&format!("/api/tasks/{id}")));
    let ends: Vec<Duration> = spinning
        .iter()
        .map(|id| {
            let (reply, took) = cancel(id);
            assert!(matches!(reply.status, 200 | 202), "{reply:?}");
            took
        })
        .collect();
    let (longest, middle) = longest_and_middle(ends);
    assert!(
        longest < Duration::from_secs(3) && middle < Duration::from_millis(700),
        "{longest:?}, {middle:?}"
    );
    let rest = server.get("/api/tasks/?status=pending").json();
    for task in rest["tasks"].as_array().expect("tasks") {
        server.delete(&format!("/api/tasks/{}", task["task_id"].as_str().expect("an id")));
    }
    let running = server.get("/api/tasks/?status=running").json();
    for task in running["tasks"].as_array().expect("tasks") {
        server.delete(&format!("/api/tasks/{}", task["task_id"].as_str().expect("an id")));
    }
    assert_idle(&server);
}

#[test]
fn retries_are_data() {
    let server = Server::start();
    let fails = server.push("hostile/error-text");
    let run = |retry: Value| server.run(&json!({"component": fails, "input": 5, "retry": retry}));
    let record = run(json!({"max_attempts": 4, "on": ["guest_error"], "backoff_ms": 100}));
    assert_eq!((&record["status"], &record["attempts"]), (&json!("failed"), &json!(4)), "{record}");
    assert_eq!(
        (&record["failure"]["kind"], &record["receipt"]["attempts"]),
        (&json!("guest_error"), &json!(4))
    );
    let id = record["task_id"].as_str().expect("an id");
    let mut expected = vec!["submitted"];
    expected.extend(["started", "retry_scheduled"].repeat(3));
    expected.extend(["started", "failed"]);
    assert_eq!(event_names(&server, id), expected);
    let history = server.get(&format!("/api/tasks/{id}/history")).json();
    let attempts: Vec<_> =
        history["events"].as_array().expect("events").iter().map(|event| &event["attempt"]).collect();
    assert_eq!(attempts, [0, 1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!(history["events"][2]["detail"], "guest_error");
    // Half of 100, 200 and 400 ms at least, between two times that are cut to milliseconds.
    for (scheduled, least) in [(2, 49), (4, 99), (6, 199)] {
        let events = [&history["events"][scheduled], &history["events"][scheduled + 1]];
        let waited = time(events[1], "at") - time(events[0], "at");
        assert!((least..10_000).contains(&waited), "{waited} ms");
    }
    // Kinds that were not named, one attempt, and the default, which leaves the guest's own errors alone.
    for retry in [
        json!({"max_attempts": 5, "on": ["trap", "host_error"], "backoff_ms": 0}),
        json!({"max_attempts": 1, "on": ["guest_error"]}),
        json!({"max_attempts": 5, "on": []}),
        json!({"max_attempts": 5}),
        json!({}),
    ] {
        assert_eq!(run(retry)["attempts"], 1);
    }
    // What it waits for can be long, and can be ended.
    let retry = json!({"max_attempts": 2, "on": ["guest_error"], "backoff_ms": LONG});
    let id = server.submit(&json!({"component": fails, "input": 5, "retry": retry}));
    let waiting = server.wait_for(&id, |task| task["status"] == "pending" && task["attempts"] == 1);
    assert_eq!(waiting["completed_at"], Value::Null);
    let reply = server.delete(&format!("/api/tasks/{id}"));
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("cancelled")), "{reply:?}");
    assert_eq!(server.task(&id)["attempts"], 1);
    assert_idle(&server);
}

#[test]
fn what_waits_for_its_next_attempt_has_no_place() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let retry = json!({"max_attempts": 2, "on": ["guest_error"], "backoff_ms": LONG});
    let failing = json!({"component": server.push("hostile/error-text"), "input": 5, "retry": retry});
    let ids: Vec<String> = (0..5).map(|_| server.submit(&failing)).collect();
    for id in &ids {
        server.wait_for(id, |task| task["status"] == "pending" && task["attempts"] == 1);
    }
    let (record, took) = timed(|| server.run(&json!({"component": server.push("hostile/echo"), "input": 1})));
    assert_eq!(record["status"], "completed");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_cancellation_at_any_moment_ends_a_task_once() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    let fails = server.push("hostile/trap-unreachable");
    for round in 0..60_u64 {
        let task = match round % 2 {
            0 => json!({"component": echo, "input": 1}),
            _ => json!({"component": fails, "retry": {"max_attempts": 20, "on": ["trap"], "backoff_ms": 1}}),
        };
        let id = server.submit(&task);
        pause(Duration::from_micros(round * 100));
        let reply = server.delete(&format!("/api/tasks/{id}"));
        let record = server.wait_for(&id, |task| task["completed_at"] != Value::Null);
        match reply.status {
            200 | 202 => assert!(
                ["cancelled", "completed", "failed"].iter().any(|status| record["status"] == *status),
                "{record}"
            ),
            _ => drop(reply.problem(409, "conflict")),
        }
        let names = event_names(&server, &id);
        let ends =
            names.iter().filter(|name| ["completed", "failed", "cancelled"].contains(&name.as_str())).count();
        assert_eq!(ends, 1, "{names:?}");
    }
    assert_idle(&server);
}

#[test]
fn tasks_that_need_not_last_are_run_where_that_is_allowed() {
    let server = Server::with(&["--allow-ephemeral"]);
    let echo = server.push("hostile/echo");
    let record = server.run(&json!({"component": echo, "input": 1, "durable": false}));
    assert_eq!(
        (&record["status"], &record["durable"], &record["result"]),
        (&json!("completed"), &json!(false), &json!(1))
    );
    let id = record["task_id"].as_str().expect("an id");
    assert_eq!(server.task(id), record);
    server.run(&json!({"component": echo, "input": 2}));
    let list = server.get("/api/tasks/").json();
    assert_eq!(list["tasks"].as_array().map(Vec::len), Some(2), "both are listed: {list}");
    assert_eq!(server.get("/api/tasks/analytics/summary").json()["counts"]["completed"], 2);
    let send = || {
        let request = server.request("POST", "/api/tasks/?wait=60s").header("Idempotency-Key", "k");
        request.json(&json!({"component": echo, "input": 3, "durable": false})).send()
    };
    assert_eq!(send().json()["task_id"], send().json()["task_id"]);
}

#[test]
fn places_come_back_whatever_ends_a_task() {
    let server = Server::with(&["--max-concurrent-tasks", "3"]);
    let tasks = ["echo", "trap-unreachable", "error-text", "recurse", "output", "exit", "start-trap", "data-out-of-bounds"]
        .map(|name| json!({"component": server.push(&format!("hostile/{name}")), "input": 1, "retry": {"max_attempts": 1}}));
    let deadline =
        json!({"component": server.push("hostile/sleep"), "input": LONG, "limits": {"wall_ms": 20}});
    let ids: Vec<String> = (0..5)
        .flat_map(|_| tasks.iter().chain([&deadline]).map(|task| server.submit(task)).collect::<Vec<_>>())
        .collect();
    for id in &ids {
        eventually(|| server.task(id)["completed_at"].as_str().map(drop));
    }
    assert_idle(&server);
    let three: Vec<String> = (0..3)
        .map(|_| server.submit(&json!({"component": server.push("hostile/sleep"), "input": LONG})))
        .collect();
    for id in &three {
        server.wait_for_status(id, "running");
    }
}
