//! How pressed a resource is, and when that may change: at once for the worse, slowly for the better.

use std::time::Duration;

use crate::task::named;
use serde::Serialize;

named! {
    /// What can be short.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
    pub enum Resource {
        /// The processors, because others want them.
        Cpu = "cpu",
        /// The machine's or the container's memory.
        Ram = "ram",
        /// Memory of this process.
        ProcessRam = "process_ram",
        /// The file system of the data directory.
        Disk = "disk",
    }
}

named! {
    /// How pressed it is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
    pub enum Level {
        /// There is enough.
        #[default]
        Normal = "normal",
        /// From [`NEAR`] of the limit.
        Elevated = "elevated",
        /// Above the limit.
        Critical = "critical",
    }
}

/// Share of a limit from which it is near.
pub const NEAR: f64 = 0.8;

/// A level is not left for a better one before it lasted this long: nothing flaps faster.
pub const DWELL: Duration = Duration::from_secs(2);

/// Nor before every sample was better for this long: one that is better by chance changes nothing. With samples
/// every 250 ms, what was paused goes on within a second of the recovery.
pub const CALM: Duration = Duration::from_millis(500);

/// Which thresholds a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Those that make a level.
    Enter,
    /// Those that keep it: lower.
    Leave,
}

impl Edge {
    /// How far the threshold lies below the one that makes the level.
    pub fn lower(self, margin: f64) -> f64 {
        match self {
            Edge::Enter => 0.0,
            Edge::Leave => margin,
        }
    }

    /// The level of `value` under `limit`: elevated from [`NEAR`] of it, critical above it.
    pub fn level(self, value: f64, limit: f64, margin: f64) -> Level {
        let lower = self.lower(margin);
        match () {
            () if value > limit - lower => Level::Critical,
            () if value >= limit * NEAR - lower => Level::Elevated,
            () => Level::Normal,
        }
    }
}

/// The level of one resource, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// It.
    pub level: Level,
    /// Since when.
    pub since: Duration,
    /// Since when every sample was better.
    pub(super) calm_since: Option<Duration>,
}

impl Held {
    /// After a sample that would make `enter` and keep `keep`, which is no less.
    #[must_use]
    pub fn after(self, enter: Level, keep: Level, now: Duration) -> Held {
        if enter > self.level {
            return Held { level: enter, since: now, calm_since: None };
        }
        if keep >= self.level {
            return Held { calm_since: None, ..self };
        }
        let calm_since = self.calm_since.unwrap_or(now);
        let is_over = now.saturating_sub(self.since) >= DWELL && now.saturating_sub(calm_since) >= CALM;
        match is_over {
            true => Held { level: keep, since: now, calm_since: None },
            false => Held { calm_since: Some(calm_since), ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Critical, Elevated, Normal};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn every_change_has_its_time() {
        for (from, enter, keep, after_calm) in [
            (Normal, Normal, Normal, Normal),
            (Normal, Elevated, Elevated, Elevated),
            (Normal, Critical, Critical, Critical),
            // Between the thresholds nothing changes.
            (Normal, Normal, Critical, Normal),
            (Elevated, Normal, Elevated, Elevated),
            (Elevated, Normal, Normal, Normal),
            (Elevated, Critical, Critical, Critical),
            (Critical, Elevated, Critical, Critical),
            (Critical, Elevated, Elevated, Elevated),
            (Critical, Normal, Elevated, Elevated),
            (Critical, Normal, Normal, Normal),
        ] {
            let begun = Held { level: from, since: ms(0), calm_since: None };
            let case = format!("{from:?} {enter:?} {keep:?}");
            // The dwell: calm all the time, and not left before.
            let calm = begun.after(enter, keep, ms(100));
            assert_eq!(calm.level, from.max(enter), "{case}");
            let before = calm.after(enter, keep, ms(1999));
            assert_eq!(before.level, from.max(enter), "{case}");
            assert_eq!(before.after(enter, keep, ms(2100)).level, after_calm, "{case}");
            // The calm: long held, and still not left by one sample.
            let long = Held { level: from, since: ms(0), calm_since: None };
            let first = long.after(enter, keep, ms(60_000));
            assert_eq!(first.level, from.max(enter), "{case}");
            assert_eq!(first.after(enter, keep, ms(60_499)).level, from.max(enter), "{case}");
            assert_eq!(first.after(enter, keep, ms(62_500)).level, after_calm, "{case}");
        }
    }

    #[test]
    fn a_sample_that_is_worse_ends_the_calm() {
        let held = Held { level: Critical, since: ms(0), calm_since: None };
        let held = held.after(Normal, Normal, ms(10_000)).after(Normal, Critical, ms(10_400));
        let held = held.after(Normal, Normal, ms(10_600));
        assert_eq!(held.after(Normal, Normal, ms(11_000)).level, Critical);
        assert_eq!(held.after(Normal, Normal, ms(11_100)).level, Normal);
    }
}
