//! Tasks: how they ended, by component, and what their executions cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus::{Counter, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use serde_json::{Value, json};

use super::window::{Figures, Window};
use super::{BUCKETS, Error, register};
use crate::task::{Digest, Receipt, State, Status};

/// Names of components that have a label of their own: the first that ended a task. Those that come later are
/// [`OTHERS`]: a label that was given up for another would make its counter begin again.
pub const MOST_COMPONENTS: usize = 100;

/// Components that have no label of their own. No component can have this name.
pub const OTHERS: &str = "(other)";

/// Components that were named by their digest: each may be used once, and would take a name's label.
pub const BY_DIGEST: &str = "(digest)";

pub(super) struct Tasks {
    ended: IntCounterVec,
    executions: IntCounter,
    wall: Histogram,
    queue: Histogram,
    fuel: IntCounter,
    cpu: Counter,
    components: RwLock<HashMap<String, Arc<Ends>>>,
    others: Ends,
    by_digest: Ends,
    recent: Mutex<Recent>,
}

/// Counts of completed, failed and cancelled tasks.
type Ends = [AtomicU64; 3];

struct Recent {
    /// Durations of executions; ends of tasks.
    wall: Window,
    queue: Window,
}

impl Tasks {
    pub(super) fn new(registry: &Registry) -> Result<Tasks, Error> {
        let buckets = |name: &str, help: &str| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()))
        };
        let ended = Opts::new(
            "omnimind_tasks_ended_total",
            "Tasks that ended: completed, cancelled, or the kind of failure.",
        );
        Ok(Tasks {
            ended: register(registry, IntCounterVec::new(ended, &["component", "end"]))?,
            executions: register(
                registry,
                IntCounter::new(
                    "omnimind_task_executions_total",
                    "Executions that ended: a retry is another one.",
                ),
            )?,
            wall: register(
                registry,
                buckets("omnimind_task_wall_seconds", "How long executions took, without their pauses."),
            )?,
            queue: register(
                registry,
                buckets("omnimind_task_queue_seconds", "How long executions had waited for a place."),
            )?,
            fuel: register(
                registry,
                IntCounter::new("omnimind_task_fuel_total", "Fuel that executions used."),
            )?,
            cpu: register(
                registry,
                Counter::new(
                    "omnimind_task_cpu_seconds_total",
                    "CPU time of the threads that executed tasks.",
                ),
            )?,
            components: RwLock::default(),
            others: Ends::default(),
            by_digest: Ends::default(),
            recent: Mutex::new(Recent { wall: Window::new()?, queue: Window::new()? }),
        })
    }

    pub(super) fn executed(&self, receipt: &Receipt, took: Duration, queued: Duration, at: Duration) {
        self.executions.inc();
        self.fuel.inc_by(receipt.budget("fuel").and_then(|fuel| fuel.used).unwrap_or(0));
        self.cpu.inc_by(Duration::from_millis(receipt.cpu_ms).as_secs_f64());
        self.wall.observe(took.as_secs_f64());
        self.queue.observe(queued.as_secs_f64());
        let mut recent = self.recent.lock();
        recent.wall.took(at, took);
        recent.queue.took(at, queued);
    }

    pub(super) fn ended(&self, component: &str, state: &State, at: Duration) {
        let (end, outcome) = match (state.status, &state.failure) {
            (Status::Completed, _) => ("completed", 0),
            (Status::Failed, Some(failure)) => (failure.kind.name(), 1),
            (Status::Cancelled, _) => ("cancelled", 2),
            // It has not ended.
            _ => return,
        };
        self.count(component, end, outcome);
        self.recent.lock().wall.came_out(at, outcome);
    }

    fn count(&self, component: &str, end: &str, outcome: usize) {
        let add = |ends: &Ends, label: &str| {
            if let Some(count) = ends.get(outcome) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if let Ok(counter) = self.ended.get_metric_with_label_values(&[label, end]) {
                counter.inc();
            }
        };
        if component.starts_with(Digest::PREFIX) {
            return add(&self.by_digest, BY_DIGEST);
        }
        let known = self.components.read().get(component).cloned();
        if let Some(ends) = known {
            return add(&ends, component);
        }
        let mut components = self.components.write();
        if components.len() >= MOST_COMPONENTS && !components.contains_key(component) {
            drop(components);
            return add(&self.others, OTHERS);
        }
        let ends = components.entry(component.to_owned()).or_default().clone();
        drop(components);
        add(&ends, component);
    }

    pub(super) fn to_json(&self, at: Duration) -> Value {
        let components = self.components.read();
        let mut each: Vec<(&str, [u64; 3])> =
            components.iter().map(|(name, ends)| (name.as_str(), read(ends))).collect();
        each.sort_unstable();
        for (name, ends) in [(BY_DIGEST, &self.by_digest), (OTHERS, &self.others)] {
            let ends = read(ends);
            if ends != [0; 3] {
                each.push((name, ends));
            }
        }
        let sum = |of: usize| each.iter().filter_map(|(_, ends)| ends.get(of)).sum::<u64>();
        let (completed, failed, cancelled) = (sum(0), sum(1), sum(2));
        let shown = |(name, [completed, failed, cancelled]): &(&str, [u64; 3])| json!({"component": name, "completed": completed, "failed": failed, "cancelled": cancelled});
        let (wall, queue) = {
            let mut recent = self.recent.lock();
            (recent.wall.figures(at), recent.queue.figures(at))
        };
        json!({
            "completed": completed, "failed": failed, "cancelled": cancelled,
            "success_rate": success_rate(completed, failed),
            "executions": self.executions.get(), "fuel": self.fuel.get(), "cpu_s": self.cpu.get(),
            "recent": {
                "completed": wall.outcomes[0], "failed": wall.outcomes[1], "cancelled": wall.outcomes[2],
                "success_rate": success_rate(wall.outcomes[0], wall.outcomes[1]),
                "wall_ms": wall, "queue_ms": queue,
            },
            "components": each.iter().map(shown).collect::<Vec<_>>(),
        })
    }

    pub(super) fn in_short(&self, at: Duration) -> (Figures, Figures) {
        let mut recent = self.recent.lock();
        (recent.wall.figures(at), recent.queue.figures(at))
    }
}

