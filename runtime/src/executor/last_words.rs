//! What a guest's language printed before it gave up: an exception, a panic, with its stack.
//!
//! A runtime that gives up prints why on standard error, and then traps or exits. The log has it; the failure
//! should, too, because it is what a client reads first.

use crate::task::{Failure, FailureKind, Log, escape_guest_text};

/// Bytes at the end of the log that are looked at.
const LOOKED_AT: usize = 32 << 10;

/// Bytes that are kept: of more, the middle goes. The failure's message has 4 KiB, and escaping may lengthen it.
const KEPT: usize = 3 << 10;

/// Lines kept of what nobody here can read.
const LINES: usize = 8;

/// How a language begins to say that it gives up.
struct Language {
    /// Whether this line is the first of it.
    begins: fn(&str) -> bool,
    /// Whether this line, and all after it, is no part of it.
    ends: fn(&str) -> bool,
    /// Whether wasm's frames are those of an interpreter or a scheduler, and say nothing of the program.
    has_own_stack: bool,
}

/// In the order in which they are looked for: Python's runtime panics in Rust after the exception was printed.
const LANGUAGES: [Language; 3] = [
    Language {
        begins: |line| line == "Traceback (most recent call last):",
        ends: str::is_empty,
        has_own_stack: true,
    },
    Language {
        begins: |line| line.starts_with("panic: ") || line.starts_with("fatal error: "),
        ends: |_| false,
        has_own_stack: true,
    },
    Language {
        begins: |line| {
            line.starts_with("thread '") && line.contains("' panicked at ") || is_numbered_panic(line)
        },
        ends: |line| line.starts_with("note: run with `RUST_BACKTRACE"),
        has_own_stack: false,
    },
];

/// `thread '<unnamed>' (1) panicked at src/lib.rs:1:1:`
fn is_numbered_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains(") panicked at ")
}

/// Puts what the guest said last into `failure`, where the guest gave up by itself.
pub(super) fn add(failure: &mut Failure, log: &Log) {
    let gave_up = match failure.kind {
        FailureKind::Trap => true,
        FailureKind::GuestError => failure.exit_code.is_some(),
        _ => false,
    };
    if !gave_up {
        return;
    }
    let said = if log.tail.is_empty() { &log.head } else { &log.tail };
    let said = said.get(said.len().saturating_sub(LOOKED_AT)..).unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    for Language { begins, ends, has_own_stack } in LANGUAGES {
        let Some(first) = lines.iter().rposition(|line| begins(line)) else { continue };
        let rest = lines.get(first..).unwrap_or_default();
        let length = rest.iter().position(|line| ends(line)).unwrap_or(rest.len());
        failure.message = kept(rest.get(..length).unwrap_or_default());
        if has_own_stack {
            failure.backtrace.clear();
        }
        return;
    }
    // Nobody knows what it is; of a program that exited, it is most likely the reason.
    if failure.exit_code.is_some() {
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        let text = kept(last);
        if !text.is_empty() {
            failure.message = format!("{}; the last lines of its log:\n{text}", failure.message);
        }
    }
}

/// The lines as one text, made safe to show.
fn kept(lines: &[&str]) -> String {
    let text = lines.join("\n");
    let text = text.trim_matches('\n');
    if text.len() <= KEPT {
        return escape_guest_text(text);
    }
    // The end of a stack says more than its middle, and the beginning says what it is.
    let head = text.floor_char_boundary(KEPT / 4);
    let tail = text.ceil_char_boundary(text.len() - KEPT * 3 / 4);
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    escape_guest_text(&format!("{head}\n…\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kind: FailureKind, exit_code: Option<i32>, log: &str) -> Failure {
        let mut failure = Failure::new(kind, "it gave up");
        failure.exit_code = exit_code;
        failure.backtrace = vec!["abort".into()];
        add(&mut failure, &Log { head: log.as_bytes().to_vec(), ..Log::default() });
        failure
    }

    #[test]
    fn each_language_is_quoted_and_nothing_else() {
        let python = "Traceback (most recent call last):\n  File \"app.py\", line 1, in run\nZeroDivisionError: division by zero";
        let rust = "thread 'main' panicked at src/lib.rs:3:5:\nno good";
        let numbered = "thread '<unnamed>' (1) panicked at src/lib.rs:3:5:\nno good";
        let go = "panic: no good\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:7 +0x2";
        let note = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        for (log, said, frames) in [
            (format!("a line\n{python}\n\n{numbered}\nnote: x\n"), python, 0),
            (format!("Traceback (most recent call last):\nold\n{python}\n"), python, 0),
            (format!("a line\n\n{rust}\n{note}"), rust, 1),
            (format!("{numbered}\n{note}"), numbered, 1),
            (format!("a line\n{go}\n"), go, 0),
        ] {
            let failure = after(FailureKind::Trap, None, &log);
            assert_eq!(failure.message, said, "{log}");
            assert_eq!(failure.backtrace.len(), frames, "{log}");
        }
    }

    #[test]
    fn what_a_program_said_before_it_exited_is_told() {
        let failure = after(FailureKind::GuestError, Some(1), "usage: x\nno such column\n");
        assert_eq!(failure.message, "it gave up; the last lines of its log:\nusage: x\nno such column");
        assert_eq!(after(FailureKind::GuestError, Some(1), "").message, "it gave up");
        // What is no stack says nothing of a trap; and other ends have words of their own.
        assert_eq!(after(FailureKind::Trap, None, "a line\n").message, "it gave up");
        assert_eq!(after(FailureKind::FuelExhausted, None, "panic: no\n").message, "it gave up");
        assert_eq!(after(FailureKind::GuestError, None, "panic: no\n").message, "it gave up");
    }

    #[test]
    fn a_long_stack_loses_its_middle() {
        let frames: String = (0..600).map(|n| format!("  File \"ä.py\", line {n}\n")).collect();
        let log =
            format!("Traceback (most recent call last):\n{frames}RecursionError: \u{1b}[31m too deep\n");
        let message = after(FailureKind::Trap, None, &log).message;
        // The beginning is no longer among what is looked at.
        assert!(message.len() <= 4096 && message.ends_with("too deep"), "{message}");
        assert!(!message.contains('\u{1b}'), "{message}");
    }
}
