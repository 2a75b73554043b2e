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
    let fuel = &outcome.receipt.budgets["fuel"];
    assert_eq!((fuel.asked, fuel.limit), (Some(1_000_000), 1_000_000));
    assert!(fuel.used > Some(0));
    assert_eq!(outcome.used("input_bytes"), 4);
    assert_eq!(outcome.used("output_bytes"), 4);
    assert_eq!(outcome.receipt.attempts, 1);
    assert!(outcome.receipt.engine.starts_with("wasmtime 48."));
    assert_eq!(outcome.receipt.budgets["stack_bytes"].used, None, "the engine does not tell");
}
