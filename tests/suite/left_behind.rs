//! Ten thousand hostile tasks leave behind what two thousand did: their records.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use omnimind_tests::disk::assert_sound;
use omnimind_tests::server::{Server, eventually};
use omnimind_tests::usage;
use serde_json::{Value, json};

const CLIENTS: usize = 16;
const WARM: usize = 2_000;
const ALL: usize = 10_000;

/// What fills for good: half of the database's caches of 8 MiB, as the database grows.
const FILL: f64 = (4 << 20) as f64;

/// Guests, their input, and the limits that stop them.
fn attacks() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("echo", "x", json!({})),
        ("trap-unreachable", "", json!({})),
        ("trap-div-zero", "", json!({})),
        ("trap-out-of-bounds", "", json!({})),
        ("trap-signature", "", json!({})),
        ("spin", "", json!({"fuel": 1_000_000})),
        ("spin-indirect", "", json!({"fuel": 1_000_000})),
        ("start-trap", "", json!({})),
        ("start-loop", "", json!({"fuel": 1_000_000})),
        ("post-return-trap", "x", json!({})),
        ("realloc-trap", "x", json!({})),
        ("realloc-out-of-bounds", "x", json!({})),
        ("result-out-of-bounds", "", json!({})),
        ("result-bad-discriminant", "", json!({})),
        ("error-invalid-utf8", "", json!({})),
        ("error-control-characters", "", json!({})),
        ("error-text", "100000", json!({})),
        ("unknown-handle", "", json!({})),
        ("recurse", "10000000", json!({})),
        ("grow-touch", "", json!({"memory_bytes": 1 << 20})),
        ("grow", "", json!({"memory_bytes": 4 << 20})),
        ("memories", "120", json!({"memory_bytes": 4 << 20})),
        ("table-grow", "5000", json!({"table_elements": 1000})),
        ("output", "200000", json!({"output_bytes": 1000})),
        ("output", "100000", json!({})),
        ("log", "100000", json!({"log_bytes": 8192})),
        ("log-unchecked", "200000", json!({})),
        ("random-bytes", "", json!({"host_call_bytes": 100_000})),
        ("host-calls", "", json!({"host_calls": 1000})),
        ("carry", "3000000", json!({"memory_bytes": 4 << 20, "host_call_bytes": 1000})),
        ("handles", "", json!({"handles": 100})),
        ("pollables", "", json!({"handles": 100})),
        ("checkpoint", "100000", json!({})),
        ("checkpoint", "2000", json!({"checkpoint_bytes": 1000})),
        ("progress", "100", json!({})),
        ("sleep", "3600000", json!({"wall_ms": 5})),
        ("exit", "1", json!({})),
        ("command-exit", "", json!({})),
    ]
}

/// What a process has.
#[derive(Debug)]
struct Held {
    resident: u64,
    threads: usize,
    descriptors: usize,
    files: usize,
}

fn held(server: &Server) -> Held {
    Held {
        resident: usage::resident(server.pid()),
        threads: usage::threads(server.pid()),
        descriptors: usage::descriptors(server.pid()),
        files: files(&server.data_dir)
            .iter()
            .filter(|path| !path.starts_with(server.data_dir.join("blobs")))
            .count(),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Runs the attacks in turns until `count` tasks were submitted in all; every ninth is cancelled.
fn attack(server: &Server, tasks: &[Value], submitted: &AtomicUsize, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = submitted.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    if number % 9 == 8 {
                        let id = server.submit(&tasks[0]);
                        let reply = server.delete(&format!("/api/tasks/{id}"));
                        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
                        continue;
                    }
                    let record = server.run(&tasks[1 + number % (tasks.len() - 1)]);
                    assert!(matches!(record["status"].as_str(), Some("completed" | "failed")), "{record}");
                    assert_ne!(record["failure"]["kind"], "host_error", "{record}");
                }
            });
        }
    });
    submitted.store(count, Ordering::Relaxed);
    eventually(|| {
        let counts = server.get("/api/tasks/analytics/summary").json()["counts"].take();
        let left =
            ["pending", "running", "paused"].iter().map(|name| counts[name].as_u64().expect("a count"));
        (left.sum::<u64>() == 0).then_some(())
    });
}

#[test]
fn slow_ten_thousand_hostile_tasks_leave_no_more_than_two_thousand() {
    let server = Server::start();
    let mut digests: HashMap<&str, String> = HashMap::new();
    let mut tasks = vec![json!({"component": server.push("hostile/sleep"), "input_text": "3600000"})];
    for (guest, input, limits) in attacks() {
        let digest = digests.entry(guest).or_insert_with(|| server.push(&format!("hostile/{guest}")));
        tasks.push(json!({"component": digest, "input_text": input, "limits": limits}));
    }
    let submitted = AtomicUsize::new(0);
    let begun = std::time::Instant::now();
    attack(&server, &tasks, &submitted, WARM);
    let warm = held(&server);
    attack(&server, &tasks, &submitted, ALL);
    println!("{:.0} s, {warm:?}", begun.elapsed().as_secs_f64());
    // Threads that wait for blocking work end after ten idle seconds.
    let small = 4;
    let after = eventually(|| {
        let after = held(&server);
        let settled = after.threads <= warm.threads + small && after.descriptors <= warm.descriptors + small;
        settled.then_some(after)
    });
    println!("{after:?}");
    let most = warm.resident as f64 * 1.1 + FILL;
    assert!(after.resident as f64 <= most, "{warm:?} became {after:?}");
    assert!(after.files <= warm.files + small, "{warm:?} became {after:?}");
    let counts = server.get("/api/tasks/analytics/summary").json();
    assert_eq!(counts["total"], ALL, "{counts}");
    let found = omnimind::task_store::maintenance::check(&server.data_dir).expect("a store");
    assert_eq!((found.tasks, found.orphans), (ALL as u64, 0), "{found:?}");
    assert_sound(&server.data_dir);
}
