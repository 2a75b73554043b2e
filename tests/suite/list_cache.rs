//! `GET /tasks` and what else is kept in memory: it is faster, and never old.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omnimind_tests::disk::Disk;
use omnimind_tests::pause;
use omnimind_tests::server::{Reply, Server, eventually};
use serde_json::{Value, json};

fn cache(server: &Server, name: &str) -> Value {
    let reply = server.get("/api/cache/");
    assert_eq!(reply.status, 200, "{reply:?}");
    let found = reply.json()["caches"]
        .as_array()
        .expect("caches")
        .iter()
        .find(|cache| cache["name"] == name)
        .cloned();
    found.unwrap_or_else(|| panic!("{name}: {}", reply.text()))
}

fn hits(server: &Server) -> (u64, u64) {
    let figures = cache(server, "task_list");
    (figures["hits"].as_u64().expect("a number"), figures["misses"].as_u64().expect("a number"))
}

/// The list, which has to be what the list without a cache is.
#[track_caller]
fn fresh(server: &Server, query: &str) -> Reply {
    let kept = server.get(&format!("/tasks{query}"));
    let looked_up = server.get(&format!("/api/tasks/{query}"));
    assert_eq!((kept.status, kept.text()), (200, looked_up.text()));
    kept
}

fn etag(reply: &Reply) -> String {
    reply.headers.get("etag").expect("an ETag").clone()
}

#[test]
fn the_list_is_kept_and_a_client_that_has_it_is_told_so() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    for input in 0..3 {
        server.run(&json!({"component": echo, "input": input}));
    }
    let list = fresh(&server, "");
    assert_eq!(list.json()["tasks"].as_array().expect("tasks").len(), 3);
    assert_eq!(list.headers.get("cache-control").map(String::as_str), Some("private, no-cache"));
    assert_eq!(list.headers.get("content-type").map(String::as_str), Some("application/json"));
    assert_eq!(hits(&server), (0, 1));
    let tag = etag(&list);
    assert_eq!(etag(&server.get("/tasks/")), tag);
    assert_eq!(hits(&server), (1, 1));
    let ask = |tag: &str| server.request("GET", "/tasks").header("If-None-Match", tag).send();
    for known in [tag.as_str(), "*", &format!("\"other\", {tag}")] {
        let reply = ask(known);
        assert_eq!((reply.status, reply.body.len(), etag(&reply)), (304, 0, tag.clone()), "{known}");
        assert_eq!(reply.headers.get("cache-control").map(String::as_str), Some("private, no-cache"));
    }
    assert_eq!(ask("\"other\"").status, 200);
    server.run(&json!({"component": echo, "input": 3}));
    let newer = ask(&tag);
    assert_eq!(newer.status, 200);
    assert_ne!(etag(&newer), tag);
    assert_eq!(newer.text(), fresh(&server, "").text());

    // Each question has its own answer, and those that are wrong have none.
    for query in
        ["?limit=2", "?status=completed", "?status=failed", "?priority=high", "?component=echo&limit=1"]
    {
        for _ in 0..2 {
            fresh(&server, query);
        }
    }
    assert_eq!(cache(&server, "task_list")["entries"], 6);
    server.get("/tasks?limit=0").problem(422, "invalid_request");
    server.get("/tasks?stauts=failed").problem(422, "invalid_request");
    server.request("POST", "/tasks").send().problem(405, "method_not_allowed");
    server.request("GET", "/tasks").anonymous().send().problem(401, "unauthorized");
}

