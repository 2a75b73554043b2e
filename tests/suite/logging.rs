//! The server's own log: what is in it, what never is, and that nothing waits for it.

use std::fs;
use std::io::{BufRead, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use omnimind_tests::disk::Disk;
use omnimind_tests::server::{Server, command, eventually, scratch};
use omnimind_tests::wire::{Events, answer, exchange, form, head};
use omnimind_tests::{guest, pause};
use serde_json::{Value, json};

/// A server whose log is a file of its own.
struct Logging {
    server: Server,
    file: PathBuf,
}

impl Logging {
    fn with(level: &str, variables: &[(&str, &str)]) -> Logging {
        let dir = scratch("log");
        fs::create_dir_all(&dir).expect("a directory");
        let file = dir.join("log");
        let server = Server::set_up(&[], |command| {
            command.env("LOG_LEVEL", level).env("OMNIMIND_LOGGING__FILE", &file);
            command.envs(variables.iter().copied());
        });
        Logging { server, file }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// The lines, once there is one that is `wanted`.
    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        eventually(|| Some(json_lines(&self.text())).filter(|lines| lines.iter().any(&wanted)))
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.file.parent().expect("a directory"));
    }
}

/// Every line but one that is just being written.
fn json_lines(text: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(read).collect()
}

fn is_access(line: &Value, path: &str) -> bool {
    line["target"] == "access" && line["fields"]["path"] == path
}

