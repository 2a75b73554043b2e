//! Source code as a task: `python-run` and `js-run`, by name over HTTP and from the command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use omnimind_tests::languages::{data_dir_with_artefacts, has_guest, server};
use omnimind_tests::server::{Server, scratch};
use omnimind_tests::{binary, checkout, guest};
use serde_json::{Value, json};

fn omnimind(data_dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(data_dir).args(args).current_dir(data_dir).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        command.env_remove(name);
    }
    command.output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(server: &Server, interpreter: &str, input: Value) -> Value {
    server.run(&json!({"component": interpreter, "input": input}))
}

/// The interpreters that are there, each with a script that adds, one that prints, one that fails in `inner`, and
/// what the failure says.
const SCRIPTS: [[&str; 6]; 2] = [
    [
        "python-run",
        "py",
        "def run(input): return {'sum': sum(input)}",
        "print('one')\nprint('two')",
        "def inner(n):\n    return 10 // n\ndef run(input):\n    return inner(0)",
        "ZeroDivisionError",
    ],
    [
        "js-run",
        "js",
        "function run(input) { return {sum: input.reduce((a, b) => a + b, 0)} }",
        "console.log('one')\nconsole.log('two')",
        "function inner(n) {\n  return n.x.y\n}\nfunction run(input) {\n  return inner({})\n}",
        "TypeError",
    ],
];

#[test]
fn a_script_is_a_task_over_http() {
    for [interpreter, extension, adds, prints, fails, error] in SCRIPTS {
        if !has_guest(interpreter) {
            continue;
        }
        let server = server();
        let added = run(&server, interpreter, json!({"source": adds, "input": [1, 2, 39]}));
        assert_eq!(added["result"], json!({"sum": 42}), "{added}");
        assert_eq!(added["component"], interpreter);
        let printed = run(&server, interpreter, json!({"source": prints}));
        assert_eq!(printed["result_text"], "one\ntwo\n", "{printed}");

        let name = format!("agent.{extension}");
        let failed = run(&server, interpreter, json!({"source": fails, "name": name}));
        assert_eq!(failed["failure"]["kind"], "guest_error", "{failed}");
        let message = failed["failure"]["message"].as_str().expect("text");
        for said in [error, "inner", &*name] {
            assert!(message.contains(said), "{said}: {message}");
        }
        // What is wrong with the request is told as well.
        let wrong = run(&server, interpreter, json!({"input": 1}));
        assert!(wrong["failure"]["message"].as_str().is_some_and(|text| text.contains("source")), "{wrong}");
    }
}

/// Scripts that embed a text, and answer with the kind of the refusal if there is one.
const EMBEDS: [[&str; 2]; 2] = [
    [
        "python-run",
        "from omnimind import *\ndef run(_):\n try:\n  return len(embed(['a'])[0])\n except Error as e:\n  return str(e)",
    ],
    [
        "js-run",
        "function run() { try { return omnimind.embed(['a'])[0].length } catch (e) { return e.message } }",
    ],
];

