//! Counts the words of a text: how many, how many different ones, and the five most frequent.

mod omnimind;

use std::cmp::Reverse;
use std::collections::HashMap;

use omnimind::task_context as context;
use serde::Serialize;

#[derive(Serialize)]
struct Word {
    word: String,
    count: u64,
}

#[derive(Serialize)]
struct Report {
    words: u64,
    unique: usize,
    top: Vec<Word>,
}

/// The task: bytes to bytes. An `Err` ends it as failed, and its text is what the client reads.
fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let text = String::from_utf8(input)
        .map_err(|error| format!("the input is not UTF-8 text: {error}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut counts: HashMap<String, u64> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        // Calls of the host have a price: once in a while will do.
        if number % 10_000 == 0 {
            if context::cancelled() {
                return Err("cancelled".into());
            }
            context::report_progress(100.0 * number as f32 / lines.len() as f32, "counting");
        }
        for word in line
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
        {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let words = counts.values().sum();
    let unique = counts.len();
    let mut top: Vec<Word> = counts
        .into_iter()
        .map(|(word, count)| Word { word, count })
        .collect();
    top.sort_by(|a, b| (Reverse(a.count), &a.word).cmp(&(Reverse(b.count), &b.word)));
    top.truncate(5);
    serde_json::to_vec(&Report { words, unique, top }).map_err(|error| error.to_string())
}
