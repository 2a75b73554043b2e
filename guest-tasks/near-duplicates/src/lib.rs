//! Finds lines of a text that say nearly the same.
//!
//! Input: a text, or `{"text": "…", "threshold": 0.8}`; up to 10 000 lines, blank ones not counted. Output:
//! `{"model": "all-MiniLM-L6-v2", "lines": 120, "pairs": [{"similarity": 0.93, "lines": [4, 17], "texts": ["…", "…"]}]}`,
//! the most alike first, 1000 of them at most; lines are counted from 1.
//!
//! The vectors never leave the host: all similarities are one product of their matrix with its transpose, and what
//! comes into the guest are its rows.

use omnimind_guest::embedding::{self, MAX_TEXTS};
use omnimind_guest::tensor::{self, Precision};
use omnimind_guest::{context, json};
use serde::{Deserialize, Serialize};

/// How alike two lines are that are told of, where the input does not say.
const THRESHOLD: f32 = 0.8;

/// Pairs that are told of.
const MAX_PAIRS: usize = 1000;

/// Similarities that are read at once, about.
const PIECE: usize = 1 << 20;

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(deny_unknown_fields)]
struct Request {
    text: String,
    #[serde(default = "threshold")]
    threshold: f32,
}

fn threshold() -> f32 {
    THRESHOLD
}

#[derive(Serialize)]
struct Answer<'a> {
    model: String,
    lines: usize,
    pairs: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct Pair<'a> {
    similarity: f32,
    lines: [usize; 2],
    texts: [&'a str; 2],
}

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let request = parse(&input)?;
    let (numbers, lines) = lines(&request.text)?;
    let model = embedding::describe()?.name;
    let near = if lines.len() < 2 { Vec::new() } else { near(&lines, request.threshold)? };
    let pair = |&(similarity, one, other): &(f32, usize, usize)| {
        Some(Pair {
            similarity,
            lines: [*numbers.get(one)?, *numbers.get(other)?],
            texts: [lines.get(one)?, lines.get(other)?],
        })
    };
    json::encode(&Answer { model, lines: lines.len(), pairs: near.iter().filter_map(pair).collect() })
}

fn parse(input: &[u8]) -> Result<Request, String> {
    let request = match input.trim_ascii_start().starts_with(b"{") {
        true => json::decode(input)?,
        false => {
            let text =
                String::from_utf8(input.to_vec()).map_err(|e| format!("the input is not UTF-8: {e}"))?;
            Request { text, threshold: THRESHOLD }
        }
    };
    match (-1.0..=1.0).contains(&request.threshold) {
        true => Ok(request),
        false => Err("threshold is not from -1 to 1".to_owned()),
    }
}

/// The lines that say something, and their numbers.
fn lines(text: &str) -> Result<(Vec<usize>, Vec<String>), String> {
    let lines =
        text.lines().map(str::trim).zip(1..).filter(|(line, _)| line.chars().any(char::is_alphanumeric));
    let (lines, numbers): (Vec<String>, Vec<usize>) =
        lines.map(|(line, number)| (line.to_owned(), number)).unzip();
    match lines.len() {
        0 => Err("the text has no lines: send one line for each text".to_owned()),
        count if count > MAX_TEXTS => Err(format!("the text has {count} lines, and may have {MAX_TEXTS}")),
        _ => Ok((numbers, lines)),
    }
}

/// Pairs of lines that are more alike than `threshold`, the most alike first.
fn near(lines: &[String], threshold: f32) -> Result<Vec<(f32, usize, usize)>, String> {
    let vectors = embedding::embed_tensor(lines)?;
    let all = vectors.matmul(&vectors.transpose()?, Precision::Highest)?;
    let count = lines.len();
    let at_once = (PIECE / count).max(1);
    let mut pairs = Vec::new();
    for first in (0..count).step_by(at_once) {
        let rows = at_once.min(count - first);
        let similarities = tensor::read_f32(&all, (first * count) as u64, rows * count)?;
        for (row, similarities) in (first..).zip(similarities.chunks_exact(count)) {
            // The other half is the same.
            let others = similarities.iter().copied().enumerate().skip(row + 1);
            pairs.extend(
                others.filter(|(_, alike)| *alike >= threshold).map(|(other, alike)| (alike, row, other)),
            );
        }
        keep_nearest(&mut pairs);
        context::report_progress(100.0 * (first + rows) as f32 / count as f32, "comparing");
    }
    Ok(pairs)
}

fn keep_nearest(pairs: &mut Vec<(f32, usize, usize)>) {
    pairs.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2)));
    pairs.truncate(MAX_PAIRS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_input_are_read() {
        assert_eq!(parse(b"a\nb"), Ok(Request { text: "a\nb".into(), threshold: THRESHOLD }));
        assert_eq!(
            parse(br#" {"text": "a", "threshold": 0.5}"#),
            Ok(Request { text: "a".into(), threshold: 0.5 })
        );
        assert!(parse(br#"{"text": "a", "threshold": 2}"#).unwrap_err().contains("threshold"));
        assert!(parse(br#"{"texts": []}"#).is_err() && parse(b"\xff").is_err());
    }

    #[test]
    fn blank_lines_are_left_out_and_the_others_keep_their_numbers() {
        let (numbers, lines) = lines("one\n\n  \n two \n").unwrap();
        assert_eq!((numbers, lines), (vec![1, 4], vec!["one".to_owned(), "two".to_owned()]));
        assert!(super::lines(" \n").is_err());
        assert!(super::lines(&"x\n".repeat(10_001)).unwrap_err().contains("10000"));
    }

    #[test]
    fn the_nearest_are_kept_in_order() {
        let mut pairs: Vec<_> = (0..2000).map(|at| (at as f32 / 2000.0, at, at + 1)).collect();
        pairs.push((1.0, 7, 8));
        pairs.push((1.0, 3, 8));
        keep_nearest(&mut pairs);
        assert_eq!(pairs.len(), MAX_PAIRS);
        assert_eq!(pairs[..3], [(1.0, 3, 8), (1.0, 7, 8), (1999.0 / 2000.0, 1999, 2000)]);
    }
}
