//! SIGTERM: what runs may finish, what does not is left for the next start, nothing is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use omnimind_tests::pause;
use omnimind_tests::server::{self, Server, eventually, scratch};
use serde_json::{Value, json};

fn launch(data_dir: &Path, arguments: &[&str]) -> Server {
    let mut command = server::command(data_dir);
    command.args(arguments);
    Server::launch(command, data_dir).unwrap_or_else(|log| panic!("no start: {log}"))
}

fn events(server: &Server, id: &str) -> Vec<String> {
    let history = server.get(&format!("/api/tasks/{id}/history")).json();
    let events = history["events"].as_array().expect("a list").iter();
    events.map(|event| event["event"].as_str().expect("a name").to_owned()).collect()
}

fn sleep(digest: &str, milliseconds: u64) -> Value {
    json!({"component": digest, "input_text": milliseconds.to_string()})
}

#[test]
fn running_tasks_may_finish_and_waiting_ones_are_not_lost() {
    let data_dir = scratch("drain");
    let mut server = launch(&data_dir, &["--max-concurrent-tasks", "2", "--drain", "5"]);
    let digest = server.push("hostile/sleep");
    let running = [1500, 1501].map(|time| server.submit(&sleep(&digest, time)));
    for id in &running {
        server.wait_for_status(id, "running");
    }
    let mut waiting: Vec<_> = (0..20).map(|_| server.submit(&sleep(&digest, 1))).collect();
    let begun = Instant::now();
    // A client waits for a task that will not have its turn: it is told that it was accepted.
    let task = sleep(&digest, 2);
    let told = std::thread::scope(|scope| {
        let client = scope.spawn(|| server.request("POST", "/api/tasks/?wait=60s").json(&task).send());
        eventually(|| {
            let list = server.get("/api/tasks/?status=pending").json();
            (list["tasks"].as_array().map(Vec::len) == Some(21)).then_some(())
        });
        server.signal("TERM");
        client.join().expect("no panic")
    });
    assert_eq!(told.status, 202, "{told:?}");
    waiting.push(told.json()["task_id"].as_str().expect("an id").to_owned());
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for nothing");

    let server = launch(&data_dir, &[]);
    for (id, output) in running.iter().zip([1500, 1501]) {
        let task = server.task(id);
        assert_eq!((&task["status"], &task["result"]), (&json!("completed"), &json!(output)), "{task}");
        assert_eq!(events(&server, id), ["submitted", "started", "completed"]);
    }
    for id in &waiting {
        let task = server.wait_for_status(id, "completed");
        assert_eq!(task["attempts"], 1, "{task}");
    }
    drop(server);
    let _ = std::fs::remove_dir_all(data_dir);
}

#[test]
fn a_task_that_outlasts_the_drain_is_run_again_and_no_attempt_counted() {
    let data_dir = scratch("outlast");
    let mut server = launch(&data_dir, &["--drain", "1"]);
    let (asleep, computing) = (server.push("hostile/sleep"), server.push("hostile/spin"));
    let tasks = [sleep(&asleep, 3_600_000), json!({"component": computing, "input_text": "500000000000"})];
    let ids = tasks.map(|task| server.submit(&task));
    // More often than a crash would be forgiven.
    for _ in 0..4 {
        for id in &ids {
            let task = server.wait_for_status(id, "running");
            assert_eq!(task["attempts"], 1, "{task}");
        }
        let begun = Instant::now();
        assert_eq!(server.terminate(), Some(0));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
        server = launch(&data_dir, &["--drain", "1"]);
    }
    for id in &ids {
        server.wait_for_status(id, "running");
        let events = events(&server, id);
        let names: Vec<&str> = events.iter().map(String::as_str).collect();
        let four = ["started", "requeued"].repeat(4);
        assert_eq!(names, [&["submitted"], &*four, &["started"]].concat());
    }
    drop(server);
    let _ = std::fs::remove_dir_all(data_dir);
}

#[test]
fn the_log_says_that_the_server_has_ended_and_how_long_that_took() {
    for format in ["json", "text"] {
        let mut server = Server::set_up(&[], |command| {
            command.env("OMNIMIND_LOGGING__FORMAT", format).env_remove("LOG_LEVEL");
        });
        let sleep_600 = sleep(&server.push("hostile/sleep"), 600);
        let id = server.submit(&sleep_600);
        server.wait_for_status(&id, "running");
        assert_eq!(server.terminate(), Some(0));
        let log = eventually(|| {
            let log = server.log.lock().expect("no panic").clone();
            log.lines().last().filter(|line| line.contains("ended")).map(str::to_owned)
        });
        let took: u64 = match format {
            "json" => {
                let line: Value = serde_json::from_str(&log).expect("JSON");
                assert_eq!(line["fields"]["message"], "ended");
                line["fields"]["drain_ms"].as_u64().expect("a number")
            }
            _ => {
                let (_, took) = log.split_once("ended drain_ms=").unwrap_or_else(|| panic!("{log}"));
                took.trim().parse().expect("a number")
            }
        };
        assert!((50..60_000).contains(&took), "{took} ms for a task of 600 ms");
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let data_dir = scratch("second");
    let mut server = launch(&data_dir, &["--drain", "600"]);
    let (asleep, computing) = (server.push("hostile/sleep"), server.push("hostile/spin"));
    let ids = [
        server.submit(&sleep(&asleep, 3_600_000)),
        server.submit(&json!({"component": computing, "input_text": "500000000000"})),
    ];
    for id in &ids {
        server.wait_for_status(id, "running");
    }
    server.signal("TERM");
    eventually(|| std::net::TcpStream::connect(server.address).is_err().then_some(()));
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let server = launch(&data_dir, &[]);
    for id in &ids {
        let task = server.wait_for_status(id, "running");
        assert_eq!(task["attempts"], 1, "{task}");
    }
    drop(server);
    let _ = std::fs::remove_dir_all(data_dir);
}

#[test]
fn nothing_acknowledged_during_a_shutdown_is_lost() {
    let data_dir = scratch("acknowledged");
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        let mut server = launch(&data_dir, &[]);
        let digest = server.push("hostile/echo");
        let told = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut told = Vec::new();
                        let task = json!({"component": digest, "input": "x"});
                        while let Ok(reply) = server.request("POST", "/api/tasks/").json(&task).try_send() {
                            match reply.status {
                                200 | 202 => {
                                    told.push(reply.json()["task_id"].as_str().expect("an id").to_owned())
                                }
                                // It is ending, and says so.
                                503 => break,
                                _ => panic!("{reply:?}"),
                            }
                        }
                        told
                    })
                })
                .collect();
            pause(Duration::from_millis(150));
            server.signal("TERM");
            clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(server.wait(), Some(0));
        assert!(!told.is_empty());
        acknowledged.extend(told);
    }
    let server = launch(&data_dir, &[]);
    for id in &acknowledged {
        let task = server.wait_for_status(id, "completed");
        assert_eq!((&task["attempts"], &task["result"]), (&json!(1), &json!("x")), "{task}");
    }
    drop(server);
    let _ = std::fs::remove_dir_all(data_dir);
}
