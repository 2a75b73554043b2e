//! The engine with the asynchronous component model: what guests may have of it ends by its limits, and the
//! rest, with WASI 0.3 on top, is refused with a sentence that says why.

use std::sync::Arc;

use omnimind::engine::{Code, Flavour, Refusal};
use omnimind::task::FailureKind;
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped, block_on};

/// `run`, of the asynchronous type or not, and what else the component has.
fn component(more: &str, is_async: &str) -> Arc<[u8]> {
    let text = r#"(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "callback") (param i32 i32 i32) (result i32) i32.const 0)
        (func (export "nothing"))
        (func (export "zero") (result i32) i32.const 0)
        (func (export "run") (param i32 i32) (result i32) i32.const 16))
      (core instance $i (instantiate $m))
      (type $s (stream u8))
      (type $f (future u8))
      MORE
      (func (export "run") ASYNC (param "input" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#;
    let text = text.replace("MORE", more).replace("ASYNC", is_async);
    wat::parse_str(text).expect("text").into()
}

#[track_caller]
fn assert_refused(component: Arc<[u8]>, code: Code) -> Refusal {
    let refusal = Run::bytes(component).refusal();
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.message.contains("WASI 0.3 is not run here, because"), "{refusal}");
    assert!(refusal.message.contains("build it for WASI 0.2"), "{refusal}");
    refusal
}

#[test]
fn what_quickjs_names_is_let_in() {
    for built_in in [
        "context.get i32 0",
        "context.set i32 0",
        "task.cancel",
        "subtask.drop",
        "subtask.cancel",
        "waitable-set.new",
        "waitable-set.drop",
        "waitable.join",
    ] {
        let guest = component(&format!("(core func (canon {built_in}))"), "");
        let prepared = Lab::shared().prepare(guest.clone()).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(prepared.component.flavour, Flavour::Concurrent, "{built_in}");
        Run::bytes(guest).execute().output();
    }
}

#[test]
fn other_built_ins_are_refused_by_name() {
    let memory = r#"(memory $i "memory")"#;
    for (built_in, named) in [
        ("task.return", "task.return"),
        ("backpressure.inc", "backpressure"),
        ("backpressure.dec", "backpressure"),
        ("thread.yield", "thread.yield"),
        (&format!("waitable-set.wait {memory}"), "waitable-set.wait"),
        (&format!("waitable-set.poll {memory}"), "waitable-set.poll"),
        ("stream.new $s", "streams"),
        (&format!("stream.read $s async {memory}"), "streams"),
        (&format!("stream.write $s async {memory}"), "streams"),
        ("stream.cancel-read $s", "streams"),
        ("stream.cancel-write $s", "streams"),
        ("stream.drop-readable $s", "streams"),
        ("stream.drop-writable $s", "streams"),
        ("future.new $f", "futures"),
        (&format!("future.read $f async {memory}"), "futures"),
        (&format!("future.write $f async {memory}"), "futures"),
        ("future.cancel-read $f", "futures"),
        ("future.cancel-write $f", "futures"),
        ("future.drop-readable $f", "futures"),
        ("future.drop-writable $f", "futures"),
        // Of features that the validator refuses too.
        ("subtask.cancel async", "built-in"),
        ("thread.index", "built-in"),
        ("error-context.drop", "built-in"),
    ] {
        let refusal =
            assert_refused(component(&format!("(core func (canon {built_in}))"), ""), Code::ComponentInvalid);
        assert!(refusal.message.contains(named), "{built_in}: {refusal}");
        assert!(refusal.offset.is_some(), "{built_in}: {refusal}");
    }
}

#[test]
fn asynchronous_calls_are_refused() {
    // As deep as it may be: every component within is looked at.
    let lift = r#"(component (component (core module $m
          (func (export "f") (result i32) i32.const 1)
          (func (export "g") (param i32 i32 i32) (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func (export "f") async (canon lift (core func $i "f") async (callback (func $i "g"))))))"#;
    let refusal = assert_refused(component(lift, ""), Code::ComponentInvalid);
    assert!(refusal.message.contains("lifted asynchronously"), "{refusal}");
    let lower = r#"(func $wait async (canon lift (core func $i "nothing")))
        (core func (canon lower (func $wait) async (memory $i "memory")))"#;
    let refusal = assert_refused(component(lower, ""), Code::ComponentInvalid);
    assert!(refusal.message.contains("lowered asynchronously"), "{refusal}");

    for (guest, named) in [
        ("async-subtasks", "lifted asynchronously"),
        ("async-run", "lifted asynchronously"),
        ("async-stream", "streams"),
    ] {
        let refusal =
            assert_refused(omnimind_tests::guest(&format!("hostile/{guest}")), Code::ComponentInvalid);
        assert!(refusal.message.contains(named), "{guest}: {refusal}");
    }
}

