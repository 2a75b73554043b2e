//! Counts the primes below a number: pure computation, the guest for fuel, deadlines, fairness, progress
//! and cancellation.
//!
//! Input: `1000000` or `{"below": 1000000}`, at most 10^12. Output:
//! `{"below": 1000000, "primes": 78498, "largest": 999983}`; `largest` is null when there is none.

mod sieve;

use omnimind_guest::{context, json};
use serde::{Deserialize, Serialize};

/// Close to an hour of one core, and more fuel than a task gets by default. Above it a typing mistake is
/// likelier than a wish.
const MAX_BELOW: u64 = 1_000_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    below: u64,
}

#[derive(Serialize)]
struct Answer {
    below: u64,
    primes: u64,
    largest: Option<u64>,
}

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let below = parse(&input)?;
    let mut shown = 0;
    let found = sieve::count_below(below, |percent| {
        if context::cancelled() {
            return Err(format!("cancelled at {percent} %"));
        }
        // Whole percents only: a hundred reports, however long it takes.
        if percent > shown {
            shown = percent;
            context::report_progress(f32::from(percent), "sieving");
        }
        Ok(())
    })?;
    json::encode(&Answer { below, primes: found.count, largest: found.largest })
}

fn parse(input: &[u8]) -> Result<u64, String> {
    let object = input.trim_ascii_start().starts_with(b"{");
    let below = if object {
        json::decode::<Request>(input).map(|request| request.below)
    } else {
        json::decode::<u64>(input)
    };
    let below =
        below.map_err(|why| format!("{why}; give a whole number as 1000000 or {{\"below\": 1000000}}"))?;
    if below > MAX_BELOW {
        return Err(format!("below is {below}, the most is {MAX_BELOW}: ask for a smaller range"));
    }
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_input_are_read() {
        assert_eq!(parse(b"100"), Ok(100));
        assert_eq!(parse(b" {\"below\": 100}\n"), Ok(100));
    }

    #[test]
    fn bad_input_is_told_what_would_be_good() {
        for input in ["", "abc", "-1", "1.5", "{}", "[1]", "{\"above\": 3}"] {
            let error = parse(input.as_bytes()).unwrap_err();
            assert!(error.contains("{\"below\": 1000000}"), "{input}: {error}");
        }
    }

    #[test]
    fn more_than_the_maximum_is_refused_with_the_maximum() {
        assert_eq!(parse(b"1000000000000"), Ok(MAX_BELOW));
        let error = parse(b"1000000000001").unwrap_err();
        assert!(error.contains("1000000000000"), "{error}");
    }
}
