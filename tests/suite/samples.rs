//! The sample tasks on real input, through the whole runtime.

use omnimind::task::FailureKind;
use omnimind_tests::{OutcomeExt, Run, checkout};
use serde_json::Value;

fn json(run: Run) -> Value {
    serde_json::from_slice(run.execute().output()).expect("JSON")
}

#[test]
fn text_stats_counts_a_real_text() {
    let text = std::fs::read_to_string(checkout().join("LICENSE")).expect("the licence");
    let stats = json(Run::guest("text-stats").input(text.as_str()));
    assert_eq!(stats["lines"].as_u64(), Some(text.lines().count() as u64));
    assert_eq!(stats["characters"].as_u64(), Some(text.chars().count() as u64));
    let terms = stats["top_terms"].as_array().expect("terms");
    assert!(terms.iter().any(|term| term["term"] == "license"), "{terms:?}");
}

#[test]
fn text_stats_refuses_what_is_not_text() {
    let outcome = Run::guest("text-stats").input(b"ok \xff no".as_slice()).execute();
    assert_eq!(outcome.failure().kind, FailureKind::GuestError);
    assert!(outcome.failure().message.contains('3'), "the byte is named: {}", outcome.failure().message);
}

#[test]
fn csv_summary_summarises() {
    let summary = json(Run::guest("csv-summary").input("name,age\nAda,36\n\"Grace, H.\",85\n"));
    let text = summary.to_string();
    assert!(text.contains("\"age\"") && text.contains("60.5"), "the mean of 36 and 85: {text}");
}

#[test]
fn primes_are_counted() {
    let primes = json(Run::guest("primes").input("1000000"));
    assert_eq!(primes["primes"], 78_498);
    assert_eq!(primes["largest"], 999_983);
}

#[test]
fn primes_meets_its_fuel() {
    let outcome = Run::guest("primes").input("100000000").limit("fuel", 10_000_000).execute();
    assert_eq!(outcome.failure().kind, FailureKind::FuelExhausted);
}

#[test]
fn matmul_agrees_with_itself_on_both_sides() {
    let outcome = Run::guest("matmul").input("{\"size\": 300}").execute();
    let found: Value = serde_json::from_slice(outcome.output()).expect("JSON");
    assert_eq!(
        (&found["size"], &found["host"]["rows"], &found["guest"]["rows"]),
        (&300.into(), &300.into(), &300.into())
    );
    let difference = found["difference"].as_f64().expect("a number");
    assert!(difference < 1e-6 * 300_f64.sqrt(), "{found}");
    assert!(outcome.used("tensor_flops") >= 2 * (2 * 300 * 300 * 300), "{found}");
    assert_eq!(outcome.used("tensor_bytes"), 3 * 300 * 300 * 4, "two factors and one product");
    let refused = Run::guest("matmul").input("300").limit("tensor_flops", 1000).execute();
    assert!(refused.failure().message.contains("budget tensor_flops exhausted"), "{:?}", refused.failure());
}

#[test]
fn the_committed_samples_run_and_are_small() {
    for (name, input) in
        [("text-stats", "two words"), ("csv-summary", "a,b\n1,2\n"), ("primes", "100"), ("matmul", "10")]
    {
        let path = checkout().join(format!("guest-tasks/prebuilt/{name}.wasm"));
        let bytes = std::fs::read(&path).expect("committed");
        assert!(bytes.len() <= 110_000, "{name} has {} bytes", bytes.len());
        Run::bytes(bytes.into()).input(input).execute().output();
    }
}

#[test]
fn a_runaway_is_stopped() {
    let outcome = Run::guest("runaway").limit("fuel", 100_000_000).execute();
    assert_eq!(outcome.failure().kind, FailureKind::FuelExhausted);
    let outcome = Run::guest("runaway").limit("wall_ms", 300).execute();
    assert_eq!(outcome.failure().kind, FailureKind::DeadlineExceeded);
}
