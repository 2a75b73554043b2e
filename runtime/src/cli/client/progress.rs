//! One line on a terminal that shows how far a task is.

use std::io::{IsTerminal, Write};

use super::table::{cut, shown};

/// Characters of the bar itself.
const BAR: usize = 24;

/// What fits beside the cursor into 80 columns.
const LINE: usize = 79;

/// A line that is written over and over, and gone in the end. On what is no terminal it is never there.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    last: String,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    /// Shows how far it is.
    pub fn show(&mut self, status: &str, percent: f64, message: &str) {
        let line = line(status, percent, message);
        if self.terminal && line != self.last {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            self.last = line;
        }
    }

    /// Takes the line away, so that others may be written.
    pub fn clear(&mut self) {
        if !self.last.is_empty() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            self.last.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(status: &str, percent: f64, message: &str) -> String {
    let percent = percent.clamp(0.0, 100.0);
    let full = (percent / 100.0 * BAR as f64) as usize;
    let bar = format!("[{}{}]", "#".repeat(full), "-".repeat(BAR.saturating_sub(full)));
    let line = match status {
        "running" => format!("{bar} {percent:3.0} % {}", shown(message)),
        // The guard's doing: nothing is wrong with it.
        "paused" => format!("{bar} {percent:3.0} % paused: others want the processors"),
        _ => format!("{bar} {percent:3.0} % {} {}", shown(status), shown(message)),
    };
    cut(line.trim_end(), LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(line("running", 50.0, ""), "[############------------]  50 %");
        assert_eq!(line("pending", 0.0, ""), "[------------------------]   0 % pending");
        assert!(line("paused", 0.0, "").ends_with("% paused: others want the processors"));
        let long = line("running", f64::NAN, &"a\n\u{1b}[2J".repeat(40));
        assert!(long.chars().count() <= LINE && !long.contains(['\n', '\u{1b}']), "{long}");
    }
}
