//! Medians and percentiles.

use std::time::Duration;

/// Measured values, in order.
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Figures {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Figures(values)
    }

    /// In milliseconds.
    pub fn ms<'a>(times: impl IntoIterator<Item = &'a Duration>) -> Figures {
        Figures::of(times.into_iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    /// The value that this share of all do not exceed.
    pub fn at(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share).round() as usize]
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }
}