#[test]
fn every_change_is_in_the_next_list() {
    let server = Server::with(&["--max-concurrent-tasks", "1", "--allow-ephemeral"]);
    let (sleep, progress, echo) =
        (server.push("hostile/sleep"), server.push("hostile/progress"), server.push("hostile/echo"));
    let seen = |id: &str, status: &str| {
        for query in ["", "?limit=1000", &format!("?status={status}")] {
            let list = server.get(&format!("/tasks{query}")).json();
            let tasks = list["tasks"].as_array().expect("tasks");
            let task =
                tasks.iter().find(|task| task["task_id"] == id).unwrap_or_else(|| panic!("{query}: {list}"));
            assert_eq!(task["status"], status, "{query}");
        }
    };
    fresh(&server, "");
    let runs = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    server.wait_for_status(&runs, "running");
    seen(&runs, "running");
    let waits = server.submit(&json!({"component": progress, "input": 50}));
    seen(&waits, "pending");
    let unwanted = server.submit(&json!({"component": echo, "input": 1}));
    seen(&unwanted, "pending");
    server.delete(&format!("/api/tasks/{unwanted}"));
    server.wait_for_status(&unwanted, "cancelled");
    seen(&unwanted, "cancelled");
    server.delete(&format!("/api/tasks/{runs}"));
    server.wait_for_status(&runs, "cancelled");
    seen(&runs, "cancelled");
    server.wait_for_status(&waits, "completed");
    seen(&waits, "completed");
    for durable in [true, false] {
        let ended = server.run(&json!({"component": echo, "input": 1, "durable": durable}));
        seen(ended["task_id"].as_str().expect("an id"), "completed");
    }
    let retry = json!({"max_attempts": 2, "on": ["deadline_exceeded"], "backoff_ms": 3_600_000});
    let limits = json!({"wall_ms": 2000});
    let task = json!({"component": sleep, "input": 3_600_000, "retry": retry, "limits": limits});
    let again = server.submit(&task);
    server.wait_for_status(&again, "running");
    seen(&again, "running");
    server.wait_for(&again, |task| task["attempts"] == 1 && task["status"] == "pending");
    seen(&again, "pending");
}

#[test]
fn progress_is_in_the_next_list() {
    let server = Server::start();
    let progress = server.push("hostile/progress");
    let limits = json!({"host_calls": 1_000_000_000, "fuel": 10_000_000_000_000_u64, "wall_ms": 120_000});
    let id = server.submit(&json!({"component": progress, "input": 1_000_000_000, "limits": limits}));
    server.wait_for_status(&id, "running");
    let shown = || server.get("/tasks").json()["tasks"][0].clone();
    let first = eventually(|| Some(shown()).filter(|task| task["progress"].as_f64() > Some(0.0)));
    let later = eventually(|| Some(shown()).filter(|task| task["progress"] != first["progress"]));
    assert_eq!(later["status"], "running", "by nothing but its progress");
}

#[test]
fn a_start_that_had_to_wait_is_in_the_next_list() {
    let disk = Disk::pretended();
    let server = disk
        .serve(&["--max-concurrent-tasks", "1", "--allow-ephemeral"])
        .unwrap_or_else(|log| panic!("it does not start: {log}"));
    let sleep = server.push("hostile/sleep");
    // Its end needs no disk.
    let task = json!({"component": sleep, "input": 3_600_000, "durable": false});
    let before = server.submit(&task);
    server.wait_for_status(&before, "running");
    let id = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    disk.fill(true);
    server.delete(&format!("/api/tasks/{before}"));
    server.wait_for_status(&before, "cancelled");
    // It waits for its start to be noted, a second at a time: until then the list is what it is.
    let statuses = || -> Vec<Value> {
        let list = server.get("/tasks?status=pending").json();
        list["tasks"].as_array().expect("tasks").iter().map(|task| task["task_id"].clone()).collect()
    };
    assert_eq!(statuses(), [json!(id)]);
    disk.fill(false);
    server.wait_for_status(&id, "running");
    assert_eq!(statuses(), [] as [Value; 0]);
}

