//! `omnimind task logs`: what a task wrote, and what it writes while one looks on.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;

use super::super::terminal::{self, note};
use super::events::Events;
use super::{Connection, Error, Exit, Failed};
use crate::task::{Record, escape_guest_text};

/// How long a server may be away before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let mut heard = Instant::now();
    let mut away = false;
    loop {
        match attempt(connection, id, &mut printed, &mut heard).await {
            Ok(true) => return Ok(Exit::Completed),
            Err(Failure::Here(failed)) => return Err(failed),
            Err(Failure::There(error))
                if !error.may_pass() || heard.elapsed() > PATIENCE || printed.attempts == 0 =>
            {
                return Err(error.into());
            }
            Err(Failure::There(_)) if !away => {
                away = true;
                note!("the server does not answer: trying again for {} s", PATIENCE.as_secs());
            }
            Ok(false) | Err(Failure::There(_)) => {}
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
    heard: &mut Instant,
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
    let mut skip = printed.bytes;
    loop {
        let next = events.next(connection).await;
        // Until now there was a connection, whether or not the task had anything to say.
        *heard = Instant::now();
        let Some(event) = next? else { return Ok(false) };
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
