//! How everything is: looked at from time to time, so that asking costs nothing and answers at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::Attestation;
use super::trend::Trends;
use crate::backend::Backends;
use crate::backend::embedding::Embedder;
use crate::backend::inference::Inference;
use crate::engine::{ENGINE_VERSION, TICK};
use crate::guard::{Guard, Pressure};
use crate::protection::{Level, Resource};
use crate::scheduler::Scheduler;
use crate::task::named;
use crate::task::timestamp;
use crate::task_store::{self, SqliteStore};

/// Time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// A write takes no longer than this on a disk that is well.
const SLOW_WRITE: Duration = Duration::from_secs(2);

/// The check of the store.
const TASK_STORE: &str = "task_store";

named! {
    /// How one thing is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    pub enum Overall {
        /// As it should be.
        Healthy = "healthy",
        /// It works, and something needs attention.
        Degraded = "degraded",
        /// It does not work.
        Unhealthy = "unhealthy",
    }
}

/// One check's last result.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name.
    #[serde(skip)]
    pub name: &'static str,
    /// The result.
    pub status: Overall,
    /// How long the look took.
    pub response_time_ms: f64,
    /// Figures.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub details: Value,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediation: Option<String>,
}

/// All checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// The worst of them.
    pub overall: Overall,
    /// Each.
    pub checks: Vec<Check>,
    /// When the last look was: RFC 3339, UTC, milliseconds.
    pub timestamp: String,
}

/// Looks after everything.
pub struct Health {
    store: Arc<SqliteStore>,
    scheduler: Scheduler,
    guard: Arc<Guard>,
    attestation: Arc<Attestation>,
    embedder: Arc<Embedder>,
    inference: Arc<Inference>,
    last: Mutex<Report>,
    /// How the checks were in the last hour.
    pub trends: Mutex<Trends>,
}

impl Health {
    /// Looks for the first time.
    pub async fn new(
        store: Arc<SqliteStore>,
        scheduler: Scheduler,
        guard: Arc<Guard>,
        attestation: Arc<Attestation>,
        backends: &Backends,
    ) -> Health {
        let report = Report { overall: Overall::Healthy, checks: Vec::new(), timestamp: String::new() };
        let last = Mutex::new(report);
        let trends = Mutex::default();
        let (embedder, inference) = (backends.embedding.clone(), backends.inference.clone());
        let health = Health { store, scheduler, guard, attestation, embedder, inference, last, trends };
        health.look().await;
        health
    }

