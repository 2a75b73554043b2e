//! `omnimind component` and `omnimind task` against a server: what they print, and how they end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use omnimind_tests::server::{Server, eventually, scratch};
use omnimind_tests::wire::shared;
use omnimind_tests::{binary, checkout, guest_path, pause};
use serde_json::{Value, json};

const SAYS_AND_SPINS: &str = include_str!("says-and-spins.wat");

/// `omnimind` as somebody who has this data directory, and nothing else.
fn omnimind(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("--data-dir").arg(data_dir).args(args).current_dir(checkout()).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        command.env_remove(name);
    }
    command
}

fn run(server: &Server, args: &[&str]) -> Output {
    omnimind(&server.data_dir, args).output().expect("it starts")
}

fn spawn(server: &Server, args: &[&str]) -> Child {
    let mut command = omnimind(&server.data_dir, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn ends(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(says), "`{says}` is not in: {}", stderr(output));
}

fn file(guest: &str) -> String {
    guest_path(guest).to_str().expect("UTF-8").to_owned()
}

fn submit(server: &Server, args: &[&str]) -> String {
    let output = run(server, &[&["task", "submit"], args].concat());
    ends(&output, 0, "");
    stdout(&output).trim().to_owned()
}

#[test]
fn a_component_is_pushed_listed_shown_and_removed() {
    let server = Server::start();
    ends(&run(&server, &["component", "list"]), 0, "component push");
    let pushed = run(&server, &["component", "push", &file("hostile/echo")]);
    ends(&pushed, 0, "task submit echo");
    for said in ["echo\n", "sha256:", "kind          task", "capabilities  none", " ms\n"] {
        assert!(stdout(&pushed).contains(said), "{said}: {}", stdout(&pushed));
    }
    ends(&run(&server, &["component", "push", &file("hostile/echo"), "--name", "other"]), 0, "");
    let nameless = run(&server, &["component", "push", &file("hostile/spin"), "--no-name", "--json"]);
    let digest = serde_json::from_slice::<Value>(&nameless.stdout).expect("JSON")["digest"].clone();
    let digest = digest.as_str().expect("a digest");

    let list = stdout(&run(&server, &["component", "list"]));
    assert!(list.starts_with("NAME"), "{list}");
    assert!(list.contains("echo,other") && list.contains(&digest[7..19]), "{list}");
    let json = run(&server, &["component", "list", "--json"]);
    assert_eq!(json.stdout, [&server.get("/api/components/").body[..], b"\n"].concat(), "unchanged");

    let shown = stdout(&run(&server, &["component", "show", "other"]));
    assert!(shown.contains("names         echo, other") && shown.contains("exports       run"), "{shown}");
    assert!(stdout(&run(&server, &["component", "show", digest])).contains("names         none"));
    let module = server.data_dir.join("module.wasm");
    std::fs::write(&module, wat::parse_str(SAYS_AND_SPINS).expect("text")).expect("written");
    ends(&run(&server, &["component", "push", module.to_str().expect("UTF-8")]), 0, "");
    let adapted = stdout(&run(&server, &["component", "show", "module"]));
    assert!(adapted.contains("adapted       from wasi 0.1\n") && !shown.contains("adapted"), "{adapted}");

    ends(&run(&server, &["component", "remove", "other", digest]), 0, ": echo, other");
    ends(&run(&server, &["component", "show", "echo"]), 8, "no component");
    ends(&run(&server, &["component", "remove", "echo"]), 8, "no component");
    for wrong in ["", "..", "../tasks"] {
        ends(&run(&server, &["component", "remove", wrong]), 2, "is no");
    }
}

#[test]
fn a_task_gets_what_it_is_given() {
    let server = shared();
    server.push("hostile/echo");
    let echo = file("hostile/echo");
    let output = run(&server, &["task", "submit", &echo, "--input", "{\"a\": 1}", "--wait"]);
    ends(&output, 0, "completed in");
    assert!(stderr(&output).contains("fuel"), "the receipt: {}", stderr(&output));
    assert_eq!(output.stdout, b"{\"a\": 1}", "as it was written");
    let output = run(&server, &["task", "submit", &echo, "--input", "@LICENSE", "--wait"]);
    assert_eq!(output.stdout, std::fs::read(checkout().join("LICENSE")).expect("the licence"));

    let mut child = omnimind(&server.data_dir, &["task", "submit", &echo, "--input", "-", "--wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"\xff\r\n--piped").expect("written");
    assert_eq!(child.wait_with_output().expect("it ends").stdout, b"\xff\r\n--piped");

    let id = submit(
        &server,
        &[
            &echo,
            "--priority",
            "high",
            "--description",
            "words",
            "--metadata",
            "{\"k\": 12345678901234567890123}",
            "--retry",
            "2",
            "--deterministic",
            "--limit",
            "fuel=1_000_000",
            "--limit",
            "memory_bytes=1MiB",
            "--env",
            "A=b=c",
            "--grants",
            "{\"tensor\": true}",
            "--input-text",
            "t",
            "--",
            "--flag",
        ],
    );
    let record = server.wait_for_status(&id, "completed");
    assert_eq!((&record["priority"], &record["description"]), (&json!("high"), &json!("words")));
    let budgets = &record["receipt"]["budgets"];
    assert_eq!(budgets["fuel"]["asked"], 1_000_000);
    assert_eq!(budgets["memory_bytes"]["asked"], 1 << 20);
    assert_eq!(record["result_text"], "t");
    assert!(server.get(&format!("/api/tasks/{id}")).text().contains("12345678901234567890123"));
}

#[test]
fn a_task_by_name_waits_and_shows() {
    let server = Server::start();
    ends(&run(&server, &["component", "push", &file("hostile/echo")]), 0, "");
    let output = run(&server, &["task", "submit", "echo", "--input", "5", "--wait", "--json"]);
    ends(&output, 0, "");
    let record: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!((&record["status"], &record["result"]), (&json!("completed"), &json!(5)));
    let id = record["task_id"].as_str().expect("an id");
    let json = run(&server, &["task", "show", id, "--json"]);
    assert_eq!(json.stdout, [&server.get(&format!("/api/tasks/{id}")).body[..], b"\n"].concat(), "unchanged");
    let shown = stdout(&run(&server, &["task", "show", id]));
    for said in ["status       completed after", "component    echo", "output       5", "fuel"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let waited = run(&server, &["task", "wait", id]);
    ends(&waited, 0, "completed in");
    assert_eq!(waited.stdout, b"5");
}

#[test]
fn exit_codes_are_those_of_run() {
    let server = shared();
    for (guest, args, code, says) in [
        ("hostile/trap-unreachable", &["--input", "1"][..], 1, "trap"),
        ("hostile/error-text", &["--input", "10"], 1, "guest_error"),
        ("hostile/echo", &["--limit", "feul=1"], 2, "did you mean fuel?"),
        ("hostile/echo", &["--limit", "memory_bytes=5GiB"], 2, "4294967296"),
        ("hostile/echo", &["--input", "hello"], 2, "--input-text"),
        ("hostile/echo", &["--ephemeral"], 2, "--allow-ephemeral"),
        ("hostile/gc", &[], 3, "component_invalid"),
        ("hostile/import-unknown", &[], 3, "unknown_import"),
        ("hostile/import-capability", &["--grants", "{}"], 3, "capability_denied"),
        ("hostile/spin", &["--limit", "fuel=1000"], 4, "hint: "),
        (
            "hostile/grow",
            &["--input", "100", "--limit", "memory_bytes=1MiB"],
            4,
            "here: --limit memory_bytes=",
        ),
    ] {
        let output = run(&server, &[&["task", "submit", &file(guest), "--wait"], args].concat());
        ends(&output, code, says);
        assert!(output.stdout.is_empty(), "{guest}: {}", stdout(&output));
    }
    ends(&run(&server, &["task", "submit", "./nowhere.wasm"]), 2, "nowhere.wasm");
    ends(&run(&server, &["task", "submit", "nowhere"]), 8, "component push FILE.wasm --name nowhere");
    ends(&run(&server, &["task", "submit", "LICENSE"]), 8, "write ./LICENSE");
    let help = stdout(&run(&server, &["task", "wait", "--help"]));
    assert!(help.contains("Exit codes") && help.contains("cannot be reached"), "{help}");
}

#[test]
fn guest_text_is_escaped() {
    let server = shared();
    let guest = file("hostile/error-control-characters");
    let output = run(&server, &["task", "submit", &guest, "--wait"]);
    assert!(stderr(&output).contains("\\u{1b}") && !output.stderr.contains(&0x1b), "{}", stderr(&output));
    let id = submit(&server, &[&guest]);
    server.wait_for_status(&id, "failed");
    assert!(!run(&server, &["task", "show", &id]).stdout.contains(&0x1b));
}

#[test]
fn a_dry_run_explains() {
    let server = shared();
    let output = run(&server, &["task", "submit", &file("hostile/echo"), "--dry-run"]);
    ends(&output, 0, "");
    assert!(stdout(&output).contains("it would be "), "{}", stdout(&output));
    let denied = ["task", "submit", &file("hostile/import-capability"), "--dry-run", "--grants", "{}"];
    let output = run(&server, &denied);
    ends(&output, 3, "");
    let said = stdout(&output);
    assert!(said.contains("refused: capability_denied: ") && said.contains("add \"grants\""), "{said}");
}

#[test]
fn a_key_makes_a_repetition_the_same_task() {
    let server = Server::start();
    let echo = file("hostile/echo");
    let first = submit(&server, &[&echo, "--input", "1", "--idempotency-key", "k"]);
    assert_eq!(submit(&server, &[&echo, "--input", "1", "--idempotency-key", "k"]), first);
    let other = run(&server, &["task", "submit", &echo, "--input", "2", "--idempotency-key", "k"]);
    ends(&other, 9, "idempotency_conflict");
    ends(&run(&server, &["task", "submit", &echo, "--idempotency-key", "a b"]), 2, "ASCII");
}

#[test]
fn tasks_are_listed_and_filtered() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    for input in 0..3 {
        server.run(&json!({"component": echo, "input": input, "priority": "low"}));
    }
    let spin = server.push("hostile/spin");
    server.run(&json!({"component": spin, "limits": {"fuel": 1000}}));
    let list = stdout(&run(&server, &["task", "list"]));
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(list.starts_with("ID  ") && list.contains("completed 100 low"), "{list}");
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let failed = stdout(&run(&server, &["task", "list", "--status", "failed"]));
    assert!(failed.lines().count() == 2 && failed.contains("failed"), "{failed}");
    assert_eq!(stdout(&run(&server, &["task", "list", "--component", &spin])).lines().count(), 2);
    assert_eq!(stdout(&run(&server, &["task", "list", "--priority", "low", "--all"])).lines().count(), 4);
    let some = run(&server, &["task", "list", "--limit", "2"]);
    assert_eq!(stdout(&some).lines().count(), 3);
    ends(&some, 0, "--all");
    let json = run(&server, &["task", "list", "--limit", "2", "--json"]);
    assert_eq!(json.stdout, [&server.get("/api/tasks/?limit=2").body[..], b"\n"].concat());
    ends(&run(&server, &["task", "list", "--status", "done"]), 2, "completed");
}

#[test]
fn a_task_that_does_not_end_is_left_or_cancelled() {
    let server = Server::start();
    let sleep = file("hostile/sleep");
    let output = run(&server, &["task", "submit", &sleep, "--input", "60000", "--wait=50ms"]);
    ends(&output, 11, "omnimind task wait ");
    let id = submit(&server, &[&sleep, "--input", "60000"]);
    ends(&run(&server, &["task", "wait", &id, "--timeout", "50ms"]), 11, &format!("task cancel {id}"));
    let shown = stdout(&run(&server, &["task", "show", &id]));
    assert!(shown.contains("status       running for"), "{shown}");
    let echo = submit(&server, &[&file("hostile/echo"), "--input", "1"]);
    server.wait_for_status(&echo, "completed");
    let times = stdout(&run(&server, &["task", "show", &echo]));
    let times = times.lines().find(|line| line.starts_with("times ")).expect("a line");
    assert!(["queue_ms ", "wall_ms ", "cpu_ms "].iter().all(|name| times.contains(name)), "{times}");
    ends(&run(&server, &["task", "cancel", &id, "--grace", "10ms"]), 0, "is cancelled");
    ends(&run(&server, &["task", "cancel", &id]), 9, "has ended");
    ends(&run(&server, &["task", "wait", &id]), 130, "cancelled");
    for args in [&["task", "show", "nobody"][..], &["task", "logs", "nobody"], &["task", "wait", "nobody"]] {
        ends(&run(&server, args), 8, "there is no task");
    }
}

#[test]
fn hints_are_commands_that_work() {
    let server = shared();
    let (dir, url) = (server.data_dir.display(), format!("http://{}", server.address));
    let pushed = run(&server, &["component", "push", &file("hostile/echo")]);
    ends(&pushed, 0, &format!("omnimind task submit echo --wait --data-dir {dir} --input"));
    let id = submit(&server, &[&file("hostile/sleep"), "--input", "60000"]);
    let wait = ["task", "wait", &id, "--timeout", "50ms"];
    let waited = run(&server, &[&wait[..], &["--server", &url]].concat());
    ends(&waited, 11, &format!("omnimind task wait {id} --data-dir {dir} --server {url}\n"));
    ends(&waited, 11, &format!("omnimind task cancel {id} --data-dir {dir} --server {url}\n"));
    // A directory with a blank, and a password that is not to be seen.
    let link = scratch("two words");
    std::os::unix::fs::symlink(&server.data_dir, &link).expect("a link");
    let credentials = std::fs::read(server.data_dir.join("credentials.json")).expect("a file");
    let stored: Value = serde_json::from_slice(&credentials).expect("JSON");
    let (user, password) =
        (stored["user"].as_str().expect("text"), stored["password"].as_str().expect("text"));
    let in_url = format!("http://{user}:{password}@{}", server.address);
    let waited = omnimind(&link, &[&wait[..], &["--server", &in_url]].concat()).output().expect("it starts");
    ends(&waited, 11, &format!("omnimind task wait {id} --data-dir '{}' --server {url}\n", link.display()));
    assert!(!stderr(&waited).contains(password), "{}", stderr(&waited));
    std::fs::remove_file(link).expect("a link");
    server.delete(&format!("/api/tasks/{id}"));

    ends(
        &run(&server, &["component", "show", "nobody"]),
        8,
        "omnimind component push FILE.wasm --name nobody",
    );
    let spaced = run(&server, &["task", "submit", "echo", "--wait", "5s"]);
    ends(&spaced, 2, "--wait=5s");
    ends(&run(&server, &["task", "submit", "echo", "other"]), 2, "unexpected argument");
    assert!(!stderr(&run(&server, &["task", "submit", "echo", "--wait", "other"])).contains("--wait=other"));
}

#[test]
fn examples_work_in_a_checkout() {
    let mut files = 0;
    for help in [&["run", "--help"][..], &["task", "--help"], &["component", "--help"]] {
        let output = omnimind(Path::new("/nowhere"), help).output().expect("it starts");
        let text = stdout(&output);
        let (_, examples) = text.split_once("Examples:\n").expect("examples");
        for word in examples.lines().take_while(|line| line.starts_with("  ")).flat_map(str::split_whitespace)
        {
            let path = word.trim_start_matches('@');
            if path.contains('/') || path.ends_with(".wasm") || word.starts_with('@') {
                assert!(checkout().join(path).is_file(), "{help:?}: {word}");
                files += 1;
            }
        }
    }
    assert!(files >= 5, "{files}");
}

#[test]
fn logs_are_printed_and_followed() {
    let server = Server::start();
    let id = submit(&server, &[&file("hostile/log"), "--input", "100"]);
    server.wait_for_status(&id, "completed");
    let whole = server.get(&format!("/api/tasks/{id}/logs")).body;
    assert_eq!((whole.len(), run(&server, &["task", "logs", &id]).stdout), (100, whole.clone()));
    assert_eq!(run(&server, &["task", "logs", &id, "--follow"]).stdout, whole);

    let module = server.data_dir.join("spins.wasm");
    std::fs::write(&module, wat::parse_str(SAYS_AND_SPINS).expect("text")).expect("written");
    let id = submit(&server, &[module.to_str().expect("UTF-8")]);
    let mut follow = spawn(&server, &["task", "logs", &id, "-f"]);
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("text");
    assert_eq!(line, "begun\n", "while it runs");
    assert!(follow.try_wait().expect("a child").is_none(), "it goes on");
    ends(&run(&server, &["task", "cancel", &id]), 0, "");
    assert_eq!(follow.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_server_that_is_not_there_or_knows_nobody_is_named() {
    let nowhere = scratch("client");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let url = format!("http://{free}");
    ends(
        &omnimind(&nowhere, &["task", "list", "--server", &url]).output().expect("it starts"),
        6,
        "omnimind serve",
    );

    let server = shared();
    let url = format!("http://{}", server.address);
    let list = ["task", "list", "--server", &url];
    ends(&omnimind(&nowhere, &list).output().expect("it starts"), 7, "are for the server that runs");
    ends(&run(&server, &list), 0, "");
    let wrong = omnimind(&server.data_dir, &list)
        .env("OMNIMIND_DASHBOARD_USER", "me")
        .env("OMNIMIND_DASHBOARD_PASS", "wrong")
        .output()
        .expect("it starts");
    ends(&wrong, 7, "those in OMNIMIND_DASHBOARD_USER");
    let in_url = format!("http://me:wr%6Fng@{}", server.address);
    let wrong = run(&server, &["task", "list", "--server", &in_url]);
    ends(&wrong, 7, "those in the URL");
    assert!(!stderr(&wrong).contains("wr"), "no password in a message: {}", stderr(&wrong));
    ends(&run(&server, &["task", "list", "--server", "ftp://127.0.0.1"]), 2, "http");

    // The same with the right ones.
    let credentials = server.data_dir.join("credentials.json");
    let stored: Value = serde_json::from_slice(&std::fs::read(&credentials).expect("a file")).expect("JSON");
    let word = |name: &str| stored[name].as_str().expect("text").to_owned();
    let in_url = format!("http://{}:{}@{}", word("user"), word("password"), server.address);
    ends(
        &omnimind(&nowhere, &["task", "list"]).env("OMNIMIND_URL", in_url).output().expect("it starts"),
        0,
        "",
    );
    let file = credentials.to_str().expect("UTF-8");
    let with_file = [&list[..], &["--credentials", file]].concat();
    ends(&omnimind(&nowhere, &with_file).output().expect("it starts"), 0, "");
}

/// What a client sends first to a server on all addresses, asked for as `host`.
fn first_request(data_dir: &Path, host: &str, more: &[&str]) -> String {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let url = format!("http://{host}:{}", listener.local_addr().expect("an address").port());
    let mut child = omnimind(data_dir, &[&["task", "list", "--server", &url], more].concat())
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let (mut stream, _) = listener.accept().expect("it comes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    // Another place than the one that was asked for is not gone to.
    let moved =
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(moved.as_bytes()).expect("answered");
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
    String::from_utf8(head).expect("text").to_ascii_lowercase()
}

#[test]
fn the_password_of_the_data_directory_is_for_the_server_that_has_it() {
    let server = shared();
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        assert!(!first_request(&server.data_dir, host, &[]).contains("authorization"), "{host}");
    }
    let file = server.data_dir.join("credentials.json");
    let file = file.to_str().expect("UTF-8");
    assert!(
        first_request(&server.data_dir, "0.0.0.0", &["--credentials", file]).contains("authorization: basic")
    );
}

#[test]
fn a_server_tells_where_it_is_for_as_long_as_it_is() {
    let data_dir = scratch("client");
    let start = || Server::launch(omnimind_tests::server::command(&data_dir), &data_dir).expect("a server");
    let mut server = start();
    let file = data_dir.join("server.json");
    let stored: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    assert_eq!(stored["url"], format!("http://{}", server.address));
    assert_eq!(stored["pid"], server.pid());
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(server.terminate(), Some(0));
    assert!(!file.exists(), "removed at an orderly end");
    let mut server = start();
    server.kill();
    assert!(file.exists());
    let server = start();
    ends(&run(&server, &["task", "list"]), 0, "");
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn waiting_goes_on_when_the_server_comes_back() {
    let data_dir = scratch("client");
    let mut server = Server::launch(omnimind_tests::server::command(&data_dir), &data_dir).expect("a server");
    let sleep = file("hostile/sleep");
    let waiting = spawn(&server, &["task", "submit", &sleep, "--input", "2500", "--wait"]);
    let id = eventually(|| {
        let tasks = server.get("/api/tasks/?status=running").json();
        tasks["tasks"][0]["task_id"].as_str().map(str::to_owned)
    });
    // Past the submission's own wait, so that the client knows the id.
    pause(Duration::from_millis(1300));
    server.kill();
    pause(Duration::from_millis(700));
    let mut again = Command::new(binary());
    again.args(["serve", "--port", &server.address.port().to_string(), "--data-dir"]).arg(&data_dir);
    let server = Server::launch(again, &data_dir).expect("the same port");
    let output = waiting.wait_with_output().expect("it ends");
    ends(&output, 0, "the server is back");
    assert_eq!(output.stdout, b"2500");
    assert_eq!(server.task(&id)["status"], "completed");
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_task() {
    let server = shared();
    let id = submit(&server, &[&file("hostile/sleep"), "--input", "60000"]);
    let child = spawn(&server, &["task", "wait", &id]);
    // Not before it listens: SIGINT is bit 1 of the caught signals.
    eventually(|| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(caught.trim(), 16).ok().filter(|mask| mask & 0b10 != 0)
    });
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    let output = child.wait_with_output().expect("it ends");
    ends(&output, 130, &format!("omnimind task cancel {id}"));
    assert_eq!(server.task(&id)["status"], "running");
    server.delete(&format!("/api/tasks/{id}"));
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let print = |shell: &str| {
        stdout(&omnimind(Path::new("/nowhere"), &["completions", shell]).output().expect("it starts"))
    };
    let bash = print("bash");
    let mut check = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
    check.stdin.take().expect("a pipe").write_all(bash.as_bytes()).expect("written");
    assert!(check.wait().expect("it ends").success());
    for script in [bash, print("zsh"), print("fish")] {
        assert!(script.contains("submit") && script.contains("idempotency-key"), "{script}");
        assert!(!script.contains("compile-worker"), "what is hidden is not completed");
    }
}
