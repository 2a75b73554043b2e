//! `omnimind store check | backup | repair`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use omnimind_tests::server::{self, Server, eventually, scratch};
use omnimind_tests::{binary, block_on};
use serde_json::{Value, json};

/// Longest time that backups may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn launch(data_dir: &Path) -> Server {
    Server::launch(server::command(data_dir), data_dir).unwrap_or_else(|log| panic!("no start: {log}"))
}

/// Exit code and words.
fn store(data_dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut store = Command::new(binary());
    let store = store.arg("store").args(arguments).arg("--data-dir").arg(data_dir);
    let ended = store.env_remove("OMNIMIND_DATA_DIR").output().expect("omnimind starts");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[track_caller]
fn assert_sound(data_dir: &Path) {
    let (code, words) = store(data_dir, &["check"]);
    assert!(code == Some(0) && words.contains("the store is sound"), "{words}");
}

fn ids(server: &Server) -> Vec<String> {
    let list = server.get("/api/tasks/?limit=1000").json();
    let id = |task: &Value| task["task_id"].as_str().expect("an id").to_owned();
    list["tasks"].as_array().expect("a list").iter().map(id).collect()
}

fn blobs(data_dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(data_dir.join("blobs"))
        .expect("a directory")
        .map(|blob| blob.expect("a blob").path())
        .collect()
}

/// A data directory in which a server ran `count` tasks, some of them with files, and ended in order.
fn used(count: usize) -> PathBuf {
    let data_dir = scratch("commands");
    let mut server = launch(&data_dir);
    let echo = server.push("hostile/echo");
    for number in 0..count {
        let size = if number % 10 == 0 { 20_000 } else { 500 };
        server.submit(&json!({"component": echo, "input": format!("{number:>4}").repeat(size)}));
    }
    eventually(|| {
        let counts = server.get("/api/tasks/analytics/summary").json();
        (counts["counts"]["completed"] == count).then_some(())
    });
    assert_eq!(server.terminate(), Some(0));
    data_dir
}

#[test]
fn a_backup_of_a_busy_server_is_sound_and_serves() {
    let data_dir = scratch("busy");
    let server = launch(&data_dir);
    let echo = server.push("hostile/echo");
    let (stop, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut backups = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let size = if number.is_multiple_of(5) { 20_000 } else { 8_000 };
                    let input = format!("{number:>4}").repeat(size);
                    server.post("/api/tasks/", &json!({"component": echo, "input": input}));
                }
            });
        }
        for number in 0..3 {
            eventually(|| (sent.load(Ordering::Relaxed) > 50 * (number + 1)).then_some(()));
            let before = ids(&server);
            let to = data_dir.with_extension(format!("backup-{number}"));
            let (code, words) = store(&data_dir, &["backup", &to.to_string_lossy()]);
            assert!(code == Some(0) && words.contains("the store is sound"), "{words}");
            backups.push((to, before));
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(server);
    for (to, before) in backups {
        assert_sound(&to);
        let copy = launch(&to);
        for id in before {
            let task = copy.wait_for_status(&id, "completed");
            assert!(task["result"].as_str().is_some_and(|text| text.len() >= 30_000), "{id}");
        }
        drop(copy);
        fs::remove_dir_all(to).expect("a directory");
    }
    fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn a_backup_does_not_race_with_files_that_come_and_go() {
    use omnimind::task::TaskId;
    use omnimind::task_store::{DataDir, SqliteStore, TaskStore, maintenance};
    let data_dir = scratch("churn");
    let opened = SqliteStore::open(DataDir::open(&data_dir).expect("a directory")).expect("a store");
    let save = |id, data: Vec<u8>| block_on(opened.save_checkpoint("default", id, "c", data)).expect("room");
    // Many pages, so that copying them takes its time.
    for _ in 0..200 {
        save(TaskId::generate(), vec![1; 60_000]);
    }
    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            // Each takes the place of the one before, whose file goes at once.
            scope.spawn(|| {
                let id = TaskId::generate();
                while !stop.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
                    let number = written.fetch_add(1, Ordering::Relaxed);
                    save(id, number.to_le_bytes().repeat(25_000));
                }
            });
        }
        for round in 0..10 {
            let to = data_dir.with_extension(format!("copy-{round}"));
            let report = maintenance::backup(&data_dir, &to);
            fs::remove_dir_all(&to).expect("a directory");
            let problems = report.map(|report| report.problems);
            stop.store(
                !matches!(&problems, Ok(problems) if problems.is_empty()) || round == 9,
                Ordering::Relaxed,
            );
            assert_eq!(problems.expect("a copy"), Vec::<String>::new(), "round {round}");
        }
    });
    assert!(begun.elapsed() < PATIENCE, "it ended only when nobody wrote any more");
    drop(opened);
    fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn a_check_finds_what_is_damaged() {
    let data_dir = used(60);
    assert_sound(&data_dir);
    let blob = blobs(&data_dir).pop().expect("a blob");
    let whole = fs::read(&blob).expect("a file");
    let mut bytes = whole.clone();
    bytes[1000] ^= 1;
    for damage in [Some(bytes), Some(whole[..500].to_vec()), None] {
        match damage {
            Some(bytes) => fs::write(&blob, bytes).expect("a file"),
            None => fs::remove_file(&blob).expect("a file"),
        }
        let (code, words) = store(&data_dir, &["check"]);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&*blob.to_string_lossy()) && words.contains("store repair"), "{words}");
    }
    fs::write(&blob, whole).expect("a file");
    assert_sound(&data_dir);
    // A file that nothing names is no damage.
    fs::write(data_dir.join("blobs").join("0".repeat(64)), "").expect("a file");
    assert_sound(&data_dir);

    let path = data_dir.join("tasks.db");
    let whole = fs::read(&path).expect("a file");
    let mut bytes = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    bytes[middle..][..200].fill(0xff);
    fs::write(&path, bytes).expect("a file");
    let (code, words) = store(&data_dir, &["check"]);
    assert!(code == Some(1) && words.contains("damaged: "), "{words}");
    fs::write(&path, whole).expect("a file");
    assert_sound(&data_dir);
    fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn a_repair_saves_what_can_be_read_and_keeps_the_damaged_file() {
    let count = 300;
    let data_dir = used(count);
    let path = data_dir.join("tasks.db");
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..][..4096].fill(0x5a);
    fs::write(&path, &bytes).expect("a file");
    let refused = Server::launch(server::command(&data_dir), &data_dir).err().expect("it is damaged");
    assert!(refused.contains("omnimind store repair"), "{refused}");

    let (code, words) = store(&data_dir, &["repair"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("the store is sound") && words.contains("saved"), "{words}");
    let kept = words.lines().find_map(|line| line.strip_prefix("the damaged file is ")).expect("its name");
    assert!(fs::read(kept).expect("a file") == bytes, "the damaged file was changed");

    let server = launch(&data_dir);
    let ids = ids(&server);
    assert!(ids.len() > count * 9 / 10, "{} of {count} were saved", ids.len());
    for id in &ids {
        let task = server.task(id);
        assert_eq!(task["status"], "completed", "{task}");
        assert!(task["result"].as_str().is_some_and(|text| text.len() >= 2_000), "{id}");
    }
    let echo = server.push("hostile/echo");
    assert_eq!(server.run(&json!({"component": echo, "input": 1}))["result"], 1);
    drop(server);
    fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn a_row_that_makes_no_sense_is_found_and_left_out() {
    let data_dir = used(20);
    let db = rusqlite::Connection::open(data_dir.join("tasks.db")).expect("a database");
    db.execute("UPDATE tasks SET history = 'ZZZZ' WHERE rowid = 7", []).expect("a row");
    drop(db);
    let (code, words) = store(&data_dir, &["check"]);
    assert!(code == Some(1) && words.contains("row 7 of tasks") && words.contains("history"), "{words}");
    let (code, words) = store(&data_dir, &["repair"]);
    assert!(code == Some(0) && words.contains("saved 19 of tasks"), "{words}");
    assert_eq!(ids(&launch(&data_dir)).len(), 19);
    fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn a_repair_does_not_touch_a_store_that_is_in_use() {
    let server = Server::start();
    let (code, words) = store(&server.data_dir, &["repair"]);
    assert!(code == Some(2) && words.contains("in use by another omnimind"), "{words}");
    let echo = server.push("hostile/echo");
    assert_eq!(server.run(&json!({"component": echo, "input": 1}))["result"], 1);
}

#[test]
fn a_backup_does_not_write_over_anything() {
    let data_dir = used(3);
    let to = data_dir.with_extension("taken");
    fs::create_dir(&to).expect("a directory");
    fs::write(to.join("tasks.db"), "mine").expect("a file");
    let (code, words) = store(&data_dir, &["backup", &to.to_string_lossy()]);
    assert!(code == Some(2) && words.contains("not there yet"), "{words}");
    assert_eq!(fs::read(to.join("tasks.db")).expect("a file"), b"mine");
    fs::remove_dir_all(to).expect("a directory");
    fs::remove_dir_all(data_dir).expect("a directory");
}
