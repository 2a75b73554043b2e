//! A data directory that is not as it should be: the server does not start on it, says why, and changes
//! nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use omnimind_tests::server::{self, Server, scratch};
use rusqlite::config::DbConfig;
use serde_json::json;

const VERSION_AT: usize = 60;
const APPLICATION_AT: usize = 68;

/// A data directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let dir = scratch("files");
        fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }

    fn db(&self) -> PathBuf {
        self.0.join("tasks.db")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn launch(data_dir: &Path) -> Server {
    Server::launch(server::command(data_dir), data_dir).unwrap_or_else(|log| panic!("no start: {log}"))
}

/// A directory in which a server ran tasks and ended; in order, or by SIGKILL with its log unwritten.
fn used(killed: bool) -> Dir {
    let dir = Dir::new();
    let mut server = launch(&dir.0);
    let echo = server.push("hostile/echo");
    for number in 0..30 {
        let input = "x".repeat(if number % 10 == 0 { 70_000 } else { 3_000 });
        server.run(&json!({"component": echo, "input": input}));
    }
    match killed {
        true => server.kill(),
        false => assert_eq!(server.terminate(), Some(0)),
    }
    let log = fs::metadata(dir.0.join("tasks.db-wal")).map_or(0, |log| log.len());
    assert_eq!(log > 0, killed, "{log} bytes of log");
    dir
}

fn database_files(dir: &Path) -> Vec<Option<Vec<u8>>> {
    ["tasks.db", "tasks.db-wal"].iter().map(|name| fs::read(dir.join(name)).ok()).collect()
}

/// Asserts that no server starts on `dir`; exit code and words.
#[track_caller]
fn refused(dir: &Path) -> (Option<i32>, String) {
    let mut child =
        server::command(dir).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("omnimind starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut words = String::new();
    stderr.read_line(&mut words).expect("text");
    if words.contains("listens on") {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        panic!("a server started on it");
    }
    stderr.read_to_string(&mut words).expect("text");
    for part in words.split([':', ';']).filter(|part| part.len() > 12) {
        assert_eq!(words.matches(part).count(), 1, "told twice: {words}");
    }
    (child.wait().expect("it ends").code(), words)
}

/// Asserts that a damage to the database is noticed, named with all of `words`, and left as it is.
#[track_caller]
fn assert_left_alone(dir: &Dir, words: &[&str]) {
    let before = database_files(&dir.0);
    let (code, said) = refused(&dir.0);
    assert_eq!(code, Some(2), "{said}");
    let path = fs::canonicalize(&dir.0).expect("a directory").join("tasks.db");
    for word in words.iter().chain([&&*path.to_string_lossy()]) {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert!(database_files(&dir.0) == before, "it was changed: {said}");
}

fn change(dir: &Dir, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(dir.db()).expect("a file");
    change(&mut bytes);
    fs::write(dir.db(), bytes).expect("a file");
}

/// Something done to a file's bytes.
type Damage = fn(&mut Vec<u8>);

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    for killed in [false, true] {
        let damages: [(&str, Damage); 7] = [
            ("half", |bytes| bytes.truncate(bytes.len() / 2)),
            ("a few bytes", |bytes| bytes.truncate(100)),
            ("nothing", Vec::clear),
            ("magic", |bytes| bytes[3] ^= 1),
            ("page size", |bytes| bytes[16] ^= 2),
            ("zeroes", |bytes| bytes.fill(0)),
            // Of page 1: how many cells the schema has.
            ("schema", |bytes| bytes[104] ^= 0xff),
        ];
        let dir = used(killed);
        let whole = fs::read(dir.db()).expect("a file");
        let log = fs::read(dir.0.join("tasks.db-wal")).ok();
        for (damage, apply) in damages {
            // What the log has of a page stands above what the file has of it.
            if killed && !matches!(damage, "nothing" | "a few bytes") {
                continue;
            }
            println!("{damage}, killed: {killed}");
            change(&dir, apply);
            assert_left_alone(&dir, &["repair"]);
            fs::write(dir.db(), &whole).expect("a file");
            if let Some(log) = &log {
                fs::write(dir.0.join("tasks.db-wal"), log).expect("a file");
            }
        }
        let server = launch(&dir.0);
        let tasks = server.get("/api/tasks/").json();
        assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(30), "it was the damage");
    }
}

#[test]
fn every_damaged_page_of_a_small_store_is_noticed_or_harmless() {
    let dir = used(false);
    let whole = fs::read(dir.db()).expect("a file");
    let page = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    for number in (1..whole.len() / page).step_by(5) {
        // A page's first bytes say what it is.
        change(&dir, |bytes| bytes[number * page..][..64].fill(0xa5));
        let before = database_files(&dir.0);
        let mut command = server::command(&dir.0);
        command.stderr(Stdio::null());
        match Server::launch(command, &dir.0) {
            Err(log) => {
                assert!(log.contains("damaged") || log.contains("repair"), "page {number}: {log}");
                assert!(database_files(&dir.0) == before, "page {number} was changed");
            }
            // A page that is not in use, or of a long value: the tasks are there.
            Ok(server) => {
                let tasks = server.get("/api/tasks/").json();
                assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(30), "page {number}");
            }
        }
        fs::write(dir.db(), &whole).expect("a file");
    }
}

#[test]
fn another_programs_database_is_refused_and_left_as_it_is() {
    let dir = Dir::new();
    let db = rusqlite::Connection::open(dir.db()).expect("a database");
    db.execute_batch("CREATE TABLE moz_places (id); INSERT INTO moz_places VALUES (1)").expect("a table");
    drop(db);
    assert_left_alone(&dir, &["not a task store of OmniMind"]);
    fs::write(dir.db(), "PK\x03\x04 something else altogether".repeat(500)).expect("a file");
    assert_left_alone(&dir, &[]);
}

