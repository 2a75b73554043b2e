//! A disk that is nearly full: the bulk of what ended a while ago goes, and the records stay.

use std::sync::Arc;
use std::time::Duration;

use omnimind::task::{Log, TaskId};
use omnimind::task_store::{DataDir, Error, Freed, Query, Spared, SqliteStore, TaskStore};
use omnimind_tests::block_on;
use omnimind_tests::disk::Disk;
use omnimind_tests::server::{self, Server, scratch};
use serde_json::json;

use crate::retention::{Kept, TENANT};

const MIB: usize = 1 << 20;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn prune(kept: &Kept, now_ms: i64) -> Freed {
    block_on(kept.store.prune_for_space(Spared::default(), now_ms)).expect("a sound store")
}

fn log(head: usize, tail: usize, dropped: u64) -> Log {
    Log { head: vec![b'h'; head], tail: vec![b't'; tail], dropped }
}

/// Bytes of which no two tasks have the same.
fn bytes(number: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![number; size];
    bytes[..3].copy_from_slice(&[number, !number, 7]);
    bytes
}

/// Whether the record of a task says that its output was removed, and how long its output is now.
fn output(kept: &Kept, id: TaskId) -> (bool, Option<usize>) {
    let (task, _) = block_on(kept.store.get(TENANT, id)).expect("a sound store").expect("its record stays");
    let output: Option<Arc<[u8]>> = block_on(kept.store.output(TENANT, id)).expect("a sound store");
    (task.state.output_removed, output.map(|output| output.len()))
}

fn logged(kept: &Kept, id: TaskId) -> Option<(usize, usize, u64)> {
    let log = block_on(kept.store.log(TENANT, id)).expect("a sound store");
    log.map(|log| (log.head.len(), log.tail.len(), log.dropped))
}

#[test]
fn old_logs_and_large_old_outputs_go_and_the_records_stay() {
    let kept = Kept::new();
    let large = kept.ended_with_log(b"in", &bytes(1, 2 * MIB), log(1000, 500, 3), 1000);
    let small = kept.ended_with_log(b"", &bytes(2, MIB), log(100_000, 90_000, 0), 2000);
    let plain = kept.ended(b"", b"", 3000);
    let young = kept.ended_with_log(b"", &bytes(3, 2 * MIB), log(10, 0, 0), HOUR_MS);
    let running = kept.submit(&bytes(4, 2 * MIB));
    assert_eq!(prune(&kept, DAY_MS), Freed::default(), "nothing is a day old");

    let freed = prune(&kept, DAY_MS + 2001);
    let bytes = 2 * MIB + 1500 + 190_000;
    assert_eq!(freed, Freed { logs: 2, outputs: 1, bytes: bytes as u64 });
    assert_eq!((output(&kept, large), logged(&kept, large)), ((true, None), Some((0, 0, 1503))));
    assert_eq!((output(&kept, small), logged(&kept, small)), ((false, Some(MIB)), Some((0, 0, 190_000))));
    assert_eq!((output(&kept, plain), logged(&kept, plain)), ((false, Some(0)), None));
    assert_eq!((output(&kept, young), logged(&kept, young)), ((false, Some(2 * MIB)), Some((10, 0, 0))));
    assert_eq!(
        block_on(kept.store.input(TENANT, large)).expect("a sound store").as_deref(),
        Some(&b"in"[..])
    );
    assert_eq!(kept.blobs(), 3, "the outputs of two, the input of one");

    assert_eq!(prune(&kept, DAY_MS + 2002), Freed::default());
    assert_eq!(prune(&kept, 2 * DAY_MS).outputs, 1);
    assert_eq!(output(&kept, young), (true, None));
    let query = Query {
        tenant: TENANT.into(),
        before: None,
        status: None,
        priority: None,
        component: None,
        limit: 9,
    };
    let listed = block_on(kept.store.list(&query)).expect("a sound store");
    let removed: Vec<TaskId> =
        listed.iter().filter(|task| task.state.output_removed).map(|task| task.id).collect();
    assert_eq!(removed, [young, large]);
    assert_eq!(listed[0].id, running.id);
}

#[test]
fn an_output_that_another_task_names_stays_for_it() {
    let kept = Kept::new();
    let shared = bytes(1, 2 * MIB);
    let old = kept.ended(b"", &shared, 0);
    let young = kept.ended(b"", &shared, DAY_MS);
    let freed = prune(&kept, DAY_MS + 1);
    assert_eq!(freed, Freed { logs: 0, outputs: 1, bytes: 0 });
    assert_eq!((output(&kept, old), output(&kept, young)), ((true, None), (false, Some(2 * MIB))));
}