#[test]
fn a_script_has_what_it_is_granted_and_needs_no_grants_for_the_rest() {
    for ([interpreter, embeds], [.., adds, _, _, _]) in EMBEDS.into_iter().zip(SCRIPTS) {
        if !has_guest(interpreter) {
            continue;
        }
        let server = server();
        let run = |source: &str, grants: Value| {
            let input = json!({"source": source, "input": [1, 2]});
            server.run(&json!({"component": interpreter, "input": input, "grants": grants}))
        };
        let both = run(embeds, json!({"embedding": true}));
        assert!(both["result"].as_u64() > Some(0), "{both}");
        let refused = run(embeds, json!({"tensor": true}));
        let told = refused["result_text"].as_str().unwrap_or_else(|| panic!("{refused}"));
        assert!(told.starts_with("access-denied: ") && told.contains(r#"{"embedding": true}"#), "{told}");
        assert_eq!(run(adds, json!({}))["result"], json!({"sum": 3}), "it uses none of it");
    }
}

#[test]
fn a_script_that_embeds_says_what_the_component_says() {
    let text = "The cat sat on the red mat.\n\nA dog ran.\nthe cat sat on the red mat\n  a dog ran";
    let server = server();
    let run = |component: &str, input: Value| {
        server.run(&json!({"component": component, "input": input}))["result"].clone()
    };
    let pairs = |result: &Value| -> Vec<(Value, Value)> {
        let pairs = result["pairs"].as_array().unwrap_or_else(|| panic!("{result}"));
        pairs.iter().map(|pair| (pair["lines"].clone(), pair["texts"].clone())).collect()
    };
    let component = run(&server.push("near-duplicates"), json!({"text": text}));
    assert_eq!(pairs(&component).len(), 2, "{component}");
    for (interpreter, script) in [("python-run", "near_duplicates.py"), ("js-run", "near_duplicates.js")] {
        if !has_guest(interpreter) {
            continue;
        }
        let source = checkout().join("guest-tasks/near-duplicates/scripts").join(script);
        let source = std::fs::read_to_string(source).expect("a script");
        let told = run(interpreter, json!({"source": source, "input": {"text": text}}));
        assert_eq!((pairs(&told), &told["model"]), (pairs(&component), &component["model"]), "{told}");
    }
}

#[test]
fn an_interpreter_is_one_of_the_tenants_components_from_its_first_use() {
    if !has_guest("js-run") {
        return;
    }
    let server = server();
    assert_eq!(server.get("/api/components/").json()["components"], json!([]));
    let known = server.get("/api/components/js-run").json();
    assert_eq!((&known["kind"], &known["shipped"]), (&json!("task"), &json!(true)), "{known}");
    assert!(known["input_schema"]["properties"]["source"].is_object(), "{known}");
    let listed = server.get("/api/components/").json();
    assert_eq!(listed["components"][0]["name"], "js-run");
    // Removed, it comes back when it is asked for.
    assert_eq!(server.delete("/api/components/js-run").status, 204);
    let again = run(&server, "js-run", json!({"source": "console.log(1)"}));
    assert_eq!((&again["result"], &again["digest"]), (&json!(1), &known["digest"]), "{again}");
}

#[test]
fn a_component_of_the_tenants_own_stands_in_for_an_interpreter() {
    let server = Server::start();
    let own = guest("hostile/echo");
    let pushed = server.request("POST", "/api/components/?name=python-run").wasm(&own).send();
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let echoed = run(&server, "python-run", json!({"source": "1 / 0"}));
    assert_eq!(echoed["result"], json!({"source": "1 / 0"}), "{echoed}");
}

#[test]
fn who_asks_for_an_interpreter_at_once_waits_for_one_reading_of_it() {
    if !has_guest("js-run") {
        return;
    }
    // It is not compiled yet: they meet while it is.
    let server = Server::start();
    let task = json!({"component": "js-run", "input": {"source": "console.log(1)"}});
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..100).map(|_| scope.spawn(|| server.post("/api/tasks/", &task).status)).collect();
        asking.into_iter().map(|asking| asking.join().expect("no panic")).collect()
    });
    // More than may wait for a compilation.
    assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
}

#[test]
fn an_interpreter_does_not_take_the_name_of_what_was_pushed_while_it_was_compiled() {
    if !has_guest("js-run") {
        return;
    }
    // The interpreter is not compiled yet, which takes seconds; the other one is.
    let server = Server::start();
    server.push("hostile/echo");
    let task = json!({"component": "js-run", "input": {"source": "console.log(1)"}});
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.run(&task));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let pushed =
            server.request("POST", "/api/components/?name=js-run").wasm(&guest("hostile/echo")).send();
        assert_eq!(pushed.status, 200, "{pushed:?}");
        let ran = asking.join().expect("no panic");
        assert_eq!(ran["digest"], pushed.json()["digest"], "{ran}");
    });
    assert!(server.get("/api/components/js-run").json().get("shipped").is_none());
}

#[test]
fn an_interpreter_stays_one_whatever_else_its_bytes_are_called() {
    if !has_guest("js-run") {
        return;
    }
    let server = server();
    assert_eq!(server.get("/api/components/js-run").json()["shipped"], true);
    let pushed = server.request("POST", "/api/components/?name=mine").wasm(&guest("js-run")).send();
    assert_eq!(pushed.status, 200, "{pushed:?}");
    assert_eq!(server.get("/api/components/js-run").json()["shipped"], true);
}

#[test]
fn a_later_release_takes_the_place_of_what_came_with_an_earlier_one() {
    let data_dir = scratch("releases");
    let release = |guest: &str| {
        let shipped = data_dir.join(format!("release-{}", guest.replace('/', "-")));
        std::fs::create_dir_all(&shipped).expect("a directory");
        std::fs::write(shipped.join("js-run.wasm"), omnimind_tests::guest(guest)).expect("written");
        let mut command = omnimind_tests::server::command(&data_dir);
        command.env("OMNIMIND_INTERPRETERS", shipped);
        Server::launch(command, &data_dir).unwrap_or_else(|log| panic!("no start: {log}"))
    };
    let mut server = release("hostile/echo");
    let first = run(&server, "js-run", json!("x"));
    assert_eq!(first["result"], "x", "{first}");
    server.terminate();
    let mut server = release("primes");
    let second = run(&server, "js-run", json!(10));
    assert_eq!(second["result"]["primes"], 4, "{second}");
    assert_ne!(first["digest"], second["digest"]);
    // A task keeps what it ran.
    assert_eq!(server.task(first["task_id"].as_str().expect("an id"))["digest"], first["digest"]);
    server.terminate();
    std::fs::remove_dir_all(&data_dir).expect("it is ours");
}

