//! `omnimind task logs`: what a task wrote, and what it writes while one looks on.

use std::io::IsTerminal;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::super::terminal;
use super::events::Events;
use super::patience::Patience;
use super::{Connection, Error, Exit, Failed};
use crate::task::{Record, escape_guest_text};

const PAUSE: Duration = Duration::from_millis(300);

#[derive(Deserialize)]
struct Text {
    text: String,
}

/// How far the log was printed.
#[derive(Default)]
struct Printed {
    /// Of which attempt.
    attempts: u32,
    /// So many bytes of it.
    bytes: usize,
}

/// Prints the log on standard output.
pub async fn print(connection: &Connection, id: &str, follow: bool) -> Result<Exit, Failed> {
    if !follow {
        let log = connection.get(&["api", "tasks", id, "logs"], &[]).await?;
        write(&log)?;
        return Ok(Exit::Completed);
    }
    let mut printed = Printed::default();
    let mut patience = Patience::default();
    loop {
        match attempt(connection, id, &mut printed, &mut patience).await {
            Ok(true) => return Ok(Exit::Completed),
            Ok(false) => {}
            Err(Failure::Here(failed)) => return Err(failed),
            Err(Failure::There(error)) if patience.bears(&error, || ()) => {}
            Err(Failure::There(error)) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

enum Failure {
    /// Standard output cannot be written.
    Here(Failed),
    /// The server does not answer.
    There(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::There(error)
    }
}

/// Follows the log until the task's end, or until the stream ends before it: the server is ending.
async fn attempt(
    connection: &Connection,
    id: &str,
    printed: &mut Printed,
    patience: &mut Patience,
) -> Result<bool, Failure> {
    let record: Record = connection.parse(&connection.get(&["api", "tasks", id], &[]).await?)?;
    // A new attempt begins a new log; the same one is sent from its beginning again.
    let attempts = record.attempts.max(1);
    if printed.attempts != attempts {
        *printed = Printed { attempts, bytes: 0 };
    }
    let response =
        connection.open(Method::GET, &["api", "tasks", id, "logs"], &[("follow", "true")], None).await?;
    let mut events = Events::of(response);
    // From now on there is a connection, whether or not the task has anything to say.
    patience.heard(|| ());
    let mut skip = printed.bytes;
    loop {
        let Some(event) = events.next(connection).await? else { return Ok(false) };
        match event.name.as_str() {
            "log" => {
                let Text { text } = connection.parse(event.data.as_bytes())?;
                let new = text.as_bytes().get(skip.min(text.len())..).unwrap_or_default();
                skip = skip.saturating_sub(text.len());
                printed.bytes += new.len();
                write(new).map_err(Failure::Here)?;
            }
            "end" => return Ok(true),
            _ => {}
        }
    }
}

/// A program gets the bytes; a terminal gets them escaped.
fn write(log: &[u8]) -> Result<(), Failed> {
    if !std::io::stdout().is_terminal() {
        return terminal::write_stdout(log).map_err(Failed::runtime);
    }
    // In lines, because escaping cuts long texts.
    for line in String::from_utf8_lossy(log).split_inclusive('\n') {
        terminal::write_stdout(escape_guest_text(line).as_bytes()).map_err(Failed::runtime)?;
    }
    Ok(())
}
