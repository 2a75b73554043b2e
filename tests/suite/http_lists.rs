//! Tasks in lists, and what is told of one: progress, history, analytics, figures over all of them.

use std::collections::HashSet;
use std::time::Duration;

use omnimind_tests::server::Server;
use omnimind_tests::wire::{exchange, head, shared, statuses};
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<String> {
    let tasks = page["tasks"].as_array().unwrap_or_else(|| panic!("{page}"));
    tasks.iter().map(|task| task["task_id"].as_str().expect("an id").to_owned()).collect()
}

/// A server with 3 failed tasks, 7 completed ones of two priorities and a cancelled one, and their ids, newest first.
fn populated() -> (Server, Vec<String>) {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let wasm = omnimind_tests::guest("hostile/echo");
    server.request("POST", "/api/components/?name=echo").wasm(&wasm).send();
    let (trap, digest) = (server.push("hostile/trap-unreachable"), server.push("hostile/echo"));
    let sleep = server.push("hostile/sleep");
    let mut tasks: Vec<Value> = (0..3).map(|_| json!({"component": trap, "priority": "low"})).collect();
    tasks.extend((0..4).map(|n| json!({"component": "echo", "input": n, "priority": "high"})));
    tasks.extend((0..3).map(|n| json!({"component": digest, "input": n})));
    let mut made: Vec<String> =
        tasks.iter().map(|task| server.run(task)["task_id"].as_str().expect("an id").to_owned()).collect();
    let cancelled = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    assert!(matches!(server.delete(&format!("/api/tasks/{cancelled}")).status, 200 | 202));
    server.wait_for_status(&cancelled, "cancelled");
    made.push(cancelled);
    made.reverse();
    (server, made)
}

#[test]
fn tasks_are_listed_newest_first_in_pages_and_by_what_they_are() {
    let (server, made) = populated();
    let list = |query: &str| server.get(&format!("/api/tasks/?{query}")).json();
    assert_eq!(ids(&list("")), made);
    assert_eq!(list("")["next_cursor"], Value::Null);

    // Pages of every size give the same tasks once each.
    for limit in [1, 2, 3, 5, 10, 11, 12] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("limit={limit}{cursor}"));
            assert!(ids(&page).len() <= limit);
            seen.extend(ids(&page));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
            assert!(seen.len() < 100, "it does not end");
        }
        assert_eq!(seen, made, "limit {limit}");
    }

    let digest = server.push("hostile/echo");
    for (query, count) in [
        ("status=failed", 3),
        ("status=completed", 7),
        ("status=cancelled", 1),
        ("status=running", 0),
        ("status=pending", 0),
        ("priority=high", 4),
        ("priority=critical", 0),
        ("component=echo", 4),
        ("status=completed&priority=medium", 3),
        ("status=failed&component=echo", 0),
        ("component=nobody", 0),
    ] {
        let page = list(query);
        assert_eq!(ids(&page).len(), count, "{query}: {page}");
    }
    assert_eq!(ids(&list(&format!("component={digest}"))).len(), 7, "by digest, whatever it was called");
    let filtered = list("status=completed&limit=5");
    let next = filtered["next_cursor"].as_str().expect("another page");
    let rest = list(&format!("status=completed&limit=5&cursor={next}"));
    let all: HashSet<String> = ids(&filtered).into_iter().chain(ids(&rest)).collect();
    assert_eq!((all.len(), rest["next_cursor"].clone()), (7, Value::Null));
    for task in filtered["tasks"].as_array().expect("tasks") {
        assert_eq!(task["status"], "completed");
        assert!(task.get("result").is_none(), "lists are without outputs");
    }

    for bad in [
        "status=done",
        "priority=urgent",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "cursor=x",
        "cursor=",
        "stauts=failed",
        "limit=1&limit=2",
    ] {
        let problem = server.get(&format!("/api/tasks/?{bad}")).problem(422, "invalid_request");
        let name = bad.split('=').next().expect("a name");
        assert_eq!(problem["field"], name, "{problem}");
    }

    let summary = server.get("/api/tasks/analytics/summary").json();
    assert_eq!(summary["total"], 11, "{summary}");
    for (status, count) in [("completed", 7), ("failed", 3), ("cancelled", 1), ("running", 0), ("pending", 0)]
    {
        assert_eq!(summary["counts"][status], count, "{summary}");
    }
    assert_eq!(summary["success_rate"], json!(0.7));
    assert!(summary["durations_ms"]["p50"].is_u64() && summary["durations_ms"]["p99"].is_u64(), "{summary}");
}

#[test]
fn what_waits_and_what_runs_is_listed_as_such() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let sleep = server.push("hostile/sleep");
    let made: Vec<String> =
        (0..4).map(|_| server.submit(&json!({"component": sleep, "input": 3_600_000}))).collect();
    server.wait_for_status(&made[0], "running");
    let list = |query: &str| ids(&server.get(&format!("/api/tasks/?{query}")).json());
    assert_eq!(list("status=running"), [made[0].clone()]);
    assert_eq!(list("status=pending"), [made[3].clone(), made[2].clone(), made[1].clone()]);
    assert_eq!(list("status=pending&limit=1"), [made[3].clone()]);
    assert_eq!(list("").len(), 4);
    let queue = server.get("/api/v1/health/queue").json();
    let details = &queue["details"];
    assert_eq!(
        (&details["running"], &details["pending"], &details["places"]),
        (&json!(1), &json!(3), &json!(1))
    );
}

