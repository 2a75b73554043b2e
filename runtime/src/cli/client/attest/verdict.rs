//! From how attack and twin ended to whether the limit holds. Nothing here asks a server.

use serde::Serialize;

use super::pairs::{End, Pair};
use crate::limits::Budget;
use crate::server::Verdict;
use crate::task::{FailureKind, Record, Status};

/// Milliseconds after `wall_ms` at which the answer is here at the latest, by the clock of this process: what
/// the receipt says, the store and the way here.
pub const HERE_MS: u64 = 1000;

/// Within so many milliseconds a task that computes is ended by a cancellation, and how much later the answer
/// may be here.
pub const CANCEL_MS: u64 = 100;
const CANCEL_HERE_MS: u64 = 250;

/// How a task ended, as far as a client can see.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It has ended.
    Ended(Box<Ended>),
    /// It was not taken.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        detail: String,
    },
    /// It did not end while it was waited for, and was cancelled.
    Endless,
}

/// A task that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The server's record.
    pub record: Record,
    /// From the submission to the answer, by the clock of this process, less the wait for a place.
    pub here_ms: u64,
    /// Bytes of log that the server kept, where it was asked.
    pub logged: Option<u64>,
}

/// What came of one attack and its twin.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// What is attacked.
    #[serde(skip)]
    pub name: &'static str,
    /// Whether the limit held against it.
    pub verdict: Verdict,
    /// Why not.
    pub why: Option<String>,
    /// The hostile guest.
    pub guest: &'static str,
    /// The limit that the attack had.
    pub configured: u64,
    /// The most that it or its twin came to, by the receipts; null where those do not say.
    pub stopped_at: Option<u64>,
    /// How far that is above the limit.
    pub overshoot: Option<u64>,
    /// How far above it may be.
    pub allowance: u64,
    /// What it did not come to, where no receipt says how far it came.
    pub below: Option<String>,
    /// When the end of the attack was known here, for limits of time.
    pub here_ms: Option<u64>,
    /// How the attack ended.
    pub attack: String,
    /// How the twin ended, where there is one.
    pub twin: Option<String>,
}

/// What is wrong, and whether that is the limit's fault.
enum Wrong {
    Fails(String),
    Unproven(String),
}
use Wrong::{Fails, Unproven};

/// Whether the limit holds from both sides.
pub fn judge(pair: &Pair, attack: &Answer, twin: &Answer) -> Judged {
    let both = [attack, twin].map(|answer| used(pair, answer));
    let stopped_at = both.into_iter().flatten().max().filter(|_| pair.beyond.is_none());
    let checked = stopped(pair, attack).and_then(|()| within(pair, attack)).and_then(|()| passed(pair, twin));
    let (verdict, why) = match checked {
        Ok(()) => (Verdict::Holds, None),
        Err(Fails(why)) => (Verdict::Fails, Some(why)),
        Err(Unproven(why)) => (Verdict::Unproven, Some(why)),
    };
    Judged {
        name: pair.budget.name(),
        verdict,
        why,
        guest: pair.guest.name,
        configured: pair.configured,
        stopped_at,
        overshoot: stopped_at.map(|at| at.saturating_sub(pair.configured)),
        allowance: pair.allowance,
        below: pair.beyond.clone(),
        here_ms: here_ms(attack).filter(|_| pair.timed),
        attack: told(attack),
        twin: Some(told(twin)),
    }
}

/// Whether a task that was to be cancelled ended as cancelled, and in time.
pub fn judge_cancelled(guest: &'static str, status: Option<Status>, here_ms: u64) -> Judged {
    let latest = CANCEL_MS + CANCEL_HERE_MS;
    let (verdict, why) = match status {
        Some(Status::Cancelled) if here_ms <= latest => (Verdict::Holds, None),
        Some(Status::Cancelled) => (Verdict::Fails, Some(format!("it ended after {here_ms} ms"))),
        Some(status) => (Verdict::Unproven, Some(format!("it was {} before", status.name()))),
        None => (Verdict::Fails, Some(format!("it still ran after {here_ms} ms"))),
    };
    Judged {
        name: "cancel",
        verdict,
        why,
        guest,
        configured: CANCEL_MS,
        stopped_at: Some(here_ms),
        overshoot: Some(here_ms.saturating_sub(CANCEL_MS)),
        allowance: CANCEL_HERE_MS,
        below: None,
        here_ms: Some(here_ms),
        attack: status.map_or("running", Status::name).to_owned(),
        twin: None,
    }
}

