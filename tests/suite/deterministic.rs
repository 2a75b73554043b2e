//! Deterministic mode: same input, same output, same fuel.

use std::time::Instant;

use omnimind_tests::{OutcomeExt, Run};

#[test]
fn everything_is_the_same_twice() {
    for (guest, units) in
        [("spin", 10_000), ("random-bytes", 10_000), ("host-calls", 100), ("grow", 50), ("sleep", 1000)]
    {
        let once = Run::hostile(guest).units(units).deterministic().execute();
        let twice = Run::hostile(guest).units(units).deterministic().execute();
        assert_eq!(once.output(), twice.output(), "{guest}");
        for budget in ["fuel", "memory_bytes", "host_calls", "host_call_bytes"] {
            assert_eq!(once.used(budget), twice.used(budget), "{guest}: {budget}");
        }
    }
}

#[test]
fn a_sleep_returns_at_once_and_moves_the_clock() {
    let begun = Instant::now();
    let day = Run::hostile("sleep").units(86_400_000).deterministic().execute();
    assert_eq!(day.output(), b"86400000");
    assert!(begun.elapsed().as_secs() < 60, "it slept for real");
}

/// Sleeps 3 s, then waits for two sleeps of 20 s and 10 s at once; says which of them were over (as
/// the list of indices that `poll` returned) and what the clock read before and after, in nanoseconds.
const TWO_SLEEPS: &str = include_str!("two-sleeps.wat");

#[test]
fn of_two_sleeps_the_shorter_ends_first() {
    let guest: std::sync::Arc<[u8]> = wat::parse_str(TWO_SLEEPS).expect("text").into();
    let outcome = Run::bytes(guest).deterministic().execute();
    let numbers: Vec<u64> =
        outcome.output().chunks(8).map(|n| u64::from_le_bytes(n.try_into().expect("8 bytes"))).collect();
    // clock before, clock after the first sleep, number of ready pollables, the first of them, clock after
    assert_eq!(numbers, [0, 3_000_000_000, 1, 1, 13_000_000_000]);
}

#[test]
fn a_guest_sees_the_same_id_each_time() {
    let fuel = |input: &str| {
        let outcome = Run::hostile("describe").input(input).deterministic().execute();
        (outcome.output().to_vec(), outcome.used("fuel"))
    };
    assert_eq!(fuel("1"), fuel("1"));
}

/// Returns the time (seconds, nanoseconds, padding) and a random number, 24 bytes in all.
const RANDOM_AND_TIME: &str = include_str!("random-and-time.wat");

#[test]
fn time_is_frozen_and_randomness_seeded() {
    let guest: std::sync::Arc<[u8]> = wat::parse_str(RANDOM_AND_TIME).expect("text").into();
    let run = || Run::bytes(guest.clone());
    let once = run().deterministic().execute();
    assert_eq!(once.output(), run().deterministic().execute().output());
    let seconds = u64::from_le_bytes(once.output()[..8].try_into().expect("8 bytes"));
    assert_eq!(seconds, 1_735_689_600, "2025-01-01");
    assert_ne!(run().execute().output()[16..], run().execute().output()[16..], "and otherwise it is random");
}