fn set_level(server: &Server, level: &str) -> Value {
    let reply = server.request("PUT", "/api/v1/logging/level").json(&json!({"level": level})).send();
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

#[test]
fn each_request_has_a_line_without_its_query() {
    let log = Logging::with("info", &[]);
    let server = &log.server;
    assert_eq!(server.get("/api/tasks/?limit=7").status, 200);
    server.get("/api/tasks/%0aINFO%20forged").problem(404, "not_found");
    server.request("GET", "/api/components").anonymous().send().problem(401, "unauthorized");
    server.get("/nothing/here");
    let lines = log.until(|line| is_access(line, "/nothing/here"));
    let line = |path: &str| {
        let found: Vec<&Value> = lines.iter().filter(|line| is_access(line, path)).collect();
        assert_eq!(found.len(), 1, "{path}: {lines:#?}");
        found[0]["fields"].clone()
    };
    let list = line("/api/tasks/");
    for (field, value) in [
        ("method", json!("GET")),
        ("route", json!("/api/tasks")),
        ("status", json!(200)),
        ("address", json!("127.0.0.1")),
        ("tenant", json!("default")),
    ] {
        assert_eq!(list[field], value, "{field}: {list}");
    }
    assert!(list["bytes"].as_u64().is_some_and(|bytes| bytes > 10), "{list}");
    assert!(list["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{list}");
    let forged = line("/api/tasks/%0aINFO%20forged");
    assert_eq!((&forged["route"], &forged["status"]), (&json!("/api/tasks/{id}"), &json!(404)));
    let unknown = line("/api/components");
    assert_eq!((&unknown["status"], unknown.get("tenant")), (&json!(401), None), "{unknown}");
    assert_eq!(line("/nothing/here")["route"], "unmatched");
    assert!(!log.text().contains("limit=7"));
    server.get(&format!("/{}", "a".repeat(10_000)));
    log.until(|line| is_access(line, &format!("/{}", "a".repeat(255))));

    // A stream has its line when it begins; a client that goes has one too.
    let mut events = Events::open(server, "/api/events");
    events.next_event();
    log.until(|line| is_access(line, "/api/events") && line["fields"]["status"] == 200);
    let sleep = server.push("hostile/sleep");
    let waits = json!({"component": sleep, "input": 3_600_000}).to_string();
    let request = format!(
        "{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{waits}",
        head(server, "POST /api/tasks/?wait=60s"),
        waits.len()
    );
    exchange(server, request.as_bytes(), Duration::from_millis(300));
    log.until(|line| {
        line["fields"]["method"] == "POST"
            && line["target"] == "access"
            && line["fields"].get("status").is_none()
    });
}

#[test]
fn text_is_one_line_for_each_event_whatever_is_asked_for() {
    let log = Logging::with("info", &[("OMNIMIND_LOGGING__FORMAT", "text")]);
    // Not every one of them is HTTP.
    for path in ["/a%0a%1b[2J", "/\u{202e}txet", "/\u{85}next", "/\u{2028}line"] {
        exchange(&log.server, head(&log.server, &format!("GET {path}")).as_bytes(), Duration::from_millis(1));
        answer(
            &log.server,
            format!("{}Connection: close\r\n\r\n", head(&log.server, &format!("GET {path}"))).as_bytes(),
        );
    }
    assert_eq!(log.server.get("/last").status, 404);
    let text = eventually(|| Some(log.text()).filter(|text| text.contains("\"/last\"")));
    let accessed = text.lines().filter(|line| line.contains("INFO access: method=\"GET\" path=")).count();
    // What the machine does, and which model there is, is no client's doing.
    let ours = [" omnimind::guard::journal: ", " omnimind::backend::"];
    let others = text.lines().filter(|line| !ours.iter().any(|ours| line.contains(ours))).count();
    assert_eq!(others, accessed, "{text}");
    assert!(accessed >= 2 && !text.contains('\u{202e}') && !text.contains('\u{85}'), "{text}");
}

#[test]
fn no_secret_is_in_the_log_at_any_level() {
    let dir = scratch("log");
    fs::create_dir_all(&dir).expect("a directory");
    for file in [Some(dir.join("log")), None] {
        let server = Server::set_up(&[], |command| {
            command.env("LOG_LEVEL", "trace");
            command.env("OMNIMIND_DASHBOARD_USER", "ada").env("OMNIMIND_DASHBOARD_PASS", "pass-4711-word");
            command.envs(file.iter().map(|file| ("OMNIMIND_LOGGING__FILE", file)));
        });
        let basic = server.authorization().to_owned();
        // Of whoever came, and of whoever did not.
        let wrong = "Basic YWRhOndyb25nLTQ3MTItd29yZA==";
        server
            .request("GET", "/api/tasks/")
            .header("Authorization", wrong)
            .send()
            .problem(401, "unauthorized");
        server.request("GET", "/api/tasks/").header("Authorization", "Bearer token-4713").send();
        let link =
            server.request("POST", "/api/sign-in").send().json()["path"].as_str().expect("text").to_owned();
        let ticket = link.split_once('=').expect("a ticket").1.to_owned();
        let signed_in = server.request("GET", &link).anonymous().send();
        let cookie = signed_in.headers["set-cookie"].split(';').next().expect("a cookie").to_owned();
        assert_eq!(
            server.request("GET", "/api/tasks/").anonymous().header("Cookie", &cookie).send().status,
            200
        );
        server.request("GET", "/sign-in?ticket=ticket-4714").anonymous().send();

        let echo = server.push("hostile/echo");
        let task = json!({"component": echo, "input": "input-4715", "description": "description-4716",
            "metadata": {"note": "metadata-4717"}});
        assert_eq!(server.run(&task)["result"], "input-4715");
        server.push("hostile/get-environment");
        let task =
            json!({"component": "get-environment", "env": {"KEY": "value-4718"}, "args": ["argument-4719"]});
        server.post("/api/tasks/?wait=10s", &task);
        let (media_type, body) = form(&[
            ("component", "application/wasm", &guest("hostile/error-text")),
            ("input", "text/plain", b"input-4720"),
        ]);
        server.request("POST", "/api/tasks/?wait=10s").body(&media_type, &body).send();
        server
            .request("POST", "/api/tasks/?input=input-4721&env=A=value-4722")
            .wasm(&guest("hostile/echo"))
            .send();
        server
            .request("POST", "/api/tasks/")
            .header("Idempotency-Key", "key-4723")
            .json(&json!({"component": "echo", "inptu": "field-4724"}))
            .send();
        answer(&server, b"GARBAGE secret-4725\r\n\r\n");
        let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0 frame-4726";
        exchange(&server, h2, Duration::from_millis(200));
        server.get("/the/end");

        let text = eventually(|| {
            let text = match &file {
                Some(file) => fs::read_to_string(file).unwrap_or_default(),
                None => server.log.lock().expect("no panic").clone(),
            };
            Some(text).filter(|text| text.contains("/the/end"))
        });
        assert!(text.lines().filter(|line| line.contains("\"access\"")).count() > 10, "{text}");
        let (_, pair) = basic.split_once(' ').expect("a scheme");
        let (_, cookie) = cookie.split_once('=').expect("a value");
        for secret in ["47", pair, "wrong", "YWRhOndyb25n", ticket.as_str(), cookie] {
            // Times and lengths have figures too.
            let found = text.lines().filter(|line| match secret {
                "47" => (4711..=4726).any(|number| line.contains(&format!("-{number}"))),
                secret => line.contains(secret),
            });
            assert_eq!(found.collect::<Vec<_>>(), Vec::<&str>::new(), "{secret}");
        }
    }
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn prod_says_warnings_only_until_it_is_told_otherwise() {
    let server = Server::with(&["--mode", "prod"]);
    let accesses = || server.log.lock().expect("no panic").matches("\"access\"").count();
    assert_eq!(server.get("/api/v1/logging/level").json(), json!({"level": "WARNING", "dropped_lines": 0}));
    assert_eq!(server.get("/before").status, 404);
    assert_eq!(set_level(&server, "INFO"), json!({"level": "INFO", "before": "WARNING"}));
    assert_eq!(server.get("/between").status, 404);
    eventually(|| server.log.lock().expect("no panic").contains("/between").then_some(()));
    assert_eq!(set_level(&server, "warning")["before"], "INFO");
    let before = accesses();
    assert_eq!(server.get("/after").status, 404);
    set_level(&server, "trace");
    eventually(|| server.log.lock().expect("no panic").contains("\"to\":\"TRACE\"").then_some(()));
    let log = server.log.lock().expect("no panic").clone();
    assert!(!log.contains("/before") && !log.contains("/after"), "{log}");
    // The changes themselves, and the answer to the last of them.
    assert!(
        accesses() <= before + 1 && log.matches("the level of the log was changed").count() == 3,
        "{log}"
    );

    for (body, status, code) in [
        (json!({"level": "LOUD"}), 422, "invalid_request"),
        (json!({"level": "INFO", "for": 1}), 422, "invalid_request"),
        (json!({}), 422, "invalid_request"),
    ] {
        server.request("PUT", "/api/v1/logging/level").json(&body).send().problem(status, code);
    }
    let plain = server.request("PUT", "/api/v1/logging/level").body("text/plain", b"INFO").send();
    plain.problem(415, "unsupported_media_type");
    server.request("GET", "/api/v1/logging/level").anonymous().send().problem(401, "unauthorized");
}

#[test]
fn the_command_line_shows_and_changes_the_level() {
    let server = Server::start();
    let told = |arguments: &[&str]| {
        let output = server.omnimind("log-level", arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(told(&[]), (Some(0), "INFO\n".to_owned()));
    assert_eq!(told(&["error"]), (Some(0), "ERROR\n".to_owned()));
    assert_eq!(told(&["loud"]).0, Some(2));
    let (_, help) = told(&["--help"]);
    for level in ["error", "warning", "info", "debug", "trace", "omnimind log-level debug"] {
        assert!(help.contains(level), "{level}: {help}");
    }
    assert_eq!(server.get("/api/v1/logging/level").json()["level"], "ERROR");
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let data_dir = scratch("log");
    let mut serve = command(&data_dir);
    serve.env("OMNIMIND_LOGGING__BUFFER_SIZE", "20");
    let (server, mut unread) = Server::launch_unread(serve, &data_dir).expect("a server");
    let dropped = || server.get("/api/v1/logging/level").json()["dropped_lines"].as_u64().expect("a number");
    // A pipe takes 64 KiB, and each of these has a line of some hundred bytes.
    let path = format!("/{}", "a".repeat(200));
    for _ in 0..400 {
        assert_eq!(server.get(&path).status, 404);
    }
    assert!(dropped() > 100, "{}", dropped());

    // Somebody reads again: what was lost is said, and nothing more is.
    let stop = Arc::new(AtomicBool::new(false));
    let reading = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut lost = 0;
            let mut line = String::new();
            while !stop.load(Ordering::SeqCst) && unread.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line.contains("lines of the log were dropped") {
                    let line: Value = serde_json::from_str(&line).expect("JSON");
                    lost += line["fields"]["lines"].as_u64().expect("a number");
                }
                line.clear();
            }
            (lost, unread)
        })
    };
    let known = eventually(|| {
        let before = dropped();
        pause(Duration::from_millis(300));
        (dropped() == before).then_some(before)
    });
    stop.store(true, Ordering::SeqCst);
    assert_eq!(server.get("/one-more-line").status, 404);
    let (lost, mut unread) = reading.join().expect("no panic");
    assert_eq!(lost, known);

    // Full again, it ends all the same.
    for _ in 0..400 {
        assert_eq!(server.get(&path).status, 404);
    }
    let mut server = server;
    let begun = Instant::now();
    assert_eq!(server.terminate(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut rest = String::new();
    unread.read_to_string(&mut rest).expect("text");
    drop(server);
    let _ = fs::remove_dir_all(data_dir);
}

/// The file and the older ones, newest first.
fn files(log: &Path) -> Vec<PathBuf> {
    let older = (1..100).map(|number| PathBuf::from(format!("{}.{number}", log.display())));
    [log.to_owned()].into_iter().chain(older).take_while(|path| path.exists()).collect()
}

#[test]
fn the_file_is_rotated_by_size_and_an_end_in_order_loses_nothing() {
    let variables = [("OMNIMIND_LOGGING__MAX_SIZE", "4KiB"), ("OMNIMIND_LOGGING__MAX_FILES", "50")];
    let mut log = Logging::with("info", &variables);
    for number in 0..100 {
        assert_eq!(log.server.get(&format!("/number/{number}")).status, 404);
    }
    assert_eq!(log.server.terminate(), Some(0));
    let (mut numbers, files) = (Vec::new(), files(&log.file));
    assert!(files.len() > 4, "{files:?}");
    for file in files.iter().rev() {
        let text = fs::read_to_string(file).expect("a file");
        assert!(text.len() <= 4096 && text.ends_with('\n'), "{file:?}");
        assert_eq!(fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600, "{file:?}");
        let paths = json_lines(&text)
            .into_iter()
            .filter_map(|line| line["fields"]["path"].as_str().map(str::to_owned));
        numbers.extend(paths.filter_map(|path| path.strip_prefix("/number/").map(str::to_owned)));
    }
    let expected: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
    assert_eq!(numbers, expected, "each once, in order");
    // Nothing of it is on standard error.
    assert!(!log.server.log.lock().expect("no panic").contains("/number/"));
}

#[test]
fn a_file_that_cannot_be_rotated_loses_nothing_and_says_so_once() {
    for is_async in ["true", "false"] {
        let variables = [
            ("OMNIMIND_LOGGING__MAX_SIZE", "4KiB"),
            ("OMNIMIND_LOGGING__MAX_FILES", "1"),
            ("OMNIMIND_LOGGING__ASYNC", is_async),
        ];
        let mut log = Logging::with("info", &variables);
        // A file does not take the place of a directory.
        fs::create_dir(log.file.with_file_name("log.1")).expect("a directory");
        for number in 0..100 {
            assert_eq!(log.server.get(&format!("/number/{number}")).status, 404);
        }
        assert_eq!(log.server.terminate(), Some(0));
        let text = log.text();
        let numbers = json_lines(&text)
            .into_iter()
            .filter(|line| line["fields"]["path"].as_str().is_some_and(|path| path.starts_with("/number/")));
        assert_eq!(numbers.count(), 100, "{text}");
        assert_eq!(text.matches("the log could not be rotated").count(), 1, "{text}");
    }
}

#[test]
fn no_more_files_are_kept_than_may_be_and_a_kill_leaves_whole_lines() {
    let variables = [("OMNIMIND_LOGGING__MAX_SIZE", "4KiB"), ("OMNIMIND_LOGGING__MAX_FILES", "2")];
    let mut log = Logging::with("info", &variables);
    let dir = log.file.parent().expect("a directory").to_owned();
    let files = || fs::read_dir(&dir).expect("a directory").map(|file| file.expect("a file").path());
    // The writer may be behind: it is killed while it writes.
    eventually(|| {
        assert_eq!(log.server.get("/some/path").status, 404);
        dir.join("log.2").exists().then_some(())
    });
    for _ in 0..30 {
        assert_eq!(log.server.get("/some/path").status, 404);
    }
    log.server.kill();
    let mut lines = 0;
    for file in files() {
        let text = fs::read_to_string(&file).expect("a file");
        assert!(text.is_empty() || text.ends_with('\n'), "{file:?}");
        lines += json_lines(&text).len();
    }
    assert!((2..=3).contains(&files().count()) && lines > 10, "{lines} in {:?}", files().collect::<Vec<_>>());
}

#[test]
fn a_directory_that_is_removed_holds_nobody_up() {
    let log = Logging::with("info", &[]);
    assert_eq!(log.server.get("/a/line").status, 404);
    log.until(|line| is_access(line, "/a/line"));
    let dir = log.file.parent().expect("a directory").to_owned();
    fs::remove_dir_all(&dir).expect("a directory");
    let dropped =
        || log.server.get("/api/v1/logging/level").json()["dropped_lines"].as_u64().expect("a number");
    eventually(|| {
        pause(Duration::from_millis(50));
        (dropped() > 3).then_some(())
    });
    // What cannot be said is not said again and again.
    let before = dropped();
    pause(Duration::from_millis(300));
    assert!(dropped() - before < 20, "{} lines in 300 ms, of one request", dropped() - before);
    fs::create_dir_all(&dir).expect("a directory");
    let said = eventually(|| {
        log.server.get("/again");
        pause(Duration::from_millis(20));
        let lines = json_lines(&log.text());
        let told = |line: &&Value| {
            line["fields"]["message"].as_str().is_some_and(|text| text.contains("were dropped"))
        };
        lines.iter().find(told).cloned()
    });
    assert_eq!(said["level"], "WARN", "{said}");
}

#[test]
fn a_full_disk_leaves_whole_lines() {
    let disk = Disk::small(48);
    // One that is pretended writes nothing of a line that does not fit, as no real one does.
    if !disk.is_real() {
        return;
    }
    let file = disk.data_dir().join("log");
    let mut serve = command(&disk.data_dir());
    serve.env("OMNIMIND_LOGGING__FILE", &file).env("OMNIMIND_PROTECTION__INTERVAL_MS", "60000");
    let server = Server::launch(serve, &disk.data_dir()).unwrap_or_else(|log| panic!("no start: {log}"));
    // It has begun a page, which ends amid a line.
    eventually(|| {
        server.get("/before");
        fs::read_to_string(&file).is_ok_and(|text| text.contains("/before\"")).then_some(())
    });
    disk.fill(true);
    eventually(|| {
        server.get("/while/it/is/full");
        (server.get("/api/v1/logging/level").json()["dropped_lines"].as_u64() > Some(3)).then_some(())
    });
    disk.fill(false);
    let text = eventually(|| {
        server.get("/after");
        let text = fs::read_to_string(&file).expect("a file");
        text.contains("/after\"").then_some(text)
    });
    // Each can be read by itself.
    assert!(json_lines(&text).len() >= 3, "{text}");
}

#[test]
fn a_file_that_cannot_be_written_or_is_anothers_stops_the_start() {
    let log = Logging::with("info", &[]);
    let dir = log.file.parent().expect("a directory");
    for (file, why) in [
        (log.file.clone(), "another process writes its log there"),
        (dir.join("missing/log"), "No such file"),
        (dir.to_owned(), "is not a file"),
        (PathBuf::from("/dev/null"), "is not a file"),
    ] {
        let mut serve = command(&scratch("log"));
        let output = serve.env("OMNIMIND_LOGGING__FILE", &file).output().expect("omnimind starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("logging.file: ") && said.contains(why), "{file:?}: {said}");
    }
}

#[test]
fn without_the_buffer_each_line_is_there_when_the_answer_is() {
    let log = Logging::with("info", &[("OMNIMIND_LOGGING__ASYNC", "false")]);
    for number in 0..20 {
        let path = format!("/number/{number}");
        assert_eq!(log.server.get(&path).status, 404);
        assert!(log.text().contains(&format!("{path}\"")));
    }
}

#[test]
fn what_clients_and_guests_do_wrong_is_no_warning() {
    let log = Logging::with("warning", &[]);
    let server = &log.server;
    let spam = server.push("hostile/grow-spam");
    for _ in 0..50 {
        server.get("/nothing");
        server.request("GET", "/api/tasks/?limit=x").send();
        server.post("/api/tasks/", &json!({"component": "nobody"}));
        server.request("POST", "/api/components/").wasm(b"no component").send();
        answer(server, b"GARBAGE\r\n\r\n");
    }
    for name in
        ["hostile/trap-unreachable", "hostile/error-control-characters", "hostile/log-control-characters"]
    {
        let digest = server.push(name);
        server.run(&json!({"component": digest}));
    }
    server.post("/api/tasks/?wait=10s", &json!({"component": spam, "limits": {"fuel": 50_000_000}}));
    // What the machine does is no client's doing.
    let lines = json_lines(&log.text());
    let theirs: Vec<&Value> =
        lines.iter().filter(|line| line["target"] != "omnimind::guard::journal").collect();
    assert!(theirs.is_empty(), "{theirs:#?}");
}
