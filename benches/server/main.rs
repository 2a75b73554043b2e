//! The server under load: requests a second beside `wasmtime serve`, answers while every core is busy, a long queue,
//! a start with a long past, what is left to others on the machine, scripts as tasks, and thousands who listen. docs/performance.md says what the figures mean.
//!
//! `cargo bench -p omnimind-benches --bench server [-- throughput paths busy pending restart protection scripts sockets]`. A wrong answer to any
//! request ends it with an error; a figure that misses its mark does not, because machines differ.

mod busy;
mod figures;
mod http;
mod load;
mod omnimind;
mod paths;
mod pending;
mod process;
mod protection;
mod restart;
mod scripts;
mod sockets;
mod throughput;

use std::time::Duration;

use omnimind_tests::languages::has_guest;

const SCENES: [&str; 8] =
    ["throughput", "paths", "busy", "pending", "restart", "protection", "scripts", "sockets"];

fn main() {
    // Cargo's own `--bench` comes along.
    let (options, mut scenes): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    // `cargo bench -- --test`: only that it runs.
    let smoke = options.iter().any(|option| option == "--test");
    if scenes.is_empty() {
        scenes = SCENES.map(String::from).into();
    }
    omnimind_tests::block_on(async {
        for scene in scenes {
            match (scene.as_str(), smoke) {
                ("throughput", true) => throughput::run(1, ms(200), ms(50)).await,
                ("throughput", false) => throughput::run(5, ms(4_000), ms(2_000)).await,
                ("paths", true) => paths::run(1, ms(50), has_guest("python-run")).await,
                ("paths", false) => paths::run(5, ms(2_000), has_guest("python-run")).await,
                ("busy", true) => busy::run(10, ms(100)).await,
                ("busy", false) => busy::run(2_000, ms(3_000)).await,
                ("pending", true) => pending::run(10, 100, 1, 5).await,
                ("pending", false) => pending::run(100, 10_000, 5, 200).await,
                ("restart", true) => restart::run(100, 1).await,
                ("restart", false) => restart::run(100_000, 3).await,
                ("protection", true) => protection::smoke().await,
                ("protection", false) => protection::run(ms(10_000)).await,
                // Nothing to run where `cargo xtask guests` could not build them.
                ("scripts", _) if !["python-run", "js-run"].into_iter().all(has_guest) => {}
                ("scripts", true) => scripts::run(2, ms(100), 2).await,
                ("scripts", false) => scripts::run(500, ms(5_000), 50).await,
                ("sockets", true) => sockets::run(20, 2, ms(500)).await,
                ("sockets", false) => sockets::run(5_000, 50, ms(20_000)).await,
                _ => panic!("no scene is called {scene}; there are {}", SCENES.join(", ")),
            }
        }
    });
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
