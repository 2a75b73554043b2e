//! Compile bombs: refused by the pre-scan, or killed in their process. Nothing here may cost this
//! process time or memory.

use std::time::{Duration, Instant};

use omnimind::engine::prescan::{Caps, scan};
use omnimind::engine::{Allowance, Code};
use omnimind_tests::{Lab, Run, block_on, bombs};

/// A lab without a memory of what was refused before.
fn fresh() -> (tempfile::TempDir, Lab) {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::new(dir.path().join("artefacts"), 2);
    (dir, lab)
}

#[test]
fn the_prescan_refuses_each_kind_of_too_much_at_once() {
    for (what, bytes) in [
        ("locals", bombs::many_locals(5_001)),
        ("br_table", bombs::br_table(16_500)),
        ("functions", bombs::many_functions(50_001)),
        ("blocks", bombs::deep_blocks(2_100)),
        ("one function", bombs::straight_line((1 << 20) + 100)),
        ("nested components", bombs::nested_components(17)),
        ("instances", bombs::many_instances(257)),
        ("instances", bombs::fanout(22)),
        ("instances", bombs::fanout(26)),
        ("component", bombs::component_import_fanout(22)),
        ("component", bombs::alias_fanout(22)),
        ("imports", bombs::many_imports(10_001)),
        ("data segments", bombs::many_data_segments(100_001)),
    ] {
        let begun = Instant::now();
        let refusal = scan(&bytes, &Caps::default()).expect_err(what);
        assert_eq!(refusal.code, Code::ComponentTooComplex, "{what}: {refusal}");
        assert!(refusal.message.contains(what), "{what}: {refusal}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{what} took {:?}", begun.elapsed());
    }
}

/// `count` times `item`, within `around`.
fn repeated(around: &str, item: &str, count: usize) -> Vec<u8> {
    wat::parse_str(around.replace("...", &item.repeat(count))).expect("text")
}

#[track_caller]
fn too_much(bytes: &[u8], words: &str) {
    let refusal = scan(bytes, &Caps::default()).expect_err(words);
    assert_eq!(refusal.code, Code::ComponentTooComplex, "{refusal}");
    assert!(refusal.message.contains(words), "{words}: {refusal}");
}

#[test]
fn the_prescan_counts_the_whole_component() {
    let mut sections = b"\0asm\x0d\0\x01\0".to_vec();
    sections.extend([0, 1, 0].repeat(50_001));
    too_much(&sections, "50001 sections");
    too_much(&repeated("(component ...)", "(core module)", 129), "129 core modules");
    too_much(&repeated("(component ...)", "(component)", 1001), "1001 components");
    let half = format!("(core module {})", "(func)".repeat(25_001));
    too_much(&repeated("(component ...)", &half, 2), "50002 functions");
    // Nothing comes after these instances that would be counted instead of them.
    let instances = "(component (component $a) ...)";
    too_much(&repeated(instances, "(instance (instantiate $a))", 257), "257 instances");
}

