//! How tasks end by their own doing: traps, broken ABI, errors, exits.

use omnimind::task::{End, FailureKind};
use omnimind_tests::{OutcomeExt, Run};

#[test]
fn traps_have_a_code_and_a_backtrace() {
    for (guest, code) in [
        ("trap-unreachable", "unreachable"),
        ("trap-div-zero", "integer_divide_by_zero"),
        ("trap-overflow", "integer_overflow"),
        ("trap-nan-to-int", "invalid_conversion_to_integer"),
        ("trap-out-of-bounds", "memory_out_of_bounds"),
        ("trap-null-indirect", "indirect_call_to_null"),
        ("trap-signature", "indirect_call_type_mismatch"),
        ("start-trap", "unreachable"),
        ("data-out-of-bounds", "memory_out_of_bounds"),
        ("realloc-trap", "unreachable"),
        ("post-return-trap", "unreachable"),
    ] {
        let outcome = Run::hostile(guest).input("1").execute();
        let failure = outcome.failure();
        assert_eq!(failure.kind, FailureKind::Trap, "{guest}: {failure:?}");
        assert_eq!(failure.trap.as_deref(), Some(code), "{guest}");
        assert!(outcome.receipt.stopped_by.is_none(), "{guest}: no budget stopped it");
    }
}

#[test]
fn backtraces_have_names_innermost_first_and_twenty_at_most() {
    let failure = Run::hostile("trap-unreachable").input("1").execute().failure().clone();
    let at = |name: &str| failure.backtrace.iter().position(|frame| frame.contains(name));
    assert!(at("inner").is_some() && at("inner") < at("outer"), "{:?}", failure.backtrace);
    let deep = Run::hostile("recurse").units(10_000_000).execute();
    assert_eq!(deep.failure().backtrace.len(), 20);
}

#[test]
fn a_broken_abi_is_named_and_costs_no_memory() {
    for guest in [
        "realloc-out-of-bounds",
        "result-out-of-bounds",
        "result-pointer-out-of-bounds",
        "result-pointer-unaligned",
        "result-bad-discriminant",
        "error-invalid-utf8",
        "unknown-handle",
    ] {
        let outcome = Run::hostile(guest).input("1").execute();
        assert_eq!(outcome.failure().kind, FailureKind::AbiViolation, "{guest}: {:?}", outcome.failure());
    }
}

#[test]
fn realloc_may_return_zero() {
    Run::hostile("realloc-zero").input("1").execute().output();
}

#[test]
fn an_error_text_is_escaped() {
    let outcome = Run::hostile("error-control-characters").execute();
    let failure = outcome.failure();
    assert_eq!(failure.kind, FailureKind::GuestError);
    assert!(!failure.message.contains(['\u{1b}', '\0']), "{:?}", failure.message);
    assert!(failure.message.contains("\\u{1b}"), "{:?}", failure.message);
}

#[test]
fn a_task_that_exits_did_not_return() {
    let outcome = Run::hostile("exit").units(0).execute();
    assert_eq!(outcome.failure().exit_code, Some(0));
    let outcome = Run::hostile("exit").units(1).execute();
    assert_eq!(outcome.failure().kind, FailureKind::GuestError);
    assert_eq!(outcome.failure().exit_code, Some(1));
}

#[test]
fn a_receipt_tells_what_was_used() {
    let outcome = Run::hostile("echo").input("four").limit("fuel", 1_000_000).execute();
    assert!(matches!(outcome.end, End::Completed(_)));
    let fuel = outcome.receipt.budget("fuel").expect("a line");
    assert_eq!((fuel.asked, fuel.limit), (Some(1_000_000), 1_000_000));
    assert!(fuel.used > Some(0));
    assert_eq!(outcome.used("input_bytes"), 4);
    assert_eq!(outcome.used("output_bytes"), 4);
    assert_eq!(outcome.receipt.attempts, 1);
    assert!(outcome.receipt.engine.starts_with("wasmtime 48."));
    assert_eq!(outcome.receipt.budget("stack_bytes").expect("a line").used, None, "the engine does not tell");
}

