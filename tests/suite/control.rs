//! Ending a task from outside.

use std::time::{Duration, Instant};

use omnimind::task::{End, FailureKind};
use omnimind_tests::{Lab, OutcomeExt, Run, block_on, pause};

fn cancel_after(run: Run, grace: Duration) -> (End, Duration) {
    let control = run.control.clone();
    std::thread::scope(|scope| {
        let task = scope.spawn(|| run.execute().end);
        pause(Duration::from_millis(200));
        let begun = Instant::now();
        control.cancel(grace);
        let end = task.join().expect("no panic");
        (end, begun.elapsed())
    })
}

#[test]
fn a_task_that_computes_is_cancelled() {
    let (end, took) = cancel_after(Run::hostile("spin"), Duration::ZERO);
    assert_eq!(end, End::Cancelled);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_task_that_waits_is_cancelled() {
    let (end, took) = cancel_after(Run::hostile("sleep").units(3_600_000), Duration::ZERO);
    assert_eq!(end, End::Cancelled);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_grace_is_waited_for_and_no_longer() {
    let (end, took) = cancel_after(Run::hostile("sleep").units(3_600_000), Duration::from_millis(500));
    assert_eq!(end, End::Cancelled);
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_cancelled_task_that_has_not_begun_never_does() {
    let run = Run::hostile("echo").input("x");
    run.control.cancel(Duration::ZERO);
    let outcome = run.execute();
    assert_eq!(outcome.end, End::Cancelled);
    assert_eq!(outcome.used("fuel"), 0);
}

#[test]
fn a_cancellation_does_not_lengthen_the_deadline() {
    let run = Run::hostile("sleep").units(3_600_000).limit("wall_ms", 400);
    let control = run.control.clone();
    std::thread::scope(|scope| {
        let task = scope.spawn(|| run.execute());
        pause(Duration::from_millis(100));
        control.cancel(Duration::from_secs(3600));
        let outcome = task.join().expect("no panic");
        assert_eq!(outcome.failure().kind, FailureKind::DeadlineExceeded);
    });
}

#[test]
fn a_task_nobody_waits_for_any_more_gives_its_place_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 1);
    let abandoned = Run::hostile("spin").job(&lab).expect("a task");
    let next = Run::hostile("echo").input("my turn").job(&lab).expect("a task");
    block_on(async {
        let waited = tokio::time::timeout(Duration::from_millis(200), lab.executor.execute(abandoned)).await;
        assert!(waited.is_err(), "it spins");
        let outcome = tokio::time::timeout(Duration::from_secs(5), lab.executor.execute(next)).await;
        assert_eq!(outcome.expect("the only place came free").output(), b"my turn");
    });
}

#[test]
fn the_answer_is_on_time_although_the_guest_cannot_be_interrupted() {
    // Half a gigabyte touched for the first time in one operation.
    let fill = r#"(component
      (core module $m
        (memory (export "memory") 8000)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "run") (param i32 i32) (result i32)
          (loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 524288000)) (br $again))
          unreachable))
      (core instance $i (instantiate $m))
      (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#;
    let outcome = Run::bytes(wat::parse_str(fill).expect("text").into()).limit("wall_ms", 20).execute();
    assert_eq!(outcome.failure().kind, FailureKind::DeadlineExceeded);
    let late = outcome.receipt.wall_ms - 20;
    assert!(late < 250, "{late} ms late");
}
