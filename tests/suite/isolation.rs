//! One task and the next, one task and its neighbours.

use std::sync::Arc;
use std::time::Duration;

use omnimind::task::FailureKind;
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped, block_on};

/// Says `dirty` if a byte far into its memory is set, else sets it and says `clean`.
const MARK: &str = r#"
(component
  (core module $m
    (memory (export "memory") 64)
    (data (i32.const 32) "cleandirty")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "run") (param i32 i32) (result i32)
      (i32.store (i32.const 20) (select (i32.const 37) (i32.const 32) (i32.load8_u (i32.const 4000000))))
      (i32.store (i32.const 24) (i32.const 5))
      (memory.fill (i32.const 100000) (i32.const 255) (i32.const 4000000))
      i32.const 16))
  (core instance $i (instantiate $m))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))
"#;

#[test]
fn memory_of_the_task_before_is_never_seen() {
    let guest: Arc<[u8]> = wat::parse_str(MARK).expect("text").into();
    // One place in the pool: every task gets the memory of the one before.
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 1);
    for _ in 0..20 {
        let job = Run::bytes(guest.clone()).job(&lab).expect("a task");
        assert_eq!(block_on(lab.executor.execute(job)).output(), b"clean");
    }
}

#[test]
fn an_exhausted_pool_is_never_what_a_task_meets() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 2);
    std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let job = Run::hostile("sleep").units(100).job(&lab).expect("a task");
                    block_on(lab.executor.execute(job))
                })
            })
            .collect();
        let outcomes: Vec<_> = tasks.into_iter().map(|task| task.join().expect("no panic")).collect();
        for outcome in &outcomes {
            assert_eq!(outcome.output(), b"100");
        }
        let waited = outcomes.iter().filter(|outcome| outcome.receipt.queue_ms >= 90).count();
        assert!(waited >= 4, "two at a time: the others wait for a place, and the receipt says so");
    });
}

#[test]
fn places_are_for_both_engines_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 1);
    let first = Run::hostile("sleep").units(600).job(&lab).expect("a task");
    let second = crate::limits::concurrent("echo").input("x").job(&lab).expect("a task");
    let (_, second) = block_on(async {
        // In this order: `join!` begins with its first.
        tokio::join!(lab.executor.execute(first), lab.executor.execute(second))
    });
    assert_eq!(second.output(), b"x");
    assert!(second.receipt.queue_ms >= 500, "it did not wait: {} ms", second.receipt.queue_ms);
}

#[test]
fn a_hostile_neighbour_does_not_stop_others() {
    let lab = Lab::shared();
    std::thread::scope(|scope| {
        let spinning = scope.spawn(|| Run::hostile("spin").limit("wall_ms", 3000).execute());
        let growing = scope.spawn(|| Run::hostile("grow-touch").limit("memory_bytes", 64 << 20).execute());
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..20 {
            let job = Run::hostile("echo").input("still here").job(lab).expect("a task");
            assert_eq!(block_on(lab.executor.execute(job)).output(), b"still here");
        }
        assert_stopped(&spinning.join().expect("no panic"), FailureKind::DeadlineExceeded, "wall_ms");
        assert_stopped(&growing.join().expect("no panic"), FailureKind::MemoryLimit, "memory_bytes");
    });
}