#[test]
fn what_the_database_does_not_need_goes_back_to_the_disk() {
    let kept = Kept::new();
    // More than one batch, of logs that lie in the database.
    for number in 0..1100 {
        kept.ended_with_log(b"", b"", log(10_000, 0, 0), number);
    }
    let size = |name: &str| std::fs::metadata(kept.dir.join(name)).map_or(0, |found| found.len());
    let before = size("tasks.db") + size("tasks.db-wal");
    let freed = prune(&kept, DAY_MS + 5000);
    assert_eq!((freed.logs, freed.bytes), (1100, 11_000_000));
    assert_eq!(size("tasks.db-wal"), 1 << 20);
    let after = size("tasks.db");
    assert!(before > 14 << 20 && after < 11 << 20, "{before} bytes became {after}");
}

#[test]
fn room_is_made_on_a_full_disk() {
    let disk = Disk::small(48);
    if !disk.is_real() {
        println!("no disk can be mounted here: nothing was tested");
        return;
    }
    let kept = Kept::at(disk.data_dir());
    let old = |from: u8| {
        for number in from..from + 10 {
            kept.ended_with_log(b"", &bytes(number, MIB + 1), log(60_000, 0, 0), number.into());
        }
    };
    old(0);
    // As every minute while the disk fills: the database's log is in the database, and keeps some room.
    assert_eq!(prune(&kept, 0), Freed::default());
    disk.fill(true);
    let full = block_on(kept.store.insert(&kept.task(), bytes(99, MIB).into(), None));
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    let freed = prune(&kept, DAY_MS + 100);
    assert_eq!((freed.logs, freed.outputs), (10, 10), "{freed:?}");
    // And once more.
    disk.fill(false);
    old(100);
    assert_eq!(prune(&kept, 0), Freed::default());
    disk.fill(true);
    let freed = prune(&kept, DAY_MS + 200);
    assert_eq!((freed.logs, freed.outputs), (10, 10), "{freed:?}");
    kept.submit(&bytes(99, MIB));
}

#[test]
fn a_store_shrinks_and_goes_on() {
    let kept = Kept::new();
    let ids: Vec<TaskId> = (0..50).map(|number| kept.ended(b"", &bytes(1, 60_000), number)).collect();
    for id in &ids {
        assert_eq!(output(&kept, *id), (false, Some(60_000)));
    }
    block_on(kept.store.shrink()).expect("a sound store");
    assert_eq!(output(&kept, ids[0]), (false, Some(60_000)));
    kept.ended(b"", b"", 0);
}

#[test]
fn a_removed_output_is_answered_as_gone() {
    let data_dir = scratch("space");
    let launch = || Server::launch(server::command(&data_dir), &data_dir).expect("it starts");
    let mut server = launch();
    let (output, log) = (server.push("hostile/output"), server.push("hostile/log"));
    let large = server.run(&json!({"component": output, "input_text": (2 * MIB).to_string()}));
    let logged = server.run(&json!({"component": log, "input_text": "5000"}));
    let id = |record: &serde_json::Value| record["task_id"].as_str().expect("an id").to_owned();
    let (large, logged) = (id(&large), id(&logged));
    assert_eq!(server.task(&large).get("output_removed"), None);
    assert_eq!(server.terminate(), Some(0));

    let store = SqliteStore::open(DataDir::open(&data_dir).expect("a directory")).expect("a store");
    let spared = Spared { age: Duration::ZERO, ..Spared::default() };
    let now = jiff::Timestamp::now().as_millisecond() + 1000;
    let freed = block_on(store.prune_for_space(spared, now)).expect("a sound store");
    assert_eq!((freed.logs, freed.outputs), (1, 1));
    store.close();
    drop(store);

    let server = launch();
    let record = server.task(&large);
    assert_eq!((&record["status"], &record["output_removed"]), (&json!("completed"), &json!(true)));
    assert_eq!(record["receipt"]["budgets"]["output_bytes"]["used"], 2 * MIB, "what it was is still told");
    assert!(record.get("result_text").is_none());
    server.get(&format!("/api/tasks/{large}/output")).problem(410, "removed");
    assert!(server.get(&format!("/api/tasks/{logged}/logs")).text().contains("5000 bytes dropped"));
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("ours");
}
