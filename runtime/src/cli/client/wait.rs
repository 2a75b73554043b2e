//! Waiting for the end of a task, longer than one request may take and through a restart of the server.

use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;

use super::super::terminal::{self, note};
use super::patience::Patience;
use super::progress::Progress;
use super::table::{self, shown};
use super::{Connection, Error, Exit, Failed};
use crate::server::parse_duration;
use crate::task::{Record, Status};

/// Time between two looks: short for short tasks, and never long.
const FIRST_PAUSE: Duration = Duration::from_millis(30);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Seen {
    status: String,
    progress: f64,
    message: Option<String>,
}

/// A time as in `10s`, `500ms` or `2m`.
pub fn time(text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).ok_or_else(|| anyhow!("a time is written like 10s, 500ms or 2m"))
}

/// Waits for the task's end, shows it, and says how it ended.
pub async fn to_the_end(
    connection: &Connection,
    id: &str,
    timeout: Option<Duration>,
    json: bool,
) -> Result<Exit, Failed> {
    let mut progress = Progress::new();
    let ended = async {
        match timeout {
            None => Some(ended(connection, id, &mut progress).await),
            Some(timeout) => tokio::time::timeout(timeout, ended(connection, id, &mut progress)).await.ok(),
        }
    };
    let ended = tokio::select! {
        ended = ended => ended,
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            note!("no longer waiting; task {id} goes on");
            print_ways_on(connection, id);
            return Ok(Exit::Cancelled);
        }
    };
    drop(progress);
    match ended {
        Some(body) => finish(connection, id, &body?, json).await,
        None => {
            let body = connection.get(&["api", "tasks", id], &[]).await?;
            if json {
                table::print_json(&body).map_err(Failed::runtime)?;
            }
            note!("task {id} has not ended yet, and goes on");
            if connection.parse::<Record>(&body)?.status == Status::Paused {
                note!(
                    "  it is paused while others want the processors; with --priority high it would not be"
                );
            }
            print_ways_on(connection, id);
            Ok(Exit::NotEnded)
        }
    }
}

fn print_ways_on(connection: &Connection, id: &str) {
    let flags = connection.flags();
    note!("  wait again:  omnimind task wait {id}{flags}");
    note!("  cancel it:   omnimind task cancel {id}{flags}");
}

/// The record of a task that has ended.
async fn ended(connection: &Connection, id: &str, progress: &mut Progress) -> Result<Vec<u8>, Failed> {
    let mut pause = FIRST_PAUSE;
    let mut patience = Patience::default();
    loop {
        match look(connection, id).await {
            Ok((seen, record)) => {
                patience.heard(|| progress.clear());
                if let Some(record) = record {
                    return Ok(record);
                }
                progress.show(&seen.status, seen.progress, seen.message.as_deref().unwrap_or_default());
            }
            Err(error) if patience.knows() && error.status() == Some(404) => {
                return Err(Failed {
                    exit: Exit::NotFound,
                    error: anyhow!(
                        "the server does not know task {id} any more: it was restarted and the task was not durable, or the task is past its retention"
                    ),
                });
            }
            Err(error) if patience.bears(&error, || progress.clear()) => {}
            Err(error) => {
                if patience.knows() && error.may_pass() {
                    note!("task {id} may go on without it");
                    print_ways_on(connection, id);
                }
                return Err(error.into());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 4).min(LONGEST_PAUSE);
    }
}

/// How far the task is; and its record, if it has ended.
async fn look(connection: &Connection, id: &str) -> Result<(Seen, Option<Vec<u8>>), Error> {
    let seen: Seen = connection.parse(&connection.get(&["api", "tasks", id, "progress"], &[]).await?)?;
    let record = match is_final(&seen.status) {
        true => Some(connection.get(&["api", "tasks", id], &[]).await?),
        false => None,
    };
    Ok((seen, record))
}

/// Whether a status is the last one.
pub fn is_final(status: &str) -> bool {
    Status::ALL.iter().any(|known| known.is_final() && known.name() == status)
}

/// Shows a task that has ended as `omnimind run` does.
pub async fn finish(connection: &Connection, id: &str, body: &[u8], json: bool) -> Result<Exit, Failed> {
    let record: Record = connection.parse(body)?;
    if json {
        table::print_json(body).map_err(Failed::runtime)?;
    } else {
        if record.status == Status::Completed {
            match connection.get(&["api", "tasks", id, "output"], &[]).await {
                Ok(output) => terminal::print_output(&output).map_err(Failed::runtime)?,
                // The task has done its work all the same.
                Err(error) if error.status() == Some(410) => note!("{}", Failed::from(error).error),
                Err(error) => return Err(error.into()),
            }
        }
        print_end(&record);
    }
    Ok(exit(&record))
}

fn print_end(record: &Record) {
    match (&record.failure, &record.receipt) {
        (Some(failure), receipt) => {
            let after =
                receipt.as_ref().map_or(String::new(), |receipt| format!(" after {} ms", receipt.wall_ms));
            note!("failed{after}: {}", terminal::failure_text(failure));
            terminal::print_remedy(failure);
        }
        (None, Some(receipt)) if record.status == Status::Completed => {
            note!("{}", terminal::completed(receipt))
        }
        (None, _) => note!("{}", shown(record.status.name())),
    }
    if let Some(receipt) = &record.receipt {
        terminal::note_lines(&terminal::receipt_text(receipt));
    }
}

fn exit(record: &Record) -> Exit {
    match (record.status, &record.failure) {
        (Status::Completed, _) => Exit::Completed,
        (Status::Cancelled, _) => Exit::Cancelled,
        (_, Some(failure)) => Exit::of(failure.kind),
        (_, None) => Exit::Runtime,
    }
}
