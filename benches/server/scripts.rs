//! Scripts as tasks: how soon one answers, how many a second, beside the same script in a process of its own; and
//! what fifty interpreters at once take.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use omnimind_tests::languages::data_dir_with_artefacts;
use serde_json::json;

use crate::figures::Figures;
use crate::load::{self, Until};
use crate::omnimind::{Omnimind, task_id};

const SCRIPTS: [(&str, &str); 2] = [
    (
        "python-run",
        "import json, collections\ndef run(input): return collections.Counter(input['words']).most_common(2)",
    ),
    (
        "js-run",
        "function run(input) { const seen = {}; for (const word of input.words) seen[word] = (seen[word] ?? 0) + 1; return seen }",
    ),
];

/// The same work as a program, for the ratio.
const PROGRAM: &str = "import json, collections, sys\nprint(json.dumps(collections.Counter(json.load(sys.stdin)['words']).most_common(2)))";

pub async fn run(answers: usize, each: Duration, resident: usize) {
    let data = data_dir_with_artefacts();
    let server = Omnimind::start(&data, &[]).await;
    let input = json!({"words": ["to", "be", "or", "not", "to", "be"]});
    println!("\nScripts as tasks, source and input in the request, durable");
    println!("{:<28}{:>12}{:>12}{:>14}", "", "p50 ms", "p99 ms", "tasks/s");
    for (interpreter, source) in SCRIPTS {
        let task = json!({"component": interpreter, "input": {"source": source, "input": input}});
        let request = server.submit(&task, true);
        // The first one reads the interpreter, and compiles it where that was not done.
        load::run(server.process.address, &request, 1, Until::Requests(1), false).await.all_good();
        let until = Until::Requests(answers as u64);
        let alone = load::run(server.process.address, &request, 1, until, false).await.all_good();
        let alone = Figures::ms(&alone.latencies);
        let many =
            load::run(server.process.address, &request, 4, Until::Elapsed(each), false).await.all_good();
        let per_second = many.per_second();
        println!("{interpreter:<28}{:>12.2}{:>12.2}{per_second:>14.0}", alone.median(), alone.at(0.99));
    }
    match process(&input.to_string(), answers.min(50)) {
        Some(times) => println!(
            "{:<28}{:>12.2}{:>12.2}{:>14}",
            "a python3 process each",
            times.median(),
            times.at(0.99),
            "-"
        ),
        None => println!("a python3 process each: not run, there is no python3"),
    }
    println!("wanted of python-run: p50 at most 30 ms, at least 40 tasks/s");
    instances(&server, resident).await;
    server.process.stop();
    std::fs::remove_dir_all(data).expect("it is ours");
}

/// One after the other, each in a process of its own.
fn process(input: &str, runs: usize) -> Option<Figures> {
    // Not a script that stands in front of it and looks for the version that is wanted.
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let python = String::from_utf8(asked.stdout).ok()?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        let mut child = Command::new(python.trim())
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        std::io::Write::write_all(&mut child.stdin.take()?, input.as_bytes()).ok()?;
        child.wait().ok()?;
        times.push(begun.elapsed());
    }
    Some(Figures::ms(&times))
}

/// Memory with so many Python instances asleep in a host call, against none.
async fn instances(server: &Omnimind, count: usize) {
    let source = "import time\nprint(len([0] * 1000))\ntime.sleep(600)";
    let task = json!({"component": "python-run", "input": {"source": source}});
    let before = Memory::of(server);
    let request = server.submit(&task, false);
    let mut ids = Vec::new();
    for _ in 0..count {
        let round = load::run(server.process.address, &request, 1, Until::Requests(1), true).await.all_good();
        ids.push(task_id(&round.bodies[0]));
    }
    // All of them run and have computed: nothing of the processor is taken any more.
    let mut cpu = server.process.cpu();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = server.process.cpu();
        if now - cpu < Duration::from_millis(50) {
            break;
        }
        cpu = now;
    }
    let after = Memory::of(server);
    let Memory { private, shared, proportional, resident } = after;
    println!("\n{count} resident Python instances, MB (of the whole server; without them in brackets)");
    println!("{:<44}{private:>9.1} ({:.1})", "private: written, each its own", before.private);
    println!("{:<44}{shared:>9.1} ({:.1})", "mapped from files, once for each instance", before.shared);
    println!(
        "{:<44}{proportional:>9.1} ({:.1})",
        "PSS: what is in memory, each page once", before.proportional
    );
    println!("{:<44}{resident:>9.1} ({:.1})", "RSS: each page once for each mapping", before.resident);
    println!("{:<44}{:>9.2}", "private for each instance", (private - before.private) / count as f64);
    for id in ids {
        server.call(server.cancel(&id)).await;
    }
}

/// What a process has in memory, in MB.
struct Memory {
    private: f64,
    shared: f64,
    proportional: f64,
    resident: f64,
}

impl Memory {
    fn of(server: &Omnimind) -> Memory {
        let rollup =
            std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.process.id())).expect("procfs");
        let mb = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            kb.unwrap_or_else(|| panic!("no {name} in {rollup}")) / 1024.0
        };
        let (resident, private) = (mb("Rss"), mb("Anonymous"));
        Memory { private, shared: resident - private, proportional: mb("Pss"), resident }
    }
}
