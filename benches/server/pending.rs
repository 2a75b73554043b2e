//! What a long queue costs those who submit, list and cancel: two servers, one with few tasks pending and one with
//! many, measured in turns.
//!
//! The only place is taken by a guest that sleeps, so that both servers have no other work.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::figures::Figures;
use crate::http::{Connection, Request};
use crate::load::{self, Until};
use crate::omnimind::{Omnimind, data_directory, task_id};

const HOUR_MS: u64 = 3_600_000;
const CONNECTIONS: usize = 16;
const OPERATIONS: [&str; 3] = ["list", "submit", "cancel"];

struct Queue {
    server: Omnimind,
    component: String,
    /// Those that wait.
    ids: Vec<String>,
    latencies: [Vec<Duration>; 3],
}

pub async fn run(few: u64, many: u64, rounds: usize, each: usize) {
    let data = [data_directory(), data_directory()];
    let mut queues = [Queue::new(data[0].path(), few).await, Queue::new(data[1].path(), many).await];
    for _ in 0..rounds {
        for queue in &mut queues {
            queue.measure(each).await;
        }
    }
    for queue in &queues {
        queue.is_pending().await;
    }
    println!("\nWith {few} and with {many} tasks pending, {} of each", rounds * each);
    println!(
        "{:<28}{:>9}{:>9}{:>10}{:>10}{:>10}",
        "ms", "few p50", "few p99", "many p50", "many p99", "ratio"
    );
    let [few, many] = queues;
    for ((name, few), many) in OPERATIONS.iter().zip(few.latencies).zip(many.latencies) {
        let (few, many) = (Figures::ms(&few), Figures::ms(&many));
        print!("{name:<28}{:>9.2}{:>9.2}", few.median(), few.at(0.99));
        print!("{:>10.2}{:>10.2}", many.median(), many.at(0.99));
        println!("{:>10.2}   at most 2", many.median() / few.median());
    }
}

impl Queue {
    async fn new(data: &std::path::Path, pending: u64) -> Queue {
        let server = Omnimind::start(data, &["--max-concurrent-tasks", "1"]).await;
        let sleep = server.push("sleep", &omnimind_tests::guest("hostile/sleep")).await;
        server.occupy(&sleep, HOUR_MS).await;
        let component = server.push("empty", &omnimind_benches::empty()).await;
        let request = server.submit(&json!({"component": component}), false);
        let until = Until::Requests(pending);
        let round = load::run(server.process.address, &request, CONNECTIONS, until, true).await.all_good();
        let ids = round.bodies.iter().map(|record| task_id(record)).collect();
        let queue = Queue { server, component, ids, latencies: Default::default() };
        queue.is_pending().await;
        queue
    }

    /// Lists, submits one, cancels another from anywhere in the queue: it stays as long as it was.
    async fn measure(&mut self, each: usize) {
        let mut connection = Connection::open(self.server.process.address).await.expect("a connection");
        let list = self.server.get("/api/tasks/?limit=100");
        let submit = self.server.submit(&json!({"component": self.component}), false);
        for turn in 0..each {
            timed(&mut connection, &list, &mut self.latencies[0]).await;
            let submitted = timed(&mut connection, &submit, &mut self.latencies[1]).await;
            // A stride that is prime to nearly every length meets all parts of the queue.
            let chosen = (turn * 7_919) % self.ids.len();
            let cancelled = std::mem::replace(&mut self.ids[chosen], task_id(&submitted));
            let cancel = self.server.cancel(&cancelled);
            timed(&mut connection, &cancel, &mut self.latencies[2]).await;
        }
    }

    /// The first and the last of them: else the figures are those of an empty queue.
    async fn is_pending(&self) {
        for id in [self.ids.first(), self.ids.last()].into_iter().flatten() {
            let record = self.server.call(self.server.get(&format!("/api/tasks/{id}"))).await;
            assert_eq!(record["status"], json!("pending"), "the queue moves: {record}");
        }
    }
}

async fn timed(connection: &mut Connection, request: &Request, latencies: &mut Vec<Duration>) -> Vec<u8> {
    let begun = Instant::now();
    let answer = connection.send(request).await.expect("an answer");
    latencies.push(begun.elapsed());
    assert!(request.is_answered_by(&answer), "{}", answer.text());
    answer.body.into_owned()
}
