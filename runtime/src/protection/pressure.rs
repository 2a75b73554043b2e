//! What one sample says of one resource.
//!
//! **RAM, process RAM, disk**: the share that is used against the mode's limit. In `dev` and `test` memory that
//! is short only because of others is never critical: it is a warning, and tasks that fit go on.
//!
//! **CPU** is not how busy the processors are: guests may have what nobody else wants. With *rest* for what the
//! mode's percentage leaves to others, others *want* the rest from 80 % of it on (guests that are held to their
//! share cannot keep others from reaching that), *stall* is somebody waiting for a processor for more than
//! [`STALL_PERCENT`] of the time, and *late* is a thread of our server, which is no nicer than others' are, woken
//! after more than [`WAKE_DELAY_MS`]:
//!
//! | level | others' load |
//! |---|---|
//! | elevated | wants the rest; or from a fifth of the rest on, with stall or late |
//! | critical | above the rest, and late; or above the mode's whole percentage |
//!
//! Stall alone is nothing: our own guests, compile workers and server may wait for each other. Nor does it make
//! others' load critical: beside any load guests at nice 10 stall, and others do not. A monitor, a model server or a
//! client on this machine would pause every task otherwise.

use serde::Serialize;

use super::level::{Edge, Level, NEAR, Resource};
use super::reading::{Missing, Reading};
use super::sampler::Sample;
use crate::limits::{Mode, Thresholds};

/// Percent of the time in which somebody waits for a processor, above which it counts.
pub const STALL_PERCENT: f64 = 40.0;

/// Delay of a thread of our server, above which it counts.
pub const WAKE_DELAY_MS: f64 = 50.0;

/// Share of the rest below which others' load is no reason for anything.
const NOISE: f64 = 0.2;

/// Points of percent between making a level and keeping it.
const MARGIN_POINTS: f64 = 5.0;

/// A figure and what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Which.
    pub figure: &'static str,
    /// What the sample says; the unit is in the name.
    pub value: f64,
    /// The limit.
    pub limit: f64,
}

/// What a sample says of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The level that it makes, and the one that it keeps; none where there is nothing to say yet.
    pub levels: Option<(Level, Level)>,
    /// What was looked at.
    pub evidence: Vec<Evidence>,
    /// Why something could not be looked at.
    pub failure: Option<String>,
    /// What is short is short because of us, as far as that is known.
    pub is_ours: bool,
}

impl Verdict {
    fn new(levels: Option<(Level, Level)>, evidence: Vec<Evidence>, failure: Option<String>) -> Verdict {
        Verdict { levels, evidence, failure, is_ours: false }
    }

    fn without(missing: &Missing) -> Verdict {
        let levels = missing.failure().map(|_| (Level::Normal, Level::Normal));
        Verdict::new(levels, Vec::new(), missing.failure().map(str::to_owned))
    }
}

/// What `sample` says of `resource`.
pub fn verdict(resource: Resource, mode: Mode, thresholds: &Thresholds, sample: &Sample) -> Verdict {
    match resource {
        Resource::Cpu => cpu(thresholds, sample),
        Resource::Ram => ram(mode, thresholds, sample),
        Resource::ProcessRam => {
            let rss = sample.process.as_ref().map(|process| process.rss_bytes as f64);
            let limit = thresholds.process_ram_bytes as f64;
            let verdict = simple("process_rss_bytes", rss, limit, limit * MARGIN_POINTS / 100.0);
            Verdict { is_ours: true, ..verdict }
        }
        Resource::Disk => {
            let used = sample.disk.as_ref().map(|disk| disk.used_percent);
            let limit = thresholds.disk_percent;
            simple("disk_used_percent", used, limit, margin(limit))
        }
    }
}

/// Five points, and never so much that a small limit could not be left again.
fn margin(limit_percent: f64) -> f64 {
    MARGIN_POINTS.min(limit_percent / 10.0)
}

fn simple(figure: &'static str, value: Result<f64, &Missing>, limit: f64, margin: f64) -> Verdict {
    match value {
        Ok(value) => {
            let [enter, keep] = [Edge::Enter, Edge::Leave].map(|edge| edge.level(value, limit, margin));
            Verdict::new(Some((enter, keep)), vec![Evidence { figure, value, limit }], None)
        }
        Err(missing) => Verdict::without(missing),
    }
}

fn ram(mode: Mode, thresholds: &Thresholds, sample: &Sample) -> Verdict {
    let ram = match &sample.ram {
        Ok(ram) => ram,
        Err(missing) => return Verdict::without(missing),
    };
    let limit = thresholds.ram_percent;
    let mut verdict = simple("ram_used_percent", Ok(ram.used_percent), limit, margin(limit));
    // Without us it would be below the limit.
    let own = sample
        .process
        .as_ref()
        .map(|process| process.tree_rss_bytes() as f64 * 100.0 / ram.total_bytes.max(1) as f64);
    if let Ok(own) = own {
        verdict.is_ours = ram.used_percent - own <= limit;
        verdict.evidence.push(Evidence { figure: "own_ram_percent", value: own, limit });
    }
    // What cannot be told apart may be ours.
    if mode != Mode::Prod && own.is_ok() && !verdict.is_ours {
        verdict.levels =
            verdict.levels.map(|(enter, keep)| (enter.min(Level::Elevated), keep.min(Level::Elevated)));
    }
    verdict
}

fn cpu(thresholds: &Thresholds, sample: &Sample) -> Verdict {
    let outside = match &sample.cpu {
        Ok(cpu) => cpu.outside_percent,
        Err(missing) => return Verdict::without(missing),
    };
    let rest = thresholds.rest_percent();
    let mut evidence = vec![Evidence { figure: "outside_cpu_percent", value: outside, limit: rest }];
    let mut failure = None;
    let mut look = |figure, reading: Result<f64, &Missing>, limit: f64, margin: f64| match reading {
        Ok(value) => {
            evidence.push(Evidence { figure, value, limit });
            [Edge::Enter, Edge::Leave].map(|edge| value > limit - edge.lower(margin))
        }
        Err(missing) => {
            failure = failure.take().or(missing.failure().map(str::to_owned));
            [false, false]
        }
    };
    let some = |stall: &'_ Reading<super::Stall>| {
        stall.as_ref().map(|stall| stall.some_percent).map_err(Missing::clone)
    };
    let (machine, cgroup) = (some(&sample.stall.cpu), some(&sample.cgroup_stall.cpu));
    let signs = [
        look("stall_cpu_percent", machine.as_ref().copied(), STALL_PERCENT, MARGIN_POINTS),
        look("cgroup_stall_cpu_percent", cgroup.as_ref().copied(), STALL_PERCENT, MARGIN_POINTS),
        look("wake_delay_ms", sample.wake_delay_ms.as_ref().copied(), WAKE_DELAY_MS, WAKE_DELAY_MS / 5.0),
    ];
    let level = |edge: Edge| {
        let signs = signs.map(|[enter, keep]| if edge == Edge::Enter { enter } else { keep });
        let (stalls, [_, _, late]) = (signs.contains(&true), signs);
        let lower = edge.lower(margin(rest));
        let limit = thresholds.cpu_percent;
        let whole = outside > limit - edge.lower(margin(limit));
        match () {
            () if whole || (late && outside > rest - lower) => Level::Critical,
            () if outside >= rest * NEAR - lower => Level::Elevated,
            () if stalls && outside >= rest * NOISE - edge.lower(rest * NOISE / 2.0) => Level::Elevated,
            () => Level::Normal,
        }
    };
    Verdict::new(Some((level(Edge::Enter), level(Edge::Leave))), evidence, failure)
}
