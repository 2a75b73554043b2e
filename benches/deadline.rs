//! How late a task ends after its deadline, both cores busy: the distribution, not a mean.

use std::time::{Duration, Instant};

use omnimind::task::{End, FailureKind};
use omnimind_tests::{Lab, Run, block_on};

const WALL_MS: u64 = 100;

fn main() {
    // `cargo bench -- --test`: only that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--test") { 2 } else { 100 };
    let lab = Lab::new(omnimind_tests::target_dir().join("bench-artefacts"), 50);
    println!(
        "{:<14}{:>8}{:>10}{:>10}{:>10}   overshoot of a deadline of {WALL_MS} ms, in ms",
        "guest", "runs", "p50", "p99", "max"
    );
    for (guest, units) in [
        ("spin", None),
        ("spin-memory", None),
        ("spin-tail-call", None),
        ("spin-indirect", None),
        ("realloc-loop", None),
        ("post-return-loop", None),
        ("grow-spam", None),
        ("bulk-fill", None),
        ("host-calls", None),
        ("log", None),
        ("sleep", Some(3_600_000)),
        ("poll-many", Some(4_000)),
    ] {
        let mut overshoots: Vec<Duration> = (0..rounds).map(|_| overshoot(&lab, guest, units)).collect();
        overshoots.sort();
        let at = |share: f64| {
            let last = overshoots.len() - 1;
            overshoots[(last as f64 * share).round() as usize].as_secs_f64() * 1000.0
        };
        println!("{guest:<14}{rounds:>8}{:>10.1}{:>10.1}{:>10.1}", at(0.5), at(0.99), at(1.0));
    }
}

/// Runs the guest beside two that spin, so that every core has something better to do.
fn overshoot(lab: &Lab, guest: &str, units: Option<u64>) -> Duration {
    let job = |guest: &str, units: Option<u64>, wall_ms| {
        let mut run = Run::hostile(guest).limit("wall_ms", wall_ms).limit("host_calls", 1_000_000_000);
        run = run.limit("host_call_bytes", 64 << 30).limit("handles", 10_000);
        if let Some(units) = units {
            run = run.units(units);
        }
        run.job(lab).expect("a task")
    };
    let neighbours = [job("spin", None, WALL_MS + 60), job("spin", None, WALL_MS + 60)];
    let subject = job(guest, units, WALL_MS);
    block_on(async {
        let [one, two] = neighbours;
        let neighbours = async { tokio::join!(lab.executor.execute(one), lab.executor.execute(two)) };
        let subject = async {
            let begun = Instant::now();
            let outcome = lab.executor.execute(subject).await;
            let End::Failed(failure) = &outcome.end else { panic!("{guest} ended before its deadline") };
            assert_eq!(failure.kind, FailureKind::DeadlineExceeded, "{guest}: {failure:?}");
            begun.elapsed().saturating_sub(Duration::from_millis(WALL_MS))
        };
        tokio::join!(neighbours, subject).1
    })
}
