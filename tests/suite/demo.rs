//! `omnimind demo`: it shows what it promises, and leaves nothing behind, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use omnimind_tests::server::{eventually, scratch};
use omnimind_tests::{binary, checkout};
use serde_json::Value;

fn demo(temporary: &Path, directory: &Path) -> Command {
    std::fs::create_dir_all(temporary).expect("a directory");
    let mut command = Command::new(binary());
    command.arg("demo").env("TMPDIR", temporary).current_dir(directory).stdin(Stdio::null());
    // Meant for another server, and nothing to the demo.
    command.env("OMNIMIND_MODE", "prod").env("OMNIMIND_DASHBOARD_USER", "me").env("OMNIMIND_URL", "http://x");
    command
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn it_runs_tasks_and_stops_guests_that_never_end() {
    let temporary = scratch("demo");
    let shown = text(&demo(&temporary, checkout()).output().expect("it starts"));
    for word in ["text-stats", "csv-summary", "5761455 primes", "deadline_exceeded", "healthy each time"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert_eq!(entries(&temporary), Vec::<PathBuf>::new());
    // Where there is nothing to work on, it works on what it brings.
    let empty = scratch("demo-empty");
    std::fs::create_dir_all(&empty).expect("a directory");
    let shown = text(&demo(&temporary, &empty).output().expect("it starts"));
    assert!(shown.contains("a list of 0 files"), "{shown}");
    for directory in [temporary, empty] {
        std::fs::remove_dir_all(directory).expect("it is there");
    }
}

#[test]
fn its_server_ends_with_it_whatever_ends_it() {
    let temporary = scratch("demo");
    for (signal, leaves_nothing) in [("INT", true), ("TERM", true), ("HUP", true), ("KILL", false)] {
        let mut child = demo(&temporary, checkout()).stdout(Stdio::null()).spawn().expect("it starts");
        let pid = eventually(|| {
            let file = entries(&temporary).first()?.join("server.json");
            let stored: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            stored["pid"].as_u64()
        });
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        child.wait().expect("it ends");
        // A process that nobody waits for may stay as a zombie: it runs no more.
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
        };
        eventually(|| (!runs()).then_some(()));
        assert_eq!(entries(&temporary).is_empty(), leaves_nothing, "{signal}");
    }
    std::fs::remove_dir_all(temporary).expect("it is there");
}
