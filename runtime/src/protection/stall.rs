//! How long somebody waited for a thing that was taken: Linux' pressure stall information.
//!
//! The kernel's own averages reach back ten seconds and more, which is longer than a recovery may take, so
//! shares are made of its totals, between two samples. See Documentation/accounting/psi.rst.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::reading::{Missing, Reading, malformed, read};

/// Counters since the machine or the cgroup started, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    some_us: u64,
    full_us: Option<u64>,
}

/// Shares of the time between two samples, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Somebody waited.
    pub some_percent: f64,
    /// Everybody who was not idle waited; kernels before 5.13 do not say so for CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_percent: Option<f64>,
}

/// The counters in `path`, such as `/proc/pressure/cpu`; a kernel without them is [`Missing::Absent`].
pub fn look(path: &Path) -> Reading<Stalled> {
    let text = read(path)?;
    let total = |word: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(word))?;
        let number = line.split_ascii_whitespace().find_map(|field| field.strip_prefix("total="))?;
        number.parse::<u64>().ok()
    };
    let some_us = total("some ").ok_or_else(|| malformed(path))?;
    Ok(Stalled { some_us, full_us: total("full ") })
}

/// What the counters come to in the `time` between them.
///
/// # Errors
/// [`Missing::NotYet`] where no time has passed.
pub fn between(before: Stalled, now: Stalled, time: Duration) -> Reading<Stall> {
    if time.is_zero() {
        return Err(Missing::NotYet);
    }
    let share = |before: u64, now: u64| {
        let us = now.saturating_sub(before) as f64;
        (us * 100.0 / (time.as_secs_f64() * 1e6)).min(100.0)
    };
    let full_percent = before.full_us.zip(now.full_us).map(|(before, now)| share(before, now));
    Ok(Stall { some_percent: share(before.some_us, now.some_us), full_percent })
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    fn text(some: u64) -> String {
        format!(
            "some avg10=7.05 avg60=6.72 avg300=27.20 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
        )
    }

    #[test]
    fn shares_are_of_the_time_between() {
        let tree = Tree::new(&[("proc/pressure/cpu", &text(1_000_000))]);
        let path = tree.0.join("proc/pressure/cpu");
        let before = look(&path).unwrap();
        tree.write("proc/pressure/cpu", &text(1_500_000));
        let now = look(&path).unwrap();
        let stall = between(before, now, Duration::from_secs(2)).unwrap();
        assert_eq!((stall.some_percent, stall.full_percent), (25.0, Some(0.0)));
        assert_eq!(between(before, now, Duration::from_millis(1)).unwrap().some_percent, 100.0);
        assert_eq!(between(before, now, Duration::ZERO), Err(Missing::NotYet));
    }

    #[test]
    fn a_kernel_without_it_is_no_failure_and_nonsense_is() {
        let tree =
            Tree::new(&[("old", "some avg10=0.00 total=3\n"), ("bad", "some avg10=1\n"), ("none", "")]);
        assert_eq!(look(&tree.0.join("not there")), Err(Missing::Absent));
        assert_eq!(look(&tree.0.join("old")).unwrap().full_us, None);
        for name in ["bad", "none"] {
            assert!(look(&tree.0.join(name)).unwrap_err().failure().is_some(), "{name}");
        }
    }
}
