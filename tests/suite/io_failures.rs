//! Whatever call to the disk is the first that fails: what was acknowledged is there afterwards, and what was
//! there before.

use std::path::Path;
use std::process::Command;

use omnimind_tests::disk::{Disk, assert_sound};
use omnimind_tests::random::{Random, Seed};
use omnimind_tests::server::Server;
use serde_json::{Value, json};

/// Calls that are tried as the first to fail.
const TRIES: u64 = 100;

/// An id, and the output that its task has, or had from the start.
type Known = (String, Value);

/// Submits a few tasks, small and large; those that were acknowledged.
fn work(server: &Server, echo: &str) -> Vec<Known> {
    let mut acknowledged = Vec::new();
    for number in 0..6 {
        let text = format!("{number} ").repeat(if number % 3 == 1 { 50_000 } else { 2 });
        let wait = if number % 2 == 0 { "?wait=10s" } else { "" };
        let task = json!({"component": echo, "input": text});
        let sent = server.request("POST", &format!("/api/tasks/{wait}")).json(&task).try_send();
        let reply = sent.unwrap_or_else(|error| panic!("it does not answer: {error}"));
        match reply.status {
            200 | 202 => {
                let id = reply.json()["task_id"].as_str().expect("an id").to_owned();
                acknowledged.push((id, json!(text)));
            }
            _ => assert!(reply.status >= 500, "{reply:?}"),
        }
    }
    acknowledged
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success());
}

/// Starts a server on a disk that is sound again: everything is there.
fn assert_all_there(disk: &Disk, known: &[Known], call: u64) {
    disk.fail_from(0);
    let server = disk.serve(&[]).unwrap_or_else(|log| panic!("call {call}: it does not start again: {log}"));
    for (id, output) in known {
        let found = server.get(&format!("/api/tasks/{id}"));
        assert_eq!(found.status, 200, "call {call}: {id} is gone");
        assert_eq!(&server.wait_for_status(id, "completed")["result"], output, "call {call}");
    }
    drop(server);
    assert_sound(&disk.data_dir());
}

/// A start on a failing disk that did not come about says why.
#[track_caller]
fn assert_explained(log: &str, call: u64) {
    assert!(log.contains("error: "), "call {call}: {log}");
    let code = log.contains("exit status: 2") || log.contains("exit status: 5");
    assert!(code && !log.contains("panicked"), "call {call}: {log}");
}

#[test]
fn slow_no_failing_call_to_the_disk_loses_what_was_acknowledged() {
    let seed = Seed::given_or_new();
    let mut random = Random::from(seed.0);
    let disk = Disk::pretended();
    let before = disk.data_dir().with_extension("before");
    let mut server = disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"));
    let echo = server.push("hostile/echo");
    let known = work(&server, &echo);
    assert_eq!(known.len(), 6);
    known.iter().for_each(|(id, _)| drop(server.wait_for_status(id, "completed")));
    server.kill();
    copy(&disk.data_dir(), &before);

    disk.fail_from(0);
    let server = disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}"));
    let calls_of_start = disk.calls();
    work(&server, &echo);
    drop(server);
    let stride = disk.calls() / TRIES + 1;
    let (mut refused, mut acknowledged) = (0, 0);
    for step in 0..TRIES {
        let call = 1 + step * stride + random.below(stride);
        copy(&before, &disk.data_dir());
        disk.fail_from(call);
        let mut known = known.clone();
        match disk.serve(&[]) {
            Err(log) => {
                assert_explained(&log, call);
                refused += 1;
            }
            Ok(mut server) => {
                let more = work(&server, &echo);
                acknowledged += more.len();
                known.extend(more);
                server.kill();
            }
        }
        assert_all_there(&disk, &known, call);
    }
    println!("seed {}: {calls_of_start} calls in a start, {stride} from one to the next", seed.0);
    println!("{refused} starts refused, {acknowledged} tasks acknowledged before the first failure");
    assert!(refused > 3 && acknowledged > 20, "too little happened: {refused}, {acknowledged}");
}

#[test]
fn a_first_start_that_any_call_to_the_disk_ends_leaves_a_directory_that_starts() {
    let seed = Seed::given_or_new();
    let mut random = Random::from(seed.0);
    let disk = Disk::pretended();
    disk.fail_from(0);
    drop(disk.serve(&[]).unwrap_or_else(|log| panic!("it does not start: {log}")));
    let stride = disk.calls() / 20 + 1;
    for step in 0..20 {
        let call = 1 + step * stride + random.below(stride);
        let _ = std::fs::remove_dir_all(disk.data_dir());
        disk.fail_from(call);
        if let Err(log) = disk.serve(&[]) {
            assert_explained(&log, call);
        }
        assert_all_there(&disk, &[], call);
    }
}
