//! What follows from a sample: a pure function. Time is the sample's own.
//!
//! A reading that fails is a warning; in `prod` it counts as pressure too. Then the level is elevated at once, and
//! never falls while nothing is seen, so what was critical stays so; but it does not become critical by itself:
//! what cannot be seen cannot be seen to get better, and a server that pauses everything because one file of /proc
//! is hidden from it would never go on.

use std::time::Duration;

use super::action::{self, Action, Admission, Decision, Group, Shares, Stance};
use super::level::{Held, Level, Resource};
use super::pressure::{self, Verdict};
use super::sampler::Sample;
use crate::limits::{Mode, Thresholds};
use crate::task::Priority;

/// Memory that is critical because of us for this long costs a task, and after this long another one.
pub const ENDING_AFTER: Duration = Duration::from_secs(10);

/// While the disk is pressed, files are looked for again after this long.
pub const PRUNING_EVERY: Duration = Duration::from_secs(60);

/// What the policy goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Which mode.
    pub mode: Mode,
    /// Its limits, and what the configuration put in their place.
    pub thresholds: Thresholds,
    /// Guests are held to their share of the processors even while nobody else wants them.
    pub strict_cpu_cap: bool,
}

impl From<Mode> for Rules {
    fn from(mode: Mode) -> Rules {
        Rules { mode, thresholds: mode.into(), strict_cpu_cap: false }
    }
}

/// One of each resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Each<T> {
    cpu: T,
    ram: T,
    process_ram: T,
    disk: T,
}

impl<T> Each<T> {
    fn new(of: impl Fn(Resource) -> T) -> Each<T> {
        Each {
            cpu: of(Resource::Cpu),
            ram: of(Resource::Ram),
            process_ram: of(Resource::ProcessRam),
            disk: of(Resource::Disk),
        }
    }

    /// That of one.
    pub fn of(&self, resource: Resource) -> &T {
        match resource {
            Resource::Cpu => &self.cpu,
            Resource::Ram => &self.ram,
            Resource::ProcessRam => &self.process_ram,
            Resource::Disk => &self.disk,
        }
    }
}

/// What the policy remembers from one sample to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The levels.
    pub held: Each<Held>,
    /// How tasks are treated.
    pub stance: Stance,
    /// What cannot be read, and why.
    pub failures: Each<Option<String>>,
    ended_at: Option<Duration>,
    pruned_at: Option<Duration>,
}

impl State {
    /// The level of one resource.
    pub fn level(&self, resource: Resource) -> Level {
        self.held.of(resource).level
    }

    /// Whether anything is short that may change soon: then samples come more often. A disk that is three quarters
    /// full stays so for months.
    pub fn is_pressed(&self) -> bool {
        let calm =
            |resource: Resource| if resource == Resource::Disk { Level::Elevated } else { Level::Normal };
        Resource::ALL.iter().any(|resource| self.level(*resource) > calm(*resource))
    }
}

/// What follows from `sample`. Decisions are in the order in which they are to be acted on.
#[must_use]
pub fn decide(rules: &Rules, state: &State, sample: &Sample) -> (State, Vec<Decision>) {
    let now = sample.at;
    let verdicts = Each::new(|resource| pressure::verdict(resource, rules.mode, &rules.thresholds, sample));
    let held = Each::new(|resource| level(rules, *state.held.of(resource), verdicts.of(resource), now));
    let failures = Each::new(|resource| verdicts.of(resource).failure.clone());
    let mut next = State { stance: stance(rules, &held), held, failures, ..state.clone() };

    let mut actions = Vec::new();
    for resource in Resource::ALL {
        match (state.failures.of(resource), next.failures.of(resource)) {
            (None, Some(reason)) => actions.push((resource, Action::Warn { reason: reason.clone() })),
            (Some(_), None) => actions.push((resource, Action::Readable)),
            _ => {}
        }
        let from = state.level(resource);
        if next.level(resource) != from {
            actions.push((resource, Action::Level { from }));
        }
    }
    for (group, action) in action::between(&state.stance, &next.stance) {
        actions.push((blamed(group, state, &next), action));
    }
    for resource in [Resource::Ram, Resource::ProcessRam] {
        if next.level(resource) > state.level(resource) {
            actions.push((resource, Action::ShrinkCaches));
        }
    }
    if let Some(resource) = ending(&next, &verdicts, now) {
        next.ended_at = Some(now);
        actions.push((resource, Action::EndOne));
    }
    let pruned = next.pruned_at.is_some_and(|at| now.saturating_sub(at) < PRUNING_EVERY);
    if next.level(Resource::Disk) > Level::Normal && !pruned {
        next.pruned_at = Some(now);
        actions.push((Resource::Disk, Action::Prune));
    }
    let decisions = actions.into_iter().map(|(resource, action)| Decision {
        at: now,
        resource,
        level: next.level(resource),
        action,
        evidence: verdicts.of(resource).evidence.clone(),
    });
    let decisions = decisions.collect();
    (next, decisions)
}

