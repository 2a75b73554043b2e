//! Figures: each changes when it should, no client can add labels without end, and Prometheus can read them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use omnimind_tests::exposition::{Exposition, promtool};
use omnimind_tests::guest;
use omnimind_tests::server::{Server, eventually};
use omnimind_tests::wire::Events;
use serde_json::{Value, json};

fn scrape(server: &Server) -> Exposition {
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4");
    Exposition::parse(&reply.text()).unwrap_or_else(|why| panic!("{why}\n{}", reply.text()))
}

/// Uploads a guest under a name of its own.
fn push_as(server: &Server, guest_name: &str, name: &str) {
    let reply =
        server.request("POST", &format!("/api/components/?name={name}")).wasm(&guest(guest_name)).send();
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
}

/// How often tasks of `component` came to this `end`.
fn ended(scrape: &Exposition, component: &str, end: &str) -> f64 {
    scrape.value("omnimind_tasks_ended_total", &[("component", component), ("end", end)]).unwrap_or(0.0)
}

#[test]
fn every_end_of_a_task_is_counted_once() {
    let server = Server::with(&["--allow-ephemeral"]);
    for (guest_name, name) in
        [("echo", "good"), ("trap-unreachable", "bad"), ("spin", "long"), ("sleep", "nap")]
    {
        push_as(&server, &format!("hostile/{guest_name}"), name);
    }
    for durable in [true, false] {
        server.run(&json!({"component": "good", "input": 1, "durable": durable}));
    }
    // Begun before its client can wait, and stored with its end; the others after they were told of.
    let id = server.submit(&json!({"component": "good", "input": 1}));
    server.wait_for_status(&id, "completed");
    let retry = json!({"max_attempts": 3, "on": ["trap"], "backoff_ms": 1});
    server.run(&json!({"component": "bad", "retry": retry}));
    server.run(&json!({"component": "long", "input_text": "9000000000", "limits": {"fuel": 1_000_000}}));
    let id = server.submit(&json!({"component": "nap", "input": 3_600_000}));
    server.wait_for_status(&id, "running");
    let scrape_now = scrape(&server);
    assert_eq!(scrape_now.value("omnimind_tasks_active", &[]), Some(1.0));
    assert_eq!(server.get("/api/metrics").json()["tasks"]["active"], 1);
    server.delete(&format!("/api/tasks/{id}"));
    server.wait_for_status(&id, "cancelled");

    let scrape = scrape(&server);
    assert_eq!(ended(&scrape, "good", "completed"), 3.0);
    assert_eq!(ended(&scrape, "bad", "trap"), 1.0, "a retry is no end");
    assert_eq!(ended(&scrape, "long", "fuel_exhausted"), 1.0);
    assert_eq!(ended(&scrape, "nap", "cancelled"), 1.0);
    let all: f64 = scrape.samples("omnimind_tasks_ended_total").iter().map(|sample| sample.value).sum();
    assert_eq!(all, 6.0);
    for name in [
        "omnimind_task_executions_total",
        "omnimind_task_wall_seconds_count",
        "omnimind_task_queue_seconds_count",
    ] {
        assert_eq!(scrape.value(name, &[]), Some(8.0), "{name}: two retries are two executions more");
    }
    let fuel = scrape.value("omnimind_task_fuel_total", &[]).expect("fuel");
    assert!((1_000_000.0..3_000_000.0).contains(&fuel), "{fuel}");
    assert_eq!(scrape.value("omnimind_tasks_active", &[]), Some(0.0));

    let tasks = server.get("/api/metrics").json()["tasks"].clone();
    for (field, count) in
        [("completed", 3), ("failed", 2), ("cancelled", 1), ("executions", 8), ("active", 0)]
    {
        assert_eq!(tasks[field], count, "{field}: {tasks}");
    }
    assert_eq!((&tasks["success_rate"], &tasks["recent"]["success_rate"]), (&json!(0.6), &json!(0.6)));
    assert_eq!(tasks["recent"]["wall_ms"]["samples"], 8);
    let bad = json!({"component": "bad", "completed": 0, "failed": 1, "cancelled": 0});
    assert!(tasks["components"].as_array().is_some_and(|list| list.contains(&bad)), "{tasks}");
}

