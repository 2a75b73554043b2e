//! `wasi:cli` commands and WASI 0.1 modules: stdin, stdout, stderr, arguments, environment, exit codes.

use omnimind::executor::Kind;
use omnimind::task::FailureKind;
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped};

/// A WASI 0.1 module that copies standard input to standard output, 64 KiB at most, and exits with the
/// code that its first byte spells.
const CAT: &str = r#"
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (i32.load8_u (i32.const 1024))
      (then (call $exit (i32.sub (i32.load8_u (i32.const 1024)) (i32.const 48)))))))
"#;

const SHOW: &str = include_str!("show.wat");

fn module(text: &str) -> Run {
    Run::bytes(wat::parse_str(text).expect("text").into())
}

#[test]
fn a_wasi_0_1_module_is_made_a_command() {
    let prepared = Lab::shared().prepare(wat::parse_str(CAT).expect("text").into()).expect("a command");
    assert_eq!(prepared.kind(), Kind::Command);
    let outcome = module(CAT).input("0 is the code").execute();
    assert_eq!(outcome.output(), b"0 is the code");
    assert_eq!(outcome.log.head, b"0 i", "standard error is the log");
}

#[test]
fn the_digest_is_of_the_bytes_as_submitted() {
    use sha2::Digest as _;
    let bytes = wat::parse_str(CAT).expect("text");
    let prepared = Lab::shared().prepare(bytes.clone().into()).expect("a command");
    let expected: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(prepared.component.digest.to_string(), format!("sha256:{expected}"));
}

#[test]
fn an_exit_code_other_than_0_is_a_failure() {
    // WASI 0.1 exit codes reach WASI 0.2 as success or failure.
    let outcome = module(CAT).input("3").execute();
    assert_eq!(outcome.failure().kind, FailureKind::GuestError);
    assert_eq!(outcome.failure().exit_code, Some(1));
    let outcome = Run::hostile("command-exit").execute();
    assert_eq!(outcome.failure().kind, FailureKind::GuestError);
    assert_eq!(outcome.failure().exit_code, Some(1));
}

#[test]
fn arguments_and_environment_are_what_was_given_and_nothing_else() {
    let mut run = module(SHOW);
    run.args = vec!["--verbose".into(), "two words".into()];
    run.env = vec![("NAME".into(), "value".into())];
    assert_eq!(run.execute().output(), b"task\0--verbose\0two words\0NAME=value\0");
    assert_eq!(module(SHOW).execute().output(), b"task\0", "nothing of the host's environment");
}

#[test]
fn there_are_no_files() {
    assert_eq!(Run::hostile("wasi-files").execute().output(), b"0", "no preopened directories");
}

#[test]
fn sockets_are_denied_at_the_call() {
    assert_eq!(Run::hostile("wasi-sockets").execute().output(), b"denied");
}

#[test]
fn host_call_bytes_counts_what_a_command_reads() {
    // 100 bytes in, 100 bytes out, and 3 of them to the log.
    let run = module(CAT).input("0".repeat(100));
    let twin = run.clone().limit("host_call_bytes", 203).execute();
    twin.output();
    assert_eq!(twin.used("host_call_bytes"), 203);
    let over = run.limit("host_call_bytes", 202).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
}