#[test]
fn the_prescan_refuses_components_that_hide_their_cost() {
    too_much(&repeated("(component ...)", r#"(import "x" (component))"#, 1), "imports a component");
    let taken = r#"(component (component $a (component $b) (export "x" (component $b)))
        (instance $i (instantiate $a)) (alias export $i "x" (component)))"#;
    too_much(&repeated(taken, "", 1), "takes a component out of an instance");
}

#[test]
fn the_prescan_counts_the_entries_of_each_section() {
    let (module, component) = ("(component (core module ...))", "(component ...)");
    for (what, around, item) in [
        ("types", module, "(type (func))"),
        ("globals", module, "(global i32 (i32.const 0))"),
        ("tables", module, "(table 0 funcref)"),
        ("memories", module, "(memory 0)"),
        ("element segments", module, "(elem func)"),
        ("core types", component, "(core type (func))"),
        ("component types", component, "(type u8)"),
    ] {
        too_much(&repeated(around, item, 10_001), &format!("10001 {what}"));
    }
}

#[test]
fn the_twins_of_the_bombs_are_accepted_and_run() {
    for (what, bytes) in [
        ("phis", bombs::phis(20)),
        ("locals", bombs::many_locals(100)),
        ("straight line", bombs::straight_line(10_000)),
        ("br_table", bombs::br_table(1_000)),
        ("functions", bombs::many_functions(2_000)),
        ("medium functions", bombs::medium_functions(20, 1_000)),
        ("blocks", bombs::deep_blocks(500)),
        ("stack", bombs::stack_depth(1_000)),
        ("fan-out", bombs::fanout(3)),
        ("nesting", bombs::nested_components(10)),
        ("types", bombs::exploding_types(3)),
        ("data segments", bombs::many_data_segments(1_000)),
    ] {
        let outcome = Run::bytes(bytes.into()).input("twin").execute();
        assert_eq!(omnimind_tests::OutcomeExt::output(&outcome), b"twin", "{what}");
    }
}

#[test]
fn cpu_time_grows_with_the_bytes() {
    assert_eq!(Allowance::for_size(50_000).cpu.as_secs(), 5);
    assert_eq!(Allowance::for_size(18_500_000).cpu.as_secs(), 60);
    assert_eq!(Allowance::for_size(64 << 20).cpu.as_secs(), 90);
    assert!(Allowance::for_size(50_000).memory_bytes < Allowance::for_size(5_000_000).memory_bytes);
}

#[test]
fn slow_a_bomb_of_few_bytes_is_killed_after_its_cpu_time_and_remembered() {
    let (_dir, lab) = fresh();
    // 21 KB that Cranelift needs half a minute for.
    let bomb = bombs::phis(1000);
    let begun = Instant::now();
    let refusal = block_on(lab.engines.component(bomb.clone().into())).expect_err("a bomb");
    assert_eq!(refusal.code, Code::CompileTimeout, "{refusal}");
    assert!(begun.elapsed() < Duration::from_secs(50), "killed late: {:?}", begun.elapsed());

    let again = Instant::now();
    let remembered = block_on(lab.engines.component(bomb.into())).expect_err("still a bomb");
    assert_eq!(remembered, refusal);
    assert!(again.elapsed() < Duration::from_secs(1), "it was compiled again");
}

#[test]
fn a_bomb_for_memory_is_killed() {
    let (_dir, lab) = fresh();
    // 42 KB that Cranelift needs 2 GB for.
    let refusal = block_on(lab.engines.component(bombs::phis(2000).into())).expect_err("a bomb");
    // On a slow machine its CPU time may be over first.
    assert!(matches!(refusal.code, Code::ComponentTooComplex | Code::CompileTimeout), "{refusal}");
}

#[test]
fn slow_a_bomb_submitted_many_times_at_once_is_compiled_once() {
    let (_dir, lab) = fresh();
    let bomb: std::sync::Arc<[u8]> = bombs::phis(1000).into();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| block_on(lab.engines.component(bomb.clone())).expect_err("a bomb"));
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(40), "one compilation, not twenty: {:?}", begun.elapsed());
}

#[test]
fn deep_types_are_invalid_not_fatal() {
    for bytes in [bombs::exploding_types(40), bombs::deep_types(200)] {
        let refusal = Run::bytes(bytes.into()).refusal();
        assert!(matches!(refusal.code, Code::ComponentInvalid | Code::ComponentTooComplex), "{refusal}");
    }
}

#[test]
#[ignore = "defense: minutes of compiling"]
fn every_bomb_has_an_answer_in_time_and_the_next_component_compiles() {
    let (_dir, lab) = fresh();
    for (what, bytes) in [
        ("phis 1000", bombs::phis(1000)),
        ("locals", bombs::many_locals(5_000)),
        ("straight line", bombs::straight_line(1_000_000)),
        ("br_table", bombs::br_table(16_000)),
        ("functions", bombs::many_functions(49_000)),
        ("medium functions", bombs::medium_functions(20_000, 1_000)),
        ("stack", bombs::stack_depth(250_000)),
        ("blocks", bombs::deep_blocks(1_900)),
        ("types", bombs::exploding_types(24)),
    ] {
        let size = bytes.len();
        let begun = Instant::now();
        let result = block_on(lab.engines.component(bytes.into()));
        let took = begun.elapsed();
        eprintln!("{what}: {size} bytes, {took:?}, {:?}", result.as_ref().map(|_| "accepted"));
        assert!(took < Allowance::for_size(size).wall, "{what}");
        if let Err(refusal) = result {
            assert_ne!(refusal.code, Code::Internal, "{what}: {refusal}");
        }
        block_on(lab.engines.component(omnimind_tests::guest("hostile/echo"))).expect("a good component");
    }
}

