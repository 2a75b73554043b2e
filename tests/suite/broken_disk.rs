//! A disk that fails: after that nothing is written, and nothing that was acknowledged is lost.

use omnimind_tests::disk::Disk;
use omnimind_tests::guest;
use omnimind_tests::server::{Server, eventually};
use serde_json::{Value, json};

fn launch(disk: &Disk) -> Server {
    disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"))
}

#[track_caller]
fn assert_poisoned(server: &Server, task: &Value) {
    let problem = server.post("/api/tasks/", task).problem(507, "storage_unavailable");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("stopped writing") && detail.contains("restart the server"), "{detail}");
}

/// Whatever fails, and with whatever comes first afterwards: nothing is written any more.
fn poison(fail: impl Fn(&Disk, bool), first: impl Fn(&str) -> Value) {
    let disk = Disk::pretended();
    let mut server = launch(&disk);
    let (echo, spin) = (server.push("hostile/echo"), server.push("hostile/spin"));
    let tasks: Vec<(String, Value)> = (0..20)
        .map(|number| {
            let size = if number % 5 == 0 { 70_000 } else { 1 };
            let input = json!(format!("{number} ").repeat(size));
            (server.submit(&json!({"component": echo, "input": input})), input)
        })
        .collect();
    for (id, _) in &tasks {
        server.wait_for_status(id, "completed");
    }
    let running = server.submit(&json!({"component": spin, "input_text": "2000000000"}));
    server.wait_for_status(&running, "running");

    fail(&disk, true);
    server.post("/api/tasks/", &first(&echo)).problem(507, "storage_unavailable");
    fail(&disk, false);
    let small = json!({"component": echo, "input": "small"});
    for _ in 0..3 {
        assert_poisoned(&server, &small);
        assert_poisoned(&server, &json!({"component": echo, "input": "z".repeat(100_000)}));
    }
    let upload = server.request("POST", "/api/components/").wasm(&guest("hostile/grow")).send();
    upload.problem(507, "storage_unavailable");
    let health = eventually(|| {
        let health = server.get("/api/v1/health/");
        (health.status == 503).then(|| health.json())
    });
    assert_eq!(health["overall_status"], "unhealthy");
    let why = health["checks"]["task_store"]["error"].as_str().expect("text");
    assert!(why.contains("stopped writing"), "{why}");
    let all = |server: &Server| {
        for (id, input) in &tasks {
            let task = server.task(id);
            assert_eq!((&task["status"], &task["result"]), (&json!("completed"), input));
        }
        assert!(server.get("/api/tasks/").json()["tasks"].as_array().is_some_and(|list| list.len() > 20));
    };
    all(&server);

    server.kill();
    server = launch(&disk);
    all(&server);
    let task = server.wait_for_status(&running, "completed");
    assert_eq!(task["attempts"], 2, "its end could not be stored: {task}");
    assert_eq!(server.run(&small)["result"], "small");
    assert_eq!(server.get("/api/v1/health/").status, 200);
}

#[test]
fn a_failed_sync_of_the_database_ends_all_writing() {
    poison(Disk::fail_syncs, |echo| json!({"component": echo, "input": "small"}));
}

#[test]
fn a_failed_sync_of_a_file_ends_all_writing() {
    poison(Disk::fail_syncs_of_blobs, |echo| json!({"component": echo, "input": "w".repeat(100_000)}));
}

#[test]
fn a_failed_write_ends_all_writing() {
    poison(Disk::fail_writes, |echo| json!({"component": echo, "input": "small"}));
}

#[test]
fn a_disk_that_fails_from_the_start_is_named() {
    let disk = Disk::pretended();
    let mut server = launch(&disk);
    let echo = server.push("hostile/echo");
    let id = server.submit(&json!({"component": echo, "input": 1}));
    server.wait_for_status(&id, "completed");
    assert_eq!(server.terminate(), Some(0));
    disk.fail_writes(true);
    // It may start, because what is there can be read; it may not take anything in.
    match disk.serve(&[]) {
        Err(log) => assert!(log.contains("error: "), "{log}"),
        Ok(server) => {
            assert_eq!(server.task(&id)["result"], 1);
            server.post("/api/tasks/", &json!({"component": echo})).problem(507, "storage_unavailable");
        }
    }
    disk.fail_writes(false);
    assert_eq!(launch(&disk).task(&id)["result"], 1);
}