#[test]
fn an_interpreter_that_is_not_there_says_how_it_gets_there() {
    let nowhere = scratch("nowhere");
    let server = Server::set_up(&[], |command| {
        command.env("OMNIMIND_INTERPRETERS", &nowhere);
    });
    let reply = server.post("/api/tasks/", &json!({"component": "python-run", "input": {"source": ""}}));
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!("capability_unavailable")), "{reply:?}");
    assert!(!reply.headers.contains_key("retry-after"), "{reply:?}");
    assert!(
        reply.json()["detail"].as_str().is_some_and(|text| text.contains("cargo xtask guests")),
        "{reply:?}"
    );
}

#[test]
fn a_script_runs_from_the_command_line() {
    for [interpreter, extension, adds, prints, fails, error] in SCRIPTS {
        if !has_guest(interpreter) {
            continue;
        }
        let data_dir = data_dir_with_artefacts();
        let write = |name: &str, source: &str| {
            let file = format!("{name}.{extension}");
            std::fs::write(data_dir.join(&file), source).expect("written");
            file
        };
        let (adds, prints, fails) = (write("adds", adds), write("prints", prints), write("fails", fails));
        let output = omnimind(&data_dir, &["run", &adds, "--input", "[1, 2, 39]"]);
        assert_eq!(text(&output.stdout), r#"{"sum":42}"#, "{}", text(&output.stderr));
        std::fs::write(
            data_dir.join(&prints),
            format!("\u{feff}{}", SCRIPTS.iter().find(|script| script[0] == interpreter).expect("one")[3]),
        )
        .expect("written");
        let output = omnimind(&data_dir, &["run", &prints]);
        assert_eq!(text(&output.stdout), "one\ntwo\n", "{}", text(&output.stderr));
        let output = omnimind(&data_dir, &["run", &fails]);
        assert_eq!(output.status.code(), Some(1));
        for said in [error, "inner", &*fails] {
            assert!(text(&output.stderr).contains(said), "{said}: {}", text(&output.stderr));
        }
        // A text is a text, whatever it looks like; bytes are neither text nor JSON.
        let says = match extension {
            "py" => "def run(input): return type(input).__name__",
            _ => "function run(input) { return typeof input }",
        };
        let says = write("says", says);
        for (args, is) in [
            (["--input", "7"], ["int", "number"]),
            (["--input-text", "7"], ["str", "string"]),
            (["--input", "@says.txt"], ["str", "string"]),
        ] {
            std::fs::write(data_dir.join("says.txt"), "127.0.0.1 - GET\n").expect("written");
            let output = omnimind(&data_dir, &[&["run", &says], &args[..]].concat());
            assert!(is.contains(&&*text(&output.stdout)), "{args:?}: {}", text(&output.stdout));
        }
        // It gets there as it is written, however deep.
        let exact = match extension {
            "py" => "import sys\nprint(sys.stdin.read(), end='')",
            _ => "console.log(Object.keys(input).join(), input.z.length)",
        };
        let (exact, deep) = (write("exact", exact), format!("{}{}", "[".repeat(100), "]".repeat(100)));
        let input = format!(r#"{{"z":{deep},"b":12345678901234567890123,"a":1}}"#);
        let output = omnimind(&data_dir, &["run", &exact, "--input", &input]);
        let said = text(&output.stdout);
        match extension {
            "py" => {
                assert!(said.contains("12345678901234567890123") && said.starts_with(r#"{"z""#), "{said}")
            }
            _ => assert_eq!(said, "z,b,a 1\n", "{}", text(&output.stderr)),
        }
        let deeper = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let output = omnimind(&data_dir, &["run", &exact, "--input", &deeper]);
        assert!(output.status.code().is_some_and(|code| code <= 4), "{}", text(&output.stderr));

        std::fs::write(data_dir.join("bytes"), b"\xff\xfe").expect("written");
        let output = omnimind(&data_dir, &["run", &says, "--input", "@bytes"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("base64"), "{}", text(&output.stderr));
        std::fs::remove_dir_all(&data_dir).expect("it is ours");
    }
}

#[test]
fn a_script_is_submitted_from_the_command_line() {
    if !has_guest("js-run") {
        return;
    }
    let server = server();
    std::fs::write(server.data_dir.join("add.js"), SCRIPTS[1][2]).expect("written");
    let output = omnimind(&server.data_dir, &["task", "submit", "add.js", "--input", "[40, 2]", "--wait"]);
    assert_eq!(text(&output.stdout), r#"{"sum":42}"#, "{}", text(&output.stderr));
    let output = omnimind(&server.data_dir, &["task", "submit", "gone.js"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("gone.js"), "{}", text(&output.stderr));
}
