//! A power cut takes what was not fsynced, and some of it only in part: of what was acknowledged nothing.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnimind_tests::disk::assert_sound;
use omnimind_tests::pause;
use omnimind_tests::power_cut::Machine;
use omnimind_tests::random::{Random, Seed};
use omnimind_tests::server::{Server, eventually};
use serde_json::{Value, json};

const CUTS: u32 = 15;
const CLIENTS: u64 = 4;

/// What one client was told of one task.
struct Told {
    output: Value,
    /// The record, if the task was told to have ended.
    ended: Option<Value>,
}

struct Guests {
    echo: String,
    sleep: String,
}

fn launch(machine: &Machine) -> Server {
    let server = machine.serve(&["--max-concurrent-tasks", "3"]);
    server.unwrap_or_else(|log| panic!("it does not start again: {log}"))
}

/// Submits until the server is gone.
fn client(server: &Server, guests: &Guests, told: &Mutex<HashMap<String, Told>>, mut random: Random) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (task, output) = match random.below(8) {
            0..4 => (json!({"component": guests.echo, "input": number}), json!(number)),
            // Over 64 KiB is a file of its own; some of them are the same file.
            4..6 => {
                let text = format!("{number} ").repeat(12_000);
                (json!({"component": guests.echo, "input": text}), json!(text))
            }
            6 => {
                let text = format!("{} ", number % 5).repeat(50_000);
                (json!({"component": guests.echo, "input": text}), json!(text))
            }
            _ => {
                let nap = random.below(100);
                (json!({"component": guests.sleep, "input_text": nap.to_string()}), json!(nap))
            }
        };
        let wait = if random.below(2) == 0 { "?wait=10s" } else { "" };
        let sent = server.request("POST", &format!("/api/tasks/{wait}")).json(&task).try_send();
        let Ok(reply) = sent else { return };
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        let record = reply.json();
        let ended = (record["status"] == "completed").then(|| record.clone());
        let id = record["task_id"].as_str().expect("an id").to_owned();
        told.lock().expect("no panic").insert(id, Told { output, ended });
    }
}

#[test]
fn slow_nothing_acknowledged_is_lost_in_a_power_cut() {
    let seed = Seed::given_or_new();
    let mut random = Random::from(seed.0);
    let machine = Machine::new();
    let mut server = launch(&machine);
    let guests = Guests { echo: server.push("hostile/echo"), sleep: server.push("hostile/sleep") };
    machine.slow_syncs(1500);
    let (mut all, mut undone, mut early) = (Vec::new(), 0, 0);
    for cut in 0..CUTS {
        let told = Mutex::new(HashMap::new());
        let moment = Duration::from_millis(random.below(400));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let random = random.another();
                let (server, guests, told) = (&server, &guests, &told);
                scope.spawn(move || client(server, guests, told, random));
            }
            pause(moment);
            server.signal("KILL");
        });
        server.wait();
        undone += machine.cut(&mut random);
        assert_sound(&machine.data_dir());
        if random.below(3) == 0 {
            // And again, in the middle of what a start has to do.
            begin_and_cut(&machine, &mut random);
            assert_sound(&machine.data_dir());
            early += 1;
        }
        server = launch(&machine);
        for (id, Told { output, ended }) in told.into_inner().expect("no panic") {
            let found = server.get(&format!("/api/tasks/{id}"));
            assert_eq!(found.status, 200, "cut {cut}: {id} was acknowledged and is gone");
            match ended {
                Some(ended) => assert_eq!(found.json(), ended, "cut {cut}: it had ended"),
                None => all.push((id, output)),
            }
        }
    }
    eventually(|| {
        let counts = server.get("/api/tasks/analytics/summary").json();
        let left = ["pending", "running", "paused"].iter().map(|name| counts["counts"][name].as_u64());
        (left.map(|count| count.expect("a count")).sum::<u64>() == 0).then_some(())
    });
    for (id, output) in &all {
        let task = server.task(id);
        // Unless it was caught three times in the act.
        assert!(task["result"] == *output || task["failure"]["kind"] == "lost", "{task}");
    }
    println!("seed {}: {undone} changes undone, {} open tasks, {early} cuts of a start", seed.0, all.len());
    // Or nothing was tested.
    assert!(undone > 50 && all.len() > 30, "too little happened: {undone}, {}", all.len());
    assert_eq!(server.terminate(), Some(0));
    assert_sound(&machine.data_dir());
}

/// Starts a server and cuts the power before it is ready, or a moment after.
fn begin_and_cut(machine: &Machine, random: &mut Random) {
    let mut child =
        machine.command().stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("omnimind starts");
    pause(Duration::from_micros(random.below(120_000)));
    if random.below(2) == 0 {
        // Or while it ends in order: the log goes into the database then.
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        pause(Duration::from_micros(random.below(20_000)));
    }
    let _ = child.kill();
    child.wait().expect("it ends");
    machine.cut(random);
}

#[test]
fn slow_a_power_cut_in_the_first_start_leaves_a_directory_that_starts() {
    let seed = Seed::given_or_new();
    let mut random = Random::from(seed.0);
    for _ in 0..10 {
        let machine = Machine::new();
        machine.slow_syncs(1000);
        begin_and_cut(&machine, &mut random);
        let mut server = launch(&machine);
        // What was acknowledged by the first server that was ready stays, and so do its credentials.
        let echo = server.push("hostile/echo");
        let id = server.submit(&json!({"component": echo, "input": "first"}));
        let authorization = server.authorization().to_owned();
        server.kill();
        machine.cut(&mut random);
        let server = launch(&machine);
        assert_eq!(server.authorization(), authorization);
        assert_eq!(server.wait_for_status(&id, "completed")["result"], "first");
    }
}