#[test]
fn an_end_that_a_restart_brings_is_counted() {
    let data_dir = omnimind_tests::server::scratch("metrics");
    let launch = || {
        let command = omnimind_tests::server::command(&data_dir);
        Server::launch(command, &data_dir).unwrap_or_else(|log| panic!("no start: {log}"))
    };
    let mut server = launch();
    push_as(&server, "hostile/spin", "long");
    let id = server.submit(&json!({"component": "long", "input_text": "500000000000"}));
    for _ in 0..3 {
        server.wait_for_status(&id, "running");
        server.kill();
        server = launch();
    }
    server.wait_for_status(&id, "failed");
    assert_eq!(ended(&scrape(&server), "long", "lost"), 1.0);
    drop(server);
    let _ = std::fs::remove_dir_all(data_dir);
}

fn requests(scrape: &Exposition, route: &str, method: &str, status: &str) -> f64 {
    let labels = [("route", route), ("method", method), ("status", status)];
    scrape.value("omnimind_http_requests_total", &labels).unwrap_or(0.0)
}

#[test]
fn every_request_is_counted_where_it_belongs() {
    let server = Server::start();
    push_as(&server, "hostile/echo", "echo");
    let before = scrape(&server);
    server.run(&json!({"component": "echo", "input": 1}));
    server.get("/api/tasks/");
    server.get("/api/tasks");
    server.get("/api/tasks/01890f3e-7c4a-7cc1-98c5-4f6f0a2b1c3d");
    server.get("/api/tasks/?limit=0");
    server.request("BREW", "/api/tasks/").send();
    server.delete("/api/tasks/").problem(405, "method_not_allowed");
    server.request("GET", "/api/components/").anonymous().send().problem(401, "unauthorized");
    server.get("/nowhere");
    let after = scrape(&server);
    let more = |route: &str, method: &str, status: &str| {
        requests(&after, route, method, status) - requests(&before, route, method, status)
    };
    assert_eq!(more("/api/tasks", "POST", "2xx"), 1.0);
    assert_eq!(more("/api/tasks", "GET", "2xx"), 2.0, "with and without a slash");
    assert_eq!(more("/api/tasks", "GET", "4xx"), 1.0);
    assert_eq!(more("/api/tasks", "other", "4xx"), 2.0, "no method, and none of this route's");
    assert_eq!(more("/api/tasks/{id}", "GET", "4xx"), 1.0);
    assert_eq!(more("/api/components", "GET", "4xx"), 1.0, "refused by the gate, and it has a route");
    assert_eq!(more("unmatched", "GET", "4xx"), 1.0);
    assert_eq!(more("/metrics", "GET", "2xx"), 1.0, "the first one");
    let code = |code: &str| after.value("omnimind_http_problems_total", &[("code", code)]).unwrap_or(0.0);
    for (name, times) in [("unauthorized", 1.0), ("method_not_allowed", 2.0), ("invalid_request", 1.0)] {
        assert_eq!(code(name), times, "{name}");
    }
    assert_eq!(code("not_found"), 2.0);
    assert_eq!(after.value("omnimind_http_requests_in_flight", &[]), Some(1.0), "itself");
    assert!(after.value("omnimind_http_connections", &[]) >= Some(1.0));

    let shown = server.get("/api/metrics").json();
    let routes = shown["requests"]["routes"].as_array().expect("a list").clone();
    let list =
        routes.iter().find(|line| line["route"] == "/api/tasks" && line["method"] == "GET").expect("a line");
    assert_eq!((&list["count"], &list["client_errors"], &list["errors"]), (&json!(3), &json!(1), &json!(0)));
    for figure in ["p50_ms", "p95_ms", "p99_ms", "max_ms"] {
        assert!(list["recent"][figure].as_f64().is_some_and(|ms| ms > 0.0 && ms < 60_000.0), "{list}");
    }
    assert_eq!(shown["requests"]["problems"]["unauthorized"], 1);
    assert_eq!(shown["window"]["precision_percent"], 1);
}

