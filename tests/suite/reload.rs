//! SIGHUP: what can change while the server runs does, what cannot is named, what is wrong changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use omnimind_tests::binary;
use omnimind_tests::server::{Server, command, eventually, scratch};
use serde_json::Value;

/// A server that hangs on no terminal and reads `omnimind.yaml` with this text, and where that is.
fn serve(text: &str) -> (Server, PathBuf) {
    let dir = scratch("reload");
    fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("omnimind.yaml");
    fs::write(&file, text).expect("a file");
    let mut serve = command(&dir.join("data"));
    serve.arg("--config").arg(&dir).env_remove("LOG_LEVEL").stdin(Stdio::null());
    let server = Server::launch(serve, &dir.join("data")).unwrap_or_else(|log| panic!("no start: {log}"));
    (server, file)
}

/// Waits until the log has a line with all of `parts`, and `count` of them.
fn logged(server: &Server, parts: &[&str], count: usize) {
    eventually(|| {
        let log = server.log.lock().expect("no panic").clone();
        let lines = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        (lines.count() >= count).then_some(())
    });
}

fn log(server: &Server) -> String {
    server.log.lock().expect("no panic").clone()
}

#[test]
fn the_logs_level_changes_and_what_cannot_change_is_named() {
    let (mut server, file) = serve("logging: {level: WARNING}\nstore: {max_tasks: 1000}\n");
    fs::write(&file, "logging: {level: DEBUG}\nstore: {max_tasks: 2000}\n").expect("a file");
    server.signal("HUP");
    logged(&server, &["takes effect at the next start: store.max_tasks"], 1);
    logged(&server, &["logging.level is DEBUG now"], 1);
    assert!(!log(&server).contains("next start: logging"), "{}", log(&server));
    // It has: this is said at DEBUG alone.
    let _ = server.connect();
    assert_eq!(server.get("/api/v1/health/").status, 200);
    // What waits is said again, and what has happened is not.
    server.signal("HUP");
    logged(&server, &["takes effect at the next start: store.max_tasks"], 2);
    assert_eq!(log(&server).matches("logging.level is DEBUG now").count(), 1);
    fs::write(&file, "logging: {level: ERROR}\nstore: {max_tasks: 1000}\n").expect("a file");
    server.signal("HUP");
    // Whatever the level is now, it goes on; and at its end says nothing.
    eventually(|| {
        let before = log(&server).len();
        server.signal("HUP");
        std::thread::sleep(std::time::Duration::from_millis(300));
        (log(&server).len() == before).then_some(())
    });
    assert_eq!(server.terminate(), Some(0));
    assert!(!log(&server).contains("ending: at most"), "{}", log(&server));
    fs::remove_dir_all(file.parent().expect("a directory")).expect("a directory");
}

#[test]
fn a_configuration_with_mistakes_changes_nothing() {
    let (mut server, file) = serve("logging: {level: INFO}\n");
    fs::write(&file, "logging:\n  level: LOUD\nserver: {prot: 1}\n").expect("a file");
    server.signal("HUP");
    logged(&server, &["what was in force stays", "omnimind.yaml:2: logging.level: `LOUD`"], 1);
    logged(&server, &["omnimind.yaml:3: server.prot: no such key"], 1);
    assert_eq!(server.get("/api/v1/health/").status, 200);
    fs::remove_file(&file).expect("a file");
    server.signal("HUP");
    logged(&server, &["neither omnimind.yaml nor agent_config.yaml is in it"], 1);
    fs::write(&file, "logging: {level: INFO}\n").expect("a file");
    server.signal("HUP");
    logged(&server, &["SIGHUP: the configuration was read again"], 1);
    assert_eq!(server.terminate(), Some(0));
    fs::remove_dir_all(file.parent().expect("a directory")).expect("a directory");
}

/// The process that serves from `data_dir`.
fn pid(data_dir: &Path) -> Option<u64> {
    let serving: Value = serde_json::from_slice(&fs::read(data_dir.join("server.json")).ok()?).ok()?;
    serving["pid"].as_u64()
}

#[test]
fn on_a_terminal_the_signal_still_ends_the_server() {
    let data_dir = scratch("terminal");
    let mut python = Command::new("python3");
    python.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]).arg(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        python.env_remove(name);
    }
    python.args(["serve", "--port", "0", "--data-dir"]).arg(&data_dir);
    let python = python.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut python = python.spawn().expect("python3 is needed for this test");
    let pid = eventually(|| pid(&data_dir)).to_string();
    // Until it has said so, it still starts.
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    eventually(|| python.try_wait().expect("a child"));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!data_dir.join("server.json").exists(), "it ended in order");
    fs::remove_dir_all(data_dir).expect("a directory");
}
