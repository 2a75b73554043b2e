//! The runtime's own log: a line for each event, as text for people or as JSON for programs.
//!
//! ```text
//! tracing ─ level ─ format ─ one line ─ buffer ─ a thread of its own ─ standard error, or a file
//! ```
//!
//! Nobody waits for the log: what does not fit into the buffer is dropped and counted. Of what others log,
//! the libraries that see heads, bodies and bytes on the wire, only warnings and errors get in, at every level:
//! the log has no credentials, and nothing of what tasks are given or say.

mod buffer;
mod file;
mod line;
mod seldom;

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

pub use buffer::Log;
pub use seldom::Seldom;

use crate::config::{Format, Logging};
use buffer::Buffer;
use file::LogFile;
use line::{Lines, Output};

/// The target of the lines that say who asked for what.
pub const ACCESS: &str = "access";

/// The levels by their names, the most important first.
pub const LEVELS: [(&str, LevelFilter); 5] = [
    ("ERROR", LevelFilter::ERROR),
    ("WARNING", LevelFilter::WARN),
    ("INFO", LevelFilter::INFO),
    ("DEBUG", LevelFilter::DEBUG),
    ("TRACE", LevelFilter::TRACE),
];

/// The log of this process, once it has begun.
static LEVEL: OnceLock<Level> = OnceLock::new();

/// Lines that were not written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Level {
    now: Mutex<LevelFilter>,
    filter: reload::Handle<Targets, Registry>,
}

/// Starts logging; a process does so once. What is in the buffer is written when the returned value is dropped.
///
/// # Errors
/// The file cannot be written to, or is another process's.
pub fn init(logging: &Logging) -> anyhow::Result<Log> {
    let on_terminal = logging.file.is_none() && io::stderr().is_terminal();
    let is_text = match logging.format {
        Format::Auto => on_terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let output = match &logging.file {
        None => Output::StandardError,
        Some(path) => Output::File(LogFile::open(path.clone(), logging.max_size, logging.max_files)?),
    };
    let (lines, log) = match logging.is_async {
        true => {
            let (buffer, log) = Buffer::start(logging.buffer_size, output)?;
            (Lines::buffered(buffer, is_text), log)
        }
        false => (Lines::direct(Arc::new(Mutex::new(output)), is_text), Log::default()),
    };
    let (filter, handle) = reload::Layer::new(targets(logging.level));
    let layer = fmt::layer().with_writer(lines);
    let layer = match is_text {
        true => layer.with_ansi(on_terminal).boxed(),
        false => layer.json().with_ansi(false).boxed(),
    };
    registry().with(filter).with(layer).try_init()?;
    let _ = LEVEL.set(Level { now: Mutex::new(logging.level), filter: handle });
    note_panics();
    Ok(log)
}

/// Ours at `level`, everybody else's at WARNING or above.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("omnimind", level)
        .with_target(ACCESS, level)
}

/// A thread that panics says so on standard error; the log has the place.
fn note_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a thread panicked");
        usual(panic);
    }));
}

/// What is too unimportant to be said now.
pub fn level() -> LevelFilter {
    LEVEL.get().map_or(LevelFilter::OFF, |level| *level.now.lock())
}

/// Says from now on what is as important as `level`; returns what it was before.
///
/// # Errors
/// There is no log.
pub fn set_level(level: LevelFilter) -> anyhow::Result<LevelFilter> {
    let Some(Level { now, filter }) = LEVEL.get() else { anyhow::bail!("the log has not begun") };
    let mut now = now.lock();
    filter.reload(targets(level))?;
    Ok(std::mem::replace(&mut *now, level))
}

/// Lines that were dropped since the start: the buffer was full, or they could not be written.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn drop_one() {
    DROPPED.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_panic_is_in_the_log_with_its_place_alone() {
        let path = std::env::temp_dir().join(format!("omnimind-panic-{}", std::process::id()));
        let file = LogFile::open(path.clone(), 1 << 20, 1).unwrap();
        let lines = Lines::direct(Arc::new(Mutex::new(Output::File(file))), true);
        let log = registry().with(fmt::layer().with_writer(lines).with_ansi(false));
        note_panics();
        tracing::subscriber::with_default(log, || {
            let panicked = panic::catch_unwind(|| panic!("with what it was given"));
            assert!(panicked.is_err());
        });
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(text.contains("a thread panicked") && text.contains(file!()), "{text}");
        assert!(!text.contains("given"), "{text}");
    }

    #[test]
    fn what_libraries_say_of_bytes_stays_out_at_every_level() {
        for (name, level) in LEVELS {
            let targets = targets(level);
            for library in ["hyper::proto::h1::io", "h2::codec", "reqwest::connect", "tungstenite::protocol"]
            {
                for chatty in [Level::INFO, Level::DEBUG, Level::TRACE] {
                    assert!(!targets.would_enable(library, &chatty), "{library} at {name}");
                }
            }
            assert!(targets.would_enable("hyper", &Level::ERROR));
            assert_eq!(targets.would_enable("hyper", &Level::WARN), name != "ERROR");
            assert_eq!(targets.would_enable("omnimind::server", &Level::TRACE), name == "TRACE");
            assert_eq!(targets.would_enable(ACCESS, &Level::INFO), level >= LevelFilter::INFO);
        }
    }
}
