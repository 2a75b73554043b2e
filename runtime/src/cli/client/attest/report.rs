//! The report: what the server keeps of it, and what people read.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::super::super::terminal;
use super::super::connection::Content;
use super::super::table::{self, shown};
use super::super::{Connection, Error};
use super::runner::Known;
use super::verdict::Judged;
use crate::limits::Budget;
use crate::server::{self, Proof, Verdict};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The worst of all.
    pub verdict: Verdict,
    server: String,
    mode: String,
    version: String,
    engine: String,
    /// What the server runs on, as it says.
    pub machine: serde_json::Value,
    took_ms: u64,
    /// Tasks that were run.
    tasks: usize,
    limits: Vec<Row>,
    /// How fast a task ends that is cancelled; it is no limit that can be asked for.
    cancel: Row,
}

/// One limit, by the attack that came furthest.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: String,
    verdict: Verdict,
    configured: Option<u64>,
    stopped_at: Option<u64>,
    overshoot: Option<u64>,
    attacks: Vec<Judged>,
}

impl Row {
    /// Holds if every attack was stopped, and there was one.
    fn new(name: &str, unit: &str, attacks: Vec<Judged>) -> Row {
        let verdict = attacks.iter().map(|attack| attack.verdict).max().unwrap_or(Verdict::Unproven);
        // Of equals the first.
        let worst =
            attacks.iter().rev().max_by_key(|attack| (attack.verdict, attack.overshoot.unwrap_or_default()));
        Row {
            name: name.to_owned(),
            unit: unit.to_owned(),
            verdict,
            configured: worst.map(|attack| attack.configured),
            stopped_at: worst.and_then(|attack| attack.stopped_at),
            overshoot: worst.and_then(|attack| attack.overshoot),
            attacks,
        }
    }

    /// A line for each attack, or one that says that there is none.
    fn lines(&self) -> Vec<Vec<String>> {
        let budget = Budget::from_name(&self.name);
        let show = |amount: u64| match budget {
            Some(budget) => budget.display(amount),
            None => format!("{amount} {}", self.unit),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let line = |attack: &Judged| {
            let below = attack.below.as_ref().map(|below| format!("not {below}"));
            vec![
                self.name.clone(),
                attack.guest.to_owned(),
                show(attack.configured),
                or_dash(attack.stopped_at.map(show).or(below)),
                or_dash(attack.overshoot.map(|over| match over {
                    0 => "0".to_owned(),
                    1 if self.unit == "bytes" => "1 byte".to_owned(),
                    over => show(over),
                })),
                attack.verdict.name().to_owned(),
            ]
        };
        let none = || {
            let dashes = std::iter::repeat_n("-".to_owned(), 4);
            [shown(&self.name)].into_iter().chain(dashes).chain([self.verdict.name().to_owned()]).collect()
        };
        match self.attacks.is_empty() {
            true => vec![none()],
            false => self.attacks.iter().map(line).collect(),
        }
    }
}

impl Report {
    /// Of what was found on the server `known`, in `took`.
    pub fn new(url: &str, known: Known, mut judged: Vec<Judged>, took: Duration) -> Report {
        let tasks = judged.iter().map(|judged| 1 + usize::from(judged.twin.is_some())).sum();
        let mut take = |name: &str, unit: &str| {
            let (of, others) = std::mem::take(&mut judged).into_iter().partition(|one| one.name == name);
            judged = others;
            Row::new(name, unit, of)
        };
        let limits: Vec<Row> = known.limits.iter().map(|limit| take(&limit.name, &limit.unit)).collect();
        let cancel = take("cancel", "ms");
        let verdict = limits.iter().chain([&cancel]).map(|row| row.verdict).max();
        Report {
            verdict: verdict.unwrap_or(Verdict::Unproven),
            server: url.to_owned(),
            mode: known.mode,
            version: known.version,
            engine: known.engine,
            machine: serde_json::Value::Null,
            took_ms: took.as_millis() as u64,
            tasks,
            limits,
            cancel,
        }
    }

    /// Has the server keep it; what the server says that it runs on.
    ///
    /// # Errors
    /// The server does not take it.
    pub async fn send(&self, connection: &Connection) -> Result<serde_json::Value, Error> {
        #[derive(Deserialize)]
        struct Kept {
            attested: Option<Attested>,
        }
        #[derive(Deserialize)]
        struct Attested {
            machine: serde_json::Value,
        }
        let proof = |row: &Row| Proof {
            name: row.name.clone(),
            verdict: row.verdict,
            configured: row.configured,
            stopped_at: row.stopped_at,
            overshoot: row.overshoot,
        };
        let report = server::Report {
            mode: self.mode.clone(),
            version: self.version.clone(),
            engine: self.engine.clone(),
            limits: self.limits.iter().map(proof).collect(),
        };
        let bytes = serde_json::to_vec(&report).map_err(|error| connection.strange(error))?;
        let content =
            Content { media_type: "application/json".to_owned(), bytes: bytes.into(), headers: Vec::new() };
        let path = ["api", "v1", "limits", "attestation"];
        let body = connection.send(Method::PUT, &path, &[], Some(content)).await?;
        let kept: Kept = connection.parse(&body)?;
        Ok(kept.attested.map_or(serde_json::Value::Null, |attested| attested.machine))
    }

