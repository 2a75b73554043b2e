//! Watches the machine while the server runs, and acts on what the policy decides.
//!
//! ```text
//! sampler ─ Sample ─▶ policy ─ state, decisions ─▶ levers: scheduler, compute slots, limiter, store, artefacts
//!                                       └────────▶ journal: rows, counters, events
//! ```
//!
//! The loop is the server's own, not the guests': what it does does not wait for those it does it to.

mod journal;
mod levers;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

pub use journal::{Effect, Row, What};
pub use levers::Levers;

use crate::config::Protection;
use crate::events::Bus;
use crate::limits::{MB, Mode, Modes};
use crate::protection::{
    self, Action, Decision, Level, Resource, Roots, Rules, Sample, Sampler, State, decide,
};
use crate::task::timestamp;
use journal::Journal;
use memory::Memory;

/// A look is late after this.
const STALE: Duration = Duration::from_secs(10);

/// Free bytes of a disk with which old outputs may stay, however large the share is that is used.
const PLENTY: u64 = 20 << 30;

/// Keeps the machine responsive.
pub struct Guard {
    modes: Modes,
    config: Protection,
    /// Tasks that run at one time, whatever the mode has.
    most_places: usize,
    levers: Levers,
    bus: Bus,
    began: Instant,
    sampler: Arc<Mutex<Sampler>>,
    seen: Mutex<Seen>,
    /// Somebody wants a look at once.
    look: Notify,
    /// Held over a switch of the mode.
    switching: Mutex<()>,
    /// Files are being removed.
    pruning: AtomicBool,
}

/// What was seen last, and what was made of it.
struct Seen {
    state: State,
    sample: Option<(Timestamp, Sample)>,
    memory: Memory,
    journal: Journal,
}

/// What was seen last, and what followed.
#[derive(Clone, Debug)]
pub struct Last {
    /// When, and what; none before the first look.
    pub sample: Option<(Timestamp, Sample)>,
    /// How pressed each resource is.
    pub levels: Vec<(Resource, Level)>,
    /// How often each thing was decided since the start.
    pub decisions: BTreeMap<&'static str, u64>,
}

/// How one resource is.
#[derive(Clone, Debug)]
pub struct Pressure {
    /// How pressed it is.
    pub level: Level,
    /// Why it cannot be read, if that is so.
    pub failure: Option<String>,
    /// Figures.
    pub details: Value,
}

impl Guard {
    /// A guard that looks at the file system of `data_dir` too. Nothing is watched before [`Guard::watch`].
    pub fn new(
        modes: Modes,
        config: Protection,
        most_places: usize,
        levers: Levers,
        bus: Bus,
        data_dir: std::path::PathBuf,
    ) -> Guard {
        Guard {
            modes,
            config,
            most_places,
            levers,
            bus,
            began: Instant::now(),
            sampler: Arc::new(Mutex::new(Sampler::new(Roots::default(), data_dir))),
            seen: Mutex::new(Seen {
                state: State::default(),
                sample: None,
                memory: Memory::default(),
                journal: Journal::default(),
            }),
            look: Notify::new(),
            switching: Mutex::default(),
            pruning: AtomicBool::new(false),
        }
    }

    /// Tasks that run at one time.
    pub fn places(&self) -> usize {
        self.modes.places(self.most_places)
    }

