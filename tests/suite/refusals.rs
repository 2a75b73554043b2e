//! Components that are not accepted, and what is said of them.

use omnimind::engine::Code;
use omnimind_tests::{Run, bombs};

fn refused(bytes: Vec<u8>) -> omnimind::engine::Refusal {
    Run::bytes(bytes.into()).refusal()
}

#[test]
fn bytes_that_are_not_wasm() {
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("four bytes", b"\0asm".to_vec()),
        ("truncated", bombs::truncated()),
        ("random after a header", bombs::random_after_header(1)),
        ("random after a header", bombs::random_after_header(2)),
        ("huge counts", bombs::huge_claimed_counts()),
        ("huge length", bombs::huge_claimed_length()),
        ("text", bombs::text()),
        ("nested text", bombs::text_nesting()),
        ("gzip", bombs::gzip()),
        ("ELF", bombs::elf()),
        ("an artefact", bombs::precompiled_lookalike()),
    ] {
        let refusal = refused(bytes);
        assert_eq!(refusal.code, Code::ComponentInvalid, "{what}: {refusal}");
    }
}

#[test]
fn a_refusal_names_the_byte() {
    let mut bytes = omnimind_tests::guest("hostile/echo").to_vec();
    let cut = bytes.len() - 10;
    bytes.truncate(cut);
    let refusal = refused(bytes);
    assert!(refusal.offset.is_some_and(|offset| offset <= cut as u64), "{refusal}");
    assert!(refusal.message.contains("at byte"), "{refusal}");
}

#[test]
fn flipped_bits_never_panic() {
    for seed in 0..40 {
        let bytes = bombs::bit_flipped(seed);
        // Some flips leave a valid component; what matters is that there is an answer.
        if let Err(refusal) = Run::bytes(bytes.into()).job(omnimind_tests::Lab::shared()) {
            assert_ne!(refusal.code, Code::Internal, "seed {seed}: {refusal}");
        }
    }
}

#[test]
fn a_core_module_that_is_no_command() {
    let refusal = refused(bombs::core_module());
    assert_eq!(refusal.code, Code::NotAComponent);
    assert!(refusal.message.contains("wasi_snapshot_preview1"), "{refusal}");
}

#[test]
fn an_empty_component_exports_nothing() {
    let refusal = refused(b"\0asm\x0d\0\x01\0".to_vec());
    assert_eq!(refusal.code, Code::MissingExport);
}

#[test]
fn unknown_imports_are_named() {
    for (guest, named) in [
        ("import-unknown", "acme:clock/ticks@1.0.0"),
        ("import-misspelt", "wasi:clocks/monotonic-clock"),
        ("import-misspelt-function", "monotonic-clock"),
    ] {
        let refusal = Run::hostile(guest).refusal();
        assert_eq!(refusal.code, Code::UnknownImport, "{guest}: {refusal}");
        assert!(refusal.message.contains(named), "{guest}: {refusal}");
    }
}

#[test]
fn a_capability_that_is_not_there_is_told_from_a_typing_error() {
    let refusal = Run::hostile("import-unavailable").refusal();
    assert_eq!(refusal.code, Code::CapabilityUnavailable, "{refusal}");
    assert!(refusal.message.contains("vector_memory"), "{refusal}");
}

#[test]
fn exports_that_do_not_fit() {
    for (guest, code) in [
        ("export-missing", Code::MissingExport),
        ("export-wrong-type", Code::TypeMismatch),
        ("export-instance", Code::TypeMismatch),
    ] {
        let refusal = Run::hostile(guest).refusal();
        assert_eq!(refusal.code, code, "{guest}: {refusal}");
        assert!(refusal.message.contains("run"), "{guest}: {refusal}");
    }
}

#[test]
fn an_import_of_another_type() {
    let refusal = Run::hostile("import-wrong-type").refusal();
    assert_eq!(refusal.code, Code::TypeMismatch, "{refusal}");
    assert!(refusal.message.contains("monotonic-clock"), "{refusal}");
}

#[test]
fn more_bytes_than_are_read() {
    let mut bytes = omnimind_tests::guest("hostile/echo").to_vec();
    bytes.resize((64 << 20) + 1, 0);
    assert_eq!(refused(bytes).code, Code::TooLarge);
}

#[test]
fn features_that_no_guest_language_needs_are_off() {
    for guest in ["memory64", "shared-memory", "gc", "exceptions"] {
        let refusal = Run::hostile(guest).refusal();
        assert_eq!(refusal.code, Code::ComponentInvalid, "{guest}: {refusal}");
        assert!(refusal.offset.is_some(), "{guest}: {refusal}");
    }
}

#[test]
fn a_refusal_is_escaped_and_cut() {
    let import = |name: &str| {
        let escaped: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        wat::parse_str(format!(r#"(component (import "url=<{escaped}>" (instance)))"#)).expect("text")
    };
    for name in ["\u{1b}[2J\u{1b}]0;title\u{7}".to_owned(), "\u{1}".repeat(20_000), "x".repeat(60_000)] {
        let begun = std::time::Instant::now();
        let refusal = refused(import(&name));
        assert!(!refusal.message.contains(['\u{1b}', '\u{1}', '\u{7}']), "{refusal}");
        assert!(refusal.message.len() < 50_000, "{} bytes", refusal.message.len());
        assert!(begun.elapsed().as_secs() < 10, "the worker waited to be read: {:?}", begun.elapsed());
    }
}

#[test]
fn a_go_module_without_go_s_tables_is_refused_by_name() {
    let mut module = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
             (memory (export "memory") 1) (func (export "_start")))"#,
    )
    .expect("text");
    // A custom section: id 0, its size, its name.
    module.extend(b"\0\x0b\x0ago:buildid");
    let refusal = refused(module);
    assert_eq!(refusal.code, Code::NotAComponent);
    assert!(refusal.message.contains("Go"), "{refusal}");
}