    /// Prints the table, what is wrong, and the sum of it.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn print(&self) -> std::io::Result<()> {
        let rows = self.limits.iter().chain([&self.cancel]);
        let lines: Vec<Vec<String>> = rows.clone().flat_map(Row::lines).collect();
        table::print(&["LIMIT", "ATTACK", "CONFIGURED", "STOPPED AT", "OVERSHOOT", "VERDICT"], &lines, 1)?;
        terminal::write_stdout(format!("\n{}", self.words()).as_bytes())
    }

    fn words(&self) -> String {
        let mut text = String::new();
        for row in self.limits.iter().chain([&self.cancel]) {
            if row.attacks.is_empty() {
                text.push_str(&format!("{}: this omnimind has no attack on it\n", shown(&row.name)));
            }
            for attack in &row.attacks {
                if let Some(why) = &attack.why {
                    text.push_str(&format!("{}, {}: {}\n", row.name, attack.guest, shown(why)));
                }
            }
        }
        let here = self.limits.iter().flat_map(|row| &row.attacks).filter_map(|attack| {
            Some(format!("{} ms ({})", attack.here_ms?.saturating_sub(attack.configured), attack.guest))
        });
        let here: Vec<String> = here.collect();
        if !here.is_empty() {
            let here = here.join(", ");
            text.push_str(&format!("overshoot of wall_ms by this command's clock: {here}\n"));
        }
        let named = |verdict: Verdict| {
            let rows = self.limits.iter().chain([&self.cancel]).filter(|row| row.verdict == verdict);
            let names: Vec<String> = rows.map(|row| shown(&row.name)).collect();
            (!names.is_empty()).then(|| format!("{}: {}", verdict.name(), names.join(", ")))
        };
        let wrong: Vec<String> = [Verdict::Fails, Verdict::Unproven].into_iter().filter_map(named).collect();
        let sum = if wrong.is_empty() { "all hold".to_owned() } else { wrong.join("; ") };
        let (limits, tasks, took) = (self.limits.len(), self.tasks, self.took_ms as f64 / 1000.0);
        text.push_str(&format!(
            "{limits} limits, {tasks} attacks and twins: {sum} ({}, {took:.1} s)\n",
            shown(&self.mode)
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::verdict::judge_cancelled;
    use super::*;
    use crate::task::Status;

    fn known(names: &[&str]) -> Known {
        let limit = |name: &&str| json!({"name": name, "unit": "count", "default": 1, "max": 1});
        let limits: Vec<_> = names.iter().map(limit).collect();
        serde_json::from_value(json!({"mode": "dev", "version": "1", "engine": "e", "limits": limits}))
            .expect("limits")
    }

    fn judged(name: &'static str, verdict: Verdict, overshoot: u64) -> Judged {
        let judged = judge_cancelled("spin", Some(Status::Cancelled), overshoot);
        Judged { name, verdict, overshoot: Some(overshoot), here_ms: None, ..judged }
    }

    fn report(names: &[&str], judged: Vec<Judged>) -> Report {
        Report::new("http://127.0.0.1", known(names), judged, Duration::from_millis(9200))
    }

    #[test]
    fn a_limit_is_what_the_worst_attack_on_it_shows() {
        let cancel = || judged("cancel", Verdict::Holds, 0);
        let all = vec![judged("fuel", Verdict::Holds, 1), judged("fuel", Verdict::Holds, 7), cancel()];
        let good = report(&["fuel"], all);
        assert_eq!((good.verdict, good.limits[0].overshoot), (Verdict::Holds, Some(7)));
        assert_eq!(good.words(), "1 limits, 3 attacks and twins: all hold (dev, 9.2 s)\n");
        let one = vec![judged("fuel", Verdict::Fails, 1), judged("fuel", Verdict::Holds, 7), cancel()];
        let bad = report(&["fuel"], one);
        assert_eq!((bad.verdict, bad.limits[0].overshoot), (Verdict::Fails, Some(1)));
        assert!(bad.words().contains("fails: fuel (dev"), "{}", bad.words());
        let slow = report(&["fuel"], vec![judged("fuel", Verdict::Holds, 0)]);
        assert_eq!(slow.verdict, Verdict::Unproven, "nothing was cancelled");
    }

    #[test]
    fn a_limit_without_an_attack_is_unproven() {
        let all = vec![judged("fuel", Verdict::Holds, 0), judged("cancel", Verdict::Holds, 0)];
        let report = report(&["fuel", "new_limit"], all);
        assert_eq!(report.verdict, Verdict::Unproven);
        let lines: Vec<_> = report.limits.iter().flat_map(Row::lines).collect();
        assert_eq!(lines[1], ["new_limit", "-", "-", "-", "-", "unproven"]);
        let words = report.words();
        assert!(words.contains("new_limit: this omnimind has no attack on it\n"), "{words}");
        assert!(words.contains("unproven: new_limit (dev"), "{words}");
    }
}
