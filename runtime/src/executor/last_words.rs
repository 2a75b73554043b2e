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

/// The trap by which runtimes give up.
const ABORT: &str = "unreachable";

/// How a language says that it gives up.
struct Language {
    /// Whether this line is the first of it.
    begins: fn(&str) -> bool,
    /// Whether what follows that line is what follows it there: a line of a log may begin like it, too.
    goes_on: fn(&[&str]) -> bool,
    /// Whether this line, and all after it, is no part of it.
    ends: fn(&str) -> bool,
}

/// In the order in which they are looked for: Python's runtime panics in Rust after the exception was printed.
const LANGUAGES: [Language; 3] = [
    Language {
        begins: |line| line == "Traceback (most recent call last):",
        goes_on: |rest| rest.first().is_some_and(|line| line.starts_with("  File \"")),
        ends: is_python_s_panic,
    },
    Language {
        begins: |line| line.starts_with("panic: ") || line.starts_with("fatal error: "),
        goes_on: |rest| {
            rest.iter().any(|line| line.starts_with("goroutine ") || line.starts_with("runtime stack:"))
        },
        ends: |_| false,
    },
    Language {
        begins: is_panic,
        goes_on: |_| true,
        ends: |line| line.starts_with("note: run with `RUST_BACKTRACE"),
    },
];

/// `thread 'main' panicked at src/lib.rs:1:1:`, and with a number after the name in later Rusts.
fn is_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains(" panicked at ")
}

/// How componentize-py's runtime ends, after an exception of which the traceback was printed.
fn is_python_s_panic(line: &str) -> bool {
    is_panic(line) && line.contains("runtime/src/lib.rs")
}

/// Puts what the guest said last into `failure`, where the guest gave up by itself.
pub(super) fn add(failure: &mut Failure, log: &Log) {
    let aborted = failure.kind == FailureKind::Trap && failure.trap.as_deref() == Some(ABORT);
    let exited = failure.kind != FailureKind::MachineMemory && failure.exit_code.is_some();
    if !aborted && !exited {
        return;
    }
    let said = end_of(log);
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let stack = LANGUAGES.iter().find_map(|Language { begins, goes_on, ends }| {
        let first = lines.iter().rposition(|line| begins(line))?;
        let (_, rest) = lines.get(first..)?.split_first()?;
        goes_on(rest).then_some(())?;
        let length = 1 + rest.iter().position(|line| ends(line)).unwrap_or(rest.len());
        lines.get(first..first + length)
    });
    // Of a program that exited the last lines are most likely the reason, whatever they are.
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    match stack {
        // How it ended, its language has said better; and where, unless the frames are those of an interpreter.
        Some(stack) if aborted => {
            failure.message = kept(stack);
            if lines.iter().any(|line| is_python_s_panic(line)) {
                failure.backtrace.clear();
            }
        }
        _ if aborted => {}
        _ => {
            let text = kept(stack.unwrap_or(last));
            if !text.is_empty() {
                failure.message = format!("{}; the last lines of its log:\n{text}", failure.message);
            }
        }
    }
}

