//! Figures of what the server does: counters for Prometheus, quantiles of the last minutes for everybody.
//!
//! ```text
//! server: requests ──┐
//! scheduler: tasks ──┤
//! backend: answers ──┼─▶ Metrics ─▶ text, with what is only read when somebody asks (`Family`)
//!                    └──────────▶ JSON: counts since the start, quantiles of a sliding window
//! ```
//!
//! Recording never waits for who reads: counters are atomic, a window is locked for some ten nanoseconds. Every set of
//! labels is bounded, whatever clients send: routes are templates, methods the known ones, components and models the
//! first names. A name keeps its label until the end of the process, so that no counter ever goes backwards.

mod inference;
mod requests;
mod tasks;
mod text;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{IntGauge, Registry};
use serde_json::Value;

pub use inference::{Answered, Inference};
pub use requests::{Open, Request, UNMATCHED};
pub use tasks::{BY_DIGEST, MOST_COMPONENTS, OTHERS};
pub use text::{CONTENT_TYPE, Family, Kind};
pub use window::{Figures, PRECISION_PERCENT};

use crate::task::{Receipt, State};
use requests::Requests;
use tasks::Tasks;

/// What metrics are made of was refused: a fault of the runtime.
pub type Error = prometheus::Error;

/// Upper bounds of the buckets of every histogram, in seconds.
const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Everything that is counted; clones are the same figures.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    began: Instant,
    started: Timestamp,
    registry: Registry,
    requests: Requests,
    tasks: Tasks,
    inference: Arc<Inference>,
}

impl Metrics {
    /// Nothing has happened yet.
    ///
    /// # Errors
    /// Two metrics have one name, or one has none.
    pub fn new() -> Result<Metrics, Error> {
        let registry = Registry::new();
        let requests = Requests::new(&registry)?;
        let tasks = Tasks::new(&registry)?;
        let inference = Arc::new(Inference::new(&registry)?);
        let (began, started) = (Instant::now(), Timestamp::now());
        Ok(Metrics(Arc::new(Inner { began, started, registry, requests, tasks, inference })))
    }

    /// Since when figures are counted.
    pub fn uptime(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// The same, as the machine's clock stood then.
    pub fn started(&self) -> Timestamp {
        self.0.started
    }

    /// How far the sliding window of all quantiles reaches back.
    pub fn window(&self) -> Duration {
        window::covers(self.uptime())
    }

    /// A request is being answered, for as long as this is held.
    pub fn in_flight(&self) -> Open {
        self.0.requests.in_flight()
    }

    /// A client went before it had its answer.
    pub fn abandoned(&self) {
        self.0.requests.abandoned();
    }

    /// A connection is open, for as long as this is held.
    pub fn connection(&self) -> Open {
        self.0.requests.connection()
    }

    /// An answer without end goes on, for as long as this is held.
    pub fn stream(&self) -> Open {
        self.0.requests.stream()
    }

    /// A request was answered.
    pub fn answered(&self, request: &Request) {
        self.0.requests.answered(request, self.uptime());
    }

    /// An execution ended: what it cost, how long it took without its pauses, and how long it had waited.
    pub fn executed(&self, receipt: &Receipt, took: Duration, queued: Duration) {
        self.0.tasks.executed(receipt, took, queued, self.uptime());
    }

    /// The end of a task is stored; `component` is as its submission named it.
    pub fn ended(&self, component: &str, state: &State) {
        self.0.tasks.ended(component, state, self.uptime());
    }

    /// Where answers of language models are counted.
    pub fn inference(&self) -> Arc<Inference> {
        self.0.inference.clone()
    }

    /// Everything for Prometheus, and `more` that is only known now.
    ///
    /// # Errors
    /// Something of it cannot be written as text: a fault of the runtime.
    pub fn text(&self, more: &[Family]) -> Result<String, Error> {
        text::write(self.0.registry.gather(), more)
    }

    /// Requests, by route: `{count, client_errors, errors, …, routes: […]}`.
    pub fn requests(&self) -> Value {
        self.0.requests.to_json(self.uptime())
    }

    /// All requests of the window together, and the `slowest` routes of it by their p95.
    pub fn requests_in_short(&self, slowest: usize) -> (Figures, Vec<Value>) {
        self.0.requests.in_short(self.uptime(), slowest)
    }

    /// Tasks: `{completed, failed, cancelled, …, components: […]}`.
    pub fn tasks(&self) -> Value {
        self.0.tasks.to_json(self.uptime())
    }

    /// Ends of tasks and durations of executions in the window.
    pub fn tasks_in_short(&self) -> (Figures, Figures) {
        self.0.tasks.in_short(self.uptime())
    }
}

/// Registers what `made` and hands it on.
fn register<T: Collector + Clone + 'static>(registry: &Registry, made: Result<T, Error>) -> Result<T, Error> {
    let made = made?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

/// A gauge of what is open at this time.
fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    register(registry, IntGauge::new(name, help))
}
