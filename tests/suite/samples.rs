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
fn the_committed_samples_run_and_are_small() {
    for (name, input) in [("text-stats", "two words"), ("csv-summary", "a,b\n1,2\n"), ("primes", "100")] {
        let path = checkout().join(format!("guest-tasks/prebuilt/{name}.wasm"));
        let bytes = std::fs::read(&path).expect("committed");
        assert!(bytes.len() <= 100_000, "{name} has {} bytes", bytes.len());
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