#[test]
fn wasi_0_3_is_refused_by_the_name_of_what_is_imported_or_exported() {
    let refusal = assert_refused(omnimind_tests::guest("hostile/import-wasi-0-3"), Code::UnknownImport);
    assert!(refusal.message.contains("wasi:cli/stdout@0.3.0"), "{refusal}");
    assert!(!refusal.message.contains("is offered"), "{refusal}");
    // Nothing about these is asynchronous.
    let random = r#"(import "wasi:random/random@0.3.0-rc-2026-01-06" (instance
        (export "get-random-u64" (func (result u64)))))"#;
    let refusal = assert_refused(component(random, ""), Code::UnknownImport);
    assert!(refusal.message.contains("wasi:random/random@0.3.0-rc-2026-01-06"), "{refusal}");
    let command = |version: &str| -> Arc<[u8]> {
        let text = r#"(component
          (core module $m (func (export "run") (result i32) i32.const 0))
          (core instance $i (instantiate $m))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $run (export "run" (func $run)))
          (export "wasi:cli/run@VERSION" (instance $run)))"#;
        wat::parse_str(text.replace("VERSION", version)).expect("text").into()
    };
    Run::bytes(command("0.2.6")).execute().output();
    let refusal = assert_refused(command("0.3.0"), Code::MissingExport);
    assert!(refusal.message.contains("wasi:cli/run@0.3.0"), "{refusal}");
    Run::bytes(component("", "")).execute().output();
    let refusal = assert_refused(component("", "async"), Code::TypeMismatch);
    assert!(refusal.message.contains("`run`"), "{refusal}");
}

#[test]
fn other_versions_and_names_are_still_told_what_is_offered() {
    for (name, named) in [
        ("wasi:random/random@0.1.0", "version 0.2.x of it is offered"),
        ("wasi:random/rendom@0.2.0", "wasi:random/random@0.2.x"),
        ("acme:random/random@0.3.0", "wasi:random/random@0.2.x"),
    ] {
        let import = format!(r#"(import "{name}" (instance (export "f" (func (result u64)))))"#);
        let refusal = Run::bytes(component(&import, "")).refusal();
        assert_eq!(refusal.code, Code::UnknownImport, "{refusal}");
        assert!(refusal.message.contains(named), "{refusal}");
    }
}

#[test]
fn waitable_sets_are_handles() {
    Run::hostile("waitable-sets").units(100).limit("handles", 100).execute().output();
    let over = Run::hostile("waitable-sets").units(101).limit("handles", 100).execute();
    assert_stopped(&over, FailureKind::HandleLimit, "handles");
    // What the engine itself needs for a call is no handle of the guest's.
    Run::hostile("waitable-sets").units(0).limit("handles", 0).execute().output();
    crate::limits::concurrent("composed").input("text").limit("handles", 0).execute().output();
    crate::limits::concurrent("handles").units(100).limit("handles", 100).execute().output();
    assert_stopped(&Run::hostile("waitable-sets").execute(), FailureKind::HandleLimit, "handles");
}

#[test]
fn a_loop_over_built_ins_ends() {
    Run::hostile("waitable-spin").units(20_000).limit("handles", 10).execute().output();
    let over = Run::hostile("waitable-spin").limit("fuel", 1_000_000).execute();
    assert_stopped(&over, FailureKind::FuelExhausted, "fuel");
    let over = Run::hostile("waitable-spin").limit("wall_ms", 200).execute();
    assert_stopped(&over, FailureKind::DeadlineExceeded, "wall_ms");
    assert!(over.receipt.wall_ms < 5_000, "it went on: {} ms", over.receipt.wall_ms);
}

#[test]
fn a_misused_built_in_ends_the_task_alone() {
    Run::hostile("waitable-misuse").units(0).execute().output();
    for which in 1..=6 {
        let outcome = Run::hostile("waitable-misuse").units(which).execute();
        let trap = match which {
            5 => Some("cannot_block_sync_task"),
            6 => Some("task_cancel_not_cancelled"),
            _ => None,
        };
        let kind = if trap.is_some() { FailureKind::Trap } else { FailureKind::AbiViolation };
        assert_eq!(outcome.failure().kind, kind, "{which}: {:?}", outcome.failure());
        assert_eq!(outcome.failure().trap.as_deref(), trap, "{which}");
        Run::hostile("waitable-misuse").units(0).execute().output();
    }
}

/// There is a stack for each place: a task that took two would find none.
#[test]
fn a_task_takes_one_stack() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 1);
    let run = |guest: Run| block_on(lab.executor.execute(guest.job(&lab).expect("a task")));
    for round in 0..3 {
        run(Run::hostile("async-call").units(0)).output();
        let waits = run(Run::hostile("async-call").units(1));
        assert_eq!(waits.failure().trap.as_deref(), Some("cannot_block_sync_task"), "{round}");
        // Long enough to come up for air in every way there is; in a start function and a post-return too.
        run(crate::limits::concurrent("spin").units(30_000_000)).output();
        run(crate::limits::concurrent("sleep").units(20)).output();
        run(crate::limits::concurrent("output").units(100_000)).output();
        run(crate::limits::concurrent("composed").input("text")).output();
        for endless in ["start-loop", "realloc-loop", "post-return-loop", "recurse"] {
            let over = run(crate::limits::concurrent(endless).input("1000000000").limit("fuel", 30_000_000));
            let kind = over.failure().kind;
            let by_a_limit = matches!(kind, FailureKind::FuelExhausted | FailureKind::StackOverflow);
            assert!(by_a_limit, "{endless}: {:?}", over.failure());
        }
    }
}
