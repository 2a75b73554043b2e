//! A server that is killed again and again under load forgets nothing that it has acknowledged.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnimind_tests::disk::assert_sound;
use omnimind_tests::pause;
use omnimind_tests::random::{Random, Seed};
use omnimind_tests::server::{self, Reply, Server, eventually, scratch};
use serde_json::{Value, json};

const KILLS: u32 = 50;
const CLIENTS: u64 = 6;
/// Few, so that tasks wait as well as run when the server is killed.
const PLACES: &str = "4";

/// A submission: what is sent, and what must come of it. Its description is its own.
#[derive(Clone)]
struct Sent {
    body: Value,
    output: Value,
    key: Option<String>,
}

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// By id.
    acknowledged: HashMap<String, Sent>,
    /// By key; none where no whole answer came.
    keys: HashMap<String, (Sent, Option<String>)>,
    /// Records of ends, by id.
    ended: HashMap<String, Value>,
    broken: u64,
}

struct Guests {
    echo: String,
    sleep: String,
    spin: String,
}

fn another(random: &mut Random, guests: &Guests, number: u64) -> Sent {
    let unit = |component: &String, units: u64| {
        (json!({"component": component, "input_text": units.to_string()}), json!(units))
    };
    let (mut body, output) = match random.below(20) {
        0..11 => {
            let text = format!("{number}");
            (json!({"component": guests.echo, "input": {"n": text}}), json!({"n": text}))
        }
        // Over 64 KiB is a file of its own; some of them are the same file.
        11..15 => {
            let text = format!("{}-", number % 7).repeat(40_000);
            (json!({"component": guests.echo, "input": text}), json!(text))
        }
        15..18 => unit(&guests.sleep, 10 + random.below(150)),
        _ => unit(&guests.spin, 1_000_000 + random.below(20_000_000)),
    };
    body["description"] = json!(format!("number {number}"));
    Sent { body, output, key: (random.below(2) == 0).then(|| format!("key-{number}")) }
}

/// Sends one submission; the answer, if it came whole.
fn send(server: &Server, sent: &Sent, wait: bool) -> Option<Reply> {
    let path = if wait { "/api/tasks/?wait=10s" } else { "/api/tasks/" };
    let request = server.request("POST", path).json(&sent.body);
    let request = match &sent.key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    };
    request.try_send().ok()
}

/// Submits until the server is gone.
fn client(server: &Server, guests: &Guests, told: &Mutex<Told>, numbers: &AtomicU64, mut random: Random) {
    loop {
        let before: Option<(Sent, Option<String>)> = {
            let told = told.lock().expect("no panic");
            let at = random.below(told.keys.len().max(1) as u64) as usize;
            (random.below(6) == 0).then(|| told.keys.values().nth(at).cloned()).flatten()
        };
        let sent = match &before {
            Some((sent, _)) => sent.clone(),
            None => another(&mut random, guests, numbers.fetch_add(1, Ordering::Relaxed)),
        };
        let wait = random.below(4) == 0;
        let reply = send(server, &sent, wait);
        let mut told = told.lock().expect("no panic");
        let Some(reply) = reply else {
            told.broken += 1;
            if let Some(key) = sent.key.clone() {
                told.keys.entry(key).or_insert((sent, None));
            }
            return;
        };
        assert!(matches!(reply.status, 200 | 202), "{} {}", reply.status, reply.text());
        let record = reply.json();
        let id = record["task_id"].as_str().expect("an id").to_owned();
        if reply.status == 200 && record["status"] == "completed" {
            assert_eq!(output(&record), sent.output, "{id}");
            let first = told.ended.entry(id.clone()).or_insert_with(|| record.clone());
            assert_eq!(*first, record, "it ended twice");
        }
        if let Some(key) = sent.key.clone() {
            let (_, known) = told.keys.entry(key.clone()).or_insert_with(|| (sent.clone(), None));
            let known = known.get_or_insert_with(|| id.clone());
            assert_eq!(*known, id, "{key} was answered with two tasks");
        }
        told.acknowledged.insert(id, sent);
    }
}

fn output(record: &Value) -> Value {
    record["result"].clone()
}

fn launch(data_dir: &Path) -> Server {
    let mut command = server::command(data_dir);
    command.args(["--max-concurrent-tasks", PLACES]);
    Server::launch(command, data_dir).unwrap_or_else(|log| panic!("it does not start again: {log}"))
}

