//! Requests a second: an empty task by digest, and the empty handler of `wasmtime serve` with its limits on.
//!
//! Rounds take turns, so that what else the machine does falls on all of them.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::figures::Figures;
use crate::http::Request;
use crate::load::{self, Round, Until};
use crate::omnimind::{Omnimind, data_directory};
use crate::process::{Process, free_address};

const CONNECTIONS: usize = 16;

/// One row of the table.
struct Subject {
    name: &'static str,
    address: SocketAddr,
    request: Arc<Request>,
    /// The least share of the peer's requests a second; `None` is the peer.
    wanted: Option<f64>,
    rounds: Vec<Round>,
}

impl Subject {
    async fn load(&self, time: Duration) -> Round {
        load::run(self.address, &self.request, CONNECTIONS, Until::Elapsed(time), false).await.all_good()
    }

    fn per_second(&self) -> Figures {
        Figures::of(self.rounds.iter().map(Round::per_second))
    }
}

pub async fn run(rounds: usize, time: Duration, warm_up: Duration) {
    let data = data_directory();
    let peer = peer(&data).await;
    let server = Omnimind::start(data.path(), &["--allow-ephemeral"]).await;
    let component = server.push("empty", &omnimind_benches::empty()).await;
    let address = server.process.address;
    let ours = |name, task, wanted| {
        let request = server.submit(&task, true);
        Subject { name, address, request, wanted: Some(wanted), rounds: Vec::new() }
    };
    let mut subjects = Vec::from_iter(peer.as_ref().map(subject));
    subjects.push(ours("durable", json!({"component": component}), 1.0));
    subjects.push(ours("\"durable\": false", json!({"component": component, "durable": false}), 2.5));

    for subject in &subjects {
        subject.load(warm_up).await;
    }
    for _ in 0..rounds {
        for subject in &mut subjects {
            let round = subject.load(time).await;
            subject.rounds.push(round);
        }
    }
    print(&subjects, rounds, time);
}

/// `wasmtime serve`, if `cargo xtask peers` was run.
async fn peer(data: &TempDir) -> Option<Process> {
    let peers = omnimind_tests::target_dir().join("peers");
    let (program, hello) = (peers.join("wasmtime"), peers.join("hello.wasm"));
    if !program.is_file() || !hello.is_file() {
        println!("wasmtime serve SKIPPED: {} is not there; cargo xtask peers gets it", peers.display());
        return None;
    }
    let address = free_address();
    let mut serve = Command::new(program);
    serve.args(["serve", "--addr", &address.to_string(), "--max-instance-reuse-count", "1"]);
    serve.args(["-W", "timeout=2s,max-memory-size=134217728,fuel=1000000000,trap-on-grow-failure=y"]);
    serve.args(["-S", "hostcall-fuel=16777216,max-resources=10000"]);
    let pool = "pooling-allocator=y,pooling-total-component-instances=1000,pooling-total-core-instances=4000";
    serve.args(["-O", pool]).arg(hello);
    Some(Process::start(&mut serve, address, "/", &data.path().join("peer.log")).await)
}

fn subject(peer: &Process) -> Subject {
    let address = peer.address;
    let bytes = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into();
    let request = Arc::new(Request { bytes, statuses: &[200], holds: "" });
    Subject { name: "wasmtime serve, limits on", address, request, wanted: None, rounds: Vec::new() }
}

fn print(subjects: &[Subject], rounds: usize, time: Duration) {
    println!("\nAn empty task: {CONNECTIONS} connections, {rounds} rounds of {time:?} each, in turns");
    println!(
        "{:<28}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}",
        "requests/s", "min", "median", "max", "p50 ms", "p99 ms", "ratio"
    );
    let peer = subjects.iter().find(|subject| subject.wanted.is_none()).map(Subject::per_second);
    for subject in subjects {
        let per_second = subject.per_second();
        let latencies = Figures::ms(subject.rounds.iter().flat_map(|round| &round.latencies));
        print!("{:<28}", subject.name);
        print!("{:>9.0}{:>9.0}{:>9.0}", per_second.at(0.0), per_second.median(), per_second.at(1.0));
        print!("{:>10.2}{:>10.2}", latencies.median(), latencies.at(0.99));
        match (&peer, subject.wanted) {
            (Some(peer), Some(wanted)) => {
                println!("{:>10.2}   at least {wanted:.1}", per_second.median() / peer.median());
            }
            _ => println!("{:>10}", "-"),
        }
    }
}
