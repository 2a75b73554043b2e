//! What is decided, as data: who runs tasks acts on it.
//!
//! What lasts is a [`Stance`], which follows from the levels alone. An action is the difference of two
//! stances, so whatever was taken away comes back when the level is left; nobody has to remember it.

use std::time::Duration;

use serde::Serialize;

use super::level::{Level, Resource};
use super::pressure::Evidence;
use crate::task::Priority;

/// Share of the memory that no new task and no growth may take, in percent.
pub const RESERVE_PERCENT: u64 = 5;

/// How long a task's turn to compute is, by priority, in percent of a usual one. Not below 50: a turn is no shorter
/// than the time after which a guest comes up for air, which is half of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// `low`
    pub low: u8,
    /// `medium`
    pub medium: u8,
    /// `high`
    pub high: u8,
    /// `critical`
    pub critical: u8,
}

impl Shares {
    /// Everybody's turns are the usual ones.
    pub const FULL: Shares = Shares { low: 100, medium: 100, high: 100, critical: 100 };

    /// The share of one.
    pub fn of(self, priority: Priority) -> u8 {
        match priority {
            Priority::Low => self.low,
            Priority::Medium => self.medium,
            Priority::High => self.high,
            Priority::Critical => self.critical,
        }
    }
}

/// Which tasks may begin, as to memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// All.
    #[default]
    Open,
    /// Those whose limit fits into what is available, less the reserve; the others wait.
    WaitToFit,
    /// The same, and what does not fit is refused: `503` with `Retry-After`.
    RefuseUnfit,
}

/// How tasks are treated. It follows from the levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stance {
    /// What guests together may take of the processors, in percent; none is all of them.
    pub cpu_cap_percent: Option<f64>,
    /// Turns to compute.
    pub shares: Shares,
    /// Tasks below this priority are paused at their next yield.
    pub paused_below: Option<Priority>,
    /// Tasks below this priority do not begin.
    pub held_back_below: Option<Priority>,
    /// Who may begin.
    pub admission: Admission,
    /// Whether growth that would take from the reserve is refused.
    pub growth_refused: bool,
    /// Whether what writes is refused: `507`. Reads go on.
    pub writes_refused: bool,
}

impl Default for Stance {
    fn default() -> Stance {
        Stance {
            cpu_cap_percent: None,
            shares: Shares::FULL,
            paused_below: None,
            held_back_below: None,
            admission: Admission::Open,
            growth_refused: false,
            writes_refused: false,
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// The level changed. What follows from it comes after this.
    Level {
        /// What it was.
        from: Level,
    },
    /// Guests together may take this much of the processors.
    CapGuests {
        /// In percent; none is all of them.
        percent: Option<f64>,
    },
    /// Turns to compute from now on.
    SetShares(Shares),
    /// Tasks below `below` are paused at their next yield; with another `below` before, the others go on.
    Pause {
        /// The least priority that goes on.
        below: Priority,
    },
    /// Every task that was paused goes on.
    Resume,
    /// Tasks below `below` do not begin.
    HoldBack {
        /// The least priority that begins.
        below: Priority,
    },
    /// Every task may begin again.
    LetBegin,
    /// Who may begin, as to memory.
    Admit {
        /// Who.
        admission: Admission,
    },
    /// Growth that would take from the reserve of [`RESERVE_PERCENT`] is refused.
    RefuseGrowth,
    /// It is allowed again.
    AllowGrowth,
    /// What can be made again need not be kept in memory.
    ShrinkCaches,
    /// The largest task of the lowest priority ends as `machine_memory`, and is tried again later.
    EndOne,
    /// Old logs, large old outputs and compiled artefacts go: files of ours alone.
    Prune,
    /// What writes is refused with `507`.
    RefuseWrites,
    /// It is accepted again.
    AcceptWrites,
    /// Something cannot be read; in prod that counts as pressure.
    Warn {
        /// Why.
        reason: String,
    },
    /// It can be read again.
    Readable,
}

impl Action {
    /// The name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Level { .. } => "level",
            Action::CapGuests { .. } => "cap_guests",
            Action::SetShares(_) => "set_shares",
            Action::Pause { .. } => "pause",
            Action::Resume => "resume",
            Action::HoldBack { .. } => "hold_back",
            Action::LetBegin => "let_begin",
            Action::Admit { .. } => "admit",
            Action::RefuseGrowth => "refuse_growth",
            Action::AllowGrowth => "allow_growth",
            Action::ShrinkCaches => "shrink_caches",
            Action::EndOne => "end_one",
            Action::Prune => "prune",
            Action::RefuseWrites => "refuse_writes",
            Action::AcceptWrites => "accept_writes",
            Action::Warn { .. } => "warn",
            Action::Readable => "readable",
        }
    }
}

/// An action, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// When, on the clock of the samples.
    #[serde(skip)]
    pub at: Duration,
    /// Because of what.
    pub resource: Resource,
    /// How pressed it is.
    pub level: Level,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// What the sample said.
    pub evidence: Vec<Evidence>,
}

/// What leads from one stance to another: whose levels it follows from, and what to do.
pub fn between(before: &Stance, now: &Stance) -> Vec<(Group, Action)> {
    let changes = [
        (before.cpu_cap_percent != now.cpu_cap_percent)
            .then_some((Group::Cpu, Action::CapGuests { percent: now.cpu_cap_percent })),
        (before.shares != now.shares).then_some((Group::Cpu, Action::SetShares(now.shares))),
        (before.held_back_below != now.held_back_below).then_some((
            Group::Cpu,
            now.held_back_below.map_or(Action::LetBegin, |below| Action::HoldBack { below }),
        )),
        (before.paused_below != now.paused_below).then_some((
            Group::Cpu,
            now.paused_below.map_or(Action::Resume, |below| Action::Pause { below }),
        )),
        (before.admission != now.admission)
            .then_some((Group::Memory, Action::Admit { admission: now.admission })),
        (before.growth_refused != now.growth_refused).then_some((
            Group::Memory,
            if now.growth_refused { Action::RefuseGrowth } else { Action::AllowGrowth },
        )),
        (before.writes_refused != now.writes_refused).then_some((
            Group::Disk,
            if now.writes_refused { Action::RefuseWrites } else { Action::AcceptWrites },
        )),
    ];
    changes.into_iter().flatten().collect()
}

/// Resources that have their levers in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The processors.
    Cpu,
    /// Memory, the machine's and the process'.
    Memory,
    /// The disk.
    Disk,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_action_is_called_as_in_json() {
        let shares = Shares::FULL;
        for action in [
            Action::Level { from: Level::Normal },
            Action::CapGuests { percent: None },
            Action::SetShares(shares),
            Action::Pause { below: Priority::High },
            Action::Resume,
            Action::HoldBack { below: Priority::High },
            Action::LetBegin,
            Action::Admit { admission: Default::default() },
            Action::RefuseGrowth,
            Action::AllowGrowth,
            Action::ShrinkCaches,
            Action::EndOne,
            Action::Prune,
            Action::RefuseWrites,
            Action::AcceptWrites,
            Action::Warn { reason: String::new() },
            Action::Readable,
        ] {
            assert_eq!(json!(action)["action"], action.name());
        }
    }
}
