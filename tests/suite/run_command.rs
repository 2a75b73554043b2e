//! `omnimind run`, as a user meets it: exit codes, what goes where, errors worth reading.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use omnimind_tests::{binary, checkout, guest_path, target_dir};
use serde_json::Value;

fn omnimind(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args)
        .env("OMNIMIND_DATA_DIR", target_dir().join("test-data"))
        .env_remove("OMNIMIND_MODE")
        .env_remove("LOG_LEVEL")
        .current_dir(checkout());
    command
}

fn run(guest: &str, args: &[&str]) -> Output {
    let path = guest_path(guest);
    let mut all = vec!["run", path.to_str().expect("UTF-8")];
    all.extend(args);
    omnimind(&all).output().expect("it starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn output_on_stdout_receipt_on_stderr() {
    let output = run("hostile/echo", &["--input", r#"{"a": 1}"#]);
    assert_eq!(code(&output), 0);
    assert_eq!(output.stdout, br#"{"a": 1}"#);
    assert!(stderr(&output).contains("fuel") && stderr(&output).contains("completed"), "{}", stderr(&output));
}

#[test]
fn input_from_a_file_and_from_standard_input() {
    let output = run("hostile/echo", &["--input", "@LICENSE"]);
    assert_eq!(output.stdout, std::fs::read(checkout().join("LICENSE")).expect("the licence"));

    let path = guest_path("hostile/echo");
    let mut child = omnimind(&["run", path.to_str().expect("UTF-8"), "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"\xff piped").expect("written");
    assert_eq!(child.wait_with_output().expect("it ends").stdout, b"\xff piped");
}

#[test]
fn json_prints_the_record() {
    let output = run("hostile/echo", &["--input", r#"{"a":1}"#, "--json", "--limit", "fuel=1_000_000"]);
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["status"], "completed");
    assert_eq!(record["result"], serde_json::json!({"a": 1}));
    assert_eq!(record["failure"], Value::Null);
    assert_eq!(record["receipt"]["budgets"]["fuel"]["asked"], 1_000_000);
    assert!(record["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    for field in [
        "task_id",
        "created_at",
        "started_at",
        "completed_at",
        "attempts",
        "durable",
        "progress",
        "priority",
        "metadata",
    ] {
        assert!(record.get(field).is_some(), "{field} is missing");
    }
    let text = run("hostile/echo", &["--input-text", "no json", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&text.stdout).expect("JSON")["result_text"], "no json");
}

#[test]
fn json_prints_a_failure_and_a_refusal_too() {
    let output = run("hostile/spin", &["--limit", "fuel=1000", "--json"]);
    assert_eq!(code(&output), 4);
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["status"], "failed");
    assert_eq!(record["failure"]["kind"], "fuel_exhausted");
    assert_eq!(record["receipt"]["stopped_by"], "fuel");

    let output = run("hostile/gc", &["--json"]);
    assert_eq!(code(&output), 3);
    let refusal: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(refusal["code"], "component_invalid");
}

#[test]
fn exit_codes_are_what_help_says() {
    assert_eq!(code(&run("hostile/trap-unreachable", &["--input", "1"])), 1);
    assert_eq!(code(&run("hostile/error-text", &["--input", "10"])), 1);
    assert_eq!(code(&run("hostile/import-unknown", &[])), 3);
    assert_eq!(code(&run("hostile/grow", &["--limit", "memory_bytes=1MiB"])), 4);
    assert_eq!(code(&run("hostile/spin", &["--limit", "wall_ms=100"])), 4);
    let help = omnimind(&["run", "--help"]).output().expect("it starts");
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes"));
}

#[test]
fn what_is_wrong_on_the_command_line_is_named() {
    for (args, named) in [
        (&["--limit", "feul=1"][..], "did you mean fuel?"),
        (&["--limit", "fuel"], "NAME=N"),
        (&["--limit", "fuel=10MiB"], "is not a whole number of operations"),
        (&["--limit", "wall=10s"], "limits.wall: no such limit"),
        (&["--limit", "fuel=-1"], "whole number"),
        (&["--limit", "fuel=0"], "from 1 to"),
        (&["--limit", "memory_bytes=5GiB"], "4294967296"),
        (&["--limit", "memory_bytes=5GBB"], "KiB, MiB or GiB"),
        (&["--limit", "stack_bytes=1MiB"], "stack_bytes"),
        (
            &["--mode", "production"],
            "flag --mode: mode: `production` is not allowed; it is dev, test or prod",
        ),
        (&["--input", "hello"], "--input-text"),
        (&["--input", "@nowhere"], "nowhere"),
        (&["--input-text", "too long", "--limit", "input_bytes=3"], "input_bytes"),
    ] {
        let output = run("hostile/echo", args);
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let output = omnimind(&["run", "nowhere.wasm"]).output().expect("it starts");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("nowhere.wasm"));
}

#[test]
fn modes_bound_what_may_be_asked_for() {
    let ask = ["--limit", "memory_bytes=2GiB"];
    assert_eq!(code(&run("hostile/echo", &ask)), 0);
    assert_eq!(code(&run("hostile/echo", &[&ask[..], &["--mode", "test"]].concat())), 0);
    assert_eq!(code(&run("hostile/echo", &[&ask[..], &["--mode", "prod"]].concat())), 2);
}

#[test]
fn guest_text_cannot_drive_the_terminal() {
    for guest in ["hostile/error-control-characters", "hostile/log-control-characters"] {
        let output = run(guest, &[]);
        assert!(stderr(&output).contains("\\u{1b}"), "{guest}: escaped, {:?}", stderr(&output));
        assert!(!output.stderr.contains(&0x1b), "{guest}: {:?}", stderr(&output));
    }
}

#[test]
fn a_failure_shows_where_and_what_to_do() {
    let output = run("hostile/grow", &["--input", "100", "--limit", "memory_bytes=1MiB"]);
    let text = stderr(&output);
    assert!(text.contains("memory_limit") && text.contains("stopped the task"), "{text}");
    assert!(text.contains("hint: asked for") && text.contains("--limit memory_bytes="), "{text}");
}

#[test]
fn ctrl_c_cancels() {
    let path = guest_path("hostile/spin");
    let begun = Instant::now();
    let child = omnimind(&["run", path.to_str().expect("UTF-8")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Not before it listens: SIGINT is bit 1 of the caught signals.
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let mask =
            status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap_or(0) & 0b10 != 0
    };
    while !caught() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never listened for Ctrl-C");
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 130, "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_full_or_closed_stdout_or_stderr_does_not_panic() {
    let path = guest_path("hostile/echo");
    let path = path.to_str().expect("UTF-8");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    for args in [&["--json"][..], &[]] {
        let mut all = vec!["run", path, "--input", "1"];
        all.extend(args);
        let status = omnimind(&all).stdout(full()).stderr(Stdio::null()).status().expect("it starts");
        assert_eq!(status.code(), Some(5), "{args:?}: the output could not be written");
        let status = omnimind(&all).stdout(Stdio::null()).stderr(full()).status().expect("it starts");
        assert_eq!(status.code(), Some(0), "{args:?}: the receipt is not worth a failure");
    }
    let progress = guest_path("hostile/progress");
    let args = ["run", progress.to_str().expect("UTF-8"), "--input", "10"];
    let status = omnimind(&args).stdout(Stdio::null()).stderr(full()).status().expect("it starts");
    assert_eq!(status.code(), Some(0));
}