fn level(rules: &Rules, held: Held, verdict: &Verdict, now: Duration) -> Held {
    let Some((mut enter, mut keep)) = verdict.levels else { return held };
    if rules.mode == Mode::Prod && verdict.failure.is_some() {
        enter = enter.max(Level::Elevated);
        keep = keep.max(Level::Elevated).max(held.level);
    }
    if now < rules.thresholds.grace {
        enter = enter.min(Level::Elevated);
    }
    held.after(enter, keep, now)
}

/// The table of docs/limits.md.
fn stance(rules: &Rules, held: &Each<Held>) -> Stance {
    let mut stance = Stance::default();
    let cpu = held.cpu.level;
    if cpu >= Level::Elevated || rules.strict_cpu_cap {
        stance.cpu_cap_percent = Some(rules.thresholds.cpu_percent);
    }
    match cpu {
        Level::Normal => {}
        Level::Elevated => stance.shares = Shares { low: 50, medium: 100, high: 200, critical: 200 },
        Level::Critical => {
            stance.shares = Shares { low: 50, medium: 50, high: 100, critical: 200 };
            stance.paused_below = Some(Priority::High);
            stance.held_back_below = Some(Priority::Medium);
        }
    }
    let memory = held.ram.level.max(held.process_ram.level);
    stance.admission = match memory {
        Level::Normal => Admission::Open,
        Level::Elevated => Admission::WaitToFit,
        Level::Critical => Admission::RefuseUnfit,
    };
    stance.growth_refused = memory == Level::Critical;
    stance.writes_refused = held.disk.level == Level::Critical;
    stance
}

/// The resource because of which something of `group` changed: of memory, the more pressed one after it got
/// worse, or before it got better.
fn blamed(group: Group, before: &State, now: &State) -> Resource {
    match group {
        Group::Cpu => Resource::Cpu,
        Group::Disk => Resource::Disk,
        Group::Memory => {
            let levels = |state: &State| (state.level(Resource::Ram), state.level(Resource::ProcessRam));
            let worst = |(ram, process): (Level, Level)| ram.max(process);
            let (before, now) = (levels(before), levels(now));
            let (ram, process) = if worst(now) > worst(before) { now } else { before };
            if process > ram { Resource::ProcessRam } else { Resource::Ram }
        }
    }
}

/// Memory that has been critical for long, is so in this very sample, and is so because of us.
fn ending(state: &State, verdicts: &Each<Verdict>, now: Duration) -> Option<Resource> {
    if state.ended_at.is_some_and(|at| now.saturating_sub(at) < ENDING_AFTER) {
        return None;
    }
    [Resource::ProcessRam, Resource::Ram].into_iter().find(|resource| {
        let (held, verdict) = (state.held.of(*resource), verdicts.of(*resource));
        let seen = verdict.levels.is_some_and(|(enter, _)| enter == Level::Critical);
        let lasts = held.level == Level::Critical && now.saturating_sub(held.since) >= ENDING_AFTER;
        lasts && seen && verdict.is_ours
    })
}

#[cfg(test)]
mod tests;