fn read(ends: &Ends) -> [u64; 3] {
    [&ends[0], &ends[1], &ends[2]].map(|count| count.load(Ordering::Relaxed))
}

/// From 0 to 1; null where nothing completed or failed.
fn success_rate(completed: u64, failed: u64) -> Option<f64> {
    let ended = completed + failed;
    (ended > 0).then(|| completed as f64 / ended as f64)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;
    use crate::task::{Failure, FailureKind};

    fn end(status: Status) -> State {
        let mut state = State::submitted(jiff::Timestamp::now());
        state.status = status;
        state
    }

    fn failed(kind: FailureKind) -> State {
        State { failure: Some(Box::new(Failure::new(kind, "why"))), ..end(Status::Failed) }
    }

    #[test]
    fn every_end_has_its_own_counter() {
        let metrics = Metrics::new().unwrap();
        metrics.ended("a", &end(Status::Completed));
        metrics.ended("a", &end(Status::Cancelled));
        metrics.ended("a", &end(Status::Running));
        for kind in FailureKind::ALL {
            metrics.ended("a", &failed(kind));
        }
        let text = metrics.text(&[]).unwrap();
        let names = FailureKind::ALL.map(FailureKind::name);
        for name in names.iter().chain(&["completed", "cancelled"]) {
            let line = format!("omnimind_tasks_ended_total{{component=\"a\",end=\"{name}\"}} 1\n");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        let shown = metrics.tasks();
        let failures = FailureKind::ALL.len() as f64;
        assert_eq!(shown["success_rate"], 1.0 / (1.0 + failures));
        assert_eq!(shown["recent"]["cancelled"], 1);
    }

    #[test]
    fn the_first_names_keep_their_labels_and_the_rest_are_one() {
        let metrics = Metrics::new().unwrap();
        for round in 1..=2 {
            for number in 0..2 * MOST_COMPONENTS {
                metrics.ended(&format!("c{number}"), &end(Status::Completed));
                metrics.ended(&format!("{}{number:064x}", Digest::PREFIX), &end(Status::Completed));
            }
            let shown = metrics.tasks();
            let components = shown["components"].as_array().unwrap();
            assert_eq!(components.len(), MOST_COMPONENTS + 2);
            let of = |name: &str| {
                components.iter().find(|line| line["component"] == name).unwrap()["completed"].clone()
            };
            assert_eq!(of("c7"), round);
            assert_eq!(of(OTHERS), round * MOST_COMPONENTS);
            assert_eq!(of(BY_DIGEST), round * 2 * MOST_COMPONENTS);
            let text = metrics.text(&[]).unwrap();
            let series = text.lines().filter(|line| line.starts_with("omnimind_tasks_ended_total{"));
            assert_eq!(series.count(), MOST_COMPONENTS + 2);
        }
    }

    #[test]
    fn a_name_cannot_break_the_text() {
        let metrics = Metrics::new().unwrap();
        metrics.ended("a\"} 1\nevil_total 2\\", &end(Status::Completed));
        let text = metrics.text(&[]).unwrap();
        assert!(text.contains(r#"{component="a\"} 1\nevil_total 2\\",end="completed"} 1"#), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil_total")), "{text}");
    }
}
