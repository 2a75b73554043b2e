//! What guests leave to others, and what others notice of them: the share of the processors with and without somebody
//! who wants them, how soon a pause ends, and how late the server answers meanwhile.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figures::Figures;
use crate::http::Connection;
use crate::omnimind::{HEALTH, Omnimind, data_directory};

const BELOW: u64 = 1_000_000_000_000;
const PROTECTION: &str = "/api/v1/protection/";
const PACE: Duration = Duration::from_millis(5);

/// Another process that wants a core.
struct Other(Child);

impl Other {
    /// As many as there are cores, `nice` to each other's neighbours or not.
    fn on_every_core(nice: i32) -> Vec<Other> {
        (0..cores()).map(|_| Other::start(nice)).collect()
    }

    fn start(nice: i32) -> Other {
        let mut spin = Command::new("nice");
        spin.args(["-n", &nice.to_string(), "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        Other(spin.spawn().expect("nice and sh"))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Only that it runs: nothing that depends on what else the machine does.
pub async fn smoke() {
    let data = data_directory();
    let server = Omnimind::start(data.path(), &[]).await;
    let status = server.call(server.get(PROTECTION)).await;
    assert_eq!(status["mode"], "dev", "{status}");
    println!("the server takes {:.1} % of the machine", share(&server, Duration::from_millis(100)).await);
}

pub async fn run(window: Duration) {
    println!("\nProtection, on {} cores, mode dev", cores());
    shares(window).await;
    pauses(window).await;
}

/// Alone, beside others who are as nice as guests, and beside others who are not nice.
async fn shares(window: Duration) {
    let data = data_directory();
    let server = Omnimind::start(data.path(), &[]).await;
    let primes = server.push("primes", &omnimind_tests::guest("primes")).await;
    for _ in 0..cores() {
        server.occupy(&primes, BELOW).await;
    }
    tokio::time::sleep(window).await;
    println!(
        "two `primes` alone           {:>6.1} % of the machine   at least 95",
        share(&server, window).await
    );
    let decisions = server.call(server.get("/api/v1/protection/decisions")).await;
    println!(
        "decisions meanwhile          {:>6}     none",
        decisions["decisions"].as_array().map_or(0, Vec::len)
    );
    for nice in [10, 0] {
        let others = Other::on_every_core(nice);
        // Until the next look has seen them.
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        let share = share(&server, window).await;
        println!("beside others at nice {nice:<2}     {share:>6.1} %                  at most 78");
        drop(others);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

/// Percent of the machine that the server takes.
async fn share(server: &Omnimind, window: Duration) -> f64 {
    let (begun, cpu) = (Instant::now(), server.process.cpu());
    tokio::time::sleep(window).await;
    (server.process.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() / cores() as f64 * 100.0
}

/// After the grace: others want everything, tasks are paused, others go, tasks go on.
async fn pauses(window: Duration) {
    let data = data_directory();
    let config = data.path().join("omnimind.yaml");
    std::fs::write(&config, "protection: {limits: {startup_grace: 0}}\n").expect("a file");
    let config = config.to_str().expect("UTF-8");
    let server = Omnimind::start(data.path(), &["--config", config]).await;
    let primes = server.push("primes", &omnimind_tests::guest("primes")).await;
    let id = server.occupy(&primes, BELOW).await;
    let mut latencies = Vec::new();
    let mut connection = Connection::open(server.process.address).await.expect("a connection");
    let (mut paused_after, mut resumed_after, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let others: Vec<Other> = (0..2).flat_map(|_| Other::on_every_core(0)).collect();
        let begun = Instant::now();
        until(&server, &id, "paused", &mut connection, &mut latencies).await;
        paused_after.push(begun.elapsed());
        let cpu = server.process.cpu();
        let until_then = Instant::now() + window;
        while Instant::now() < until_then {
            health(&server, &mut connection, &mut latencies).await;
        }
        used.push(server.process.cpu() - cpu);
        drop(others);
        let begun = Instant::now();
        until(&server, &id, "running", &mut connection, &mut latencies).await;
        resumed_after.push(begun.elapsed());
    }
    let line = |what: &str, times: &[Duration], wanted: &str| {
        let times = Figures::ms(times);
        println!(
            "{what:<28} {:>7.1} {:>7.1} {:>7.1} ms   {wanted}",
            times.median(),
            times.at(0.99),
            times.at(1.0)
        );
    };
    println!("                                 p50     p99     max");
    line("paused after", &paused_after, "");
    line("resumed after", &resumed_after, "at most 1000");
    line("server's CPU while paused", &used, &format!("in {} ms, looks and answers too", window.as_millis()));
    line("health meanwhile", &latencies, "p99 below 10");
    let record: Value = server.call(server.cancel(&id)).await;
    println!("paused_ms of the receipt     {:>6}", record["receipt"]["paused_ms"]);
    assert_eq!(record["status"], json!("cancelled"), "{record}");
}

async fn until(
    server: &Omnimind,
    id: &str,
    status: &str,
    connection: &mut Connection,
    latencies: &mut Vec<Duration>,
) {
    let begun = Instant::now();
    loop {
        let record = server.call(server.get(&format!("/api/tasks/{id}"))).await;
        if record["status"] == status {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not {status}: {record}");
        health(server, connection, latencies).await;
    }
}

async fn health(server: &Omnimind, connection: &mut Connection, latencies: &mut Vec<Duration>) {
    tokio::time::sleep(PACE).await;
    let begun = Instant::now();
    let answer = connection.send(&server.get(HEALTH)).await.expect("an answer");
    latencies.push(begun.elapsed());
    assert!(server.get(HEALTH).is_answered_by(&answer), "{}", answer.text());
}
