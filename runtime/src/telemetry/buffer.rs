//! The lines that wait, and the thread that writes them.
//!
//! tracing-appender has the same, but at its end it prints on standard output if the buffer is full: with both
//! streams in a pipe that nobody reads, the process would never end.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, iter};

use super::line::{Output, complain};
use super::{drop_one, dropped};

/// How long the end of the process waits for what is in the buffer.
const LAST: Duration = Duration::from_secs(1);

/// Time between two tries to say that it is the end, while the buffer is full.
const AGAIN: Duration = Duration::from_millis(5);

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(2);

enum Message {
    Line(Vec<u8>),
    /// Nothing follows. Dropped when everything before it is written.
    End(#[allow(dead_code, reason = "its drop is what tells")] SyncSender<()>),
}

/// Takes lines, and never waits; clones are the same buffer.
#[derive(Clone)]
pub(super) struct Buffer(SyncSender<Message>);

/// The log that a process has begun. What is in its buffer is written when this is dropped, if that takes no
/// longer than a second.
#[must_use]
#[derive(Default)]
pub struct Log(Option<Buffer>);

impl Buffer {
    /// A buffer of that many lines, which a thread of its own writes to `output`.
    pub(super) fn start(lines: usize, output: Output) -> io::Result<(Buffer, Log)> {
        let (sender, receiver) = sync_channel(lines);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&receiver, output))?;
        let buffer = Buffer(sender);
        Ok((buffer.clone(), Log(Some(buffer))))
    }

    /// Puts a line into it, or drops it.
    pub(super) fn push(&self, line: Vec<u8>) {
        if self.0.try_send(Message::Line(line)).is_err() {
            drop_one();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let Some(Buffer(sender)) = self.0.take() else { return };
        let until = Instant::now() + LAST;
        let (end, ended) = sync_channel(0);
        let mut message = Message::End(end);
        while let Err(TrySendError::Full(again)) = sender.try_send(message) {
            if Instant::now() >= until {
                return;
            }
            message = again;
            thread::sleep(AGAIN);
        }
        let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Writes what there is, waits a little, and writes what has come meanwhile: to wake this thread for each line
/// costs whoever logs more than the line.
fn write_all(lines: &Receiver<Message>, mut output: Output) {
    let (mut told, mut works) = (0, true);
    while let Ok(first) = lines.recv() {
        for message in iter::once(first).chain(iter::from_fn(|| lines.try_recv().ok())) {
            match message {
                Message::Line(line) => {
                    works = output.write(&line);
                    output.complaint().iter().for_each(complain);
                }
                Message::End(_) => return,
            }
        }
        // Only where it would be written: what cannot be said is not said again and again.
        if works {
            told = tell(told);
        }
        thread::sleep(GATHER);
    }
}

/// Says how many lines were dropped since that was `told` last: there is room again.
fn tell(told: u64) -> u64 {
    let now = dropped();
    if now > told {
        tracing::warn!(lines = now - told, "lines of the log were dropped: it could not keep up");
    }
    // This one may be dropped too: then it is said with the next.
    if dropped() == now { now } else { told }
}

#[cfg(test)]
mod tests {
    use super::super::file::LogFile;
    use super::*;

    #[test]
    fn the_end_waits_until_everything_is_written() {
        const LINES: usize = 3000;
        let path = std::env::temp_dir().join(format!("omnimind-buffer-{}", std::process::id()));
        let file = LogFile::open(path.clone(), 1 << 30, 1).unwrap();
        let (buffer, log) = Buffer::start(LINES, Output::File(file)).unwrap();
        for _ in 0..LINES {
            buffer.push(b"a line\n".to_vec());
        }
        drop(log);
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(written.lines().count(), LINES);
    }
}
