//! What lending a language model costs: guests that ask one beside a client that asks the same server for the same
//! answers itself, what an answer costs that is kept, and what it costs to wait for a turn.
//!
//! Guest and client take turns, so that what else the machine does falls on both.

mod direct;

use std::sync::Arc;
use std::time::Duration;

use direct::{AtOnce, Client};
use futures_util::stream::{FuturesUnordered, StreamExt};
use omnimind::backend::Backends;
use omnimind::backend::inference::{Inference, Load, Most, Ollama as Backend, Settings};
use omnimind::backend::ollama::Server;
use omnimind::executor::Control;
use omnimind_benches::median;
use omnimind_tests::lines::{Act, Lines};
use omnimind_tests::ollama::{MODEL, Ollama};
use omnimind_tests::{Lab, OutcomeExt, Run, TYPES, block_on, target_dir, usage};
use tokio::runtime::Runtime;

const GUEST: &str = include_str!("guest.wat");

/// Tokens of prompt and answer together.
const CONTEXT: u64 = 1024;

/// Small models go on with it until they are stopped.
const PROMPT: &str = "Write a very long story about a cat.";

/// Tasks that wait for one turn.
const WAITING: usize = 50;

/// One answer: milliseconds to its first piece and to its end, and its pieces.
#[derive(Clone, Copy)]
struct Took {
    first: f64,
    whole: f64,
    pieces: f64,
}

