//! Protecting the machine: what is decided is told, and done to our own tasks alone.
//!
//! Pressure is made real, or the thresholds are set so low that what there is counts as pressure.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use omnimind_tests::disk::Disk;
use omnimind_tests::exposition::Exposition;
use omnimind_tests::server::{Reply, Server, command, eventually, scratch};
use omnimind_tests::wire::{Events, assert_idle, memory_kib};
use omnimind_tests::{guest, pause};
use serde_json::{Value, json};

const LONG: u64 = 3_600_000;

/// A server that has other thresholds than its mode, and no grace.
fn serve(thresholds: &[(&str, &str)]) -> Server {
    Server::set_up(&[], |command| set(command, thresholds))
}

fn set(command: &mut Command, thresholds: &[(&str, &str)]) {
    command.env("OMNIMIND_PROTECTION__LIMITS__STARTUP_GRACE", "0");
    command.env("OMNIMIND_PROTECTION__INTERVAL_MS", "250");
    // Other tests are others who want the processors. What is set below is set over this.
    command.env("OMNIMIND_PROTECTION__LIMITS__CPU_PERCENT", "100");
    for (name, value) in thresholds {
        command.env(format!("OMNIMIND_PROTECTION__LIMITS__{}", name.to_uppercase()), value);
    }
}

