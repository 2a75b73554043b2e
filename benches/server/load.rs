//! Many connections that each send the next request when the last one is answered, all from this one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::http::{Connection, Request};

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    /// So many requests, all connections together.
    Requests(u64),
}

/// What came of it.
#[derive(Default)]
pub struct Round {
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
    /// The bodies, where they were asked for.
    pub bodies: Vec<Vec<u8>>,
    bad: u64,
    /// One of them.
    worst: String,
}

impl Round {
    /// Ends the bench if a single request was not answered rightly: the figures would be those of something else.
    pub fn all_good(self) -> Round {
        let answered = self.latencies.len();
        assert!(
            self.bad == 0,
            "{} wrong answers beside {answered} right ones; one: {}",
            self.bad,
            self.worst
        );
        self
    }

    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends `request` on so many connections. `keep` keeps the bodies.
pub async fn run(
    address: SocketAddr,
    request: &Arc<Request>,
    connections: usize,
    until: Until,
    keep: bool,
) -> Round {
    let begun = Instant::now();
    let (end, left) = match until {
        Until::Elapsed(time) => (Some(begun + time), u64::MAX),
        Until::Requests(count) => (None, count),
    };
    let left = Arc::new(AtomicU64::new(left));
    let mut all = JoinSet::new();
    for _ in 0..connections {
        let (request, left) = (request.clone(), left.clone());
        all.spawn(async move {
            let mut round = Round::default();
            let one_more =
                || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            let goes_on = || end.is_none_or(|end| Instant::now() < end) && one_more().is_ok();
            if let Err(error) = one(address, &request, keep, goes_on, &mut round).await {
                round.bad += 1;
                round.worst = error.to_string();
            }
            round
        });
    }
    let mut sum = Round::default();
    while let Some(round) = all.join_next().await {
        let mut round = round.expect("no panic");
        sum.latencies.append(&mut round.latencies);
        sum.bodies.append(&mut round.bodies);
        sum.bad += round.bad;
        if !round.worst.is_empty() {
            sum.worst = round.worst;
        }
    }
    sum.elapsed = begun.elapsed();
    sum
}

async fn one(
    address: SocketAddr,
    request: &Request,
    keep: bool,
    goes_on: impl Fn() -> bool,
    round: &mut Round,
) -> std::io::Result<()> {
    let mut connection = Connection::open(address).await?;
    while goes_on() {
        let begun = Instant::now();
        let answer = connection.send(request).await?;
        if !request.is_answered_by(&answer) {
            round.bad += 1;
            round.worst = answer.text();
            continue;
        }
        round.latencies.push(begun.elapsed());
        if keep {
            round.bodies.push(answer.body.into_owned());
        }
    }
    Ok(())
}
