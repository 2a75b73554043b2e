//! Texts that a guest has made into vectors, beside onnxruntime and sentence-transformers with the same texts, the
//! same model and as many threads; and what a vector costs that is kept.
//!
//! Rounds take turns, so that what else the machine does falls on all of them. Everybody counts tokens too.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnimind::backend::Backends;
use omnimind::backend::embedding::{Embedder, Settings};
use omnimind::config::EmbeddingProvider;
use omnimind_benches::median;
use omnimind_benches::peer::Peer;
use omnimind_tests::{Lab, OutcomeExt, Run, TYPES, block_on, checkpoint, target_dir};
use serde_json::{Value, json};

/// Words that are one token each.
const WORDS: &str = "time year people way day man thing woman life child world school state family student group \
    country problem hand part place case week company system program question work number night point home water \
    room mother area money story fact month lot right study book";

/// Embeds the texts of its input, as often as that says; returns the first vector.
const GUEST: &str = r#"(component
  ;; include types
  (import "omnimind:runtime/embedding@0.1.0" (instance $embedding
    (export "error" (type $e (eq $error)))
    (type $v (record (field "dimensions" u32) (field "data" (list f32))))
    (export "vectors" (type $vectors (eq $v)))
    (export "embed" (func (param "texts" (list string)) (result (result $vectors (error $e)))))))
  (core module $memory
    (memory (export "memory") 160)
    ;; The input at 64 KiB, where its own pointers say that it is; what the host brings back at 4 MiB.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (select (i32.const 65536) (i32.const 4194304) (i32.eq (local.get 2) (i32.const 1)))))
  (core instance $memory (instantiate $memory))
  (core func $embed (canon lower (func $embedding "embed") (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core module $m
    (import "m" "memory" (memory 1))
    (import "m" "embed" (func $embed (param i32 i32 i32)))
    (func (export "run") (param $at i32) (param i32) (result i32) (local $n i32)
      (local.set $n (i32.load (local.get $at)))
      (loop $next
        (call $embed (i32.add (local.get $at) (i32.const 8)) (i32.load offset=4 (local.get $at)) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then unreachable))
        (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (i32.store (i32.const 20) (i32.load (i32.const 76)))
      (i32.store (i32.const 24) (i32.mul (i32.load (i32.const 72)) (i32.const 4)))
      i32.const 16))
  (core instance $m (instantiate $m
    (with "m" (instance (export "memory" (memory $memory "memory")) (export "embed" (func $embed))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $m "run") (memory $memory "memory") (realloc (func $memory "realloc")))))"#;

/// Where the guest's input is in its memory.
const INPUT: u32 = 65_536;

/// The guest's input: how often, how many, where each text is and how long, the texts.
fn input(texts: &[String], times: u32) -> Vec<u8> {
    let count = texts.len() as u32;
    let mut input: Vec<u8> = [times, count].iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut at = INPUT + 8 + 8 * count;
    for text in texts {
        let length = text.len() as u32;
        input.extend([at, length].iter().flat_map(|number| number.to_le_bytes()));
        at += length;
    }
    input.extend(texts.iter().flat_map(|text| text.bytes()));
    input
}

/// A lab whose tasks are lent the model in `folder`.
fn lab(name: &str, folder: &Path, threads: usize, cache_size: usize) -> Lab {
    let settings = Settings {
        provider: EmbeddingProvider::Local,
        folder: folder.to_owned(),
        cache_size,
        cache_ttl: Duration::from_secs(3600),
        ..Settings::default()
    };
    let backends = Backends { embedding: Arc::new(Embedder::new(settings, None)), ..Backends::default() };
    Lab::with_backends(target_dir().join(name), threads, backends)
}

/// Milliseconds that a task takes for embedding `texts` so often, and the first vector.
fn run(lab: &Lab, texts: &[String], times: u32) -> (f64, Vec<f32>) {
    let run = Run::bytes(wat::parse_str(GUEST.replace(";; include types", TYPES)).expect("text").into())
        .input(input(texts, times));
    let job = run.limit("embed_tokens", 100_000_000).job(lab).expect("a task");
    let begun = Instant::now();
    let outcome = block_on(lab.executor.execute(job));
    let spent = begun.elapsed().as_secs_f64() * 1000.0;
    let numbers = outcome.output().chunks_exact(4).map(|bytes| bytes.try_into().expect("four"));
    (spent, numbers.map(f32::from_le_bytes).collect())
}

/// Texts of so many words each, anew in each run of the bench.
struct Words(u64);

impl Words {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn text(&mut self, count: usize) -> String {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let chosen: Vec<&str> = (0..count).map(|_| words[self.below(words.len())]).collect();
        chosen.join(" ")
    }
}

struct Case {
    name: &'static str,
    texts: Vec<String>,
    times: u32,
    wanted: [&'static str; 2],
}

fn ask(peer: &mut Peer, case: &Case, vector: &[f32]) -> f64 {
    let asked = json!({"texts": case.texts, "times": case.times}).to_string();
    let answer: Value = serde_json::from_str(&peer.ask(&asked)).expect("an answer");
    let theirs = answer["first"].as_array().expect("a vector");
    assert_eq!(theirs.len(), vector.len(), "{}", case.name);
    for (theirs, ours) in theirs.iter().zip(vector) {
        let far = (theirs.as_f64().expect("a number") - f64::from(*ours)).abs();
        assert!(far < 1e-4, "{}: the vectors differ by {far}", case.name);
    }
    answer["ms"].as_f64().expect("milliseconds")
}

fn main() {
    // `cargo bench -- --test`: only that it runs.
    let smoke = std::env::args().any(|argument| argument == "--test");
    let Some(folder) = checkpoint::minilm() else {
        println!("embeddings SKIPPED: the model is not there; cargo xtask peers gets it");
        return;
    };
    let rounds = if smoke { 1 } else { 15 };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seed = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
    println!("seed {seed}");
    let mut words = Words(seed);
    let mut texts =
        |count: usize, length: usize| -> Vec<String> { (0..count).map(|_| words.text(length)).collect() };
    let equal = ["at least 1", ""];
    let mut cases = vec![
        Case { name: "1 text of 20 words", texts: texts(1, 20), times: 40, wanted: equal },
        Case { name: "64 of 20 words", texts: texts(64, 20), times: 2, wanted: equal },
        Case { name: "64 of 100 words", texts: texts(64, 100), times: 1, wanted: equal },
    ];
    let mixed = (0..64).map(|at| 5 + at * 195 / 63).map(|length| texts(1, length).remove(0)).collect();
    cases.push(Case { name: "64 of 5 to 200 words", texts: mixed, times: 1, wanted: ["", "at least 1.5"] });

    let own = lab("bench-artefacts", &folder, threads, 0);
    let python = target_dir().join("peers/python/bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("embeddings/peer.py");
    let mut peers = ["onnxruntime", "sentence_transformers"].map(|package| {
        let (name, threads) = (package.replace('_', "-"), threads.to_string());
        let arguments = [script.as_os_str(), OsStr::new(&name), folder.as_os_str(), OsStr::new(&threads)];
        Peer::start(&python, package, &arguments)
    });

    println!(
        "\n{:<24}{:>12}{:>14}{:>8}{:>24}{:>8}",
        "", "guest, ms", "onnxruntime", "ratio", "sentence-transformers", "ratio"
    );
    for case in &cases {
        // Once so that everything is loaded.
        let (_, vector) = run(&own, &case.texts, 1);
        for peer in peers.iter_mut().flatten() {
            ask(peer, case, &vector);
        }
        let (mut ours, mut theirs) = (Vec::new(), [Vec::new(), Vec::new()]);
        for _ in 0..rounds {
            let (ms, vector) = run(&own, &case.texts, case.times);
            ours.push(ms / f64::from(case.times));
            for (peer, theirs) in peers.iter_mut().zip(&mut theirs) {
                theirs.extend(peer.as_mut().map(|peer| ask(peer, case, &vector)));
            }
        }
        let ours = median(ours);
        print!("{:<24}{ours:>12.2}", case.name);
        for (theirs, width) in theirs.into_iter().zip([14, 24]) {
            match theirs.is_empty() {
                true => print!("{:>width$}{:>8}", "-", "-"),
                false => print!("{:>width$.2}{:>8.2}", median(theirs.clone()), median(theirs) / ours),
            }
        }
        let [onnxruntime, torch] = case.wanted;
        println!("   wanted: {}", if onnxruntime.is_empty() { torch } else { onnxruntime });
    }

    let keeps = lab("bench-artefacts", &folder, threads, 10_000);
    let (one, calls) = (&cases[0].texts, if smoke { 100 } else { 20_000 });
    run(&keeps, one, 1);
    let cost = |_| (run(&keeps, one, 1 + calls).0 - run(&keeps, one, 1).0) * 1000.0 / f64::from(calls);
    let cost = median((0..rounds).map(cost).collect());
    println!("\na vector that is kept: {cost:.1} µs for each call   wanted: at most 30");
}