fn status(server: &Server) -> Value {
    let reply = server.get("/api/v1/protection/");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// The decisions of this kind about this resource, oldest first.
fn decisions(server: &Server, resource: &str, action: &str) -> Vec<Value> {
    let reply = server.get("/api/v1/protection/decisions?limit=1000").json();
    let rows = reply["decisions"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let mut rows: Vec<Value> =
        rows.iter().filter(|row| row["resource"] == resource && row["action"] == action).cloned().collect();
    rows.reverse();
    rows
}

/// Waits until there is one.
fn decision(server: &Server, resource: &str, action: &str) -> Value {
    eventually(|| decisions(server, resource, action).pop())
}

fn wait_for_pressure(server: &Server, resource: &str, level: &str) {
    eventually(|| (status(server)["pressure"][resource] == level).then_some(()));
}

/// The tasks that a decision names, with what was done to them.
fn done_to(row: &Value) -> Vec<(String, String)> {
    let tasks = row["effect"]["tasks"].as_array().cloned().unwrap_or_default();
    let word = |task: &Value, name: &str| task[name].as_str().expect("text").to_owned();
    tasks.iter().map(|task| (word(task, "task_id"), word(task, "done"))).collect()
}

fn events_of(server: &Server, id: &str) -> Vec<Value> {
    server.get(&format!("/api/tasks/{id}/history")).json()["events"].as_array().expect("events").clone()
}

#[track_caller]
fn assert_to_be_tried_again(reply: &Reply, status: u16, code: &str) {
    reply.problem(status, code);
    let seconds = reply.headers.get("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)), "{reply:?}");
}

/// Somebody else's work.
struct Others(Vec<Child>);

impl Others {
    fn compute(processes: usize) -> Others {
        let spin = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            shell.spawn().expect("a shell")
        };
        Others((0..processes).map(|_| spin()).collect())
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn others_that_want_the_processors_get_them_and_no_task_is_lost() {
    let server = serve(&[("cpu_percent", "75")]);
    let (spin, sleep) = (server.push("hostile/spin"), server.push("hostile/sleep"));
    let spin = |priority: &str| {
        let limits = json!({"fuel": 10_000_000_000_000_u64, "wall_ms": LONG});
        server.submit(&json!({"component": spin, "priority": priority, "limits": limits}))
    };
    let mut events = Events::open(&server, "/api/events?channels=protection");
    events.next_event();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let others = Others::compute(2 * cores);
    let submitted = Instant::now();
    let napping = server.submit(&json!({"component": sleep, "input": 8000, "limits": {"wall_ms": 9000}}));
    let (medium, high) = (spin("medium"), spin("high"));
    // Who asks for the list has it from then on.
    let listed = |status: &str| {
        let list = server.get(&format!("/tasks?status={status}")).json();
        list["tasks"].as_array().expect("tasks").iter().any(|task| task["task_id"] == *napping)
    };
    listed("paused");
    wait_for_pressure(&server, "cpu", "critical");
    for id in [&medium, &napping] {
        server.wait_for_status(id, "paused");
    }
    assert!(listed("paused"), "a pause is a change like others");
    // What comes now waits, or begins paused, or is urgent enough.
    let (low, late, urgent) = (spin("low"), spin("medium"), spin("critical"));
    server.wait_for_status(&late, "paused");
    server.wait_for_status(&urgent, "running");
    assert_eq!(server.task(&high)["status"], "running");
    assert_eq!(server.task(&low)["status"], "pending");
    // One that would be stored with its end, had it not been paused at its beginning.
    let soon = server.post("/api/tasks/?wait=1s", &json!({"component": sleep, "input": 0}));
    assert_eq!((soon.status, &soon.json()["status"]), (202, &json!("paused")), "{soon:?}");
    let soon = soon.json()["task_id"].as_str().expect("an id").to_owned();

    let paused = decision(&server, "cpu", "pause");
    assert_eq!((&paused["level"], &paused["below"]), (&json!("critical"), &json!("high")), "{paused}");
    let figures: Vec<&Value> =
        paused["evidence"].as_array().expect("evidence").iter().map(|evidence| &evidence["figure"]).collect();
    assert!(figures.contains(&&json!("outside_cpu_percent")), "{paused}");
    let told = events.until(|event| event.data["data"]["action"] == "pause");
    let told = &told.last().expect("an event").data;
    assert_eq!((&told["type"], &told["channel"]), (&json!("protection_event"), &json!("protection")));
    assert_eq!(told["data"]["seq"], paused["seq"]);
    let health = server.get("/api/v1/health/cpu").json();
    assert_eq!(
        (&health["status"], &health["details"]["cpu"]["pressure"]),
        (&json!("degraded"), &json!("critical"))
    );

    // Paused is not slow: nothing is used up, and no time passes.
    let before = cpu_ms(&server);
    let begun = Instant::now();
    server.delete(&format!("/api/tasks/{high}"));
    server.delete(&format!("/api/tasks/{urgent}"));
    pause(Duration::from_secs(5));
    let used = cpu_ms(&server).saturating_sub(before);
    assert!(used < 1500, "{used} ms of CPU time in {:?}, with everything paused", begun.elapsed());

    // Longer than it may take: its time stands still.
    pause(Duration::from_secs(10).saturating_sub(submitted.elapsed()));
    drop(others);
    let again = eventually(|| {
        let resumed = decisions(&server, "cpu", "resume");
        resumed.into_iter().find(|row| done_to(row).contains(&(medium.clone(), "resumed".to_owned())))
    });
    assert!(again["seq"].as_u64() > paused["seq"].as_u64());
    let napped = server.wait_for_status(&napping, "completed");
    assert!(napped["receipt"]["paused_ms"].as_u64() >= Some(3000), "{napped}");
    server.wait_for_status(&soon, "completed");
    let names: Vec<Value> = events_of(&server, &napping).iter().map(|event| event["event"].clone()).collect();
    assert!(names.contains(&json!("paused")) && names.contains(&json!("resumed")), "{names:?}");
    for id in [&medium, &late, &low] {
        server.wait_for(id, |task| task["status"] == "running" || task["status"] == "paused");
        server.delete(&format!("/api/tasks/{id}"));
    }
    assert_idle(&server);
    // Nor is it in the figures: not what those stood still that had begun, and not what the others waited.
    let all = [napping, soon, low, medium, late, high, urgent];
    let sum = |what: &str| -> f64 {
        // One that never began has no receipt.
        all.iter().filter_map(|id| server.task(id)["receipt"][what].as_f64()).sum::<f64>() / 1000.0
    };
    let scrape = Exposition::parse(&server.get("/metrics").text()).expect("figures");
    let took = scrape.value("omnimind_task_wall_seconds_sum", &[]).expect("a sum");
    let (wall, stood_still) = (sum("wall_ms"), sum("paused_ms"));
    assert!(stood_still > 3.0 && took < wall + stood_still / 2.0, "{took} s, of {wall} and {stood_still}");
}

/// CPU time of the server so far.
fn cpu_ms(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    // USER_HZ is 100 on Linux.
    ticks.iter().sum::<u64>() * 10
}

#[test]
fn the_largest_of_the_least_urgent_makes_room_and_comes_back() {
    let server = serve(&[("process_ram_mb", "450")]);
    let hold = server.push("hostile/hold");
    let hold = |mebibytes: u64, priority: &str| {
        let limits = json!({"memory_bytes": 300 << 20});
        let input = (mebibytes * 16).to_string();
        server
            .submit(&json!({"component": hold, "input_text": input, "priority": priority, "limits": limits}))
    };
    let small = hold(40, "low");
    let urgent = hold(150, "high");
    let large = hold(250, "low");
    wait_for_pressure(&server, "process_ram", "critical");
    let ended = decision(&server, "process_ram", "end_one");
    assert_eq!(done_to(&ended), [(large.clone(), "ended".to_owned())], "{ended}");
    assert_eq!(ended["evidence"][0]["figure"], "process_rss_bytes", "{ended}");
    assert!(ended["effect"]["tasks"][0]["memory_bytes"].as_u64() >= Some(250 << 20), "{ended}");
    let task = server.wait_for_status(&large, "pending");
    assert_eq!(task["attempts"], 0, "it was not its fault: {task}");
    assert_eq!(task["failure"]["kind"], "machine_memory", "{task}");
    let events = events_of(&server, &large);
    let again = events.iter().find(|event| event["event"] == "retry_scheduled").expect("it is tried again");
    assert_eq!(again["detail"], "machine_memory");
    for id in [&small, &urgent] {
        // Others may want the processors just now.
        let status = server.task(id)["status"].take();
        assert!(status == "running" || status == "paused", "{status}");
    }
    // What it held is free again, and it comes back once there is room for it.
    eventually(|| (memory_kib(&server, "VmRSS") < 420_000).then_some(()));
    server.delete(&format!("/api/tasks/{urgent}"));
    server.delete(&format!("/api/tasks/{small}"));
    let back = server.wait_for(&large, |task| task["status"] == "running" || task["status"] == "paused");
    assert_eq!(back["attempts"], 1, "{back}");
    server.delete(&format!("/api/tasks/{large}"));
    wait_for_pressure(&server, "process_ram", "normal");
    assert_idle(&server);
}

#[test]
fn what_does_not_fit_is_refused() {
    // The server itself is larger than that.
    let server = serve(&[("process_ram_mb", "16")]);
    let echo = server.push("hostile/echo");
    wait_for_pressure(&server, "process_ram", "critical");
    let task = json!({"component": echo, "input": 1});
    assert_to_be_tried_again(&server.post("/api/tasks/", &task), 503, "overloaded");
    let dry_run = server.post("/api/tasks/?dry_run=true", &task).json();
    assert_eq!(dry_run["admission"]["state"], "refused", "{dry_run}");
    assert_eq!(dry_run["admission"]["reason"], "overloaded", "{dry_run}");
    for action in ["admit", "refuse_growth", "shrink_caches"] {
        assert_eq!(decision(&server, "process_ram", action)["level"], "critical");
    }
    let health = server.get("/api/v1/health/memory").json();
    assert_eq!(health["status"], "degraded", "{health}");
}

#[test]
fn a_growth_that_the_machine_does_not_have_is_tried_again() {
    let server = serve(&[("process_ram_mb", "1400")]);
    let grow = server.push("hostile/grow-touch");
    let task = json!({"component": grow, "input_text": (3500 * 16).to_string(), "priority": "critical", "limits": {"memory_bytes": 4_u64 << 30}});
    let id = server.submit(&task);
    let waits = server.wait_for(&id, |task| task["status"] == "pending" && task["failure"].is_object());
    assert_eq!(waits["failure"]["kind"], "machine_memory", "{waits}");
    let message = waits["failure"]["message"].as_str().expect("text");
    assert!(message.contains("machine") && message.contains("memory"), "{message}");
    assert_eq!(waits["attempts"], 0, "{waits}");
    let used = waits["receipt"]["budgets"]["memory_bytes"]["used"].as_u64().expect("a number");
    assert!((500 << 20..3 << 30).contains(&used), "it was stopped on the way: {used}");
    decision(&server, "process_ram", "refuse_growth");
    server.delete(&format!("/api/tasks/{id}"));
    wait_for_pressure(&server, "process_ram", "normal");
    // A task that copes with less is not disturbed.
    let done = server.run(&json!({"component": grow, "input_text": "160"}));
    assert_eq!(done["status"], "completed", "{done}");
}

#[test]
fn a_disk_that_is_nearly_full_takes_nothing_new_and_gives_everything() {
    let disk = Disk::small(64);
    let mut command = command(&disk.data_dir());
    set(&mut command, &[("disk_percent", "60")]);
    let server = Server::launch(command, &disk.data_dir()).unwrap_or_else(|log| panic!("no start: {log}"));
    let echo = server.push("hostile/echo");
    // It keeps its first checkpoint, and none after that.
    let saves = server.submit(&json!({"component": server.push("hostile/checkpoint"), "input_text": "0"}));
    server.wait_for_status(&saves, "completed");
    let before = server.run(&json!({"component": echo, "input": "before"}));
    let before = before["task_id"].as_str().expect("an id");
    let filler = disk.data_dir().join("filler");
    let fill = |mebibytes: usize| std::fs::write(&filler, vec![1; mebibytes << 20]).expect("room");
    fill(48);
    wait_for_pressure(&server, "disk", "critical");
    let task = json!({"component": echo, "input": "new"});
    assert_to_be_tried_again(&server.post("/api/tasks/", &task), 507, "storage_unavailable");
    let upload = server.request("POST", "/api/components/").wasm(&guest("hostile/spin")).send();
    assert_to_be_tried_again(&upload, 507, "storage_unavailable");
    let dry_run = server.post("/api/tasks/?dry_run=true", &task).json();
    assert_eq!(dry_run["admission"]["reason"], "storage_unavailable", "{dry_run}");
    assert_eq!(server.get("/readyz").problem(503, "not_ready")["reason"], "disk");
    // Reads go on, and there is still room for what was accepted.
    assert_eq!(server.task(before)["result"], "before");
    assert_eq!(server.get("/api/v1/health/").status, 200);
    let refused = decision(&server, "disk", "refuse_writes");
    assert_eq!(refused["evidence"][0]["figure"], "disk_used_percent", "{refused}");
    let pruned = eventually(|| {
        decisions(&server, "disk", "prune").pop().filter(|row| row["effect"]["freed_bytes"].is_u64())
    });
    assert!(pruned["effect"]["error"].is_null(), "{pruned}");
    assert!(filler.exists(), "what is not ours stays");

    std::fs::remove_file(&filler).expect("it is there");
    wait_for_pressure(&server, "disk", "normal");
    decision(&server, "disk", "accept_writes");
    assert_eq!(server.run(&task)["result"], "new");
}

#[test]
fn the_mode_is_switched_while_tasks_run_and_wait() {
    let dir = scratch("protection");
    let mut command = command(&dir);
    command.args(["--max-concurrent-tasks", "2"]);
    let mut server = Server::launch(command, &dir).expect("it starts");
    let sleep = server.push("hostile/sleep");
    let grow = server.push("hostile/grow");
    let mode = |body: &Value| server.request("PUT", "/api/v1/protection/mode/").json(body).send();
    let nap =
        |ms: u64| server.submit(&json!({"component": sleep, "input": ms, "limits": {"wall_ms": 1_000_000}}));
    // More than prod allows, and a default that prod has less of.
    let (running, also) = (nap(1500), nap(1500));
    let pages = |mebibytes: u64| (mebibytes * 16).to_string();
    let default = server.submit(&json!({"component": grow, "input_text": pages(400)}));
    let asked = server.submit(&json!({
        "component": grow, "input_text": pages(2000), "limits": {"memory_bytes": 2_u64 << 30},
    }));
    let switched = mode(&json!({"mode": "prod"}));
    assert_eq!(switched.status, 200, "{switched:?}");
    assert_eq!(switched.json(), json!({"mode": "prod", "before": "dev", "places": 2}));
    let now = status(&server);
    assert_eq!((&now["mode"], &now["configured_mode"]), (&json!("prod"), &json!("dev")), "{now}");
    assert_eq!(now["limits"]["cpu_percent"], 95.0, "{now}");
    // From now on prod's limits hold for what comes.
    let too_much = json!({"component": grow, "input_text": "2", "limits": {"memory_bytes": 2_u64 << 30}});
    let refused = server.post("/api/tasks/", &too_much).problem(422, "invalid_request");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("mode prod")), "{refused}");
    let new = server.run(&json!({"component": grow, "input_text": pages(400)}));
    assert_eq!(new["failure"]["kind"], "memory_limit", "{new}");
    // What was accepted before keeps what it was promised.
    for id in [&running, &also, &default, &asked] {
        let task = server.wait_for_status(id, "completed");
        assert!(task["failure"].is_null(), "{task}");
    }
    let rows = server.get("/api/v1/protection/decisions").json();
    let row = rows["decisions"].as_array().expect("rows").iter().find(|row| row["action"] == "switch_mode");
    let row = row.unwrap_or_else(|| panic!("{rows}"));
    assert_eq!((&row["from"], &row["to"]), (&json!("dev"), &json!("prod")));
    assert_eq!(mode(&json!({"mode": "dev"})).json()["before"], "prod");

    for (bad, code) in [
        (json!({"mode": "production"}), "invalid_request"),
        (json!({"mode": 1}), "invalid_request"),
        (json!({"mode": "dev", "force": true}), "invalid_request"),
        (json!({}), "invalid_request"),
        (json!("dev"), "invalid_request"),
    ] {
        mode(&bad).problem(422, code);
    }
    server.get("/api/v1/protection/mode").problem(405, "method_not_allowed");
    server.get("/api/v1/protection/decisions?limit=0").problem(422, "invalid_request");
    server
        .request("PUT", "/api/v1/protection/mode")
        .body("text/plain", b"dev")
        .send()
        .problem(415, "unsupported_media_type");
    server.request("GET", "/api/v1/protection/").anonymous().send().problem(401, "unauthorized");
    assert_eq!(server.terminate(), Some(0));
    std::fs::remove_dir_all(&dir).expect("it is there");
}

#[test]
fn what_was_accepted_in_one_mode_is_run_by_a_server_in_another() {
    let dir = scratch("protection");
    let mut command = command(&dir);
    command.args(["--max-concurrent-tasks", "1"]);
    let mut server = Server::launch(command, &dir).expect("it starts");
    let (sleep, grow) = (server.push("hostile/sleep"), server.push("hostile/grow"));
    let blocker = server.submit(&json!({"component": sleep, "input": LONG, "limits": {"wall_ms": LONG}}));
    let limits = json!({"memory_bytes": 2_u64 << 30});
    let task = json!({"component": grow, "input_text": (2000 * 16).to_string(), "limits": limits});
    let id = server.submit(&task);
    server.kill();
    let mut command = command_in(&dir, "prod");
    command.args(["--max-concurrent-tasks", "1"]);
    let server = Server::launch(command, &dir).expect("it starts");
    server.post("/api/tasks/", &task).problem(422, "invalid_request");
    server.delete(&format!("/api/tasks/{blocker}"));
    let done = server.wait_for_status(&id, "completed");
    assert_eq!(done["receipt"]["budgets"]["memory_bytes"]["limit"], 2_u64 << 30, "{done}");
    drop(server);
    std::fs::remove_dir_all(&dir).expect("it is there");
}

fn command_in(dir: &std::path::Path, mode: &str) -> Command {
    let mut command = command(dir);
    command.args(["--mode", mode]);
    command
}

#[test]
fn more_places_are_there_at_once_and_fewer_as_tasks_end() {
    let server = serve(&[("instances", "3")]);
    // The threshold was set by hand, so it is the same in each mode.
    assert_eq!(
        server.request("PUT", "/api/v1/protection/mode").json(&json!({"mode": "test"})).send().json()["places"],
        3
    );
    let sleep = server.push("hostile/sleep");
    for _ in 0..5 {
        server.submit(&json!({"component": sleep, "input": LONG}));
    }
    let queue = eventually(|| {
        let queue = server.get("/api/v1/health/queue").json();
        (queue["details"]["running"] == 3).then_some(queue)
    });
    assert_eq!((&queue["details"]["places"], &queue["details"]["pending"]), (&json!(3), &json!(2)));
}

#[test]
fn a_mode_that_the_configuration_does_not_fit_is_refused() {
    let dir = scratch("protection");
    let mut command = command(&dir);
    // Prod's maximum is below that.
    command.env("OMNIMIND_LIMITS__DEFAULT__MEMORY_BYTES", "2GiB");
    let server = Server::launch(command, &dir).expect("it starts");
    let refused = server.request("PUT", "/api/v1/protection/mode").json(&json!({"mode": "prod"})).send();
    let refused = refused.problem(422, "invalid_request");
    let detail = refused["detail"].as_str().expect("text");
    assert!(detail.contains("limits.default.memory_bytes") && detail.contains("prod"), "{detail}");
    assert_eq!(status(&server)["mode"], "dev");
    assert_eq!(status(&server)["decisions"]["switch_mode"], Value::Null);
}

#[test]
fn another_mode_has_other_places() {
    let server = serve(&[]);
    for (mode, places) in [("test", 100), ("prod", 200), ("dev", 50)] {
        server.request("PUT", "/api/v1/protection/mode").json(&json!({"mode": mode})).send();
        eventually(|| {
            let queue = server.get("/api/v1/health/queue").json();
            (queue["details"]["places"] == places).then_some(())
        });
    }
}

#[test]
fn guests_are_held_to_their_share_where_that_is_wanted() {
    let server = Server::set_up(&[], |command| {
        set(command, &[("cpu_percent", "20")]);
        command.env("OMNIMIND_PROTECTION__CPU_CAP", "strict");
    });
    let spin = server.push("hostile/spin");
    let limits = json!({"fuel": 10_000_000_000_000_u64, "wall_ms": LONG});
    eventually(|| (status(&server)["in_force"]["cpu_cap_percent"] == 20.0).then_some(()));
    for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        // Others may want the processors, and what is urgent is not paused for them.
        server.submit(&json!({"component": spin, "priority": "high", "limits": limits}));
    }
    pause(Duration::from_secs(1));
    let (begun, before) = (Instant::now(), cpu_ms(&server));
    pause(Duration::from_secs(4));
    let took = (cpu_ms(&server) - before) as f64 / begun.elapsed().as_secs_f64() / 10.0;
    let percent = took / std::thread::available_parallelism().map_or(1, usize::from) as f64;
    // What the server does for itself is not the guests'.
    assert!((1.0..27.0).contains(&percent), "{percent:.1} % of the machine");
}