    /// Looks and acts, again and again, until the future is dropped.
    pub async fn watch(self: Arc<Self>) {
        // Of the last two: being late once is chance.
        let mut late = [Err(protection::Missing::NotYet), Err(protection::Missing::NotYet)];
        loop {
            let both = match &late {
                [Ok(before), Ok(now)] => Ok(f64::min(*before, *now)),
                _ => Err(protection::Missing::NotYet),
            };
            self.clone().look(both).await;
            let interval = self.interval();
            let asked = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(interval) => {
                    late.swap(0, 1);
                    late[1] = Ok(asked.elapsed().saturating_sub(interval).as_secs_f64() * 1000.0);
                }
                () = self.look.notified() => {}
            }
        }
    }

    fn interval(&self) -> Duration {
        match self.seen.lock().state.is_pressed() {
            true => self.config.pressed_interval.min(self.config.interval),
            false => self.config.interval,
        }
    }

    /// One look, and what follows.
    async fn look(self: Arc<Self>, wake_delay_ms: protection::Reading<f64>) {
        let (sampler, at) = (self.sampler.clone(), self.began.elapsed());
        let looked = tokio::task::spawn_blocking(move || sampler.lock().sample(at, wake_delay_ms));
        match looked.await {
            Ok(sample) => self.act(sample),
            Err(error) => tracing::error!(%error, "the machine could not be looked at"),
        }
    }

    fn act(self: Arc<Self>, sample: Sample) {
        let mode = self.modes.mode();
        let thresholds = self.modes.of(mode).thresholds;
        let rules = Rules { mode, thresholds, strict_cpu_cap: self.config.strict_cpu_cap };
        let (state, decisions) = decide(&rules, &self.seen.lock().state, &sample);
        let memory = self.seen.lock().memory.after(&sample, &thresholds, self.levers.held());
        let stance = state.stance;
        let done: Vec<(Effect, Decision)> =
            decisions.into_iter().map(|decision| (self.levers.do_once(&decision.action), decision)).collect();
        self.levers.follow(&stance, &memory, self.places());
        // Said when it is in force: who reads that the disk is critical finds that writes are refused.
        {
            let mut seen = self.seen.lock();
            seen.state = state;
            seen.memory = memory;
            seen.sample = Some((Timestamp::now(), sample));
        }
        for (effect, decision) in done {
            self.clone().tell(mode, decision, effect);
        }
    }

    /// Notes what was decided and done, and begins what takes its time.
    fn tell(self: Arc<Self>, mode: Mode, decision: Decision, effect: Effect) {
        let after = match decision.action {
            Action::Prune => Some(After::Prune),
            Action::ShrinkCaches => Some(After::ShrinkCaches),
            _ => None,
        };
        let seq = self.note(mode, What::Decided(decision), effect);
        // These take their time, and the next look does not wait for them.
        if let Some(after) = after {
            tokio::spawn(async move {
                let effect = match after {
                    // One at a time: a slow disk may take longer than the time between two.
                    After::Prune if self.pruning.swap(true, Ordering::Relaxed) => return,
                    After::Prune => {
                        let effect = self.levers.prune(self.is_room_scarce()).await;
                        self.pruning.store(false, Ordering::Relaxed);
                        effect
                    }
                    After::ShrinkCaches => self.levers.shrink_caches().await,
                };
                self.seen.lock().journal.complete(seq, effect);
            });
        }
    }

    /// Whether there is so little room that what cannot be made again has to go. A share of a large disk may be
    /// much.
    fn is_room_scarce(&self) -> bool {
        let seen = self.seen.lock();
        let disk = seen.sample.as_ref().and_then(|(_, sample)| sample.disk.as_ref().ok());
        let is_critical = seen.state.level(Resource::Disk) == Level::Critical;
        // Where it cannot be read nothing goes for good.
        disk.is_some_and(|disk| is_critical || disk.free_bytes < PLENTY)
    }

    fn note(&self, mode: Mode, what: What, effect: Effect) -> u64 {
        let row = self.seen.lock().journal.note(timestamp(Timestamp::now()), mode, what, effect);
        row.log();
        self.bus.protection(|| json!(row));
        row.seq
    }

    /// Puts `mode` in force, for what is submitted and measured from now on; returns the one before. What was
    /// accepted keeps its limits, and what runs its place.
    ///
    /// # Errors
    /// Why the configuration does not fit it.
    pub fn switch(&self, mode: Mode) -> Result<Mode, String> {
        let _one = self.switching.lock();
        let before = self.modes.switch(mode)?;
        if before != mode {
            self.levers.set_places(self.places());
            self.note(mode, What::switched(before, mode), Effect::default());
            self.look.notify_one();
        }
        Ok(before)
    }

    /// How one resource is.
    pub fn pressure(&self, resource: Resource) -> Pressure {
        let seen = self.seen.lock();
        let details = seen.sample.as_ref().map(|(_, sample)| sample.figures(resource)).unwrap_or_default();
        let mut failure = seen.state.failures.of(resource).clone();
        // A file system that hangs holds the look up.
        let age = seen.sample.as_ref().map(|(_, sample)| self.began.elapsed().saturating_sub(sample.at));
        if age.is_some_and(|age| age > self.config.interval + STALE) {
            failure = Some("the machine was not looked at for long: a file system may hang".to_owned());
        }
        Pressure { level: seen.state.level(resource), failure, details }
    }

    /// How full the disk may be before nothing new is accepted, in percent.
    pub fn disk_limit_percent(&self) -> f64 {
        self.modes.current().thresholds.disk_percent
    }

    /// The figures of all of them.
    pub fn last(&self) -> Last {
        let seen = self.seen.lock();
        Last {
            sample: seen.sample.clone(),
            levels: Resource::ALL.iter().map(|resource| (*resource, seen.state.level(*resource))).collect(),
            decisions: seen.journal.counts().clone(),
        }
    }

    /// Everything that is known now.
    pub fn status(&self) -> Value {
        let held = self.levers.held();
        let interval_ms = self.interval().as_millis();
        let seen = self.seen.lock();
        let thresholds = &self.modes.current().thresholds;
        let each = |of: &dyn Fn(Resource) -> Value| {
            Value::Object(
                Resource::ALL.iter().map(|resource| (resource.name().to_owned(), of(*resource))).collect(),
            )
        };
        json!({
            "mode": self.modes.mode().name(),
            "configured_mode": self.modes.configured().name(),
            "cpu_cap": if self.config.strict_cpu_cap { "strict" } else { "shared" },
            "limits": {
                "cpu_percent": thresholds.cpu_percent,
                "ram_percent": thresholds.ram_percent,
                "process_ram_mb": thresholds.process_ram_bytes / MB,
                "disk_percent": thresholds.disk_percent,
                "instances": thresholds.instances,
                "startup_grace": thresholds.grace.as_secs(),
            },
            "in_grace": self.began.elapsed() < thresholds.grace,
            "interval_ms": u64::try_from(interval_ms).unwrap_or(u64::MAX),
            "pressure": each(&|resource| json!(seen.state.level(resource))),
            "unreadable": each(&|resource| json!(seen.state.failures.of(resource))),
            "in_force": seen.state.stance,
            "memory": {
                "room_bytes": seen.memory.room_bytes,
                "counted_bytes": held.counted_bytes,
                "used_bytes": held.used_bytes,
            },
            "sampled_at": seen.sample.as_ref().map(|(at, _)| timestamp(*at)),
            "sample": seen.sample.as_ref().map(|(_, sample)| sample.to_json()),
            "decisions": seen.journal.counts(),
        })
    }

    /// The last `limit` decisions, newest first.
    pub fn decisions(&self, limit: usize) -> Vec<Row> {
        self.seen.lock().journal.newest(limit)
    }
}

/// What goes on after the decision is noted.
enum After {
    Prune,
    ShrinkCaches,
}