#[test]
fn what_a_client_waits_for_is_not_what_an_answer_takes() {
    let server = Server::start();
    push_as(&server, "hostile/sleep", "nap");
    let duration = |scrape: &Exposition, what: &str| {
        let labels = [("route", "/api/tasks"), ("method", "POST")];
        scrape.value(&format!("omnimind_http_request_duration_seconds_{what}"), &labels).unwrap_or(0.0)
    };
    let before = scrape(&server);
    server.run(&json!({"component": "nap", "input": 1500}));
    let after = scrape(&server);
    assert_eq!(duration(&after, "count") - duration(&before, "count"), 1.0);
    let took = duration(&after, "sum") - duration(&before, "sum");
    assert!(took < 1.4, "{took}");
    assert_eq!(after.value("omnimind_http_wait_seconds_count", &[]), Some(1.0));
    let waited = after.value("omnimind_http_wait_seconds_sum", &[]).expect("a sum");
    assert!(waited > 1.0 && waited + took > 1.5, "{waited} and {took}");

    assert_eq!(after.value("omnimind_http_streams", &[]), Some(0.0));
    let mut events = Events::open(&server, "/api/events");
    events.next_event();
    let with = scrape(&server);
    assert_eq!(with.value("omnimind_http_streams", &[]), Some(1.0));
    assert_eq!(with.value("omnimind_http_requests_in_flight", &[]), Some(1.0), "its head was answered");
    drop(events);
    // It is missed when something is sent to it.
    eventually(|| {
        server.run(&json!({"component": "nap", "input": 1}));
        (scrape(&server).value("omnimind_http_streams", &[]) == Some(0.0)).then_some(())
    });
}

#[test]
fn who_goes_before_the_answer_is_seen() {
    let server = Server::start();
    push_as(&server, "hostile/sleep", "nap");
    let body = r#"{"component": "nap", "input": 3600000}"#;
    let mut stream = server.connect();
    let head = omnimind_tests::wire::head(&server, "POST /api/tasks/?wait=60s");
    let length = body.len();
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .expect("sent");
    eventually(|| {
        (scrape(&server).value("omnimind_http_requests_in_flight", &[]) == Some(2.0)).then_some(())
    });
    drop(stream);
    eventually(|| {
        let scrape = scrape(&server);
        let gone = scrape.value("omnimind_http_requests_abandoned_total", &[]) == Some(1.0);
        (gone && scrape.value("omnimind_http_requests_in_flight", &[]) == Some(1.0)).then_some(())
    });
}