/// A component of `modules` modules, each with a memory of 16 MiB and a byte at each end.
fn images(modules: usize) -> Vec<u8> {
    let module = |n: usize| {
        format!(r#"(core module (memory 256) (data (i32.const 0) "A{n}") (data (i32.const 16777200) "Z"))"#)
    };
    let modules: String = (0..modules).map(module).collect();
    wat::parse_str(format!("(component {modules})")).expect("text")
}

#[test]
fn an_artefact_is_not_many_times_larger_than_its_component() {
    let (dir, lab) = fresh();
    block_on(lab.engines.component(images(20).into())).expect("it compiles");
    let mut bytes = 0;
    for engine in std::fs::read_dir(dir.path().join("artefacts")).expect("a directory").flatten() {
        for file in std::fs::read_dir(engine.path()).into_iter().flatten().flatten() {
            bytes += file.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    assert!(bytes < 30 << 20, "{bytes} bytes of artefact for 20 memories of 16 MiB");
}

#[test]
fn an_artefact_is_not_larger_than_its_allowance() {
    let (_dir, lab) = fresh();
    // Nearly 1 MiB of artefact from each module of 34 bytes: that is as sparse as an image may be.
    let images = |modules: usize| {
        let module = |n| {
            format!(r#"(core module (memory 16) (data (i32.const 0) "A{n}") (data (i32.const 983039) "Z"))"#)
        };
        let modules: String = (0..modules).map(module).collect();
        wat::parse_str(format!("(component {modules})")).expect("text")
    };
    block_on(lab.engines.component(images(20).into())).expect("20 MiB are within the allowance of 32");
    let refusal = block_on(lab.engines.component(images(60).into())).expect_err("60 MiB are not");
    assert_eq!(refusal.code, Code::ComponentTooComplex, "{refusal}");
    assert!(refusal.message.contains("compiled code is larger"), "{refusal}");
}

#[test]
fn a_worker_killed_by_somebody_else_is_nothing_against_the_component() {
    let (_dir, lab) = fresh();
    let large: std::sync::Arc<[u8]> = bombs::medium_functions(1_500, 1_000).into();
    // Other tests compile at the same time: this one is known by what it may have.
    let allowance = Allowance::for_size(large.len()).memory_bytes.to_string();
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| block_on(lab.engines.component(large.clone())));
        let begun = Instant::now();
        let worker = loop {
            if let Some(worker) = worker(&allowance) {
                break worker;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no worker is running");
            omnimind_tests::pause(Duration::from_millis(5));
        };
        let status = std::process::Command::new("kill").args(["-KILL", &worker]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let refusal = compiling.join().expect("no panic").expect_err("killed");
        assert_eq!(refusal.code, Code::Internal, "{refusal}");
    });
    block_on(lab.engines.component(large)).expect("and the next time it compiles");
}

/// The compile worker that this process started with that allowance.
fn worker(allowance: &str) -> Option<String> {
    let ours = format!("PPid:\t{}\n", std::process::id());
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = processes.filter(|process| {
        let arguments = read(process.path().join("cmdline"));
        arguments.contains("compile-worker")
            && arguments.contains(allowance)
            && read(process.path().join("status")).contains(&ours)
    });
    found.next().map(|process| process.file_name().to_string_lossy().into_owned())
}

#[test]
fn slow_a_caller_that_goes_away_does_not_let_a_second_compilation_begin() {
    let (_dir, lab) = fresh();
    let bomb = bombs::phis(1001);
    let allowance = Allowance::for_size(bomb.len()).memory_bytes.to_string();
    block_on(async {
        let first =
            tokio::time::timeout(Duration::from_millis(500), lab.engines.component(bomb.into())).await;
        assert!(first.is_err(), "it compiles for seconds");
        let second = lab.engines.component(bombs::medium_functions(100, 1_000).into());
        let second = tokio::time::timeout(Duration::from_secs(1), second).await;
        assert!(second.is_err(), "the first compilation goes on, so the second waits: {allowance}");
        let garbage = lab.engines.component(b"not wasm".as_slice().into());
        let refusal =
            tokio::time::timeout(Duration::from_secs(1), garbage).await.expect("garbage does not wait");
        assert_eq!(refusal.expect_err("garbage").code, Code::ComponentInvalid);
    });
}
