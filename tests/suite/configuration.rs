//! Configuration reaches what it is about, and what is wrong with it stops the start.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use omnimind::config::{self, File};
use omnimind_tests::server::{Reply, Server, command, scratch};
use omnimind_tests::{binary, checkout, guest_path};
use serde_json::{Value, json};

/// A directory with these files.
fn files(files: &[(&str, &str)]) -> PathBuf {
    let dir = scratch("config");
    fs::create_dir_all(&dir).expect("a directory");
    for (name, text) in files {
        fs::write(dir.join(name), text).expect("a file");
    }
    dir
}

/// `omnimind` with these arguments, and no environment of ours, in `dir`.
fn omnimind(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_") || name == "LOG_LEVEL")
    {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(dir);
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn ended(mut command: Command) -> (Option<i32>, String, String) {
    said(&command.output().expect("omnimind starts"))
}

/// A server that reads `omnimind.yaml` with this text, and its configuration.
fn serve(text: &str) -> (Server, PathBuf) {
    let dir = files(&[("omnimind.yaml", text)]);
    let mut serve = command(&dir.join("data"));
    serve.arg("--config").arg(&dir).env_remove("LOG_LEVEL");
    (Server::launch(serve, &dir.join("data")).unwrap_or_else(|log| panic!("no start: {log}")), dir)
}

#[test]
fn sample_files_and_document_are_what_the_table_says() {
    let made = [
        ("config/omnimind.yaml", config::sample(File::Omnimind)),
        ("config/agent_config.yaml", config::sample(File::AgentConfig)),
        ("docs/configuration.md", config::document()),
    ];
    for (path, text) in made {
        let path = checkout().join(path);
        if std::env::var_os("OMNIMIND_TEST_UPDATE").is_some() {
            fs::write(&path, &text).expect("a file");
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is not up to date: OMNIMIND_TEST_UPDATE=1 writes it", path.display());
    }
}

/// Takes the comment away from every line that is a key.
fn uncommented(text: &str) -> String {
    let is_key = |line: &str| {
        let name: String = line
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
            .collect();
        let rest = line.trim_start().strip_prefix(&name).and_then(|rest| rest.strip_prefix(':'));
        !name.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(key) if is_key(key) => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// `config show --json` as rows of key, value and where it came from.
fn show(mut command: Command) -> Vec<(String, Value, String)> {
    let output = command.output().expect("omnimind starts");
    assert!(output.status.success(), "{:?}", said(&output));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    rows.iter().map(|row| (text(&row["key"]), row["value"].clone(), text(&row["from"]))).collect()
}

#[test]
fn sample_files_change_nothing_and_uncommented_are_the_defaults_of_mode_dev() {
    let empty = files(&[]);
    let compiled = show(omnimind(&empty, &["config", "show", "--json"]));
    let (code, out, _) = ended(omnimind(checkout(), &["config", "check"]));
    assert_eq!((code, out.as_str()), (Some(0), "ok: config/omnimind.yaml, config/agent_config.yaml\n"));
    assert_eq!(show(omnimind(checkout(), &["config", "show", "--json"])), compiled);

    let texts = File::ALL.map(|file| (file.name(), uncommented(&config::sample(file))));
    let dir = files(&texts.each_ref().map(|(name, text)| (*name, text.as_str())));
    let all = show(omnimind(&dir, &["config", "show", "--json", "--config", "."]));
    for ((key, value, from), (_, default, _)) in all.iter().zip(&compiled) {
        assert_eq!(value, default, "{key}");
        let is_set = from.starts_with("./omnimind.yaml:") || from.starts_with("./agent_config.yaml:");
        assert!(is_set || key.starts_with("OMNIMIND_"), "{key} is not in the sample: {from}");
    }
}

#[test]
fn the_small_profile_goes_on_top() {
    let arguments =
        ["config", "show", "--json", "--config", "config", "--config", "config/profiles/small.yaml"];
    let rows = show(omnimind(checkout(), &arguments));
    let row = |key: &str| rows.iter().find(|row| row.0 == key).expect("a row").clone();
    let (_, tasks, from) = row("performance.max_concurrent_tasks");
    assert_eq!((tasks, from.as_str()), (json!(3), "config/profiles/small.yaml:9"));
    assert_eq!(row("limits.default.wall_ms").1, json!(180_000));
    assert_eq!(row("server.workers").1, json!(2));
}

#[test]
fn a_server_with_the_small_profile_runs_three_small_tasks_at_once() {
    let profile = checkout().join("config/profiles/small.yaml");
    let server = Server::set_up(&[], |command| {
        command.arg("--config").arg(checkout().join("config")).arg("--config").arg(profile);
    });
    let limits = server.get("/api/v1/limits").json();
    let limit = |name: &str| {
        let rows = limits["limits"].as_array().expect("limits").iter();
        rows.clone().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {limits}")).clone()
    };
    assert_eq!(limit("wall_ms")["default"], json!(180_000));
    assert_eq!(
        (&limit("memory_bytes")["default"], &limit("memory_bytes")["max"]),
        (&json!(128 << 20), &json!(512 << 20))
    );
    let sleep = server.push("hostile/sleep");
    for _ in 0..5 {
        server.submit(&json!({"component": sleep, "input": 3_600_000}));
    }
    let queue = || server.get("/api/v1/health/queue").json()["details"].clone();
    let full = omnimind_tests::server::eventually(|| Some(queue()).filter(|queue| queue["running"] == 3));
    assert_eq!((&full["pending"], &full["places"]), (&json!(2), &json!(3)), "{full}");
}

#[test]
fn every_layer_is_over_the_one_before() {
    let dir = files(&[]);
    let port = |yaml: Option<&str>, variable: Option<&str>, flag: Option<&str>| {
        fs::create_dir_all(dir.join("config")).expect("a directory");
        fs::write(dir.join("config/omnimind.yaml"), yaml.unwrap_or_default()).expect("a file");
        let mut command = omnimind(&dir, &["config", "show"]);
        command.envs(variable.map(|port| ("OMNIMIND_SERVER__PORT", port)));
        flag.map(|port| command.args(["--port", port]));
        let (code, out, error) = ended(command);
        assert_eq!(code, Some(0), "{error}");
        let line = out.lines().find(|line| line.starts_with("server.port ")).expect("a line");
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    let yaml = Some("# about\nserver:\n  port: 1\n");
    assert_eq!(port(None, None, None), "8000 default");
    assert_eq!(port(yaml, None, None), "1 config/omnimind.yaml:3");
    assert_eq!(port(yaml, Some("2"), None), "2 environment OMNIMIND_SERVER__PORT");
    assert_eq!(port(yaml, Some("2"), Some("3")), "3 flag --port");
}

#[test]
fn a_bad_file_stops_every_command_that_reads_it() {
    let dir = files(&[("omnimind.yaml", "mode: dev\n\nserver:\n  prot: 1\n  port: many\n")]);
    let component = guest_path("hostile/echo");
    let mistakes = "error: the configuration has 2 mistakes\n  ./omnimind.yaml:4: server.prot: no such key in this \
        release (did you mean port?); server has host, port, workers, timeout_keep_alive, http2, limit_concurrency, trusted_proxies, tls_proxy, tls\n  \
        ./omnimind.yaml:5: server.port: `many` is not allowed; it is a number from 0 to 65535\n";
    for arguments in [
        &["serve", "--config", ".", "--data-dir", "data"][..],
        &["run", component.to_str().expect("UTF-8"), "--config", ".", "--data-dir", "data"],
        &["store", "check", "--config", ".", "--data-dir", "data"],
        &["config", "check", "."],
        &["config", "show", "--config", "."],
    ] {
        let (code, out, error) = ended(omnimind(&dir, arguments));
        assert_eq!((code, out.as_str(), error.as_str()), (Some(2), "", mistakes), "{arguments:?}");
    }
    assert!(!dir.join("data").exists(), "nothing was begun");
}

#[test]
fn a_directory_that_was_named_has_to_be_there() {
    let dir = files(&[]);
    for name in ["missing", "omnimind.yaml"] {
        let (code, _, error) = ended(omnimind(&dir, &["serve", "--config", name, "--data-dir", "data"]));
        assert_eq!(code, Some(2));
        assert!(error.starts_with(&format!("error: {name}: No such file")), "{error}");
    }
    let (code, out, _) = ended(omnimind(&dir, &["config", "check"]));
    assert_eq!((code, out.as_str()), (Some(0), "ok: no files, the defaults\n"));
}

#[test]
fn credentials_that_nobody_could_use_stop_the_start_before_it_begins() {
    let dir = files(&[]);
    for arguments in [&["serve", "--port", "0", "--data-dir", "data"][..], &["config", "check"]] {
        let mut command = omnimind(&dir, arguments);
        command.env("OMNIMIND_DASHBOARD_USER", "a:b").env("OMNIMIND_DASHBOARD_PASS", "secret");
        let (code, out, error) = ended(command);
        let mistake =
            "error: environment OMNIMIND_DASHBOARD_USER: a user's name has no `:`, and is not empty\n";
        assert_eq!((code, out.as_str(), error.as_str()), (Some(2), "", mistake), "{arguments:?}");
    }
    assert!(!dir.join("data").exists(), "nothing was begun");
}

#[test]
fn a_file_takes_no_more_than_its_size_lets_expect() {
    let children: String = (0..40_000).map(|n| format!(" {n}: 1\n")).collect();
    let product = format!("? \"{}\"\n:\n{children}", "a".repeat(500_000));
    let unknown: String = (0..10_000).map(|n| format!("{}{n}: 1\n", "k".repeat(60))).collect();
    let list = format!("a: [{}]\n", "1,".repeat(500_000));
    for text in [product, unknown, list] {
        let dir = files(&[("omnimind.yaml", &text)]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""]).arg(binary());
        limited.args(["config", "check", "."]).current_dir(&dir);
        let begun = Instant::now();
        let (code, _, error) = ended(limited);
        assert_eq!(code, Some(2), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(error.lines().count() < 60, "{error}");
        fs::remove_dir_all(dir).expect("a directory");
    }
}

#[test]
fn secrets_are_not_shown() {
    let dir = files(&[]);
    for arguments in [&["config", "show"][..], &["config", "show", "--json"]] {
        let mut command = omnimind(&dir, arguments);
        command.env("OMNIMIND_DASHBOARD_USER", "ada").env("OMNIMIND_DASHBOARD_PASS", "quite secret");
        command.env("OMNIMIND_USE_GPU", "true");
        let (code, out, error) = ended(command);
        assert_eq!(code, Some(0), "{error}");
        assert!(out.contains("ada") && !out.contains("quite secret"), "{out}");
        assert!(out.contains("set, hidden") || out.contains("\"set\": true"), "{out}");
        assert_eq!(
            error,
            "warning: the variable OMNIMIND_USE_GPU is set, and this release does not read it\n"
        );
    }
}

#[test]
fn limits_of_the_file_are_those_of_tasks_on_the_server() {
    let (mut server, dir) = serve("limits:\n  default: {fuel: 200_000}\n  max: {fuel: 1_000_000}\n");
    let primes = server.push("primes");
    let task = json!({"component": primes, "input": 1_000_000, "retry": {"max_attempts": 1}});
    let record = server.run(&task);
    assert_eq!(record["failure"]["kind"], "fuel_exhausted", "{record}");
    assert_eq!(
        record["receipt"]["budgets"]["fuel"]["limit"].as_u64().or(record["failure"]["used"].as_u64()),
        Some(200_000),
        "{record}"
    );
    let hint = record["failure"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("maximum in mode dev, as configured here, 1000000"), "{hint}");
    let more = json!({"component": primes, "input": 1, "limits": {"fuel": 1_000_001}});
    let problem = server.post("/api/tasks/", &more).problem(422, "invalid_request");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("in mode dev, as configured here, it is a number from 1 to 1000000"), "{detail}");
    assert_eq!(server.terminate(), Some(0));
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn limits_of_the_file_are_those_of_run() {
    let dir = files(&[("omnimind.yaml", "limits:\n  default: {fuel: 200000}\n  max: {fuel: 1000000}\n")]);
    let primes = guest_path("primes");
    let primes = primes.to_str().expect("UTF-8");
    let run = ["run", primes, "--input", "1000000", "--config", ".", "--data-dir", "data"];
    let (code, _, error) = ended(omnimind(&dir, &run));
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("fuel_exhausted"), "{error}");
    let (code, _, error) = ended(omnimind(&dir, &[&run[..], &["--limit", "fuel=1000001"]].concat()));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("as configured here, it is a number from 1 to 1000000"), "{error}");
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn run_is_quiet_whatever_the_servers_log_level_is() {
    let dir = files(&[]);
    let echo = guest_path("hostile/echo");
    let run = ["run", echo.to_str().expect("UTF-8"), "--input", "1", "--mode", "test", "--data-dir", "data"];
    let (code, out, error) = ended(omnimind(&dir, &run));
    assert_eq!((code, out.as_str()), (Some(0), "1"), "{error}");
    assert!(error.starts_with("completed in "), "{error}");
}

/// Reads an answer with a `Content-Length` off a connection that stays.
fn answer(stream: &mut std::net::TcpStream) -> String {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.trim().parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    head
}

#[test]
fn the_server_has_the_threads_and_the_patience_that_it_was_told() {
    let (server, dir) = serve("server:\n  workers: 40\n  timeout_keep_alive: 1\n");
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a process");
    let names = tasks.filter_map(|task| fs::read_to_string(task.expect("a thread").path().join("comm")).ok());
    // What blocks has threads of that name too, a few.
    let count = names.filter(|name| name.trim() == "server").count();
    assert!((40..60).contains(&count), "{count}");

    let mut stream = server.connect();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).expect("it is sent");
    assert!(answer(&mut stream).starts_with("http/1.1 200"));
    // Within the time the connection is good for another request.
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(request.as_bytes()).expect("it is sent");
    assert!(answer(&mut stream).starts_with("http/1.1 200"));
    let begun = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let waited = begun.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn http2_can_be_turned_off() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for (http2, speaks) in [("true", true), ("false", false)] {
        let (server, dir) = serve(&format!("server: {{http2: {http2}, timeout_keep_alive: 1}}\n"));
        let mut stream = server.connect();
        stream.write_all(PREFACE).expect("it is sent");
        let mut first = [0; 9];
        let read = stream.read(&mut first).unwrap_or_default();
        // The server's settings: a frame of type 4.
        assert_eq!(read == 9 && first[3] == 4, speaks, "{first:?}");
        assert_eq!(server.get("/api/v1/health/").status, 200);
        drop(server);
        fs::remove_dir_all(dir).expect("a directory");
    }
}

#[test]
fn without_authentication_everybody_is_the_default_tenant() {
    let (server, dir) = serve("authentication:\n  enabled: false\n");
    let anonymous = |path: &str| -> Reply { server.request("GET", path).anonymous().send() };
    assert_eq!(anonymous("/api/tasks/").status, 200);
    let echo = server.push("hostile/echo");
    let id = server.submit(&json!({"component": echo, "input": 1}));
    assert_eq!(anonymous(&format!("/api/tasks/{id}")).status, 200, "the same tenant's");
    let foreign = server.request("GET", "/api/tasks/").anonymous().header("Origin", "http://evil.example");
    foreign.send().problem(403, "origin_not_allowed");
    assert!(server.log.lock().expect("no panic").contains("credentials     none"));
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn the_log_has_the_level_and_the_form_that_it_was_told() {
    for (yaml, is_json) in [("", true), ("logging: {format: text}", false), ("mode: prod", false)] {
        let (mut server, dir) = serve(yaml);
        assert_eq!(server.terminate(), Some(0));
        std::thread::sleep(Duration::from_millis(200));
        let log = server.log.lock().expect("no panic").clone();
        let ending: Vec<&str> = log.lines().filter(|line| line.contains("ending: at most")).collect();
        // INFO: not in prod.
        assert_eq!(ending.len(), usize::from(yaml != "mode: prod"), "{log}");
        for line in ending {
            assert_eq!(serde_json::from_str::<Value>(line).is_ok(), is_json, "{line}");
        }
        drop(server);
        fs::remove_dir_all(dir).expect("a directory");
    }
}