/// The attack has to end as its limit ends tasks.
fn stopped(pair: &Pair, answer: &Answer) -> Result<(), Wrong> {
    let name = pair.budget.name();
    let ended = match (pair.end, answer) {
        (End::Refused, Answer::Refused { status: 413, .. }) => return Ok(()),
        (_, Answer::Refused { status, detail }) => {
            return Err(Unproven(format!("the server did not take the attack: {detail} ({status})")));
        }
        (_, Answer::Endless) => return Err(Fails("the attack did not end, and was cancelled".to_owned())),
        (_, Answer::Ended(ended)) => ended,
    };
    disturbed("attack", &ended.record)?;
    let Record { status, failure, receipt, .. } = &ended.record;
    let kind = failure.as_ref().map(|failure| failure.kind);
    let limit = failure.as_ref().and_then(|failure| failure.limit.as_deref());
    let stopped_by = receipt.as_ref().and_then(|receipt| receipt.stopped_by.as_deref());
    let wanted = match pair.end {
        End::Stopped(wanted) if kind == Some(wanted) => {
            return match (limit, stopped_by) {
                (Some(limit), Some(stopped_by)) if limit == name && stopped_by == name => Ok(()),
                (limit, stopped_by) => Err(Fails(format!(
                    "the attack was stopped by another limit: the failure names {}, the receipt {}",
                    limit.unwrap_or("none"),
                    stopped_by.unwrap_or("none")
                ))),
            };
        }
        End::Stopped(wanted) => wanted.name(),
        End::Cut if *status == Status::Completed => return Ok(()),
        End::Cut => "completed, with a shorter log",
        End::Refused => "refused",
    };
    Err(Fails(format!("the attack should have been {wanted}, and was {}", told(answer))))
}

/// What it took until then has to be within the limit.
fn within(pair: &Pair, answer: &Answer) -> Result<(), Wrong> {
    if pair.beyond.is_some() || pair.end == End::Refused {
        return Ok(());
    }
    let most = pair.configured.saturating_add(pair.allowance);
    let show = |amount| pair.budget.display(amount);
    match used(pair, answer) {
        None => return Err(Unproven("the receipt does not say what the attack used".to_owned())),
        Some(used) if used > most => {
            return Err(Fails(format!(
                "the attack came to {}, its limit was {}",
                show(used),
                show(pair.configured)
            )));
        }
        Some(_) => {}
    }
    match here_ms(answer) {
        Some(here) if pair.budget == Budget::WallMs && here > pair.configured + HERE_MS => {
            Err(Fails(format!("the end of the attack was known after {here} ms only")))
        }
        _ => Ok(()),
    }
}

/// The twin has to get through.
fn passed(pair: &Pair, answer: &Answer) -> Result<(), Wrong> {
    let ended = match answer {
        Answer::Refused { status, detail } if pair.end == End::Refused && *status == 413 => {
            return Err(Fails(format!("the twin was refused too: {detail}")));
        }
        Answer::Refused { status, detail } => {
            return Err(Unproven(format!("the server did not take the twin: {detail} ({status})")));
        }
        Answer::Endless => return Err(Fails("the twin did not end, and was cancelled".to_owned())),
        Answer::Ended(ended) => ended,
    };
    disturbed("twin", &ended.record)?;
    match (ended.record.status, ended.logged) {
        (Status::Completed, Some(logged)) if logged < pair.configured => {
            Err(Fails(format!("only {logged} bytes of the twin's log were kept")))
        }
        (Status::Completed, _) => Ok(()),
        _ => Err(Fails(format!("the twin should have completed, and was {}", told(answer)))),
    }
}

