//! A clock that jumps changes what is shown, never what is done: waits, deadlines and the order of tasks stay.

use std::time::{Duration, Instant};

use omnimind_tests::pause;
use omnimind_tests::server::Server;
use omnimind_tests::wrong_clock::WrongClock;
use serde_json::{Value, json};

const DAY: i64 = 24 * 3600;

/// A task that fails and is tried once more, about this much later.
fn failing(digest: &str, backoff_ms: u64) -> Value {
    let retry = json!({"max_attempts": 2, "on": ["guest_error"], "backoff_ms": backoff_ms});
    json!({"component": digest, "input_text": "1", "retry": retry})
}

/// Submits it; the id, once it waits for its second attempt.
fn submit_failing(server: &Server, digest: &str, backoff_ms: u64) -> String {
    let id = server.submit(&failing(digest, backoff_ms));
    server.wait_for(&id, |task| task["status"] == "pending" && task["attempts"] == 1);
    id
}

/// Waits until `id` has failed twice; how long that took.
fn failed_twice(server: &Server, id: &str) -> Duration {
    let begun = Instant::now();
    let task = server.wait_for_status(id, "failed");
    assert_eq!(task["attempts"], 2, "{task}");
    begun.elapsed()
}

#[test]
fn a_retry_waits_as_long_as_it_should_whatever_the_clock_says() {
    for jump in [-DAY, DAY] {
        let clock = WrongClock::new();
        let server = clock.serve(&[]);
        let digest = server.push("hostile/error-text");
        let late = submit_failing(&server, &digest, 3_600_000);
        let soon = submit_failing(&server, &digest, 1000);
        clock.put(jump);
        let waited = failed_twice(&server, &soon);
        assert!(waited < Duration::from_secs(5), "{jump}: {waited:?}");
        // And one that fails after the jump.
        let soon = submit_failing(&server, &digest, 500);
        let waited = failed_twice(&server, &soon);
        assert!(waited < Duration::from_secs(5), "{jump}: {waited:?}");
        let task = server.task(&late);
        assert_eq!((&task["status"], &task["attempts"]), (&json!("pending"), &json!(1)), "{jump}: {task}");
    }
}

#[test]
fn a_restart_by_a_clock_that_was_put_back_delays_no_retry() {
    let clock = WrongClock::new();
    let mut server = clock.serve(&[]);
    let digest = server.push("hostile/error-text");
    let id = submit_failing(&server, &digest, 2000);
    server.kill();
    clock.put(-DAY);
    let server = clock.serve(&[]);
    let waited = failed_twice(&server, &id);
    assert!(waited < Duration::from_secs(8), "{waited:?}");
}

#[test]
fn deadlines_are_kept_whatever_the_clock_says() {
    for jump in [-DAY, DAY] {
        let clock = WrongClock::new();
        let server = clock.serve(&["--max-concurrent-tasks", "2"]);
        let sleep = server.push("hostile/sleep");
        let asleep = |ms: u64, wall_ms: u64| {
            let limits = json!({"wall_ms": wall_ms});
            server.submit(&json!({"component": sleep, "input_text": ms.to_string(), "limits": limits}))
        };
        let begun = Instant::now();
        let (late, early, queued) = (asleep(60_000, 2000), asleep(1000, 30_000), asleep(300, 30_000));
        server.wait_for_status(&late, "running");
        server.wait_for_status(&early, "running");
        assert_eq!(server.task(&queued)["status"], "pending");
        clock.put(jump);

        let task = server.wait_for_status(&early, "completed");
        assert_eq!(task["result"], 1000, "{jump}: {task}");
        assert!(begun.elapsed() >= Duration::from_millis(1000));
        assert_eq!(server.wait_for_status(&queued, "completed")["result"], 300);
        let task = server.wait_for_status(&late, "failed");
        assert_eq!(task["failure"]["kind"], "deadline_exceeded", "{jump}: {task}");
        let passed = begun.elapsed();
        assert!((2000..10_000).contains(&passed.as_millis()), "{jump}: {passed:?}");

        // What was measured is time that passed.
        for id in [&late, &early, &queued] {
            let measured = server.get(&format!("/api/tasks/{id}/analytics")).json();
            let ms = |name: &str| measured[name].as_u64().unwrap_or_else(|| panic!("{measured}"));
            assert!(ms("queue_ms") < 10_000 && ms("wall_ms") < 10_000, "{jump}: {measured}");
        }
        let measured = server.get(&format!("/api/tasks/{queued}/analytics")).json();
        assert!(measured["queue_ms"].as_u64().is_some_and(|ms| ms >= 500), "{jump}: {measured}");
    }
}

/// Ids in the order in which tasks are listed, three to a page.
fn listed(server: &Server) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/tasks/?limit=3{cursor}")).json();
        let tasks = page["tasks"].as_array().expect("a list");
        ids.extend(tasks.iter().map(|task| task["task_id"].as_str().expect("an id").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[test]
fn tasks_are_listed_in_the_order_of_their_submission_whatever_the_clock_says() {
    let clock = WrongClock::new();
    let mut server = clock.serve(&[]);
    let echo = server.push("hostile/echo");
    let mut ids = Vec::new();
    for jump in [0, DAY, -DAY, 0, 2 * DAY, DAY] {
        clock.put(jump);
        for number in 0..3 {
            ids.push(server.submit(&json!({"component": echo, "input": number})));
            // Another millisecond.
            pause(Duration::from_millis(2));
        }
        // By another process too.
        if jump <= 0 {
            server.kill();
            server = clock.serve(&[]);
        }
    }
    assert!(ids.is_sorted(), "{ids:#?}");
    ids.reverse();
    assert_eq!(listed(&server), ids);
}