/// A lab whose tasks are lent the models of the server at `url`.
fn lab(url: &str, io: &Runtime, settings: Settings) -> Lab {
    let server = Server::new(url, io.handle().clone()).expect("a URL");
    let backend = Arc::new(Backend::new(server, Load { context: CONTEXT, gpu_layers: None }));
    let settings = Settings { model: MODEL.to_owned(), context: CONTEXT, ..settings };
    let inference = Arc::new(Inference::new(settings, backend, io.handle().clone()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let instances = WAITING as u32 + 8;
    let Lab { engines, executor, guests } =
        Lab::with_slots(target_dir().join("bench-artefacts"), instances, cores);
    Lab { executor: executor.with(Backends { inference, ..Backends::default() }), engines, guests }
}

/// A task that asks for one answer piece by piece (0 times), or for so many whole ones.
fn asking(times: u32, tokens: u32) -> Run {
    let input = [&times.to_le_bytes()[..], &tokens.to_le_bytes(), PROMPT.as_bytes()].concat();
    let component = wat::parse_str(GUEST.replace(";; include types", TYPES)).expect("text");
    Run::bytes(component.into()).input(input).limit("llm_tokens", 1_000_000).limit("wall_ms", 300_000)
}

fn guest(lab: &Lab, times: u32, tokens: u32) -> Took {
    let outcome = block_on(lab.executor.execute(asking(times, tokens).job(lab).expect("a task")));
    let numbers = outcome.output().chunks_exact(8).map(|bytes| bytes.try_into().expect("eight"));
    let numbers: Vec<f64> = numbers.map(|bytes| u64::from_le_bytes(bytes) as f64).collect();
    Took { first: numbers[0] / 1e6, whole: numbers[1] / 1e6, pieces: numbers[2] }
}

/// Prints how a guest gets on beside a client of the same server.
fn compare(name: &str, url: &str, io: &Runtime, tokens: u32, rounds: usize, wanted: [&str; 2]) {
    let lab = lab(url, io, Settings::default());
    let mut client = Client::connect(url);
    // Once, so that everything is loaded and the server knows the prompt.
    client.ask(PROMPT, tokens);
    guest(&lab, 0, tokens);
    let (mut first, mut rate) = (Vec::new(), Vec::new());
    let (mut firsts, mut rates) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..rounds {
        // Each is second as often as first.
        let mut both = [None; 2];
        for turn in [round % 2, (round + 1) % 2] {
            let took = if turn == 0 { client.ask(PROMPT, tokens) } else { guest(&lab, 0, tokens) };
            firsts[turn].push(took.first);
            rates[turn].push((took.pieces - 1.0) / (took.whole - took.first) * 1000.0);
            both[turn] = Some(took);
        }
        let [Some(theirs), Some(ours)] = both else { unreachable!("both had their turn") };
        assert_eq!(theirs.pieces, ours.pieces, "the same answer");
        first.push(ours.first - theirs.first);
        rate.push((ours.whole - ours.first) / (theirs.whole - theirs.first));
    }
    let [their_first, our_first] = firsts.map(median);
    let [their_rate, our_rate] = rates.map(median);
    println!("{name}, {tokens} tokens, {rounds} rounds");
    println!(
        "  first piece, ms    client {their_first:>9.2}   guest {our_first:>9.2}   more {:>8.2}   wanted: {}",
        median(first),
        wanted[0]
    );
    println!(
        "  tokens per second  client {their_rate:>9.1}   guest {our_rate:>9.1}   ratio {:>7.4}   wanted: {}\n",
        1.0 / median(rate),
        wanted[1]
    );
}

/// Microseconds of an answer that is kept.
fn kept(url: &str, io: &Runtime, rounds: usize, calls: u32) {
    let lab = lab(url, io, Settings { kept: 100, ..Settings::default() });
    guest(&lab, 1, 64);
    let cost = |_| (guest(&lab, 1 + calls, 64).whole - guest(&lab, 1, 64).whole) * 1000.0 / f64::from(calls);
    let cost = median((0..rounds).map(cost).collect());
    println!("an answer that is kept: {cost:.1} µs for each call   wanted: at most 50");
}

/// Threads and memory of tasks that wait for a turn at a model that never comes.
fn waiting(io: &Runtime) {
    let silent = Lines::serve(|_| vec![Act::Hang]);
    let lab =
        lab(silent.url(), io, Settings { most: Most { in_all: 8, of_model: 1 }, ..Settings::default() });
    let me = std::process::id();
    let seen = || (usage::threads(me), usage::resident(me));
    // Some that go before, for what only the first of all cost.
    let jobs = |count: usize| (0..count).map(|_| asking(1, 64).job(&lab).expect("a task"));
    let (first, rest): (Vec<_>, Vec<_>) = (jobs(8).collect(), jobs(WAITING).collect());
    let controls: Vec<Control> = first.iter().chain(&rest).map(|job| job.control.clone()).collect();
    block_on(async {
        let mut tasks: FuturesUnordered<_> = first.into_iter().map(|job| lab.executor.execute(job)).collect();
        let wait = Duration::from_secs(2);
        assert!(tokio::time::timeout(wait, tasks.next()).await.is_err(), "all of them wait");
        let before = seen();
        tasks.extend(rest.into_iter().map(|job| lab.executor.execute(job)));
        assert!(tokio::time::timeout(wait, tasks.next()).await.is_err(), "all of them wait");
        let after = seen();
        let each = after.1.saturating_sub(before.1) as f64 / WAITING as f64 / 1024.0;
        println!(
            "{WAITING} tasks that wait: {} threads more, {each:.0} KiB each, with their instances   wanted: 0, at most 1024",
            after.0 as i64 - before.0 as i64
        );
        controls.iter().for_each(|control| control.cancel(Duration::ZERO));
        while tasks.next().await.is_some() {}
    });
}

fn main() {
    // `cargo bench -- --test`: only that it runs.
    let smoke = std::env::args().any(|argument| argument == "--test");
    let (rounds, calls) = if smoke { (1, 100) } else { (31, 20_000) };
    // As the server's.
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let io = io.expect("a runtime");
    let at_once = AtOnce::serve();
    compare("A server that writes at once", at_once.url(), &io, 900, rounds, ["", ""]);
    match Ollama::start() {
        Some(ollama) => {
            let wanted = ["at most 2 more", "at least 0.99"];
            compare("Ollama", &ollama.url(), &io, if smoke { 8 } else { 128 }, rounds, wanted);
        }
        None => println!("Ollama SKIPPED: it is not there; cargo xtask test builds it\n"),
    }
    kept(at_once.url(), &io, rounds.min(15), calls);
    waiting(&io);
}
