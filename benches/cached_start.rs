//! From a digest to the first instruction of a large component whose artefact is cached.
//!
//! `OMNIMIND_LARGE_COMPONENT` names the component (docs/performance.md used a Python one of 18 MB); without
//! it, one of the same size and number of functions is generated, which takes half a minute to compile.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use omnimind::executor::{Job, run};
use omnimind::limits::{Mode, Requested};
use omnimind::task::{MemoryJournal, TaskId};
use omnimind_tests::{Lab, block_on, bombs};

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let rounds = if smoke { 2 } else { 50 };
    let (name, bytes): (String, Arc<[u8]>) = match std::env::var("OMNIMIND_LARGE_COMPONENT") {
        Ok(path) => {
            (path.clone(), std::fs::read(&path).expect("OMNIMIND_LARGE_COMPONENT is readable").into())
        }
        Err(_) if smoke => ("generated, small".into(), bombs::medium_functions(20, 1_300).into()),
        Err(_) => ("generated".into(), bombs::medium_functions(13_500, 1_300).into()),
    };
    let artefacts = omnimind_tests::target_dir().join("bench-artefacts");
    let lab = Lab::new(artefacts.clone(), 2);
    let component = block_on(lab.engines.component(bytes.clone())).expect("it compiles");
    let digest = component.digest;
    println!("{name}: {} bytes, compiled in {} ms when it was compiled", bytes.len(), component.compiled_ms);

    let mut loads = Vec::new();
    let mut starts = Vec::new();
    for _ in 0..rounds {
        // A runtime that has run something, but never this: only the artefact on disk is there.
        let lab = Lab::new(artefacts.clone(), 2);
        lab.prepare(omnimind_benches::empty()).expect("a task");
        let begun = Instant::now();
        let component = block_on(lab.engines.cached(digest)).expect("not refused").expect("in the cache");
        let prepared = lab.executor.prepare(component).expect("linked");
        loads.push(begun.elapsed());
        // One unit of fuel: instantiation ends at the first function it enters.
        let mut limits = Requested::default();
        limits.ask("fuel", 1).expect("a limit");
        let limits = limits.effective(Mode::Dev).expect("limits");
        let job = Job::new(
            TaskId::generate(),
            prepared,
            Arc::default(),
            limits,
            Arc::new(MemoryJournal::default()),
        )
        .expect("a job");
        let outcome = block_on(run(job));
        starts.push(begun.elapsed());
        black_box(outcome);
    }
    for (what, mut times) in [("loaded and linked", loads), ("first instruction", starts)] {
        times.sort();
        let at = |index: usize| times[index].as_secs_f64() * 1000.0;
        println!("{what:<20} p50 {:>7.2} ms   max {:>7.2} ms", at(times.len() / 2), at(times.len() - 1));
    }
}
