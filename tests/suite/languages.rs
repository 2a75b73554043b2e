//! The guests that are not only in Rust: one task in five languages with one answer, and what the interpreters'
//! scripts give.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnimind::backend::Backends;
use omnimind::backend::inference::{Inference, Load, Ollama, Settings};
use omnimind::backend::ollama::Server;
use omnimind::executor::Kind;
use omnimind::task::FailureKind;
use omnimind_tests::languages::has_guest;
use omnimind_tests::{Lab, OutcomeExt, Run, block_on, checkout, guest};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const LOG_REPORTS: [(&str, Kind); 5] = [
    ("log-report-rust", Kind::Task),
    ("log-report-python", Kind::Task),
    ("log-report-javascript", Kind::Task),
    ("log-report-go", Kind::Command),
    ("log-report-c", Kind::Command),
];

fn sample(file: &str) -> Vec<u8> {
    std::fs::read(checkout().join("guest-tasks/log-report").join(file)).expect("committed")
}

#[test]
fn one_task_in_five_languages_has_one_answer() {
    let (log, expected) = (sample("access.log"), sample("expected.json"));
    let valid = br#"::1 - - [t] "GET / HTTP/1.1" 200 - 7"#;
    for (name, kind) in LOG_REPORTS {
        if !has_guest(name) {
            continue;
        }
        let run = |input: &[u8]| Run::guest(name).input(input).execute().output().to_vec();
        assert_eq!(Lab::shared().prepare(guest(name)).expect("a guest").kind(), kind, "{name}");
        assert_eq!(text(&run(&log)), text(&expected), "{name}");
        // Nothing in an input makes it fail.
        let garbage = [&[0xff; 100_000][..], b"\0\"\n\r\n", valid].concat();
        for (input, lines, malformed) in [(&b""[..], 0, 0), (b"\n\n", 0, 0), (valid, 1, 0), (&garbage, 2, 1)]
        {
            let report: Value = serde_json::from_slice(&run(input)).expect("JSON");
            assert_eq!(
                (&report["lines"], &report["malformed"]),
                (&json!(lines), &json!(malformed)),
                "{name}"
            );
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The scripts of an interpreter's directory `tests`, by name.
fn scripts(interpreter: &str, extension: &str) -> Vec<PathBuf> {
    let directory = checkout().join("guest-tasks").join(interpreter).join("tests");
    let entries = std::fs::read_dir(&directory).expect("a directory").flatten().map(|entry| entry.path());
    let scripts: Vec<_> = entries.filter(|path| path.extension().is_some_and(|is| is == extension)).collect();
    assert!(scripts.len() > 5, "{}", directory.display());
    scripts
}

/// What lies beside a script.
fn beside(script: &Path, extension: &str) -> Option<String> {
    std::fs::read_to_string(script.with_extension(extension)).ok()
}

/// A lab whose language models are a server's that is not there.
fn lab(io: &Runtime) -> Lab {
    let server = Server::new("http://127.0.0.1:9", io.handle().clone()).expect("a URL");
    let backend = Arc::new(Ollama::new(server, Load { context: 1024, gpu_layers: None }));
    let inference = Arc::new(Inference::new(Settings::default(), backend, io.handle().clone()));
    Lab::with_backends(Lab::artefacts(), 2, Backends { inference, ..Backends::default() })
}

#[test]
fn scripts_give_what_they_gave() {
    let io = Runtime::new().expect("a runtime");
    let lab = lab(&io);
    for (interpreter, extension) in [("python-run", "py"), ("js-run", "js")] {
        if !has_guest(interpreter) {
            continue;
        }
        for script in scripts(interpreter, extension) {
            let name = script.file_name().expect("a name").to_string_lossy();
            let source = std::fs::read_to_string(&script).expect("text");
            let mut request = json!({"name": name, "source": source});
            if let Some(input) = beside(&script, "input.json") {
                request["input"] = serde_json::from_str(&input).expect("JSON");
            }
            let job = Run::guest(interpreter).input(request.to_string()).job(&lab).expect("a task");
            let outcome = block_on(lab.executor.execute(job));
            match (beside(&script, "out"), beside(&script, "err")) {
                (Some(out), None) => assert_eq!(text(outcome.output()), out, "{name}"),
                (None, Some(err)) => {
                    assert_eq!(outcome.failure().kind, FailureKind::GuestError, "{name}");
                    assert_eq!(outcome.failure().message, err, "{name}");
                }
                _ => panic!("{name} has to have .out or .err"),
            }
        }
    }
}

#[test]
fn chance_differs_from_run_to_run_unless_it_is_told_not_to() {
    for (interpreter, source) in [
        (
            "python-run",
            "import random, time, uuid\ndef run(input): return [random.random(), str(uuid.uuid4()), time.time()]",
        ),
        ("js-run", "function run(input) { return [Math.random(), Date.now()] }"),
    ] {
        if !has_guest(interpreter) {
            continue;
        }
        let request = json!({"source": source}).to_string();
        let chance = || Run::guest(interpreter).input(request.as_str()).execute().output().to_vec();
        assert_ne!(chance(), chance(), "{interpreter}");
        let fixed =
            || Run::guest(interpreter).input(request.as_str()).deterministic().execute().output().to_vec();
        assert_eq!(fixed(), fixed(), "{interpreter}");
    }
}
