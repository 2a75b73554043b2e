//! Quantiles of the last minutes: two halves that take turns, so that what was slow this morning is not in them.
//!
//! A half begins every five minutes; figures are of the one that is being filled and of the one before, so they reach
//! back from five minutes to ten. Time is a parameter.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// One half.
const HALF: Duration = Duration::from_secs(300);

/// Digits that a recorded duration keeps.
const DIGITS: u8 = 2;

/// How far a quantile may be from the duration that was measured.
pub const PRECISION_PERCENT: u32 = 1;

/// Longer durations count as this one.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How far figures at `at` reach back.
pub(super) fn covers(at: Duration) -> Duration {
    let begun = HALF * u32::try_from(half(at).saturating_sub(1)).unwrap_or(u32::MAX);
    at.saturating_sub(begun)
}

fn half(at: Duration) -> u64 {
    at.as_secs() / HALF.as_secs()
}

/// What happened in a half: durations in microseconds, and how often each of three outcomes came.
#[derive(Clone)]
struct Half {
    durations: Histogram<u64>,
    outcomes: [u64; 3],
}

/// What happened in the last minutes.
#[derive(Clone)]
pub struct Window {
    now: Half,
    before: Half,
    /// The number of the half that is being filled.
    half: u64,
}

/// The figures of a window. A part of the HTTP contract, but for `outcomes`.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Durations that it has.
    pub samples: u64,
    /// Their average; null where there is none, like those below.
    pub average: Option<f64>,
    /// Milliseconds that half of them did not exceed.
    pub p50: Option<f64>,
    /// 95 of a hundred.
    pub p95: Option<f64>,
    /// 99 of a hundred.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
    /// How often each outcome came.
    #[serde(skip)]
    pub outcomes: [u64; 3],
}

impl Window {
    /// An empty one.
    ///
    /// # Errors
    /// The histogram cannot have so many digits.
    pub fn new() -> Result<Window, prometheus::Error> {
        let durations =
            Histogram::new(DIGITS).map_err(|error| prometheus::Error::Msg(format!("a window: {error}")))?;
        let half = Half { durations, outcomes: [0; 3] };
        Ok(Window { now: half.clone(), before: half, half: 0 })
    }

    /// Something took this long.
    pub fn took(&mut self, at: Duration, took: Duration) {
        self.turn(at);
        let micros = u64::try_from(took.min(LONGEST).as_micros()).unwrap_or(u64::MAX);
        // It grows as far as it has to.
        let _ = self.now.durations.record(micros);
    }

    /// Something came out this way.
    pub fn came_out(&mut self, at: Duration, outcome: usize) {
        self.turn(at);
        if let Some(count) = self.now.outcomes.get_mut(outcome) {
            *count += 1;
        }
    }

    /// Adds what `other` has.
    pub fn add(&mut self, at: Duration, other: &mut Window) {
        self.turn(at);
        other.turn(at);
        for (mine, theirs) in [(&mut self.now, &other.now), (&mut self.before, &other.before)] {
            let _ = mine.durations.add(&theirs.durations);
            for (mine, theirs) in mine.outcomes.iter_mut().zip(theirs.outcomes) {
                *mine += theirs;
            }
        }
    }

    /// What it has.
    pub fn figures(&mut self, at: Duration) -> Figures {
        self.turn(at);
        let mut all = self.now.clone();
        let _ = all.durations.add(&self.before.durations);
        for (sum, before) in all.outcomes.iter_mut().zip(self.before.outcomes) {
            *sum += before;
        }
        let Half { durations, outcomes } = all;
        let samples = durations.len();
        let some = |micros: f64| (samples > 0).then_some(micros.round() / 1000.0);
        let quantile = |share: f64| some(durations.value_at_quantile(share) as f64);
        Figures {
            samples,
            average: some(durations.mean()),
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: some(durations.max() as f64),
            outcomes,
        }
    }

    fn turn(&mut self, at: Duration) {
        let half = half(at);
        match half.saturating_sub(self.half) {
            0 => return,
            1 => std::mem::swap(&mut self.now, &mut self.before),
            _ => self.before.clear(),
        }
        self.now.clear();
        self.half = half;
    }
}

impl Half {
    fn clear(&mut self) {
        self.durations.reset();
        self.outcomes = [0; 3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn quantiles_are_within_what_is_said_of_them() {
        let mut window = Window::new().unwrap();
        for number in 1..=10_000_u32 {
            window.took(Duration::ZERO, Duration::from_micros(100) * number);
        }
        let figures = window.figures(Duration::ZERO);
        for (found, exact) in [
            (figures.p50, 500.0),
            (figures.p95, 950.0),
            (figures.p99, 990.0),
            (figures.max, 1000.0),
            (figures.average, 500.05),
        ] {
            let off = (found.unwrap() - exact).abs() * 100.0 / exact;
            assert!(off <= f64::from(PRECISION_PERCENT), "{found:?} for {exact}: {off} % off");
        }
        assert_eq!(figures.samples, 10_000);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut window = Window::new().unwrap();
        let figures = |window: &mut Window, at| {
            let Figures { samples, p50, outcomes, .. } = window.figures(at);
            (samples, p50.map(f64::round), outcomes)
        };
        assert_eq!(figures(&mut window, Duration::ZERO), (0, None, [0; 3]), "no zero for nothing");
        window.took(HALF - MS, MS * 50);
        window.came_out(HALF - MS, 2);
        window.took(HALF + MS, MS * 50);
        window.came_out(HALF + MS, 0);
        assert_eq!(figures(&mut window, HALF * 2 - MS), (2, Some(50.0), [1, 0, 1]));
        assert_eq!(figures(&mut window, HALF * 2), (1, Some(50.0), [1, 0, 0]));
        assert_eq!(figures(&mut window, HALF * 3), (0, None, [0; 3]));
        window.took(HALF * 3, MS);
        assert_eq!(figures(&mut window, HALF * 9), (0, None, [0; 3]), "nothing came for long");
    }

    #[test]
    fn it_covers_five_to_ten_minutes_or_all_there_was() {
        for (at, covered) in [(0, 0), (7, 7), (299, 299), (300, 300), (599, 599), (600, 300), (901, 301)] {
            assert_eq!(covers(Duration::from_secs(at)), Duration::from_secs(covered), "{at}");
        }
    }

    #[test]
    fn windows_add_up() {
        let (mut all, mut one) = (Window::new().unwrap(), Window::new().unwrap());
        one.took(Duration::ZERO, MS);
        one.took(HALF, LONGEST * 2);
        one.came_out(HALF, 1);
        for _ in 0..2 {
            all.add(HALF, &mut one);
        }
        let figures = all.figures(HALF);
        assert_eq!((figures.samples, figures.outcomes), (4, [0, 2, 0]));
        assert!(figures.max.unwrap() <= LONGEST.as_secs_f64() * 1010.0, "{figures:?}");
    }
}
