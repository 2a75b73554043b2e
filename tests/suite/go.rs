//! What Go's own compiler makes for WASI 0.1: its heap and the adapter share one memory.

use std::sync::{Arc, LazyLock};

use omnimind::task::FailureKind;
use omnimind_tests::languages::{has_tool, shell};
use omnimind_tests::{OutcomeExt, Run, checkout, target_dir};

/// A module with the layout of Go's, that writes, does with memory what Go's allocator does, and writes again.
/// The numbers are those of `runtime.firstmoduledata`.
fn like_go() -> Vec<u8> {
    const END: u64 = 70_000;
    let mut words = vec![4096];
    for slice in 0..6 {
        words.extend([4200 + 16 * slice, 2, 2]);
    }
    words.extend([5000, 1, 2, 1, 2]);
    words.extend([8192, 10_000, 10_000, 11_000, 11_000, 12_000, 12_000, END, 13_000, 14_000, END]);
    let bytes: String = words.iter().flat_map(|word: &u64| word.to_le_bytes()).map(escaped).collect();
    wat::parse_str(format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 3)
          (global $unused (mut i32) (i32.const 0))
          (data (i32.const 16) "0123456789")
          (data (i32.const 4096) "\f1\ff\ff\ff\00\00\01\08")
          (data (i32.const 9000) "{bytes}")
          (func $say (param $from i32)
            (i32.store (i32.const 0) (local.get $from))
            (i32.store (i32.const 4) (i32.const 5))
            (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
          (func (export "_start")
            (local $heap i32)
            (call $say (i32.const 16))
            ;; Everything above the program's data, whoever grew the memory.
            (local.set $heap (i32.and (i32.add (i32.load (i32.const 9272)) (i32.const 65535)) (i32.const -65536)))
            (drop (memory.grow (i32.const 16)))
            (memory.fill
              (local.get $heap)
              (i32.const 255)
              (i32.sub (i32.shl (memory.size) (i32.const 16)) (local.get $heap)))
            (call $say (i32.const 21))
            ;; And the adapter left it alone.
            (loop $next
              (if (i32.ne (i32.load8_u (local.get $heap)) (i32.const 255)) (then unreachable))
              (local.set $heap (i32.add (local.get $heap) (i32.const 1)))
              (br_if $next (i32.lt_u (local.get $heap) (i32.shl (memory.size) (i32.const 16)))))))"#
    ))
    .expect("text")
}

fn escaped(byte: u8) -> String {
    format!("\\{byte:02x}")
}

#[test]
fn go_s_heap_and_the_adapter_do_not_meet() {
    assert_eq!(Run::bytes(like_go().into()).execute().output(), b"0123456789");
}

/// `tests/go`, built by the Go that `cargo xtask guests` takes.
fn program() -> Option<Arc<[u8]>> {
    static PROGRAM: LazyLock<Option<Arc<[u8]>>> = LazyLock::new(|| {
        let (source, built) = (checkout().join("tests/go/main.go"), target_dir().join("go"));
        let wasm = built.join(format!("{}.wasm", std::process::id()));
        if !has_tool("go version") {
            return None;
        }
        let mut go = shell(&format!("go build -o '{}' '{}'", wasm.display(), source.display()));
        go.env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
        go.env("GOCACHE", built.join("cache")).env("GOPATH", built.join("path"));
        assert!(go.status().expect("sh").success(), "tests/go/main.go does not build");
        let bytes = std::fs::read(&wasm).expect("the module");
        let _ = std::fs::remove_file(&wasm);
        Some(bytes.into())
    });
    PROGRAM.clone()
}

fn run(program: &Arc<[u8]>, args: &[&str]) -> Run {
    let mut run = Run::bytes(program.clone());
    run.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    run
}

#[test]
fn a_go_program_runs_as_it_does_elsewhere() {
    use sha2::Digest as _;
    let Some(program) = program() else { return };
    let input: Vec<u8> = (0..6_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let hash: String = sha2::Sha256::digest(&input).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut work = run(&program, &["work", "two words"]).input(input);
    work.env = vec![("GREETING".into(), "hello".into())];
    let outcome = work.execute();
    let expected = format!(
        "read {hash}\nsquares 332833500\ncounted 300000\nmissing true [two words] hello\ndamaged 0\n"
    );
    assert_eq!(String::from_utf8_lossy(outcome.output()), expected);
    assert_eq!(outcome.log.head, b"..........", "standard error is the log");

    // Go's codes are failure and nothing more, as every command's of WASI 0.1.
    let outcome = run(&program, &["exit"]).execute();
    assert_eq!((outcome.failure().kind, outcome.failure().exit_code), (FailureKind::GuestError, Some(1)));
    let outcome = run(&program, &["panic"]).execute();
    assert_eq!((outcome.failure().kind, outcome.failure().exit_code), (FailureKind::GuestError, Some(1)));
    let log = String::from_utf8_lossy(&outcome.log.head).into_owned();
    assert!(log.contains("assignment to entry in nil map") && log.contains("main.main()"), "{log}");
    // Too little memory for what it wants to keep: Go says so and exits.
    let outcome = run(&program, &["work"]).limit("memory_bytes", 64 << 20).execute();
    assert_eq!(outcome.failure().kind, FailureKind::GuestError, "{outcome:?}");
    let log = String::from_utf8_lossy(&outcome.log.head).into_owned();
    assert!(log.contains("fatal error: out of memory"), "{log}");
}