/// Ends that say nothing about the limit.
fn disturbed(who: &str, record: &Record) -> Result<(), Wrong> {
    use FailureKind::{HostError, Lost, MachineMemory};
    let kind = record.failure.as_ref().map(|failure| failure.kind);
    match kind {
        Some(kind @ (HostError | Lost | MachineMemory)) => {
            Err(Unproven(format!("the {who} ended by {}: try again", kind.name())))
        }
        _ if record.status == Status::Cancelled => Err(Unproven(format!("somebody cancelled the {who}"))),
        _ => Ok(()),
    }
}

/// What a task used, by its receipt; of a log, what can be read of it, if that is more.
fn used(pair: &Pair, answer: &Answer) -> Option<u64> {
    let Answer::Ended(ended) = answer else { return None };
    let used = ended.record.receipt.as_ref()?.budget(pair.budget.name())?.used?;
    Some(used.max(ended.logged.unwrap_or_default()))
}

fn here_ms(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Ended(ended) => Some(ended.here_ms),
        _ => None,
    }
}

/// How a task ended, in a word or two.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Refused { status, .. } => format!("refused ({status})"),
        Answer::Endless => "running".to_owned(),
        Answer::Ended(ended) => match &ended.record.failure {
            Some(failure) => match &failure.limit {
                Some(limit) => format!("{} ({limit})", failure.kind.name()),
                None => failure.kind.name().to_owned(),
            },
            None => ended.record.status.name().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pairs;
    use super::*;
    use crate::limits::Mode;

    fn pair(name: &str) -> Pair {
        let pairs = pairs::all(|budget| budget.bounds(Mode::Dev));
        pairs.into_iter().find(|pair| pair.budget.name() == name).expect("a pair")
    }

    /// An answer of a server: `failure` is null for a task that completed.
    fn answer(name: &str, failure: Value, used: Option<u64>, logged: Option<u64>) -> Answer {
        let stopped_by = failure["limit"].clone();
        let status = if failure.is_null() { "completed" } else { "failed" };
        let record = json!({
            "task_id": uuid::Uuid::now_v7(), "component": "c", "digest": format!("sha256:{}", "0".repeat(64)),
            "description": null, "status": status, "priority": "medium", "progress": 0.0, "created_at": "",
            "started_at": null, "completed_at": null, "attempts": 1, "durable": true, "failure": failure,
            "metadata": null,
            "receipt": {"budgets": {name: {"asked": null, "used": used, "limit": 1}}, "stopped_by": stopped_by,
                "wall_ms": 1, "cpu_ms": 1, "queue_ms": 0, "attempts": 1, "engine": "e"},
        });
        let record = serde_json::from_value(record).expect("a record");
        Answer::Ended(Box::new(Ended { record, here_ms: 1, logged }))
    }

    fn failed(name: &str, kind: &str, used: u64) -> Answer {
        answer(name, json!({"kind": kind, "limit": name, "message": ""}), Some(used), None)
    }

    fn completed(name: &str, used: u64) -> Answer {
        answer(name, Value::Null, Some(used), None)
    }

    fn refused(status: u16) -> Answer {
        Answer::Refused { status, detail: "no".to_owned() }
    }

    #[track_caller]
    fn is(verdict: Verdict, says: &str, pair: &Pair, attack: &Answer, twin: &Answer) {
        let judged = judge(pair, attack, twin);
        assert_eq!(judged.verdict, verdict, "{judged:?}");
        assert!(judged.why.clone().unwrap_or_default().contains(says), "{judged:?}");
    }

    #[test]
    fn a_limit_holds_from_both_sides_or_not_at_all() {
        let pair = pair("memory_bytes");
        let most = pair.configured;
        let (attack, twin) = (failed("memory_bytes", "memory_limit", most), completed("memory_bytes", most));
        is(Verdict::Holds, "", &pair, &attack, &twin);
        is(Verdict::Fails, "and was completed", &pair, &completed("memory_bytes", most + 1), &twin);
        is(Verdict::Fails, "twin should have completed", &pair, &attack, &attack);
        is(Verdict::Fails, "and was trap", &pair, &failed("memory_bytes", "trap", most), &twin);
        is(Verdict::Fails, "came to", &pair, &failed("memory_bytes", "memory_limit", most + 1), &twin);
        is(Verdict::Fails, "did not end", &pair, &Answer::Endless, &twin);
        is(Verdict::Fails, "did not end", &pair, &attack, &Answer::Endless);
        let other = json!({"kind": "memory_limit", "limit": "memories", "message": ""});
        let other = answer("memory_bytes", other, Some(most), None);
        is(Verdict::Fails, "another limit", &pair, &other, &twin);
    }

    #[test]
    fn what_says_nothing_proves_nothing() {
        let pair = pair("fuel");
        let twin = completed("fuel", 1);
        is(Verdict::Unproven, "did not take the attack", &pair, &refused(422), &twin);
        let attack = failed("fuel", "fuel_exhausted", pair.configured);
        is(Verdict::Unproven, "did not take the twin", &pair, &attack, &refused(422));
        for kind in ["host_error", "machine_memory", "lost"] {
            is(Verdict::Unproven, "try again", &pair, &failed("fuel", kind, 1), &twin);
            is(Verdict::Unproven, "try again", &pair, &attack, &failed("fuel", kind, 1));
        }
        let silent = json!({"kind": "fuel_exhausted", "limit": "fuel", "message": ""});
        is(Verdict::Unproven, "does not say", &pair, &answer("fuel", silent, None, None), &twin);
    }

    #[test]
    fn time_is_looked_at_here_too() {
        let pair = pair("wall_ms");
        let twin = completed("wall_ms", 1);
        let attack = |used, here_ms| match failed("wall_ms", "deadline_exceeded", used) {
            Answer::Ended(mut ended) => {
                ended.here_ms = here_ms;
                Answer::Ended(ended)
            }
            other => other,
        };
        is(Verdict::Holds, "", &pair, &attack(pair.configured + 250, pair.configured + 1000), &twin);
        is(Verdict::Fails, "came to", &pair, &attack(pair.configured + 251, 0), &twin);
        let late = attack(pair.configured, pair.configured + 1001);
        is(Verdict::Fails, "was known after", &pair, &late, &twin);
    }

    #[test]
    fn what_is_not_accepted_or_not_kept_is_looked_at_as_well() {
        let input = pair("input_bytes");
        let twin = completed("input_bytes", input.configured);
        is(Verdict::Holds, "", &input, &refused(413), &twin);
        is(Verdict::Fails, "refused too", &input, &refused(413), &refused(413));
        is(Verdict::Fails, "should have been refused", &input, &twin, &twin);
        is(Verdict::Unproven, "", &input, &refused(503), &twin);

        let log = pair("log_bytes");
        let logged = |bytes| answer("log_bytes", Value::Null, Some(log.configured), Some(bytes));
        is(Verdict::Holds, "", &log, &logged(log.configured), &logged(log.configured));
        is(Verdict::Fails, "came to", &log, &logged(log.configured + 1), &logged(log.configured));
        is(Verdict::Fails, "were kept", &log, &logged(log.configured), &logged(log.configured - 1));
    }

    #[test]
    fn what_is_cancelled_ends_at_once() {
        assert_eq!(judge_cancelled("spin", Some(Status::Cancelled), 350).verdict, Verdict::Holds);
        assert_eq!(judge_cancelled("spin", Some(Status::Cancelled), 351).verdict, Verdict::Fails);
        assert_eq!(judge_cancelled("spin", None, 1).verdict, Verdict::Fails);
        assert_eq!(judge_cancelled("spin", Some(Status::Failed), 1).verdict, Verdict::Unproven);
    }
}
