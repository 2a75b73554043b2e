//! Runs attacks and twins on a server, as any client would, and watches how they end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::connection::{Connection, Content};
use super::super::form::Form;
use super::super::{Error, Failed};
use super::pairs::{self, Case, End, Guest, Pair};
use super::verdict::{Answer, CANCEL_MS, Ended, Judged, judge, judge_cancelled};
use crate::limits::{Bounds, Budget};
use crate::task::{Record, Status};

/// Pairs at one time, of those that are not about time.
const AT_ONCE: usize = 3;

/// How long a task is waited for before it is cancelled.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a server that is busy is asked again.
const BUSY: Duration = Duration::from_secs(10);

/// What every task says of itself.
const DESCRIPTION: &str = "attest";

/// What the server says of itself.
#[derive(Debug, Deserialize)]
pub struct Known {
    pub mode: String,
    pub version: String,
    pub engine: String,
    pub limits: Vec<Limit>,
}

/// One of its limits.
#[derive(Debug, Deserialize)]
pub struct Limit {
    pub name: String,
    pub unit: String,
    default: u64,
    max: u64,
}

impl Known {
    fn bounds(&self, budget: Budget) -> Option<Bounds> {
        let limit = self.limits.iter().find(|limit| limit.name == budget.name())?;
        Some(Bounds { default: limit.default, max: limit.max })
    }
}

/// What is to be run, and where.
pub struct Runner<'a> {
    connection: &'a Connection,
    pairs: Vec<Pair>,
    /// What a task asks for that nothing else is to end.
    room: Vec<(Budget, u64)>,
}

#[derive(Deserialize)]
struct Component {
    digest: String,
}

impl<'a> Runner<'a> {
    /// Every pair for what the server knows.
    pub fn new(connection: &'a Connection, known: &Known) -> Runner<'a> {
        let bounds = |budget| known.bounds(budget).unwrap_or(Bounds { default: 0, max: 0 });
        let mut pairs = pairs::all(bounds);
        pairs.retain(|pair| known.bounds(pair.budget).is_some());
        Runner { connection, pairs, room: pairs::room(bounds) }
    }

    /// Runs all of them. What was uploaded is removed again.
    ///
    /// # Errors
    /// The server does not answer, or not as it should.
    pub async fn run(&self) -> Result<Vec<Judged>, Failed> {
        let mut digests = Vec::new();
        let judged = self.attack(&mut digests).await;
        for digest in digests {
            // Somebody else who attests may need it, and then removes it.
            let _ = self.connection.send(Method::DELETE, &["api", "components", &digest], &[], None).await;
        }
        Ok(judged?)
    }

    async fn attack(&self, digests: &mut Vec<String>) -> Result<Vec<Judged>, Error> {
        // Compiled before anything is measured.
        let guests: BTreeMap<&str, Guest> =
            self.pairs.iter().map(|pair| (pair.guest.name, pair.guest)).collect();
        let mut uploads = stream::iter(guests.into_values()).map(|guest| self.push(guest)).buffered(AT_ONCE);
        while let Some(digest) = uploads.next().await {
            digests.push(digest?);
        }
        drop(uploads);
        let mut judged = Vec::new();
        let (timed, others): (Vec<&Pair>, Vec<&Pair>) = self.pairs.iter().partition(|pair| pair.timed);
        for pair in timed {
            judged.push(self.both(pair).await?);
        }
        for guest in [pairs::SPIN, pairs::SLEEP] {
            judged.push(self.cancel(guest).await?);
        }
        let mut running = stream::iter(others).map(|pair| self.both(pair)).buffered(AT_ONCE);
        while let Some(one) = running.next().await {
            judged.push(one?);
        }
        Ok(judged)
    }

    async fn push(&self, guest: Guest) -> Result<String, Error> {
        let bytes = guest.wasm.into();
        let content = Content { media_type: "application/wasm".to_owned(), bytes, headers: Vec::new() };
        let name = format!("attest-{}", guest.name);
        let path = ["api", "components", ""];
        let body = self.connection.send(Method::POST, &path, &[("name", &name)], Some(content)).await?;
        Ok(self.connection.parse::<Component>(&body)?.digest)
    }

    async fn both(&self, pair: &Pair) -> Result<Judged, Error> {
        let attack = self.answer(pair, &pair.attack).await?;
        let twin = self.answer(pair, &pair.twin).await?;
        Ok(judge(pair, &attack, &twin))
    }

    /// How one task of a pair ends.
    async fn answer(&self, pair: &Pair, case: &Case) -> Result<Answer, Error> {
        let begun = Instant::now();
        let record = match self.submit(pair.guest, case, Some("20s")).await {
            Ok(record) => record,
            Err(Error::Problem(problem)) if matches!(problem.status, 400 | 403 | 413 | 422) => {
                return Ok(Answer::Refused { status: problem.status, detail: problem.detail });
            }
            Err(error) => return Err(error),
        };
        let id = record.task_id.to_string();
        let Some(record) = self.ended(record, PATIENCE).await? else {
            let _ = self.cancel_task(&id).await;
            return Ok(Answer::Endless);
        };
        let here_ms = begun.elapsed().as_millis() as u64;
        let queued = record.receipt.as_ref().map_or(0, |receipt| receipt.queue_ms);
        let logged = match pair.end {
            // Nothing else is written to it.
            End::Cut => {
                let log = self.connection.get(&["api", "tasks", &id, "logs"], &[]).await?;
                Some(log.iter().filter(|byte| **byte == b'x').count() as u64)
            }
            _ => None,
        };
        let here_ms = here_ms.saturating_sub(queued);
        Ok(Answer::Ended(Box::new(Ended { record, here_ms, logged })))
    }

    /// How fast a task ends that never would.
    async fn cancel(&self, guest: Guest) -> Result<Judged, Error> {
        let input = if guest.name == pairs::SLEEP.name { b"10000".to_vec() } else { Vec::new() };
        let case = Case { limits: self.room.clone(), input };
        let mut record = self.submit(guest, &case, None).await?;
        let id = record.task_id.to_string();
        let waited = Instant::now();
        while record.status == Status::Pending && waited.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
            record = self.task(&id).await?;
        }
        // Well into what it does.
        tokio::time::sleep(Duration::from_millis(CANCEL_MS)).await;
        let begun = Instant::now();
        let cancelled = self.cancel_task(&id).await;
        let record = match cancelled {
            Ok(record) => self.ended(record, PATIENCE).await?,
            // It had ended.
            Err(error) if error.status() == Some(409) => Some(self.task(&id).await?),
            Err(error) => return Err(error),
        };
        let here_ms = begun.elapsed().as_millis() as u64;
        Ok(judge_cancelled(guest.name, record.map(|record| record.status), here_ms))
    }