/// Every task there is.
fn all(server: &Server) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/api/tasks/?limit=1000{cursor}")).json();
        all.extend(page["tasks"].as_array().expect("a list").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Asserts that a task has ended, once and as it should.
fn judge(server: &Server, id: &str, told: &Told) {
    let sent = told.acknowledged.get(id);
    let record = server.task(id);
    if let Some(ended) = told.ended.get(id) {
        assert_eq!(record, *ended, "it was told to have ended, and ended again");
    }
    let history = server.get(&format!("/api/tasks/{id}/history")).json();
    let events: Vec<&str> = history["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["event"].as_str().expect("a name"))
        .collect();
    let count = |name: &str| events.iter().filter(|event| **event == name).count();
    let (started, interrupted) = (count("started"), count("interrupted"));
    assert_eq!(count("submitted"), 1, "{record} {events:?}");
    assert_eq!(record["attempts"], json!(started), "{record} {events:?}");
    match record["status"].as_str() {
        Some("completed") => {
            assert_eq!((count("completed"), started), (1, interrupted + 1), "{record} {events:?}");
            if let Some(sent) = sent {
                assert_eq!(output(&record), sent.output, "{id}");
            }
        }
        // Caught three times in the act.
        Some("failed") => {
            assert_eq!(record["failure"]["kind"], "lost", "{record}");
            assert_eq!((count("failed"), started, interrupted), (1, 3, 3), "{record} {events:?}");
        }
        _ => panic!("it has not ended: {record}"),
    }
    assert_eq!(count("completed") + count("failed"), 1, "{events:?}");
}

#[test]
fn slow_no_acknowledged_task_is_lost_in_fifty_kills() {
    let seed = Seed::given_or_new();
    let mut random = Random::from(seed.0);
    let data_dir = scratch("storm");
    let told = Mutex::new(Told::default());
    let numbers = AtomicU64::new(0);

    let first = launch(&data_dir);
    let push = |name| first.push(name);
    let guests =
        Guests { echo: push("hostile/echo"), sleep: push("hostile/sleep"), spin: push("hostile/spin") };
    let mut server = first;
    for kill in 0..KILLS {
        let moment = Duration::from_millis(random.below(500));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let random = random.another();
                let (server, guests, told, numbers) = (&server, &guests, &told, &numbers);
                scope.spawn(move || client(server, guests, told, numbers, random));
            }
            pause(moment);
            server.signal("KILL");
        });
        assert_eq!(server.wait(), None, "a signal ended it");
        if kill % 10 == 0 {
            assert_sound(&data_dir);
        }
        server = launch(&data_dir);
    }

    eventually(|| {
        let counts = server.get("/api/tasks/analytics/summary").json();
        let left = ["pending", "running", "paused"].iter().map(|name| counts["counts"][name].as_u64());
        (left.map(|count| count.expect("a count")).sum::<u64>() == 0).then_some(())
    });
    let told = told.into_inner().expect("no panic");
    let all = all(&server);
    let ids: HashSet<&str> = all.iter().map(|task| task["task_id"].as_str().expect("an id")).collect();
    let mut descriptions = HashSet::new();
    for task in &all {
        assert!(descriptions.insert(task["description"].as_str()), "submitted once, stored twice: {task}");
    }
    for id in told.acknowledged.keys() {
        assert!(ids.contains(id.as_str()), "{id} was acknowledged and is gone");
    }
    let work: Mutex<Vec<&str>> = Mutex::new(ids.iter().copied().collect());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some(id) = { work.lock().expect("no panic").pop() } {
                    judge(&server, id, &told);
                }
            });
        }
    });
    for (key, (sent, known)) in &told.keys {
        let reply = send(&server, sent, true).expect("an answer");
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        let id = reply.json()["task_id"].as_str().expect("an id").to_owned();
        if let Some(known) = known {
            assert_eq!((reply.status, &id), (200, known), "{key} came before");
        }
    }
    let lost = all.iter().filter(|task| task["status"] == "failed").count();
    let Told { acknowledged, keys, broken, ended } = &told;
    println!(
        "seed {}: {} tasks, {} acknowledged, {} of them with their end, {} keys, {broken} broken answers, {lost} interrupted 3 times",
        seed.0,
        all.len(),
        acknowledged.len(),
        ended.len(),
        keys.len(),
    );
    // Or it was no storm.
    assert!(acknowledged.len() > 500 && *broken > u64::from(KILLS), "too little happened");
    assert!(lost * 20 < all.len(), "{lost} tasks were given up");
    assert_eq!(server.terminate(), Some(0));
    assert_sound(&data_dir);
    let _ = std::fs::remove_dir_all(data_dir);
}
