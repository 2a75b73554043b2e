//! Ending a task from outside.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use omnimind::executor;
use omnimind::task::{End, FailureKind, Outcome};
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped, block_on, pause};

fn cancel_after(run: Run, grace: Duration) -> (Outcome, Duration) {
    let control = run.control.clone();
    let job = run.job(Lab::shared()).expect("a task");
    std::thread::scope(|scope| {
        let task = scope.spawn(|| block_on(Lab::shared().executor.execute(job)));
        pause(Duration::from_millis(300));
        let begun = Instant::now();
        control.cancel(grace);
        let outcome = task.join().expect("no panic");
        (outcome, begun.elapsed())
    })
}

#[test]
fn a_task_that_computes_is_cancelled() {
    let (outcome, took) = cancel_after(Run::hostile("spin"), Duration::ZERO);
    assert_eq!(outcome.end, End::Cancelled);
    assert!(outcome.used("fuel") > 0, "it had begun");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_task_that_waits_is_cancelled() {
    let (outcome, took) = cancel_after(Run::hostile("sleep").units(3_600_000), Duration::ZERO);
    assert_eq!(outcome.end, End::Cancelled);
    assert!(outcome.used("fuel") > 0, "it had begun");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_grace_is_waited_for_and_no_longer() {
    let (outcome, took) = cancel_after(Run::hostile("sleep").units(3_600_000), Duration::from_millis(500));
    assert_eq!(outcome.end, End::Cancelled);
    assert!(outcome.used("fuel") > 0, "it had begun");
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
    // Asked for before it begins: the deadline is not known yet.
    run.control.cancel(Duration::from_secs(3600));
    assert_eq!(run.execute().failure().kind, FailureKind::DeadlineExceeded);
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

#[test]
fn a_task_that_waits_for_a_place_can_be_cancelled() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 1);
    let first = Run::hostile("sleep").units(3_000).job(&lab).expect("a task");
    let waiting = Run::hostile("echo");
    let control = waiting.control.clone();
    let waiting = waiting.job(&lab).expect("a task");
    block_on(async {
        let first = lab.executor.execute(first);
        let cancelled = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            control.cancel(Duration::ZERO);
            std::future::pending::<()>().await
        };
        tokio::select! {
            // The first takes the only place.
            biased;
            _ = first => panic!("the task that waited was not cancelled until its turn came"),
            outcome = lab.executor.execute(waiting) => assert_eq!(outcome.end, End::Cancelled),
            () = cancelled => {}
        }
    });
}

#[test]
fn a_guest_sees_that_it_was_cancelled_and_may_clean_up() {
    let (outcome, took) = cancel_after(Run::guest("primes").input("100000000000"), Duration::from_secs(20));
    let failure = outcome.failure();
    assert_eq!(failure.kind, FailureKind::GuestError, "{failure:?}");
    assert!(failure.message.contains("cancel"), "{}", failure.message);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// `Executor::execute` answers for a guest that does not end, so here is a task without it.
fn alone(run: Run) -> impl Future<Output = Outcome> {
    executor::run(run.job(Lab::shared()).expect("a task"))
}

#[test]
fn a_guest_that_computes_is_ended_by_the_epochs_alone() {
    let task = alone(Run::hostile("spin").limit("wall_ms", 200));
    // A runtime that nobody drives: its timers never fire.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut task = pin!(task);
    let begun = Instant::now();
    let outcome = loop {
        if let Poll::Ready(outcome) = task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            break outcome;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "it computes on");
    };
    assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
}

#[test]
fn a_guest_that_waits_is_ended_by_the_timer_alone() {
    let task = alone(Run::hostile("sleep").units(3_600_000).limit("wall_ms", 200));
    let outcome = block_on(async { tokio::time::timeout(Duration::from_secs(5), task).await });
    assert_stopped(&outcome.expect("it waits on"), FailureKind::DeadlineExceeded, "wall_ms");
}
