//! What a person sees while a task runs and after it ended.
//!
//! Guest text never reaches the terminal as it is: control characters are escaped, so that a task can
//! neither move the cursor nor change the window's title.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::limits::Budget;
use crate::task::{
    CheckpointError, End, Failure, Journal, Log, MemoryJournal, ModelUse, Outcome, Receipt, escape_guest_text,
};

/// `eprintln!` that does not panic where standard error is full or closed.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(super) use note;

/// A journal that prints the log and the progress on standard error as they come.
#[derive(Debug, Default)]
pub struct TerminalJournal {
    checkpoints: MemoryJournal,
    /// A character may be cut between two writes of the guest.
    unfinished: Mutex<Vec<u8>>,
    percent: Mutex<f32>,
}

impl TerminalJournal {
    /// What the task reported last, 0 to 100.
    pub fn percent(&self) -> f32 {
        *self.percent.lock()
    }
}

#[async_trait::async_trait]
impl Journal for TerminalJournal {
    fn progress(&self, percent: f32, message: &str) {
        *self.percent.lock() = percent;
        note!("progress: {percent:.0} % {message}");
    }

    fn log(&self, bytes: &[u8]) {
        let mut unfinished = self.unfinished.lock();
        unfinished.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&unfinished) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => unfinished.len(),
        };
        let rest = unfinished.split_off(whole);
        print_log(&std::mem::replace(&mut *unfinished, rest));
    }

    async fn save_checkpoint(&self, name: &str, data: Vec<u8>) -> Result<(), CheckpointError> {
        self.checkpoints.save_checkpoint(name, data).await
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.checkpoints.load_checkpoint(name).await
    }

    fn checkpoint_size(&self, name: &str) -> Option<u64> {
        self.checkpoints.checkpoint_size(name)
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.checkpoints.checkpoint_bytes()
    }
}

fn print_log(bytes: &[u8]) {
    // In pieces, because escaping cuts long texts.
    for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
        let _ = write!(std::io::stderr(), "{}", escape_guest_text(line));
    }
}

/// Prints what of the log was not printed while the task ran.
pub fn print_tail(log: &Log) {
    if log.dropped > 0 {
        note!("\n… {} bytes of log dropped (limits.log_bytes) …", log.dropped);
    }
    print_log(&log.tail);
    let last = log.tail.last().or(log.head.last());
    if last.is_some_and(|byte| *byte != b'\n') {
        note!();
    }
}

/// Prints a text on standard output.
pub fn print(text: &str) -> std::io::Result<()> {
    write_stdout(text.as_bytes())
}

/// Prints a JSON object on standard output.
pub fn print_json(object: &impl Serialize) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(object)?;
    json.push(b'\n');
    Ok(write_stdout(&json)?)
}

/// A reader that went away (`| head`) has what it wanted.
pub fn write_stdout(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints output on standard output, and how the task ended on standard error.
pub fn print_outcome(outcome: &Outcome) -> std::io::Result<()> {
    if let End::Completed(output) = &outcome.end {
        print_output(output)?;
    }
    let receipt = &outcome.receipt;
    match &outcome.end {
        End::Completed(_) => note!("{}", completed(receipt)),
        End::Cancelled => note!("cancelled after {} ms", receipt.wall_ms),
        End::Failed(failure) => {
            note!(
                "failed after {} ms: {}",
                receipt.wall_ms,
                failure_text(&without_log(failure, &outcome.log))
            );
            print_remedy(failure);
        }
    }
    note_lines(&receipt_text(receipt));
    Ok(())
}

/// Prints a task's output as it is; on a terminal the line is ended.
pub fn print_output(output: &[u8]) -> std::io::Result<()> {
    write_stdout(output)?;
    if std::io::stdout().is_terminal() && output.last().is_some_and(|byte| *byte != b'\n') {
        write_stdout(b"\n")?;
    }
    Ok(())
}

/// The failure without the stack that stands in the log, which was printed a moment ago. Python says in the last
/// line what it is about, others in the first.
fn without_log<'a>(failure: &'a Failure, log: &Log) -> Cow<'a, Failure> {
    const FEW: usize = 2;
    let said = String::from_utf8_lossy(if log.tail.is_empty() { &log.head } else { &log.tail });
    let lines: Vec<&str> = failure.message.lines().collect();
    let [first, .., last] = lines.as_slice() else { return Cow::Borrowed(failure) };
    if lines.len() <= FEW || !said.lines().any(|line| line.trim_end() == *last) {
        return Cow::Borrowed(failure);
    }
    let first = first.strip_suffix("; the last lines of its log:").unwrap_or(first);
    let what = if first.starts_with("Traceback") { last } else { first };
    let mut short = failure.clone();
    short.message = format!("{} (the rest is in the log above)", what.trim_end_matches(':'));
    Cow::Owned(short)
}

