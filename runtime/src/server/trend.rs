//! How each check was in the last hour: a ring of samples for each, so that asking costs nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::health::{Check, INTERVAL, Overall};
use crate::task::timestamp;

/// What is kept.
const SPAN: Duration = Duration::from_secs(3600);

/// Samples of one check.
const KEPT: usize = (SPAN.as_secs() / INTERVAL.as_secs()) as usize;

/// The name under which all checks together are kept. No check has it.
const ALL: &str = "";

/// The last samples of every check.
#[derive(Debug, Default)]
pub struct Trends(BTreeMap<&'static str, Ring>);

#[derive(Debug, Default)]
struct Ring {
    samples: VecDeque<Sample>,
    /// Since when the last sample's status is what it is.
    since: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    status: Overall,
    response_time_ms: f64,
}

impl Trends {
    /// All checks were looked at, and came to `overall`.
    pub fn note(&mut self, at: Timestamp, overall: Overall, checks: &[Check]) {
        for check in checks {
            let Check { name, status, response_time_ms, .. } = check;
            self.0.entry(name).or_default().push(Sample {
                at,
                status: *status,
                response_time_ms: *response_time_ms,
            });
        }
        self.0.entry(ALL).or_default().push(Sample { at, status: overall, response_time_ms: 0.0 });
    }

    /// Since when a check is `status`; none where it was not when it was last looked at.
    pub fn since(&self, name: &str, status: Overall) -> Option<Timestamp> {
        let ring = self.0.get(name)?;
        (ring.samples.back()?.status == status).then_some(ring.since)
    }

    /// The same of all of them together.
    pub fn overall_since(&self, status: Overall) -> Option<Timestamp> {
        self.since(ALL, status)
    }

    /// Every check and its last status.
    pub fn statuses(&self) -> Vec<(&'static str, Overall)> {
        let last = self.0.iter().filter_map(|(name, ring)| Some((*name, ring.samples.back()?.status)));
        last.filter(|(name, _)| *name != ALL).collect()
    }

    /// What there is of one check, the last `limit` samples of it newest first; none where there is no such check.
    pub fn of(&self, name: &str, limit: usize) -> Option<Value> {
        let ring = self.0.get(name).filter(|_| name != ALL)?;
        let (first, last) = (ring.samples.front()?, ring.samples.back()?);
        let counts =
            Overall::ALL.map(|status| ring.samples.iter().filter(|sample| sample.status == status).count());
        let [healthy, degraded, unhealthy] = counts;
        let mut times: Vec<f64> = ring.samples.iter().map(|sample| sample.response_time_ms).collect();
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len().saturating_sub(1) as f64 * share).round() as usize);
        let samples = ring.samples.iter().rev().take(limit).map(|sample| {
            json!({
                "at": timestamp(sample.at), "status": sample.status,
                "response_time_ms": sample.response_time_ms,
            })
        });
        Some(json!({
            "check": name, "status": last.status, "since": timestamp(ring.since),
            "interval_ms": u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX),
            "from": timestamp(first.at), "to": timestamp(last.at), "samples_kept": times.len(),
            "counts": {"healthy": healthy, "degraded": degraded, "unhealthy": unhealthy},
            "healthy_share": healthy as f64 / times.len() as f64,
            "response_time_ms": {"p50": at(0.5), "p95": at(0.95), "max": times.last()},
            "samples": samples.collect::<Vec<_>>(),
        }))
    }
}

impl Ring {
    fn push(&mut self, sample: Sample) {
        if self.samples.back().is_none_or(|last| last.status != sample.status) {
            self.since = sample.at;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Overall, response_time_ms: f64) -> Check {
        Check { name: "disk", status, response_time_ms, details: Value::Null, error: None, remediation: None }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_last_hour_is_kept_and_summed_up() {
        let mut trends = Trends::default();
        assert_eq!(trends.of("disk", 1), None);
        for second in 0..2 * KEPT {
            trends.note(at(second as i64), Overall::Healthy, &[check(Overall::Healthy, 7.0)]);
        }
        for number in 1..=KEPT {
            let status = if number > KEPT - 9 { Overall::Unhealthy } else { Overall::Healthy };
            trends.note(at(10_000 + number as i64), status, &[check(status, number as f64)]);
        }
        let shown = trends.of("disk", 3).unwrap();
        assert_eq!(KEPT, 1800);
        assert_eq!(shown["samples_kept"], KEPT);
        assert_eq!(shown["counts"], json!({"healthy": KEPT - 9, "degraded": 0, "unhealthy": 9}));
        assert_eq!(shown["healthy_share"], 1791.0 / 1800.0);
        assert_eq!(shown["response_time_ms"], json!({"p50": 901.0, "p95": 1710.0, "max": 1800.0}));
        assert_eq!(shown["from"], timestamp(at(10_001)));
        assert_eq!(shown["samples"].as_array().unwrap().len(), 3);
        assert_eq!(shown["samples"][0]["response_time_ms"], 1800.0, "the newest first");
        let since = at(10_000 + KEPT as i64 - 8);
        assert_eq!(shown["since"], timestamp(since));
        assert_eq!(trends.since("disk", Overall::Unhealthy), Some(since));
        assert_eq!(trends.since("disk", Overall::Healthy), None);
        assert_eq!(trends.overall_since(Overall::Unhealthy), Some(since));
        assert_eq!(trends.of(ALL, 1), None);
        assert_eq!(trends.statuses(), [("disk", Overall::Unhealthy)]);
    }
}
