//! `omnimind task show`: a record as people read it.

use super::super::terminal;
use super::table::{age, between, cut, duration, shown};
use crate::task::{Receipt, Record, Status};

/// Characters of an output that are shown.
const MAX_OUTPUT: usize = 200;

/// The record, a line for each thing that is known. Commands that it advises have these flags.
pub fn text(record: &Record, flags: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    let digest = record.digest.to_string();
    line("task", record.task_id.to_string());
    line("status", status(record));
    line("component", shown(&record.component));
    if record.component != digest {
        line("digest", digest);
    }
    line("priority", record.priority.name().to_owned());
    line("created", format!("{} ({} ago)", shown(&record.created_at), age(&record.created_at)));
    if let Some(started) = &record.started_at {
        line("started", shown(started));
    }
    if let Some(completed) = &record.completed_at {
        line("ended", shown(completed));
    }
    line("attempts", record.attempts.to_string());
    if let Some(receipt) = &record.receipt {
        let Receipt { queue_ms, wall_ms, cpu_ms, .. } = &**receipt;
        line("times", format!("queue_ms {queue_ms}, wall_ms {wall_ms}, cpu_ms {cpu_ms}"));
    }
    if !record.durable {
        line("durable", "no: it is gone with the server".to_owned());
    }
    if let Some(description) = &record.description {
        line("description", shown(description));
    }
    if record.metadata.get() != "null" {
        line("metadata", shown(record.metadata.get()));
    }
    if let Some(output) = output(record, flags) {
        line("output", output);
    }
    if let Some(failure) = &record.failure {
        text.push_str(&format!("failure      {}\n", terminal::failure_text(failure)));
    }
    if let Some(receipt) = &record.receipt {
        text.push_str(&format!("receipt      {}\n", shown(&receipt.engine)));
        text.push_str(&terminal::receipt_text(receipt));
    }
    text
}

fn status(record: &Record) -> String {
    let name = record.status.name();
    let took = record.started_at.as_deref().and_then(|from| between(from, record.completed_at.as_deref()));
    match (record.status, took) {
        (Status::Running, Some(took)) => format!("{name} for {}, {:.0} %", duration(took), record.progress),
        (status, Some(took)) if status.is_final() => format!("{name} after {}", duration(took)),
        _ => name.to_owned(),
    }
}

fn output(record: &Record, flags: &str) -> Option<String> {
    let (text, what) = match (&record.result, &record.result_text, &record.result_base64) {
        (Some(json), ..) => (json.get(), ""),
        (_, Some(text), _) => (text.as_str(), ""),
        (.., Some(base64)) => (base64.as_str(), "base64 "),
        _ if record.output_removed => ("removed, because the disk was nearly full", ""),
        _ => return None,
    };
    let more = match text.chars().count() > MAX_OUTPUT {
        true => format!(" (all of it: omnimind task wait {}{flags})", record.task_id),
        false => String::new(),
    };
    Some(format!("{what}{}{more}", cut(&shown(text), MAX_OUTPUT)))
}