/// What a completed task took, in one line.
pub fn completed(receipt: &Receipt) -> String {
    let Receipt { wall_ms, cpu_ms, engine, .. } = receipt;
    format!("completed in {wall_ms} ms ({cpu_ms} ms of CPU, {})", escape_guest_text(engine))
}

/// Until somebody at a terminal is told what is being waited for, and told again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits for `work`, and says so now and then on a terminal.
pub async fn while_waiting<T>(work: impl Future<Output = T>, said: impl Fn(u64) -> String) -> T {
    let mut work = std::pin::pin!(work);
    let (begun, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(PATIENCE) => {
                if terminal {
                    note!("… {}", said(begun.elapsed().as_secs()));
                }
            }
        }
    }
}

/// Why a task failed, where, and what would help. It may come from a server: everything is escaped.
pub fn failure_text(failure: &Failure) -> String {
    let mut text = format!("{}: {}", failure.kind.name(), escape_guest_text(&failure.message));
    for frame in &failure.backtrace {
        text.push_str(&format!("\n    at {}", escape_guest_text(frame)));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("\nhint: {}", escape_guest_text(hint)));
    }
    text
}

/// The flag that would have let it pass, where one would.
pub fn print_remedy(failure: &Failure) {
    let remedy = failure.hint.as_ref().and_then(|hint| hint.split_once("set limits.")?.1.split_once(" to "));
    if let Some((limit, asked)) = remedy {
        note!("      here: --limit {}={}", escape_guest_text(limit), escape_guest_text(asked));
    }
}

/// What was used of each budget, and what each language model wrote, a line each.
pub fn receipt_text(receipt: &Receipt) -> String {
    let mut text = String::new();
    for budget in Budget::ALL {
        let Some(line) = receipt.budget(budget.name()) else {
            continue;
        };
        let stopped = receipt.stopped_by.as_deref() == Some(budget.name());
        match line.used {
            Some(used) if used > 0 || stopped => {
                let mark = if stopped { "  <- stopped the task" } else { "" };
                let (used, limit) = (budget.display(used), budget.display(line.limit));
                text.push_str(&format!("  {:<17}{used:>16} of {limit}{mark}\n", budget.name()));
            }
            _ => {}
        }
    }
    for ModelUse { model, answers, cached, prompt_tokens, completion_tokens, tokens_per_second, .. } in
        &receipt.inference
    {
        let model = escape_guest_text(model);
        text.push_str(&format!(
            "  {model}: {answers} answers, {cached} of them kept from before; tokens read "
        ));
        text.push_str(&format!("{prompt_tokens}, written {completion_tokens}"));
        if let Some(speed) = tokens_per_second {
            text.push_str(&format!(", {speed} per second"));
        }
        text.push('\n');
    }
    text
}

/// Prints lines that end in a newline.
pub fn note_lines(lines: &str) {
    let _ = std::io::stderr().write_all(lines.as_bytes());
}