#[test]
fn what_is_told_of_a_task_agrees() {
    let server = shared();
    let digest = server.push("hostile/progress");
    let record = server.run(&json!({"component": digest, "input": 51}));
    let id = record["task_id"].as_str().expect("an id");
    for slash in ["", "/"] {
        let part = |part: &str| {
            let reply = server.get(&format!("/api/tasks/{id}/{part}{slash}"));
            assert_eq!(reply.status, 200, "{part}: {reply:?}");
            let body = reply.json();
            assert_eq!(body["task_id"], id, "{part}");
            body
        };
        let progress = part("progress");
        assert_eq!((&progress["progress"], &progress["status"]), (&json!(100.0), &json!("completed")));
        assert_eq!(progress["message"], "step");
        assert!(progress["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));

        let history = part("history");
        let events: Vec<_> = history["events"].as_array().expect("events").iter().collect();
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().expect("a name")).collect();
        assert_eq!(names, ["submitted", "started", "completed"]);
        assert_eq!(
            events.iter().map(|event| event["attempt"].clone()).collect::<Vec<_>>(),
            [0, 1, 1].map(Value::from)
        );
        assert_eq!(events[1]["at"], record["started_at"]);
        assert_eq!(events[2]["at"], record["completed_at"]);

        let analytics = part("analytics");
        assert_eq!(analytics["attempts"], 1);
        assert_eq!(analytics["wall_ms"], record["receipt"]["wall_ms"]);
        let calls = &record["receipt"]["budgets"]["host_calls"];
        let share = calls["used"].as_f64().expect("a number") / calls["limit"].as_f64().expect("a number");
        assert!(calls["used"].as_u64() >= Some(51));
        assert_eq!(analytics["budget_shares"]["host_calls"], json!(share));
    }
}

#[test]
fn what_failed_says_why_everywhere() {
    let server = shared();
    let digest = server.push("hostile/spin");
    let record = server.run(&json!({"component": digest, "limits": {"fuel": 5000}}));
    let id = record["task_id"].as_str().expect("an id");
    assert_eq!((&record["status"], &record["failure"]["kind"]), (&json!("failed"), &json!("fuel_exhausted")));
    assert_eq!(
        (&record["failure"]["limit"], &record["receipt"]["stopped_by"]),
        (&json!("fuel"), &json!("fuel"))
    );
    assert!(record["failure"]["hint"].is_string() && record["failure"]["message"].is_string());
    assert!(record.get("result").is_none() && record.get("result_text").is_none());
    let history = server.get(&format!("/api/tasks/{id}/history")).json();
    assert_eq!(history["events"][2]["event"], "failed");
    assert_eq!(history["events"][2]["detail"], "fuel_exhausted");
    assert_eq!(server.get(&format!("/api/tasks/{id}/analytics")).json()["stopped_by"], "fuel");
    server.get(&format!("/api/tasks/{id}/output")).problem(404, "not_found");
    assert_eq!(server.get(&format!("/api/tasks/{id}/logs")).body, b"");
}

#[test]
fn a_list_by_an_end_has_only_tasks_that_ended_so() {
    let server = Server::start();
    let digest = server.push("hostile/echo");
    let task = json!({"component": digest, "input": 1});
    std::thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            for _ in 0..150 {
                server.submit(&task);
            }
        });
        while !submitting.is_finished() {
            let page = server.get("/api/tasks/?status=completed&limit=20").json();
            for task in page["tasks"].as_array().expect("tasks") {
                assert_eq!(task["status"], "completed", "{task}");
                assert!(task["completed_at"].is_string(), "{task}");
            }
        }
    });
}

#[test]
fn every_route_answers_with_and_without_a_slash() {
    let server = shared();
    let digest = server.push("hostile/echo");
    let record = server.run(&json!({"component": digest, "input": 1}));
    let id = record["task_id"].as_str().expect("an id");
    for path in [
        "/api/components".to_owned(),
        format!("/api/components/{digest}"),
        "/api/tasks".to_owned(),
        format!("/api/tasks/{id}"),
        format!("/api/tasks/{id}/progress"),
        format!("/api/tasks/{id}/history"),
        format!("/api/tasks/{id}/analytics"),
        format!("/api/tasks/{id}/output"),
        format!("/api/tasks/{id}/logs"),
        "/api/tasks/analytics/summary".to_owned(),
        "/api/v1/health".to_owned(),
        "/api/v1/health/engine".to_owned(),
        "/api/v1/health/task_store".to_owned(),
        "/api/v1/health/filesystem".to_owned(),
        "/api/v1/health/queue".to_owned(),
        "/api/v1/health/limits".to_owned(),
        "/api/v1/limits".to_owned(),
    ] {
        for path in [path.clone(), format!("{path}/")] {
            assert_eq!(server.get(&path).status, 200, "{path}");
            let bytes = format!("{}Connection: close\r\n\r\n", head(&server, &format!("HEAD {path}")));
            let bytes = exchange(&server, bytes.as_bytes(), Duration::from_secs(5));
            assert_eq!(statuses(&bytes), [200], "HEAD {path}");
            assert!(bytes.ends_with(b"\r\n\r\n"), "HEAD {path} has no body");
            let wrong = server.request("PATCH", &path).send();
            wrong.problem(405, "method_not_allowed");
            assert!(wrong.headers["allow"].contains("GET"), "{wrong:?}");
        }
    }
    let submitted = server.request("POST", "/api/tasks").json(&json!({"component": digest})).send();
    assert_eq!(submitted.status, 202);
}