#[test]
fn the_store_of_a_newer_release_is_refused_and_left_as_it_is() {
    let dir = used(false);
    change(&dir, |bytes| bytes[VERSION_AT..][..4].copy_from_slice(&99_u32.to_be_bytes()));
    assert_left_alone(&dir, &["schema version 99", "newer release"]);
    change(&dir, |bytes| bytes[APPLICATION_AT] ^= 1);
    assert_left_alone(&dir, &["not a task store of OmniMind"]);

    // The newer one was killed: what it wrote last is in the log beside the file.
    let dir = used(true);
    let db = rusqlite::Connection::open(dir.db()).expect("a database");
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a setting");
    db.pragma_update(None, "user_version", 99).expect("a version");
    drop(db);
    assert_left_alone(&dir, &["schema version 99", "newer release"]);
}

#[test]
fn a_store_that_is_gone_is_missed() {
    // With files that it named.
    let dir = used(false);
    fs::remove_file(dir.db()).expect("a file");
    assert_left_alone(&dir, &["gone", "put it back"]);
    // With its log, which would be taken for that of a new one.
    let dir = used(true);
    fs::remove_file(dir.db()).expect("a file");
    assert_left_alone(&dir, &["gone", "put it back"]);
    fs::remove_dir_all(dir.0.join("blobs")).expect("a directory");
    assert_left_alone(&dir, &["gone", "put it back"]);
}

#[test]
fn something_else_in_the_stores_place_is_refused() {
    let dir = Dir::new();
    fs::create_dir(dir.db()).expect("a directory");
    let (code, said) = refused(&dir.0);
    assert!(code == Some(2) && said.contains("tasks.db") && said.contains("not a file"), "{said}");
    fs::remove_dir(dir.db()).expect("a directory");
    // A link that leads nowhere, and one to a sound store elsewhere: neither is followed.
    let elsewhere = used(false);
    for target in [dir.0.join("nowhere"), elsewhere.db()] {
        symlink(&target, dir.db()).expect("a link");
        let (code, said) = refused(&dir.0);
        assert!(code == Some(2) && said.contains("tasks.db") && said.contains("not a file"), "{said}");
        fs::remove_file(dir.db()).expect("a link");
    }
    assert!(!dir.0.join("nowhere").exists());
}

#[test]
fn a_data_directory_that_is_none_is_named() {
    let dir = Dir::new();
    let file = dir.0.join("file");
    fs::write(&file, "content").expect("a file");
    let link = dir.0.join("link");
    symlink(dir.0.join("nowhere"), &link).expect("a link");
    for path in [&file, &link, &file.join("below")] {
        let (code, said) = refused(path);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&*path.to_string_lossy()) && said.contains("must be a directory"), "{said}");
    }
    assert_eq!(fs::read(&file).expect("a file"), b"content");
    // Parts of it that are something else.
    for (part, name) in [("lock", "lock"), ("blobs", "blobs"), ("artefacts", "artefacts")] {
        let dir = Dir::new();
        match part {
            "lock" => fs::create_dir(dir.0.join(part)).expect("a directory"),
            _ => fs::write(dir.0.join(part), "").expect("a file"),
        }
        let (code, said) = refused(&dir.0);
        assert!(matches!(code, Some(2 | 5)) && said.contains(name), "{part}: {code:?} {said}");
    }
}

#[test]
fn what_is_stored_is_its_owners_wherever_it_lies() {
    let dir = scratch("open");
    fs::create_dir_all(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let mode = |name: &str| fs::metadata(dir.join(name)).expect("a file").permissions().mode() & 0o777;
    let mut server = Server::launch(server::command(&dir), &dir).expect("a server");
    server.push("hostile/echo");
    for name in ["tasks.db", "tasks.db-wal", "tasks.db-shm"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    server.terminate();
    drop(server);
    // One of an earlier version.
    fs::set_permissions(dir.join("tasks.db"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    let server = Server::launch(server::command(&dir), &dir).expect("a server");
    assert_eq!(mode("tasks.db"), 0o600);
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn a_pipe_does_not_hold_a_start_up() {
    for name in ["tokens.json", "credentials.json"] {
        let dir = scratch("pipe");
        fs::create_dir_all(&dir).expect("a directory");
        let made = std::process::Command::new("mkfifo").arg(dir.join(name)).status().expect("mkfifo");
        assert!(made.success());
        let (code, said) = refused(&dir);
        assert!(code == Some(2) && said.contains("it is not a file"), "{said}");
        fs::remove_dir_all(dir).expect("a directory");
    }
}

#[test]
fn a_second_server_on_a_data_directory_is_refused() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    let before = fs::read(server.data_dir.join("credentials.json")).expect("a file");
    // By another name too.
    let link = server.data_dir.with_extension("link");
    symlink(&server.data_dir, &link).expect("a link");
    for path in [&server.data_dir, &link] {
        let (code, said) = refused(path);
        assert_eq!(code, Some(5), "the other one may end: {said}");
        for word in ["in use by another omnimind", &format!("(process {})", server.pid()), "--data-dir"] {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    }
    fs::remove_file(link).expect("a link");
    assert_eq!(fs::read(server.data_dir.join("credentials.json")).expect("a file"), before);
    assert_eq!(server.run(&json!({"component": echo, "input": 7}))["result"], 7);
}
