//! What each path costs the server's processor, beside what it cannot do without: HTTP alone (`/livez`, which is
//! answered to everybody and looks at nothing), and the digest of what is uploaded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnimind_tests::guest;
use omnimind_tests::languages::data_dir_with_artefacts;
use serde_json::json;

use crate::figures::Figures;
use crate::http::Request;
use crate::load::{self, Until};
use crate::omnimind::{Omnimind, data_directory};

const CONNECTIONS: usize = 8;

struct Path {
    name: &'static str,
    request: Arc<Request>,
    cpu: Duration,
    latencies: Vec<Duration>,
    elapsed: Duration,
}

pub async fn run(rounds: usize, each: Duration, with_python: bool) {
    let data = if with_python { data_dir_with_artefacts() } else { data_directory().keep() };
    let server = Omnimind::start(&data, &["--allow-ephemeral"]).await;
    let empty = server.push("empty", &omnimind_benches::empty()).await;
    let sample = guest("csv-summary");
    let known = server.push("csv-summary", &sample).await;
    let some = server.call(request(&server.submit(&json!({"component": empty}), true))).await;
    let id = some["task_id"].as_str().expect("an id");
    let ephemeral = json!({"component": empty, "durable": false});
    let script = json!({"source": "def run(input): return input", "input": 1});
    let script = json!({"component": "python-run", "input": script, "durable": false});
    let mut paths = vec![
        ("HTTP alone: /livez", Arc::new(server.get("/livez"))),
        ("health, with credentials", Arc::new(server.get("/api/v1/health/"))),
        ("status of a task that has ended", Arc::new(server.get(&format!("/api/tasks/{id}")))),
        ("an empty task, not durable", server.submit(&ephemeral, true)),
        ("an empty task, durable", server.submit(&json!({"component": empty}), true)),
        ("the same, not waited for", server.submit(&json!({"component": empty}), false)),
        ("75 KB uploaded that are known", Arc::new(server.upload(&sample))),
    ];
    if with_python {
        paths.push(("an empty script, not durable", server.submit(&script, true)));
    }
    let path = |(name, request)| Path {
        name,
        request,
        cpu: Duration::ZERO,
        latencies: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let mut paths: Vec<Path> = paths.into_iter().map(path).collect();
    for round in 0..=rounds {
        for path in &mut paths {
            let before = server.process.cpu();
            let address = server.process.address;
            let load =
                load::run(address, &path.request, CONNECTIONS, Until::Elapsed(each), false).await.all_good();
            // What was not waited for is done before the next path begins.
            while server.call(server.get("/api/metrics")).await["tasks"]["pending"] != 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // The first round warms up.
            if round > 0 {
                path.cpu += server.process.cpu() - before;
                path.elapsed += load.elapsed;
                path.latencies.extend(load.latencies);
            }
        }
    }
    println!(
        "\nWhat a request costs, {CONNECTIONS} connections, {rounds} rounds of {} ms in turns",
        each.as_millis()
    );
    println!(
        "{:<36}{:>12}{:>12}{:>12}{:>16}{:>12}",
        "", "requests/s", "p50 ms", "p99 ms", "CPU µs each", "of HTTP's"
    );
    let each = |path: &Path| path.cpu.as_secs_f64() * 1e6 / path.latencies.len() as f64;
    let floor = each(&paths[0]);
    for path in &paths {
        let (rate, times) =
            (path.latencies.len() as f64 / path.elapsed.as_secs_f64(), Figures::ms(&path.latencies));
        let (p50, p99, cpu) = (times.median(), times.at(0.99), each(path));
        println!("{:<36}{rate:>12.0}{p50:>12.2}{p99:>12.2}{cpu:>16.1}{:>12.2}", path.name, cpu / floor);
    }
    let begun = Instant::now();
    for _ in 0..200 {
        let digest = omnimind::task::Digest::of(&sample);
        assert_eq!(digest.to_string(), known);
    }
    println!("the digest of those 75 KB alone: {:.1} µs", begun.elapsed().as_secs_f64() * 1e6 / 200.0);
    server.process.stop();
    std::fs::remove_dir_all(data).expect("it is ours");
}

fn request(from: &Request) -> Request {
    Request { bytes: from.bytes.clone(), ..*from }
}