#[test]
fn the_machine_stands_beside_its_limits() {
    let server = Server::start();
    let all = ["/api/metrics", "/api/omnimind/metrics/real/"].map(|path| {
        // The first look at the machine has nothing to compare with.
        eventually(|| Some(server.get(path).json()).filter(|all| all["machine"]["cpu"].is_object()))
    });
    for all in all {
        let machine = &all["machine"];
        for (figure, field, limit, value) in [
            ("cpu", "machine_percent", "limit_percent", json!(75.0)),
            ("ram", "used_percent", "limit_percent", json!(80.0)),
            ("disk", "used_percent", "limit_percent", json!(90.0)),
            ("process", "rss_bytes", "rss_limit_bytes", json!(8_000_000_000_u64)),
        ] {
            assert!(machine[figure][field].as_f64().is_some(), "{figure}: {machine}");
            assert_eq!(machine[figure][limit], value, "{figure}");
        }
        for (figure, field) in [("handles", "threads"), ("handles", "open_descriptors")] {
            assert!(machine[figure][field].as_f64().is_some_and(|count| count > 3.0), "{figure}: {machine}");
        }
        for name in ["swap", "io"] {
            let why = &machine["missing"][name];
            assert!(machine[name].is_object() || why.is_string(), "{name} is there, or it is said why not");
        }
        assert_eq!((&machine["mode"], &machine["instances_limit"]), (&json!("dev"), &json!(50)));
    }
    let mode = server.request("PUT", "/api/v1/protection/mode").json(&json!({"mode": "prod"})).send();
    assert_eq!(mode.status, 200, "{mode:?}");
    let scrape = scrape(&server);
    assert_eq!(scrape.value("omnimind_mode", &[("mode", "prod")]), Some(1.0));
    assert_eq!(scrape.value("omnimind_cpu_limit_ratio", &[]), Some(0.95));
    assert_eq!(scrape.value("omnimind_tasks_places", &[]), Some(200.0));
    assert_eq!(scrape.value("omnimind_protection_decisions_total", &[("action", "switch_mode")]), Some(1.0));
    let own = scrape.value("process_resident_memory_bytes", &[]).expect("memory");
    assert!((1e6..8e9).contains(&own), "{own}");
    for name in
        ["process_threads", "process_open_fds", "omnimind_uptime_seconds", "omnimind_memory_total_bytes"]
    {
        assert!(scrape.value(name, &[]) > Some(0.0), "{name}");
    }
    assert_eq!(scrape.value("omnimind_ready", &[]), Some(1.0));
    assert_eq!(scrape.value("omnimind_health_status", &[("check", "task_store")]), Some(0.0));

    // What clients do wrong is no error of the server's.
    server.get("/nowhere").problem(404, "not_found");
    let short = server.get("/api/v1/performance/summary").json();
    assert_eq!(short["cpu_percent"]["limit"], 95.0);
    let memory = &short["process_memory_bytes"];
    assert!(memory["used"].is_u64() && memory["limit"].is_u64(), "whole bytes: {memory}");
    assert!(short["memory_percent"]["used"].as_f64().is_some_and(|percent| percent > 0.0), "{short}");
    assert!(
        short["response_time_ms"]["p95"].as_f64().is_some() && short["throughput_per_s"].as_f64() > Some(0.0)
    );
    assert_eq!(short["error_rate"], 0.0);
    let slowest = short["slowest"].as_array().expect("a list");
    assert!((1..=5).contains(&slowest.len()), "{short}");
}

#[test]
fn labels_are_bounded_whatever_clients_send() {
    let server = Server::start();
    let names: Vec<String> = (0..200).map(|number| format!("c{number}")).collect();
    push_as(&server, "hostile/echo", "c0");
    let echo = guest("hostile/echo");
    let digest = server.push("hostile/echo");
    for name in &names {
        server.request("POST", &format!("/api/components/?name={name}")).wasm(&echo).send();
        server.run(&json!({"component": name, "input": 1}));
    }
    for number in 0..100 {
        server.get(&format!("/nowhere/{number}"));
        server.get(&format!("/api/tasks/{number}"));
        server.get(&format!("/api/v1/health/{number}/trend"));
        server.request(&format!("METHOD{number}"), "/api/tasks/").send();
    }
    server.run(&json!({"component": digest, "input": 1}));
    let scrape = scrape(&server);
    assert_eq!(scrape.samples("omnimind_tasks_ended_total").len(), 100 + 2);
    assert_eq!(ended(&scrape, "c0", "completed"), 1.0);
    assert_eq!(ended(&scrape, "(other)", "completed"), 100.0);
    assert_eq!(ended(&scrape, "(digest)", "completed"), 1.0);
    assert_eq!(requests(&scrape, "unmatched", "GET", "4xx"), 100.0);
    assert_eq!(requests(&scrape, "/api/tasks", "other", "4xx"), 100.0);
    let routes = scrape.samples("omnimind_http_requests_total");
    assert!(routes.len() < 60, "{}", routes.len());
    let listed = server.get("/api/metrics").json()["tasks"]["components"].as_array().map(Vec::len);
    assert_eq!(listed, Some(102));
}

#[test]
fn figures_are_the_operators_unless_they_are_open() {
    let paths = ["/metrics", "/api/metrics", "/api/omnimind/metrics/real", "/api/v1/performance/summary"];
    let server = Server::start();
    for path in paths {
        server.request("GET", path).anonymous().send().problem(401, "unauthorized");
        assert_eq!(server.get(path).status, 200, "{path}");
        server.post(path, &json!({})).problem(405, "method_not_allowed");
    }
    drop(server);
    let open = Server::set_up(&[], |command| {
        command.env("OMNIMIND_METRICS__OPEN", "true");
    });
    for path in ["/metrics", "/metrics/"] {
        let reply = open.request("GET", path).anonymous().send();
        assert!(Exposition::parse(&reply.text()).is_ok(), "{reply:?}");
        open.request("POST", path).anonymous().send().problem(401, "unauthorized");
    }
    for path in &paths[1..] {
        open.request("GET", path).anonymous().send().problem(401, "unauthorized");
    }
}

