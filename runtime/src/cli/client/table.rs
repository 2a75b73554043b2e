//! What people read: tables of 80 columns, sizes, ages; and the escaping of foreign text.

use std::io::IsTerminal;

use super::super::terminal;
use crate::task::escape_guest_text;

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;

/// Foreign text in one line.
pub fn shown(text: &str) -> String {
    escape_guest_text(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Foreign text cut to `most` characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// Prints a table on standard output. On a terminal the column `flexible` is cut so that a row takes one line;
/// a program gets all of it.
pub fn print(head: &[&str], rows: &[Vec<String>], flexible: usize) -> std::io::Result<()> {
    let width = std::io::stdout().is_terminal().then_some(WIDTH);
    terminal::write_stdout(text(head, rows, flexible, width).as_bytes())
}

fn text(head: &[&str], rows: &[Vec<String>], flexible: usize, width: Option<usize>) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let whole: usize = widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
    if let (Some(width), Some(column)) = (width, widths.get_mut(flexible)) {
        *column = column.saturating_sub(whole.saturating_sub(width)).max(4);
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{:<width$}", cut(cell, *width)));
        padded.collect::<Vec<_>>().join(" ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Prints what is known of one thing, a line for each name.
pub fn print_lines(lines: &[(&str, String)]) -> std::io::Result<()> {
    let text: String = lines.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
    terminal::write_stdout(text.as_bytes())
}

/// Prints the server's JSON: unchanged for a program, without what drives a terminal for a person.
pub fn print_json(body: &[u8]) -> std::io::Result<()> {
    let mut text = match std::io::stdout().is_terminal() {
        true => escaped_json(&String::from_utf8_lossy(body)).into_bytes(),
        false => body.to_vec(),
    };
    text.push(b'\n');
    terminal::write_stdout(&text)
}

/// Control characters may be in JSON's strings only, and there these escapes mean the same.
fn escaped_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => safe.push(character),
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                safe.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Bytes, as in `88.5 KiB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Milliseconds, as in `350ms`, `1.2s`, `2m03s`, `1h02m`, `3d`.
pub fn duration(ms: i64) -> String {
    let seconds = ms / 1000;
    match ms {
        ..1000 => format!("{}ms", ms.max(0)),
        1000..60_000 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds from one of the server's times to another, or to now.
pub fn between(from: &str, to: Option<&str>) -> Option<i64> {
    let from: jiff::Timestamp = from.parse().ok()?;
    let to = match to {
        Some(to) => to.parse().ok()?,
        None => jiff::Timestamp::now(),
    };
    Some(to.as_millisecond().saturating_sub(from.as_millisecond()))
}

/// How long ago, in whole units: `12s`, `5m`, `3h`, `40d`.
pub fn age(from: &str) -> String {
    let Some(ms) = between(from, None) else { return "-".to_owned() };
    match ms.max(0) / 1000 {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A digest as people tell them apart: its first 12 digits.
pub fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_one_line_of_a_terminal() {
        let row = vec!["x".repeat(36), "a-long-name-".repeat(9), "ende".to_owned()];
        let rows = [row];
        let narrow = text(&["ID", "NAME", "END"], &rows, 1, Some(80));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(narrow.contains("… ende"), "{narrow}");
        let wide = text(&["ID", "NAME", "END"], &rows, 1, None);
        assert!(wide.contains(&"a-long-name-".repeat(9)), "{wide}");
    }

    #[test]
    fn amounts_are_short() {
        let times = [-5, 350, 1250, 62_000, 3_725_000, 400_000_000].map(duration);
        assert_eq!(times, ["0ms", "350ms", "1.2s", "1m02s", "1h02m", "4d"]);
        assert_eq!([12, 90_627, 5 << 20].map(size), ["12 B", "88.5 KiB", "5.0 MiB"]);
    }

    #[test]
    fn foreign_text_drives_no_terminal() {
        assert_eq!(shown("a\u{1b}[2J\nb\u{202e}"), "a\\u{1b}[2J\\nb\\u{202e}");
        let json = "{\"a\": \"\u{9b}2J\u{7f}\"}\n";
        let safe = escaped_json(json);
        assert_eq!(safe, "{\"a\": \"\\u009b2J\\u007f\"}\n");
        let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(same(&safe), same(json));
    }
}