/// What a client was told, by whatever answer, is in every list that it asks for after that; while others ask for
/// the list all the time, so that it is always being kept.
#[test]
fn nobody_is_shown_less_than_was_told() {
    let server = Server::with(&["--max-concurrent-tasks", "4", "--allow-ephemeral"]);
    let progress = server.push("hostile/progress");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for query in ["", "?status=completed", "?status=running"] {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(server.get(&format!("/tasks{query}")).status, 200);
                }
            });
        }
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (server, progress) = (&server, &progress);
                scope.spawn(move || {
                    for round in 0..40 {
                        let durable = (client + round) % 2 == 0;
                        let id =
                            server.submit(&json!({"component": progress, "input": 20, "durable": durable}));
                        let listed = |query: &str| {
                            let list = server.get(&format!("/tasks?limit=1000{query}")).json();
                            let tasks = list["tasks"].as_array().expect("tasks").clone();
                            tasks.into_iter().find(|task| task["task_id"] == *id)
                        };
                        assert!(listed("").is_some(), "it was submitted");
                        // By the list that nobody keeps, which sees an end as soon as it is stored.
                        eventually(|| {
                            let ended = server.get("/api/tasks/?status=completed&limit=1000").json();
                            let ended = ended["tasks"].as_array().expect("tasks").clone();
                            ended.iter().any(|task| task["task_id"] == *id).then_some(())
                        });
                        assert!(listed("&status=completed").is_some(), "it was seen to have ended");
                        server.wait_for_status(&id, "completed");
                        let task = listed("").expect("it is there");
                        assert_eq!(
                            (&task["status"], &task["progress"]),
                            (&json!("completed"), &json!(100.0))
                        );
                        assert!(listed("&status=running").is_none());
                    }
                })
            })
            .collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        done.store(true, Ordering::SeqCst);
        for client in ended {
            client.expect("nobody was shown less");
        }
    });
    let (hits, misses) = hits(&server);
    assert!(misses > 100 && hits > 0, "{hits} hits, {misses} misses");
}

#[test]
fn slow_what_is_removed_is_in_no_list() {
    // Longer than the test: it is the removal that makes the list old.
    let server = Server::set_up(&["--retention-days", "0"], |command| {
        command.env("OMNIMIND_CACHE__EXPIRE", "3600");
    });
    let echo = server.push("hostile/echo");
    server.run(&json!({"component": echo, "input": 1}));
    // Retention looks once a minute.
    assert_eq!(fresh(&server, "").json()["tasks"].as_array().expect("tasks").len(), 1);
    eventually(|| {
        pause(Duration::from_millis(200));
        let kept = server.get("/tasks").json()["tasks"].as_array().expect("tasks").len();
        (kept == 0).then_some(())
    });
    fresh(&server, "");
}

#[test]
fn answers_are_kept_as_long_as_the_configuration_says() {
    let expiring = Server::set_up(&[], |command| {
        command.env("OMNIMIND_CACHE__EXPIRE", "1");
    });
    fresh(&expiring, "");
    pause(Duration::from_millis(1100));
    fresh(&expiring, "");
    assert_eq!(hits(&expiring), (0, 2));
    let off = Server::set_up(&[], |command| {
        command.env("OMNIMIND_ENABLE_CACHE", "false");
    });
    let tags = [etag(&fresh(&off, "")), etag(&fresh(&off, ""))];
    assert_eq!(tags[0], tags[1]);
    let figures = cache(&off, "task_list");
    assert_eq!(
        (&figures["enabled"], &figures["entries"], &figures["hits"], &figures["misses"]),
        (&json!(false), &json!(0), &json!(0), &json!(0))
    );
    let known = off.request("GET", "/tasks").header("If-None-Match", &tags[0]).send();
    assert_eq!(known.status, 304, "the client's own is good all the same");
}