/// The last bytes of the log, as far as nothing is missing in them.
fn end_of(log: &Log) -> Vec<u8> {
    let Log { head, tail, dropped } = log;
    let whole = match dropped {
        0 => [head.as_slice(), tail.as_slice()].concat(),
        // The first line of the tail is the rest of one.
        _ => {
            let rest = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |at| at + 1);
            tail.get(rest..).unwrap_or_default().to_vec()
        }
    };
    whole.get(whole.len().saturating_sub(LOOKED_AT)..).unwrap_or_default().to_vec()
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

    const PYTHON: &str = "Traceback (most recent call last):\n  File \"app.py\", line 1, in run\nZeroDivisionError: division by zero";
    const PYTHON_S_PANIC: &str = "\n\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\nPython function threw an unexpected exception\n";
    const RUST: &str = "thread 'main' panicked at src/lib.rs:3:5:\nno good";
    const GO: &str = "panic: no good\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:7 +0x2";

    /// Of a guest that aborted, or exited; with one frame.
    fn failure(exit_code: Option<i32>) -> Failure {
        let kind = if exit_code.is_some() { FailureKind::GuestError } else { FailureKind::Trap };
        let mut failure = Failure::new(kind, "it gave up");
        failure.exit_code = exit_code;
        failure.trap = exit_code.is_none().then(|| ABORT.to_owned());
        failure.backtrace = vec!["abort".into()];
        failure
    }

    fn after(exit_code: Option<i32>, log: &str) -> Failure {
        let mut failure = failure(exit_code);
        add(&mut failure, &Log { head: log.as_bytes().to_vec(), ..Log::default() });
        failure
    }

    #[test]
    fn what_a_language_printed_is_the_message() {
        let note = "\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        for (log, said, frames) in [
            (format!("a line\n{PYTHON}{PYTHON_S_PANIC}{note}"), PYTHON, 0),
            (
                format!("Traceback (most recent call last):\n  File \"old\"\n{PYTHON}{PYTHON_S_PANIC}"),
                PYTHON,
                0,
            ),
            (format!("a line\n\n{RUST}{note}"), RUST, 1),
            (
                format!("{}{note}", RUST.replace("'main'", "'<unnamed>' (1)")),
                &RUST.replace("'main'", "'<unnamed>' (1)"),
                1,
            ),
            (format!("a line\n{GO}\n"), GO, 1),
        ] {
            let failure = after(None, &log);
            assert_eq!(failure.message, said, "{log}");
            assert_eq!(failure.backtrace.len(), frames, "{log}");
        }
    }

    #[test]
    fn a_line_that_only_begins_like_it_is_none() {
        for log in [
            "fatal error: cache unreadable, starting cold\nserved 1\n",
            "panic: no\n",
            "Traceback (most recent call last):\n",
        ] {
            let failure = after(None, log);
            assert_eq!((failure.message.as_str(), failure.backtrace.len()), ("it gave up", 1), "{log}");
        }
        // Other ends have words of their own.
        let log = Log { head: RUST.into(), ..Log::default() };
        let mut divided = failure(None);
        divided.trap = Some("integer_divide_by_zero".into());
        let mut returned = failure(Some(1));
        returned.exit_code = None;
        for mut failure in [divided, returned, Failure::new(FailureKind::FuelExhausted, "it gave up")] {
            add(&mut failure, &log);
            assert_eq!(failure.message, "it gave up");
        }
    }

    #[test]
    fn what_a_program_said_before_it_exited_is_told_beside_its_code() {
        let told = |log: &str| after(Some(1), log).message;
        assert_eq!(told(&format!("a line\n{GO}\n")), format!("it gave up; the last lines of its log:\n{GO}"));
        assert_eq!(
            told("usage: x\nno such column\n"),
            "it gave up; the last lines of its log:\nusage: x\nno such column"
        );
        assert_eq!(told(""), "it gave up");
        let many: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert!(
            told(&many).ends_with("line 98\nline 99") && !told(&many).contains("line 91"),
            "{}",
            told(&many)
        );
        // What came before an error that was handled is no reason, but the end is there.
        assert!(told(&format!("{PYTHON}\nretrying\nERROR: disk quota\n")).ends_with("ERROR: disk quota"));
    }

    #[test]
    fn a_stack_may_lie_across_both_ends_of_the_log() {
        let (head, tail) = RUST.split_at(20);
        let log = |dropped| Log { head: head.into(), tail: tail.into(), dropped };
        let mut whole = failure(None);
        add(&mut whole, &log(0));
        assert_eq!(whole.message, RUST);
        let mut broken = failure(Some(1));
        add(&mut broken, &log(7));
        assert_eq!(broken.message, "it gave up; the last lines of its log:\nno good");
    }

    #[test]
    fn a_long_stack_loses_its_middle() {
        let frames: String = (0..600).map(|n| format!("  File \"ä.py\", line {n}\n")).collect();
        let log = format!(
            "Traceback (most recent call last):\n{frames}RecursionError: \u{1b}[31m too deep{PYTHON_S_PANIC}"
        );
        let message = after(None, &log).message;
        assert!(message.len() <= 4096 && message.ends_with("too deep"), "{message}");
        assert!(message.starts_with("Traceback") && !message.contains('\u{1b}'), "{message}");
    }
}
