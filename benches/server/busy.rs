//! How late the server answers while ten guests want every core: one connection, a request every 2 ms, so that each
//! finds a server that sleeps and cores that do not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::figures::Figures;
use crate::http::{Connection, Request};
use crate::omnimind::{HEALTH, Omnimind, data_directory};

const PACE: Duration = Duration::from_millis(2);
const PRIMES: usize = 10;
/// The most that the sample takes: close to an hour of one core.
const BELOW: u64 = 1_000_000_000_000;
/// What is asked, and its p99 in milliseconds at most.
const KINDS: [(&str, f64); 3] = [("submit", 10.0), ("status", 2.0), ("health", 2.0)];

pub async fn run(requests: usize, settle: Duration) {
    let data = data_directory();
    let server = Omnimind::start(data.path(), &[]).await;
    let empty = server.push("empty", &omnimind_benches::empty()).await;
    let primes = server.push("primes", &omnimind_tests::guest("primes")).await;
    let submit = || {
        let request = server.submit(&json!({"component": empty}), false);
        Request { bytes: request.bytes.clone(), ..*request }
    };
    let some = server.call(submit()).await;
    let status = |id: &str| server.get(&format!("/api/tasks/{id}"));
    let kinds = |id: &str| [submit(), status(id), server.get(HEALTH)];

    let idle = latencies(&server, kinds(some["task_id"].as_str().expect("a task_id")), requests).await;
    let mut ids = Vec::new();
    for _ in 0..PRIMES {
        ids.push(server.occupy(&primes, BELOW).await);
    }
    tokio::time::sleep(settle).await;
    let (begun, cpu) = (Instant::now(), server.process.cpu());
    let busy = latencies(&server, kinds(&ids[0]), requests).await;
    let cores = (server.process.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    for id in &ids {
        let record = server.call(status(id)).await;
        let unfinished = ["pending", "running", "paused"].map(|status| json!(status));
        assert!(unfinished.contains(&record["status"]), "the load ended before the measurement: {record}");
    }

    let all = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\nBeside {PRIMES} `primes` ({cores:.2} of {all} cores taken by the server), {requests} requests each"
    );
    println!(
        "{:<28}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}",
        "ms", "idle p50", "idle p99", "idle max", "busy p50", "busy p99", "busy max"
    );
    for ((name, wanted), (idle, busy)) in KINDS.iter().zip(idle.iter().zip(&busy)) {
        let (idle, busy) = (Figures::ms(idle), Figures::ms(busy));
        print!("{name:<28}{:>9.2}{:>9.2}{:>9.2}", idle.median(), idle.at(0.99), idle.at(1.0));
        print!("{:>10.2}{:>10.2}{:>10.2}", busy.median(), busy.at(0.99), busy.at(1.0));
        println!("   p99 below {wanted} when busy");
    }
}

/// Of each kind of request, sent in turns.
async fn latencies(server: &Omnimind, kinds: [Request; 3], requests: usize) -> [Vec<Duration>; 3] {
    let mut connection = Connection::open(server.process.address).await.expect("a connection");
    let mut latencies = [const { Vec::new() }; 3];
    for _ in 0..requests {
        for (request, latencies) in kinds.iter().zip(&mut latencies) {
            tokio::time::sleep(PACE).await;
            let begun = Instant::now();
            let answer = connection.send(request).await.expect("an answer");
            latencies.push(begun.elapsed());
            assert!(request.is_answered_by(&answer), "{}", answer.text());
        }
    }
    latencies
}
