//! A disk without room: nothing is accepted that could be lost, everything else goes on, and it is over
//! when there is room again.

use std::time::{Duration, Instant};

use omnimind_tests::disk::Disk;
use omnimind_tests::server::{Reply, Server, eventually};
use omnimind_tests::{guest, pause};
use serde_json::{Value, json};

const MEBIBYTES: u32 = 48;

fn launch(disk: &Disk) -> Server {
    disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"))
}

fn submit(server: &Server, key: &str, task: &Value) -> Reply {
    server.request("POST", "/api/tasks/").json(task).header("Idempotency-Key", key).send()
}

#[track_caller]
fn assert_no_room(reply: &Reply) {
    reply.problem(507, "storage_unavailable");
    let seconds = reply.headers.get("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{reply:?}");
}

#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    let disk = Disk::small(MEBIBYTES);
    let mut server = launch(&disk);
    let (echo, sleep) = (server.push("hostile/echo"), server.push("hostile/sleep"));
    let large = json!("y".repeat(100_000));
    let before = server.run(&json!({"component": echo, "input": large}));
    let before = before["task_id"].as_str().expect("an id");
    // Both end while there is no room, one of them with an output that goes to a file.
    let nap = Duration::from_millis(1500);
    let napping = server.submit(&json!({"component": sleep, "input_text": nap.as_millis().to_string()}));
    server.wait_for_status(&napping, "running");
    let napped = Instant::now() + nap;
    disk.fill(true);

    // Small ones use up what is left in the pages of the database; no more than a few.
    let small = json!({"component": echo, "input": "small"});
    let mut acknowledged = Vec::new();
    loop {
        let reply = submit(&server, &format!("key {}", acknowledged.len()), &small);
        match reply.status {
            202 => acknowledged.push(reply.json()["task_id"].as_str().expect("an id").to_owned()),
            _ => break assert_no_room(&reply),
        }
        assert!(acknowledged.len() < 100, "a full disk takes everything");
    }
    let other = json!({"component": echo, "input": "z".repeat(100_000)});
    assert_no_room(&submit(&server, "large", &other));
    assert_no_room(&server.request("POST", "/api/components/").wasm(&guest("hostile/spin")).send());
    assert_no_room(&server.request("POST", "/api/tasks/").wasm(&guest("hostile/grow")).send());

    // What was refused leaves nothing: of all files there are the two components and the first task's two.
    let blobs = std::fs::read_dir(disk.data_dir().join("blobs")).expect("a directory").count();
    assert!(blobs <= 4, "{blobs}");

    let list = server.get("/api/tasks/").json();
    assert_eq!(list["tasks"].as_array().map(Vec::len), Some(2 + acknowledged.len()), "{list}");
    assert_eq!(server.task(before)["result"], large);
    assert_eq!(server.get("/api/components/").json()["components"].as_array().map(Vec::len), Some(2));
    let unhealthy = eventually(|| {
        let health = server.get("/api/v1/health/");
        (health.status == 503).then(|| health.json())
    });
    assert_eq!(unhealthy["checks"]["task_store"]["status"], "unhealthy", "{unhealthy}");

    // Its end is not told before it is stored.
    pause(napped.saturating_duration_since(Instant::now()) + Duration::from_millis(500));
    assert_eq!(server.task(&napping)["status"], "running");

    disk.fill(false);
    let task = server.wait_for_status(&napping, "completed");
    assert_eq!((&task["result"], &task["attempts"]), (&json!(1500), &json!(1)), "{task}");
    for id in &acknowledged {
        assert_eq!(server.wait_for_status(id, "completed")["result"], "small");
    }
    eventually(|| (server.get("/api/v1/health/").status == 200).then_some(()));
    let reply = submit(&server, "large", &other);
    assert_eq!(reply.status, 202, "{reply:?}");
    let after = reply.json()["task_id"].as_str().expect("an id").to_owned();
    server.push("hostile/spin");

    server.kill();
    server = launch(&disk);
    let reply = submit(&server, "large", &other);
    assert_eq!((reply.status, reply.json()["task_id"].as_str()), (200, Some(&*after)));
    assert_eq!(server.wait_for_status(&after, "completed")["result"], other["input"]);
    assert_eq!(server.task(before)["result"], large);
    for id in &acknowledged {
        assert_eq!(server.wait_for_status(id, "completed")["result"], "small");
    }
    let history = server.get(&format!("/api/tasks/{napping}/history")).json();
    assert_eq!(history["events"].as_array().map(Vec::len), Some(3), "{history}");
}

#[test]
fn a_server_that_was_killed_on_a_full_disk_starts_and_can_be_read() {
    let disk = Disk::small(MEBIBYTES);
    let mut server = launch(&disk);
    let (echo, spin) = (server.push("hostile/echo"), server.push("hostile/spin"));
    let done = server.run(&json!({"component": echo, "input": "done"}));
    let done = done["task_id"].as_str().expect("an id");
    // One that runs, one that is given up at the next start.
    let running = server.submit(&json!({"component": spin, "input_text": "3000000000"}));
    server.wait_for_status(&running, "running");
    for _ in 0..2 {
        server.kill();
        server = launch(&disk);
        server.wait_for_status(&running, "running");
    }
    let young = server.submit(&json!({"component": spin, "input_text": "300000000"}));
    server.wait_for_status(&young, "running");
    disk.fill(true);
    server.kill();
    server = launch(&disk);
    assert_eq!(server.task(done)["result"], "done");
    disk.fill(false);
    let task = server.wait_for_status(&running, "failed");
    assert_eq!(task["failure"]["kind"], "lost", "{task}");
    assert_eq!(server.wait_for_status(&young, "completed")["attempts"], 2);
    eventually(|| (submit(&server, "k", &json!({"component": echo, "input": 1})).status < 300).then_some(()));
}
