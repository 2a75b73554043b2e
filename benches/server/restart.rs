//! How long a server with a long past takes from its start to its first answer.

use std::time::Duration;

use serde_json::json;

use crate::figures::Figures;
use crate::load::{self, Until};
use crate::omnimind::{Omnimind, data_directory};

const CONNECTIONS: usize = 64;

pub async fn run(stored: u64, restarts: usize) {
    let data = data_directory();
    // The first one makes its credentials, and is not what is measured.
    Omnimind::start(data.path(), &[]).await.process.stop();
    let without = starts(data.path(), restarts).await;

    let server = Omnimind::start(data.path(), &[]).await;
    let component = server.push("empty", &omnimind_benches::empty()).await;
    // Each connection waits for its task: nothing is left to do when all are answered.
    let request = server.submit(&json!({"component": component}), true);
    let until = Until::Requests(stored);
    let round = load::run(server.process.address, &request, CONNECTIONS, until, false).await.all_good();
    let stopped = server.process.stop();
    let with = starts(data.path(), restarts).await;

    let per_second = round.per_second();
    println!("\nStart with {stored} stored tasks (made in {:?}, {per_second:.0} a second)", round.elapsed);
    println!("{:<28}{:>9}{:>9}{:>9}", "s until health is 200", "min", "median", "max");
    for (name, figures) in [("no task stored", without), ("all of them stored", with)] {
        print!("{name:<28}{:>9.3}{:>9.3}{:>9.3}", figures.at(0.0), figures.median(), figures.at(1.0));
        println!("{}", if name.starts_with("all") { "   at most 2" } else { "" });
    }
    println!("{:<28}{:>18.3}", "s from SIGTERM to the end", stopped.as_secs_f64());
}

async fn starts(data: &std::path::Path, restarts: usize) -> Figures {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..restarts {
        let server = Omnimind::start(data, &[]).await;
        times.push(server.process.ready);
        server.process.stop();
    }
    Figures::of(times.iter().map(Duration::as_secs_f64))
}