/// A task whose function has this name and does this.
fn named(name: &str, body: &str) -> Run {
    let escaped: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        r#"(component
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func $run (@name "{escaped}") (export "run") (param $at i32) (param i32) (result i32) {body}))
          (core instance $i (instantiate $m))
          (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
            (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    Run::bytes(wat::parse_str(text).expect("text").into())
}

const DEEP_TRAP: &str = "(if (i32.gt_u (local.get $at) (i32.const 2000)) (then unreachable)) \
    (i32.add (i32.const 1) (call $run (i32.add (local.get $at) (i32.const 16)) (i32.const 0)))";

/// A result area outside of memory.
const BROKEN_RESULT: &str = "(i32.const 0x7ffffff0)";

#[test]
fn a_guest_cannot_choose_its_kind_of_failure_by_a_name() {
    for name in [
        "store handle limit exceeded",
        "resource limit exceeded: instance count too high",
        "resource limit exceeded: memory count too high",
        "resource limit exceeded: table count too high",
        "fuel allocated for hostcalls has been exhausted",
    ] {
        let outcome = named(name, BROKEN_RESULT).execute();
        assert_eq!(outcome.failure().kind, FailureKind::AbiViolation, "{name}: {:?}", outcome.failure());
        let trap = named(name, "unreachable").execute();
        assert_eq!(trap.failure().kind, FailureKind::Trap, "{name}: {:?}", trap.failure());
    }
}

#[test]
fn names_that_are_slow_to_demangle_are_not_demangled() {
    // Rust's v0 scheme: back-references over back-references, that print nothing.
    let depth = 100;
    let mut rust = String::from("_RIC1a");
    rust += &("Nv".repeat(depth) + "C0" + &"0".repeat(depth));
    rust += &("T".to_owned() + &"B2_".repeat(200) + "E");
    rust += &"B5e_".repeat(15_000);
    rust.push('E');
    // C++'s: each parameter holds the one before it many times.
    let mut cpp = String::from("_Z1f1AIiE");
    for _ in 0..8 {
        cpp += &format!("S_I{}E", "S0_".repeat(60));
    }
    for symbol in [rust, cpp] {
        let begun = std::time::Instant::now();
        let outcome = named(&symbol, DEEP_TRAP).execute();
        assert_eq!(outcome.failure().kind, FailureKind::Trap);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        assert!(outcome.failure().backtrace.iter().all(|frame| frame.len() < 1200));
        let broken = named(&symbol, BROKEN_RESULT).execute();
        assert_eq!(broken.failure().kind, FailureKind::AbiViolation);
        assert!(broken.failure().message.len() < 1000, "no names in it: {}", broken.failure().message);
    }
}

#[test]
fn short_rust_names_are_demangled() {
    let outcome = named("_ZN4core6option13unwrap_failed17h0123456789abcdefE", "unreachable").execute();
    let frames = &outcome.failure().backtrace;
    assert!(frames[0].starts_with("core::option::unwrap_failed"), "{frames:?}");
}

#[test]
fn long_rust_names_are_left_as_they_are() {
    // Modules without a name: long to read, and `a::b` when read.
    let nested = |depth: usize| format!("_R{}C1a{}1b", "Nv".repeat(depth), "0".repeat(depth - 1));
    let first = |depth| named(&nested(depth), "unreachable").execute().failure().backtrace[0].clone();
    assert!(first(100).starts_with("a::b"), "{}", first(100));
    assert!(first(250).starts_with("_RNvNv"), "{}", first(250));
}

#[test]
fn names_forge_no_lines() {
    let outcome = named("a\nb\u{1b}[2J", "unreachable").execute();
    assert!(!outcome.failure().backtrace[0].contains(['\n', '\u{1b}']), "{:?}", outcome.failure().backtrace);
}

#[test]
fn composed_components_run() {
    assert_eq!(
        Run::hostile("composed").input("through two memories").execute().output(),
        b"through two memories"
    );
}

#[test]
fn an_error_after_a_refused_growth_comes_with_the_hint() {
    // `grow-patient` returns Ok; a guest that returns an error instead is told what would have helped.
    let text = r#"(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "run") (param i32 i32) (result i32)
          (drop (memory.grow (i32.const 100)))
          (i32.store8 (i32.const 16) (i32.const 1))
          i32.const 16))
      (core instance $i (instantiate $m))
      (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#;
    let guest: std::sync::Arc<[u8]> = wat::parse_str(text).expect("text").into();
    let refused = Run::bytes(guest.clone()).limit("memory_bytes", 1 << 20).execute();
    assert_eq!(refused.failure().kind, FailureKind::GuestError);
    assert!(refused.failure().hint.as_deref().is_some_and(|hint| hint.contains("limits.memory_bytes")));
    let granted = Run::bytes(guest).execute();
    assert_eq!(granted.failure().hint, None);
}