    /// Looks again and again, until the future is dropped.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.look().await;
        }
    }

    /// What was seen last.
    pub fn report(&self) -> Report {
        let mut report = self.last.lock().clone();
        // These change from one moment to the next, and cost nothing to look at.
        report.checks.push(self.filesystem());
        report.checks.push(self.queue());
        report.checks.push(self.pressure("cpu", &[Resource::Cpu], "others want the processors: tasks wait until they want less, those of priority high and critical do not"));
        report.checks.push(self.pressure(
            "memory",
            &[Resource::Ram, Resource::ProcessRam],
            "end what takes the memory, or submit tasks with less limits.memory_bytes",
        ));
        report.checks.push(self.limits());
        report.checks.push(self.embedding());
        report.checks.push(self.inference());
        report.overall = report.checks.iter().map(|check| check.status).max().unwrap_or(Overall::Healthy);
        report
    }

    /// What is proven of the limits.
    pub fn attestation(&self) -> &Arc<Attestation> {
        &self.attestation
    }

    /// Whether something new may be written.
    ///
    /// # Errors
    /// The disk is nearly full.
    pub fn admit_new(&self) -> Result<(), task_store::Error> {
        self.store.admit_new()
    }

    /// Why nothing is written any more, if that is so.
    pub fn poisoned(&self) -> Option<String> {
        self.store.poisoned()
    }

    /// Why new work is not accepted, if that is so: a word, and what it means.
    pub fn refuses_new(&self) -> Option<(&'static str, &'static str)> {
        if self.store.poisoned().is_some() {
            return Some(("store", "a write failed: nothing is stored any more until a restart"));
        }
        let unwritten = |check: &Check| check.name == TASK_STORE && check.status == Overall::Unhealthy;
        if self.store.admit_new().is_err() || self.last.lock().checks.iter().any(unwritten) {
            return Some(("disk", "the disk is full, or nearly: nothing new is accepted"));
        }
        None
    }

    async fn look(&self) {
        let checks = vec![self.engine().await, self.task_store().await];
        let now = jiff::Timestamp::now();
        let report = Report { overall: Overall::Healthy, checks, timestamp: timestamp(now) };
        *self.last.lock() = report;
        let Report { overall, checks, .. } = self.report();
        self.trends.lock().note(now, overall, &checks);
    }

    /// Whether the threads that serve are given the processor in time.
    async fn engine(&self) -> Check {
        let begun = Instant::now();
        tokio::time::sleep(TICK).await;
        let late = begun.elapsed().saturating_sub(TICK);
        let details = json!({"version": ENGINE_VERSION, "wake_delay_ms": milliseconds(late)});
        check("engine", begun, details, Ok(()))
    }

    async fn task_store(&self) -> Check {
        let begun = Instant::now();
        let probed = tokio::time::timeout(SLOW_WRITE, self.store.probe()).await;
        let verdict = match probed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err((Overall::Unhealthy, error.to_string(), "free space, or restart once the disk is sound"))
            }
            Err(_) => Err((
                Overall::Degraded,
                format!("a write took longer than {} s", SLOW_WRITE.as_secs()),
                "look at the load of the disk",
            )),
        };
        check(TASK_STORE, begun, Value::Null, verdict)
    }

    /// How full the file system of the data directory is, by the limit above which nothing new is accepted.
    fn filesystem(&self) -> Check {
        let begun = Instant::now();
        let Pressure { failure, details, .. } = self.guard.pressure(Resource::Disk);
        let used = details.get("used_percent").and_then(Value::as_f64).unwrap_or_default();
        let verdict = match failure {
            Some(why) => Err((Overall::Degraded, why, "is the data directory still there?")),
            None if used > self.guard.disk_limit_percent() => {
                let full = format!("the file system of the data directory is {used:.0} % full");
                Err((Overall::Degraded, full, "free space: until then nothing new is accepted"))
            }
            None => Ok(()),
        };
        check("filesystem", begun, details, verdict)
    }

    /// How pressed some resources are.
    fn pressure(&self, name: &'static str, resources: &[Resource], remediation: &'static str) -> Check {
        let begun = Instant::now();
        let all: Vec<_> =
            resources.iter().map(|resource| (*resource, self.guard.pressure(*resource))).collect();
        let shown = |(resource, pressure): &(Resource, Pressure)| {
            let shown = json!({
                "pressure": pressure.level, "figures": pressure.details, "unreadable": pressure.failure,
            });
            (resource.name().to_owned(), shown)
        };
        let details = Value::Object(all.iter().map(shown).collect());
        let critical = all.iter().find(|(_, pressure)| pressure.level == Level::Critical);
        let unreadable = all.iter().find_map(|(_, pressure)| pressure.failure.clone());
        let verdict = match (critical, unreadable) {
            (Some((resource, _)), _) => {
                let why = format!("{} is critical: see /api/v1/protection/decisions", resource.name());
                Err((Overall::Degraded, why, remediation))
            }
            (None, Some(why)) => Err((Overall::Degraded, why, "see `unreadable` of /api/v1/protection/")),
            (None, None) => Ok(()),
        };
        check(name, begun, details, verdict)
    }

    fn queue(&self) -> Check {
        let begun = Instant::now();
        let load = self.scheduler.load();
        let details = json!({
            "running": load.running, "pending": load.pending, "places": load.places, "max_pending": load.max_pending,
        });
        let verdict = match load.pending >= load.max_pending {
            true => Err((
                Overall::Degraded,
                "as many tasks wait as may".to_owned(),
                "submit less, or cancel some",
            )),
            false => Ok(()),
        };
        check("queue", begun, details, verdict)
    }

    /// What makes vectors of texts, and whether it is there.
    fn embedding(&self) -> Check {
        let begun = Instant::now();
        let status = self.embedder.status();
        let details = json!({
            "provider": status.provider, "model": status.model, "dimensions": status.dimensions,
            "loaded": status.dimensions.is_some(),
        });
        let verdict = match status.error {
            Some(why) => Err((Overall::Degraded, why, "docs/embeddings.md; tasks that embed fail meanwhile")),
            None => Ok(()),
        };
        check("embedding", begun, details, verdict)
    }

    /// Whether language models answer. One that was never there is not missed.
    fn inference(&self) -> Check {
        let begun = Instant::now();
        let status = self.inference.status();
        let details = json!({"provider": status.provider, "models": status.models.len()});
        let verdict = match status.error {
            Some(why) => Err((
                Overall::Degraded,
                why,
                "start Ollama, or see model.base_url; tasks that ask fail meanwhile",
            )),
            None => Ok(()),
        };
        check("inference", begun, details, verdict)
    }

    /// Whether the limits are proven, where other people's tasks depend on them.
    fn limits(&self) -> Check {
        let begun = Instant::now();
        let unproven = self.attestation.unproven();
        let last = self.attestation.last();
        let details = json!({
            "unproven": unproven, "attested_age_s": last.as_ref().map(|last| last.age_s()),
            "is_current": last.as_ref().is_some_and(|last| self.attestation.is_current(&last.report)),
        });
        let verdict = match self.attestation.is_wanted() && !unproven.is_empty() {
            true => Err((
                Overall::Degraded,
                format!("no current proof of {}", unproven.join(", ")),
                "run `omnimind attest`",
            )),
            false => Ok(()),
        };
        check("limits", begun, details, verdict)
    }
}

fn check(
    name: &'static str,
    begun: Instant,
    details: Value,
    verdict: Result<(), (Overall, String, &'static str)>,
) -> Check {
    let (status, error, remediation) = match verdict {
        Ok(()) => (Overall::Healthy, None, None),
        Err((status, error, remediation)) => (status, Some(error), Some(remediation.to_owned())),
    };
    Check { name, status, response_time_ms: milliseconds(begun.elapsed()), details, error, remediation }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_micros() as f64) / 1000.0
}