#[test]
fn prometheus_can_read_it() {
    let server = Server::start();
    push_as(&server, "hostile/echo", "echo");
    push_as(&server, "hostile/trap-unreachable", "trap");
    server.run(&json!({"component": "echo", "input": 1}));
    server.run(&json!({"component": "trap"}));
    server.get("/nowhere");
    let text = eventually(|| {
        Some(server.get("/metrics").text()).filter(|text| text.contains("omnimind_cpu_used_ratio"))
    });
    let scrape = Exposition::parse(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert!(scrape.families.len() > 40, "{}", scrape.families.len());
    for (name, family) in &scrape.families {
        assert!(family.help.ends_with('.') && family.help.len() < 120, "{name}: {}", family.help);
    }
    let Some(promtool) = promtool() else { return };
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool starts");
    check.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = check.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{}: {said}", output.status);
}

#[test]
fn the_parser_takes_nothing_else() {
    let head = "# HELP a_total A.\n# TYPE a_total counter\n";
    let histogram = |rest: &str| format!("# HELP h H.\n# TYPE h histogram\n{rest}");
    let good = [
        format!("{head}a_total{{x=\"\\\\ \\\" \\n }} , {{\",y=\"\"}} 1.5\na_total{{x=\"\"}} 2e3\n"),
        histogram("h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 9\nh_count 2\n"),
    ];
    for text in &good {
        assert!(Exposition::parse(text).is_ok(), "{text}: {:?}", Exposition::parse(text));
    }
    let bad = [
        format!("{head}a_total 1"),
        format!("{head}a_total 1\na_total 2\n"),
        format!("{head}a_total 1\n{head}a_total{{x=\"\"}} 1\n"),
        format!("{head}a_total{{x=\"\"\"}} 1\n"),
        format!("{head}a_total{{x=\"\\t\"}} 1\n"),
        format!("{head}a_total{{1x=\"\"}} 1\n"),
        format!("{head}a_total{{x=\"\",x=\"\"}} 1\n"),
        format!("{head}a_total  1\n"),
        format!("{head}a_total 1 1700000000\n"),
        format!("{head}a_total one\n"),
        format!("{head}a_total -1\n"),
        format!("{head}\na_total 1\n"),
        format!("{head}b_total 1\n"),
        head.to_owned(),
        "# TYPE a_total counter\na_total 1\n".to_owned(),
        "# HELP a A.\n# TYPE a counter\na 1\n".to_owned(),
        "# HELP a_total A.\na_total 1\n".to_owned(),
        "a 1\n".to_owned(),
        histogram("h_bucket{le=\"0.5\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_sum 9\nh_count 2\n"),
        histogram("h_bucket{le=\"0.5\"} 1\nh_sum 9\nh_count 1\n"),
        histogram("h_bucket{le=\"+Inf\"} 1\nh_sum 9\nh_count 2\n"),
        histogram("h_bucket{le=\"+Inf\"} 1\nh_count 1\n"),
        histogram("h 1\n"),
    ];
    for text in &bad {
        assert!(Exposition::parse(text).is_err(), "{text}");
    }
}

#[test]
fn reading_figures_does_not_hold_work_up() {
    let server = Server::start();
    push_as(&server, "hostile/echo", "echo");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0.0;
                    let mut read = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let now = ended(&scrape(&server), "echo", "completed");
                        assert!(now >= last, "{now} after {last}");
                        last = now;
                        read += 1;
                    }
                    read
                })
            })
            .collect();
        for number in 0..200 {
            let task: Value = server.run(&json!({"component": "echo", "input": number}));
            assert_eq!(task["result"], number);
            // Counted before it is told.
            assert!(ended(&scrape(&server), "echo", "completed") >= f64::from(number + 1));
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("no panic") > 0);
        }
    });
}