    async fn submit(&self, guest: Guest, case: &Case, wait: Option<&str>) -> Result<Record, Error> {
        let limits: BTreeMap<&str, u64> =
            case.limits.iter().map(|(budget, limit)| (budget.name(), *limit)).collect();
        let task = json!({
            "limits": limits, "description": DESCRIPTION, "priority": "medium", "retry": {"max_attempts": 1},
            // Mode prod gives nothing by itself.
            "grants": {"embedding": true, "tensor": true, "inference": ["attest"]},
        });
        let form = Form::new().map_err(|error| self.connection.strange(error))?;
        let mut form = form.part("task", "application/json", task.to_string().as_bytes());
        // With the component: another attest may be removing it.
        form = form.part("component", "application/wasm", guest.wasm);
        if !case.input.is_empty() {
            form = form.part("input", "application/octet-stream", &case.input);
        }
        let content = form.finish();
        let query: Vec<(&str, &str)> = wait.map(|wait| ("wait", wait)).into_iter().collect();
        let begun = Instant::now();
        loop {
            let path = ["api", "tasks", ""];
            match self.connection.send(Method::POST, &path, &query, Some(content.clone())).await {
                Err(error) if error.status().is_some() && error.may_pass() && begun.elapsed() < BUSY => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                body => return self.connection.parse(&body?),
            }
        }
    }

    async fn task(&self, id: &str) -> Result<Record, Error> {
        self.connection.parse(&self.connection.get(&["api", "tasks", id], &[]).await?)
    }

    async fn cancel_task(&self, id: &str) -> Result<Record, Error> {
        let body = self.connection.send(Method::DELETE, &["api", "tasks", id], &[], None).await?;
        self.connection.parse(&body)
    }

    /// The task's last record, if it comes in time.
    async fn ended(&self, mut record: Record, patience: Duration) -> Result<Option<Record>, Error> {
        let begun = Instant::now();
        while !record.status.is_final() {
            if begun.elapsed() > patience {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            record = self.task(&record.task_id.to_string()).await?;
        }
        Ok(Some(record))
    }
}