#[test]
fn caches_are_listed_and_emptied() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    for input in 0..3 {
        server.run(&json!({"component": echo, "input": input}));
        fresh(&server, "");
    }
    for (name, kind) in
        [("task_list", "answers"), ("linked_components", "components"), ("loaded_components", "components")]
    {
        let figures = cache(&server, name);
        assert_eq!(
            (&figures["kind"], &figures["entries"], &figures["enabled"]),
            (&json!(kind), &json!(1), &json!(true))
        );
        assert!(figures["capacity"].as_u64() >= Some(1), "{figures}");
    }
    assert!(cache(&server, "linked_components")["hits"].as_u64() >= Some(2));
    assert_eq!(cache(&server, "task_list")["bytes"].as_u64().map(|bytes| bytes > 100), Some(true));

    let cleared = server.delete("/api/cache/task_list").json();
    assert_eq!(cleared, json!({"cleared": [{"name": "task_list", "removed": 1}]}));
    assert_eq!(cache(&server, "task_list")["entries"], 0);
    server.delete("/api/cache/nothing").problem(404, "not_found");
    server.request("DELETE", "/api/cache/").anonymous().send().problem(401, "unauthorized");
    assert_eq!(server.delete("/api/cache/").json()["cleared"].as_array().map(Vec::len), Some(5));
    assert_eq!(cache(&server, "linked_components")["entries"], 0);
    assert_eq!(server.run(&json!({"component": echo, "input": 9}))["result"], 9);
}

#[test]
fn the_command_line_lists_and_empties_them() {
    let server = Server::start();
    // What is under way at the start, as the look for what is too old, is a change too.
    eventually(|| {
        fresh(&server, "");
        (cache(&server, "task_list")["entries"] == 1).then_some(())
    });
    let omnimind = |arguments: &[&str]| {
        let output = server.omnimind("cache", arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (_, help) = omnimind(&["--help"]);
    let caches = server.get("/api/cache/").json();
    for cache in caches["caches"].as_array().expect("caches") {
        assert!(help.contains(cache["name"].as_str().expect("a name")), "{cache}: {help}");
    }
    let (code, table) = omnimind(&["list"]);
    let row = table.lines().find(|line| line.starts_with("task_list ")).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((code, cells[1], cells[2]), (Some(0), "1", "256"), "{table}");
    assert!(serde_json::from_str::<Value>(&omnimind(&["list", "--json"]).1).is_ok());
    assert_eq!(omnimind(&["clear", "task_list"]), (Some(0), "task_list: 1 removed\n".to_owned()));
    assert_eq!(omnimind(&["clear", "nothing"]).0, Some(8));
    let (code, text) = omnimind(&["clear"]);
    assert_eq!((code, text.lines().count()), (Some(0), 5), "{text}");
}

#[test]
fn a_short_memory_empties_them() {
    let server = Server::set_up(&[], |command| {
        command.env("OMNIMIND_PROTECTION__LIMITS__STARTUP_GRACE", "0");
        command.env("OMNIMIND_PROTECTION__INTERVAL_MS", "250");
        command.env("OMNIMIND_PROTECTION__LIMITS__CPU_PERCENT", "100");
        command.env("OMNIMIND_PROTECTION__LIMITS__PROCESS_RAM_MB", "450");
    });
    let hold = server.push("hostile/hold");
    let echo = server.push("hostile/echo");
    server.run(&json!({"component": echo, "input": 1}));
    fresh(&server, "");
    for name in ["task_list", "linked_components"] {
        assert!(cache(&server, name)["entries"].as_u64() >= Some(1), "{name}");
    }
    let limits = json!({"memory_bytes": 500 << 20});
    let input = (440 * 16).to_string();
    server.submit(&json!({"component": hold, "input_text": input, "limits": limits}));
    eventually(|| (cache(&server, "task_list")["entries"] == 0).then_some(()));
    // The list, what was linked and what was loaded; the row says how many as soon as all of it is done.
    eventually(|| {
        let rows = server.get("/api/v1/protection/decisions").json();
        let rows = rows["decisions"].as_array().expect("rows").iter();
        let shrunk = rows.filter(|row| row["action"] == "shrink_caches");
        let removed: u64 = shrunk.filter_map(|row| row["effect"]["removed"].as_u64()).sum();
        (removed >= 3).then_some(())
    });
}
