//! `omnimind new`, `build` and `watch`: from an empty folder to a result, in each language; and what is read when
//! something is wrong.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnimind_tests::languages::{data_dir_with_artefacts, has_tool, server, shell};
use omnimind_tests::server::{eventually, scratch};
use omnimind_tests::{binary, guest_path};
use serde_json::{Value, json};

/// Each language, and a command that says whether its tools are there.
const LANGUAGES: [(&str, &str); 5] = [
    (
        "rust",
        "ls \"$(\"${RUSTC:-rustc}\" --print=target-libdir --target wasm32-unknown-unknown)\"/libstd-*.rlib",
    ),
    ("python", "componentize-py --version"),
    ("javascript", "jco --version"),
    ("go", "go version"),
    ("c", "python3 -m ziglang version"),
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `omnimind WORDS` in `dir`, with the toolchains.
fn omnimind(dir: &Path, data_dir: &Path, words: &str) -> Output {
    let script = format!("exec '{}' --data-dir '{}' {words}", binary().display(), data_dir.display());
    shell(&script).current_dir(dir).stdin(Stdio::null()).output().expect("sh")
}

#[track_caller]
fn works(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn fails(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stderr).contains(says), "`{says}` is not in: {}", text(&output.stderr));
}

/// A file of the template, a text in it, a mistake to put in its place, and what of it the failure says.
fn mistake(language: &str) -> (&'static str, &'static str, &'static str, &'static [&'static str]) {
    match language {
        "rust" => (
            "src/lib.rs",
            "let unique = counts.len();",
            "let unique = [counts.len()][lines.len() + 1];",
            &["thread 'main' panicked at src/lib.rs:", "index out of bounds: the len is 1"],
        ),
        "python" => (
            "app.py",
            "lines = text.splitlines()",
            "lines = text.splitlines() + 1",
            &[
                "Traceback (most recent call last):",
                "app.py\", line ",
                "in run",
                "TypeError: can only concatenate",
            ],
        ),
        "javascript" => (
            "app.js",
            "const counts = new Map();",
            "const counts = new Map(); null.size;",
            &["TypeError: cannot read property 'size' of null", "\n    at "],
        ),
        "go" => (
            "main.go",
            "counts := map[string]int{}",
            "var counts map[string]int",
            &["panic: assignment to entry in nil map", "goroutine 1", "main.count", "main.go:"],
        ),
        _ => (
            "main.c",
            "int main(void) {",
            "int main(void) {\n    fputs(\"no such column\\n\", stderr);\n    return 3;",
            &["the last lines of its log:\nno such column"],
        ),
    }
}

/// From an empty folder to a result on a server.
fn from_nothing(language: &str, probe: &str) {
    if !has_tool(probe) {
        return;
    }
    let server = server();
    let dir = scratch(&format!("new-{language}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let in_dir = |words: &str| omnimind(&dir, &server.data_dir, words);
    works(&in_dir(&format!("new first_One-2 --lang {language}")));
    let told = works(&in_dir("build first_One-2"));
    let kind = if matches!(language, "go" | "c") { "command" } else { "task" };
    assert!(told.contains(&format!("kind          {kind}")) && told.contains("capabilities  none"), "{told}");
    let here = works(&in_dir("run first_One-2/first_One-2.wasm --input @first_One-2/input.txt"));
    works(&in_dir("component push first_One-2/first_One-2.wasm"));
    let there = works(&in_dir("task submit first_One-2 --input @first_One-2/input.txt --wait"));
    assert_eq!(here, there);
    let found: Value = serde_json::from_str(&here).unwrap_or_else(|error| panic!("{error}: {here}"));
    assert!(found.as_object().is_some_and(|found| !found.is_empty()), "{found}");

    // It says of itself what its manifest says.
    let about = server.get("/api/components/first_One-2").json();
    assert!(about["description"].as_str().is_some_and(|text| !text.is_empty()), "{about}");
    // A mistake in its source is read from the failure.
    let (file, right, wrong, says) = mistake(language);
    let source = dir.join("first_One-2").join(file);
    let template = std::fs::read_to_string(&source).expect("the template's");
    assert!(template.contains(right), "{right} is not in {template}");
    std::fs::write(&source, template.replacen(right, wrong, 1)).expect("written");
    works(&in_dir("build first_One-2"));
    let output = in_dir("run first_One-2/first_One-2.wasm --input @first_One-2/input.txt --json");
    assert_eq!(output.status.code(), Some(1));
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let message = record["failure"]["message"].as_str().expect("text");
    for said in says {
        assert!(message.contains(said), "{said} is not in: {record}");
    }

    // On a terminal the stack is there once: it was the log.
    let output = in_dir("run first_One-2/first_One-2.wasm --input @first_One-2/input.txt");
    let shown = text(&output.stderr);
    for said in says.iter().filter(|said| !said.contains('\n')) {
        assert!(shown.contains(said), "{said} is not in: {shown}");
    }
    assert!(
        shown.matches("Traceback (most").count() <= 1 && shown.matches("goroutine 1").count() <= 1,
        "{shown}"
    );

    // What is there is not overwritten.
    fails(&in_dir(&format!("new first_One-2 --lang {language}")), 2, "not there yet");
    std::fs::remove_dir_all(&dir).expect("it is ours");
}

#[test]
fn a_first_task_in_rust() {
    from_nothing(LANGUAGES[0].0, LANGUAGES[0].1);
}

#[test]
fn a_first_task_in_python() {
    from_nothing(LANGUAGES[1].0, LANGUAGES[1].1);
}

#[test]
fn a_first_task_in_javascript() {
    from_nothing(LANGUAGES[2].0, LANGUAGES[2].1);
}

#[test]
fn a_first_task_in_go() {
    from_nothing(LANGUAGES[3].0, LANGUAGES[3].1);
}

#[test]
fn a_first_task_in_c() {
    from_nothing(LANGUAGES[4].0, LANGUAGES[4].1);
}

/// A project whose build copies `guest` to its artifact.
fn project(dir: &Path, guest: &str, more: &str) {
    std::fs::create_dir_all(dir).expect("a directory");
    let from = guest_path(guest);
    let manifest = format!(
        "name: copied\nbuild:\n  - mkdir -p build\n  - cp '{}' build/it.wasm\nartifact: build/it.wasm\n{more}",
        from.display()
    );
    std::fs::write(dir.join("component.yaml"), manifest).expect("written");
}

#[test]
fn what_the_manifest_says_is_in_the_component() {
    let (dir, data_dir) = (scratch("manifest"), scratch("manifest-data"));
    project(
        &dir,
        "hostile/echo",
        "description: Says it again\nlimits: {fuel: 1_000_000}\ninput_schema: {type: string}\n",
    );
    let told = works(&omnimind(&dir, &data_dir, "build"));
    assert!(told.contains("kind          task"), "{told}");
    let server = server();
    let bytes = std::fs::read(dir.join("copied.wasm")).expect("built");
    let pushed = server.request("POST", "/api/components/?name=copied").wasm(&bytes).send().json();
    assert_eq!(pushed["description"], "Says it again", "{pushed}");
    assert_eq!(pushed["limits"], json!({"fuel": 1_000_000}));
    assert_eq!(pushed["input_schema"], json!({"type": "string"}));
    for dir in [dir, data_dir] {
        std::fs::remove_dir_all(dir).expect("it is ours");
    }
}

#[test]
fn mistakes_are_told_with_their_way_out() {
    let (dir, data_dir) = (scratch("mistakes"), scratch("mistakes-data"));
    let build = |guest: &str, more: &str| {
        project(&dir, guest, more);
        omnimind(&dir, &data_dir, "build")
    };
    // The wrong export, a missing one, an import that nobody has, and one that is nearly right.
    fails(&build("hostile/export-wrong-type", ""), 3, "type_mismatch: `run` has another type");
    fails(&build("hostile/export-missing", ""), 3, "missing_export: the component exports neither");
    fails(&build("hostile/import-unknown", ""), 3, "unknown_import: the component imports");
    fails(&build("hostile/import-misspelt", ""), 3, "the nearest that is offered is");
    // What needs a capability is built all the same: another server may have it.
    let told = works(&build("hostile/import-capability", ""));
    assert!(!told.contains("capabilities  none"), "{told}");

    fails(&build("hostile/echo", "imput: x\n"), 2, "component.yaml: imput: unknown field");
    fails(&build("hostile/echo", "limits: {fule: 1}\n"), 2, "fule");
    let manifest = |text: &str| {
        std::fs::write(dir.join("component.yaml"), text).expect("written");
        omnimind(&dir, &data_dir, "build")
    };
    fails(&manifest("name: a\nbuild: [\"echo no good >&2; exit 7\"]\nartifact: a\n"), 1, "no good");
    fails(
        &manifest("name: a\nbuild: [\"true\"]\nartifact: gone.wasm\n"),
        2,
        "gone.wasm: the build made no such file",
    );
    fails(&manifest("name: a\nbuild: [\"true\"]\nartifact: a.wasm\n"), 2, "is what omnimind writes");
    fails(&manifest("name: a\nbuild: [\"echo text > a.txt\"]\nartifact: a.txt\n"), 3, "component_invalid");
    fails(&manifest("name: a\nbuild: [\"echo '!<arch>' > a.a\"]\nartifact: a.a\n"), 2, "`package main`");
    fails(&omnimind(&dir, &data_dir, "build ./nowhere"), 2, "omnimind new");
    for name in ["../up", "Upper", "1st", "a.b", "a/b", "''"] {
        fails(&omnimind(&dir, &data_dir, &format!("new {name} --lang c")), 2, "is no name for a project");
    }
    fails(&omnimind(&dir, &data_dir, "new a --lang cobol"), 2, "rust, python, javascript, go, c");
    std::fs::remove_dir_all(&dir).expect("it is ours");
    std::fs::remove_dir_all(&data_dir).expect("it is ours");
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_gets_it() {
    let (dir, data_dir) = (scratch("tools"), scratch("tools-data"));
    std::fs::create_dir_all(&dir).expect("a directory");
    for (language, says) in [
        ("rust", "rustup target add wasm32-unknown-unknown"),
        ("python", ".venv/bin/pip install componentize-py==0.25.1"),
        ("javascript", "npm install"),
        ("go", "go is missing"),
        ("c", "ziglang"),
    ] {
        let manifest = format!("name: a\nlanguage: {language}\nbuild: [make]\nartifact: b.wasm\n");
        std::fs::write(dir.join("component.yaml"), manifest).expect("written");
        // A PATH with a shell and nothing else.
        let bin = dir.join("bin");
        std::fs::create_dir_all(&bin).expect("a directory");
        let _ = std::os::unix::fs::symlink("/bin/sh", bin.join("sh"));
        let output = std::process::Command::new(binary())
            .args(["build", "--data-dir"])
            .args([&data_dir, &dir])
            .env_clear()
            .env("PATH", &bin)
            .env("HOME", &dir)
            .output()
            .expect("it starts");
        fails(&output, 2, says);
        fails(&output, 2, "is missing");
    }
    std::fs::remove_dir_all(&dir).expect("it is ours");
}

#[test]
fn watch_runs_it_again_after_a_change_and_ends_what_still_runs() {
    let (dir, data_dir) = (scratch("watch"), data_dir_with_artefacts());
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("in.txt"), "one").expect("written");
    project(&dir, "hostile/echo", "input: in.txt\n");
    let script = format!("exec '{}' --data-dir '{}' watch 2>&1", binary().display(), data_dir.display());
    let mut watching = shell(&script)
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let said = Arc::new(Mutex::new(String::new()));
    let (lines, hears) = (BufReader::new(watching.stdout.take().expect("piped")), said.clone());
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            hears.lock().expect("no panic").push_str(&format!("{line}\n"));
        }
    });
    // What was said since it was last asked, once that holds all of `words`.
    let hear = |words: &[&str]| {
        eventually(|| {
            let mut said = said.lock().expect("no panic");
            words.iter().all(|word| said.contains(word)).then(|| std::mem::take(&mut *said))
        })
    };
    hear(&["one", "completed in", "fuel", "waiting for a change"]);
    std::fs::write(dir.join("in.txt"), "two").expect("written");
    hear(&["two", "completed in", "waiting for a change"]);
    // A mistake is told, and waited out.
    project(&dir, "hostile/export-missing", "input: in.txt\n");
    hear(&["missing_export", "waiting for a change"]);
    project(&dir, "hostile/trap-unreachable", "input: in.txt\n");
    hear(&["failed after", "trap", "waiting for a change"]);
    // One that never ends is ended by the next change.
    std::fs::write(dir.join("forever.txt"), "1000000000000").expect("written");
    hear(&["waiting for a change"]);
    project(&dir, "hostile/spin", "input: forever.txt\n");
    hear(&["spin.wasm", "built"]);
    std::thread::sleep(Duration::from_millis(700));
    project(&dir, "hostile/echo", "input: in.txt\n");
    hear(&["cancelled after", "completed in", "waiting for a change"]);
    // What builds write is no change, wherever they write it: from the second time on.
    let manifest = std::fs::read_to_string(dir.join("component.yaml")).expect("written");
    let manifest = manifest.replace("build:\n", "build:\n  - date +%N > generated.h\n");
    std::fs::write(dir.join("component.yaml"), manifest).expect("written");
    let rounds = || said.lock().expect("no panic").matches("waiting for a change").count();
    eventually(|| (rounds() >= 2).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(rounds(), 2);
    said.lock().expect("no panic").clear();
    std::fs::write(dir.join("in.txt"), "three").expect("written");
    hear(&["three", "completed in", "waiting for a change"]);
    watching.kill().expect("it runs");
    watching.wait().expect("it ends");
    std::fs::remove_dir_all(&dir).expect("it is ours");
    std::fs::remove_dir_all(&data_dir).expect("it is ours");
}
