//! From a formatted event to one line, whoever's text is in it.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::buffer::Buffer;
use super::drop_one;
use super::file::LogFile;

/// Where lines end up.
pub(super) enum Output {
    StandardError,
    File(LogFile),
}

impl Output {
    /// Writes a line; one that cannot be written is dropped. Says whether it was written.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        let written = match self {
            Output::StandardError => io::stderr().write_all(line),
            Output::File(file) => file.write(line),
        };
        if written.is_err() {
            drop_one();
        }
        written.is_ok()
    }

    /// What is wrong with it though lines are written, if nobody was told yet.
    pub(super) fn complaint(&mut self) -> Option<io::Error> {
        match self {
            Output::StandardError => None,
            Output::File(file) => file.complaint(),
        }
    }
}

/// Says that in the log itself. Nobody may hold the output meanwhile.
pub(super) fn complain(error: &io::Error) {
    tracing::error!(
        %error,
        "the log could not be rotated: it goes on in the same file, which grows beyond logging.max_size; tried again every 10 s"
    );
}

/// What takes the formatted events.
pub(super) struct Lines {
    to: To,
    is_text: bool,
}

#[derive(Clone)]
enum To {
    Buffer(Buffer),
    Output(Arc<Mutex<Output>>),
}

impl Lines {
    pub(super) fn buffered(buffer: Buffer, is_text: bool) -> Lines {
        Lines { to: To::Buffer(buffer), is_text }
    }

    pub(super) fn direct(output: Arc<Mutex<Output>>, is_text: bool) -> Lines {
        Lines { to: To::Output(output), is_text }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(self)
    }
}

/// Takes one event, in one write.
pub(super) struct Writer<'a>(&'a Lines);

impl Write for Writer<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // In JSON what would break a line is escaped already.
        let line = match self.0.is_text {
            true => one_line(event),
            false => Cow::Borrowed(event),
        };
        match &self.0.to {
            To::Buffer(buffer) => buffer.push(line.into_owned()),
            To::Output(output) => {
                let mut locked = output.lock();
                locked.write(&line);
                let complaint = locked.complaint();
                drop(locked);
                complaint.iter().for_each(complain);
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes what breaks a line, or turns its direction; of `event` only its end may. The escapes that colour a
/// line are ours: those in values are escaped by the formatter.
fn one_line(event: &[u8]) -> Cow<'_, [u8]> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    let is_plain = |byte: u8| matches!(byte, b'\t' | 0x1b | b' '..=b'~');
    if body.iter().all(|byte| is_plain(*byte)) {
        return Cow::Borrowed(event);
    }
    let mut line = String::with_capacity(event.len() + 16);
    for character in String::from_utf8_lossy(body).chars() {
        match character {
            '\t' | '\u{1b}' => line.push(character),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                line.extend(c.escape_default());
            }
            c => line.push(c),
        }
    }
    line.push('\n');
    Cow::Owned(line.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        for (event, line) in [
            ("plain\t\u{1b}[2mtext\u{1b}[0m\n", "plain\t\u{1b}[2mtext\u{1b}[0m\n"),
            ("a\nINFO forged\r\n", "a\\nINFO forged\\r\n"),
            ("grün\u{85}\u{202e}\u{2028}\0\n", "grün\\u{85}\\u{202e}\\u{2028}\\u{0}\n"),
        ] {
            assert_eq!(String::from_utf8_lossy(&one_line(event.as_bytes())), line);
        }
    }

    #[test]
    fn text_is_written_as_one_line_and_json_as_it_is() {
        let path = std::env::temp_dir().join(format!("omnimind-line-{}", std::process::id()));
        let file = LogFile::open(path.clone(), 1 << 20, 1).unwrap();
        let output = Arc::new(Mutex::new(Output::File(file)));
        for is_text in [true, false] {
            let lines = Lines::direct(output.clone(), is_text);
            lines.make_writer().write_all("a\nb\u{202e}\n".as_bytes()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(written, "a\\nb\\u{202e}\na\nb\u{202e}\n");
    }
}
