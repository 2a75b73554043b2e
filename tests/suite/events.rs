//! `GET /api/events`: what happens is told while it happens.

use omnimind_tests::server::Server;
use omnimind_tests::wire::{Event, Events, assert_healthy, assert_idle, shared};
use serde_json::{Value, json};

fn of_task<'a>(events: &'a [Event], id: &str) -> Vec<&'a Value> {
    events.iter().map(|event| &event.data).filter(|data| data["data"]["task_id"] == id).collect()
}

fn ends(event: &Event, id: &str) -> bool {
    let update = &event.data["data"];
    update["task_id"] == id && ["completed", "failed", "cancelled"].iter().any(|end| update["status"] == *end)
}

#[test]
fn a_task_is_heard_from_its_submission_to_its_end() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let progress = server.push("hostile/progress");
    let sleep = server.push("hostile/sleep");
    let mut events = Events::open(&server, "/api/events");
    let connected = events.next_event().expect("an event");
    assert_eq!((connected.name.as_str(), &connected.data["type"]), ("connected", &json!("connected")));
    let blocker = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    let id = server.submit(&json!({"component": progress, "input": 50}));
    server.delete(&format!("/api/tasks/{blocker}"));
    let heard = events.until(|event| ends(event, &id));

    let blocker: Vec<_> =
        of_task(&heard, &blocker).iter().map(|data| data["data"]["status"].clone()).collect();
    assert_eq!(blocker, ["running", "cancelled"], "there was a place at once");
    let updates = of_task(&heard, &id);
    let mut statuses: Vec<_> = updates.iter().map(|data| data["data"]["status"].clone()).collect();
    statuses.dedup();
    assert_eq!(statuses, ["pending", "running", "completed"]);
    let percents: Vec<f64> =
        updates.iter().map(|data| data["data"]["progress"].as_f64().expect("a number")).collect();
    assert!(percents.iter().any(|percent| *percent > 0.0 && *percent < 100.0), "{percents:?}");
    assert_eq!(percents.last(), Some(&100.0));
    for data in updates {
        assert_eq!((&data["type"], &data["channel"]), (&json!("task_update"), &json!("tasks")));
        assert_eq!(data["data"]["component"], progress);
        assert!(data["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
    let numbers: Vec<u64> = heard.iter().map(|event| event.data["seq"].as_u64().expect("a number")).collect();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
}

#[test]
fn a_failure_is_heard_with_its_kind_and_every_attempt() {
    let server = Server::start();
    let trap = server.push("hostile/trap-unreachable");
    let mut events = Events::open(&server, "/api/events?channels=tasks");
    events.next_event();
    let retry = json!({"max_attempts": 3, "on": ["trap"], "backoff_ms": 1});
    let id = server.submit(&json!({"component": trap, "retry": retry}));
    let heard = events.until(|event| ends(event, &id));
    let told: Vec<_> = of_task(&heard, &id)
        .iter()
        .map(|data| (data["data"]["status"].clone(), data["data"]["attempts"].clone()))
        .collect();
    let expected =
        [("running", 1), ("pending", 1), ("running", 2), ("pending", 2), ("running", 3), ("failed", 3)];
    assert_eq!(told, expected.map(|(status, attempts)| (json!(status), json!(attempts))));
    assert_eq!(heard.last().map(|event| &event.data["data"]["failure_kind"]), Some(&json!("trap")));
}

#[test]
fn only_what_was_asked_for_is_heard() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let (sleep, echo) = (server.push("hostile/sleep"), server.push("hostile/echo"));
    let wanted = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    let also = server.submit(&json!({"component": echo, "input": 1}));
    let path = format!("/api/events?channels=task:{wanted},task:{also}");
    let mut events = Events::open(&server, &path);
    events.next_event();
    let unheard = server.submit(&json!({"component": echo, "input": 2, "priority": "critical"}));
    server.delete(&format!("/api/tasks/{wanted}"));
    server.wait_for_status(&unheard, "completed");
    let heard = events.until(|event| ends(event, &also));
    assert!(of_task(&heard, &unheard).is_empty(), "{heard:?}");
    assert_eq!(of_task(&heard, &wanted).len(), 1, "its end: {heard:?}");
    for data in of_task(&heard, &also) {
        assert_eq!(data["channel"], json!(format!("task:{also}")));
    }
}

#[test]
fn wrong_channels_are_refused() {
    let server = shared();
    let id = "task:01890f3e-7c4a-7cc1-98c5-4f6f0a2b1c3d";
    for bad in ["", "task", "*", "tasks,none", &[id; 11].join(",")] {
        server.get(&format!("/api/events?channels={bad}")).problem(422, "invalid_request");
    }
    for missing in [id, "task:", "task:x", "plan:1", &format!("tasks,{id}")] {
        server.get(&format!("/api/events?channels={missing}")).problem(404, "not_found");
    }
    server.get("/api/events?since=5").problem(422, "invalid_request");
    server.request("GET", "/api/events").anonymous().send().problem(401, "unauthorized");
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
    let server = Server::start();
    let trap = server.push("hostile/trap-unreachable");
    let mut slow = Events::open(&server, "/api/events");
    slow.next_event();
    let mut others: Vec<Events> = (0..5).map(|_| Events::open(&server, "/api/events")).collect();
    // Each task is heard some forty times.
    let task = json!({"component": trap, "metadata": {}, "retry": {"max_attempts": 20, "on": ["trap"], "backoff_ms": 0}});
    let submit = |count: usize| {
        let ids: Vec<String> = (0..count).map(|_| server.submit(&task)).collect();
        for id in &ids {
            assert_eq!(server.wait_for_status(id, "failed")["attempts"], 20);
        }
    };
    // What the sockets take is not known: many times the ring, and no more than that.
    let mut last = String::new();
    let mut missed = None;
    for round in 0..30 {
        submit(40);
        if round < 9 {
            continue;
        }
        // Reading catches up: either something was lost by now, or more is needed.
        last = server.submit(&json!({"component": trap, "retry": {"max_attempts": 1}}));
        let heard = slow.until(|event| ends(event, &last));
        if let Some(lagged) = heard.iter().find(|event| event.name == "lagged") {
            missed = lagged.data["data"]["missed"].as_u64();
            let after = heard.iter().skip_while(|event| event.name != "lagged").nth(1).expect("an event");
            let before = heard.iter().take_while(|event| event.name != "lagged").last().expect("an event");
            let gap = after.data["seq"]
                .as_u64()
                .zip(before.data["seq"].as_u64())
                .map(|(after, before)| after - before - 1);
            // What the guard decides has numbers too, and is not heard here.
            let others = gap.zip(missed).and_then(|(gap, missed)| gap.checked_sub(missed));
            assert!(others.is_some_and(|others| others < 100), "those, and hardly more: {gap:?}, {missed:?}");
            break;
        }
        submit(200);
    }
    assert!(missed.is_some_and(|missed| missed > 0), "a ring without an end? {last}");
    // The others lost as much, and nobody was held up.
    assert!(others.iter_mut().all(|events| events.next_event().is_some()));
    drop(others);
    assert_idle(&server);
}

#[test]
fn listeners_that_go_away_are_forgotten() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    let before = omnimind_tests::wire::memory_kib(&server, "VmRSS");
    for round in 0..20 {
        let streams: Vec<Events> = (0..20).map(|_| Events::open(&server, "/api/events")).collect();
        server.run(&json!({"component": echo, "input": round}));
        drop(streams);
    }
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count();
    omnimind_tests::server::eventually(|| {
        // Whoever is gone is noticed when there is something to tell.
        server.run(&json!({"component": echo, "input": 1}));
        (descriptors() < 100).then_some(())
    });
    assert!(omnimind_tests::wire::memory_kib(&server, "VmRSS") < before + (30 << 10));
    assert_healthy(&server);
}
