//! What an access log says: the busiest clients, the kinds of answers, and how long they took. README.md, one
//! directory up, has the rules.

mod line;

use std::cmp::Reverse;
use std::collections::HashMap;

use line::Line;
use omnimind_guest::json;
use serde::Serialize;

const TOP_CLIENTS: usize = 10;

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut output = json::encode(&Report::of(&input))?;
    output.push(b'\n');
    Ok(output)
}

/// Field for field the output.
#[derive(Debug, Default, Serialize)]
struct Report<'a> {
    lines: u64,
    malformed: u64,
    clients: Vec<Client<'a>>,
    status: Status,
    p95_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Client<'a> {
    client: &'a str,
    requests: u64,
    bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Status {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirection: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
}

impl Status {
    fn count(&mut self, class: u8) {
        *match class {
            1 => &mut self.informational,
            2 => &mut self.success,
            3 => &mut self.redirection,
            4 => &mut self.client_error,
            _ => &mut self.server_error,
        } += 1;
    }
}

impl Report<'_> {
    fn of(log: &[u8]) -> Report<'_> {
        let mut report = Report::default();
        let mut clients: HashMap<&str, Client> = HashMap::new();
        let mut durations = Vec::new();
        for line in log.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            report.lines += 1;
            let Some(line) = Line::parse(line) else {
                report.malformed += 1;
                continue;
            };
            let new = Client { client: line.client, requests: 0, bytes: 0 };
            let client = clients.entry(line.client).or_insert(new);
            client.requests += 1;
            client.bytes += line.bytes;
            report.status.count(line.status_class);
            durations.push(line.duration_ms);
        }
        report.clients = clients.into_values().collect();
        report.clients.sort_unstable_by_key(|client| (Reverse(client.requests), client.client));
        report.clients.truncate(TOP_CLIENTS);
        report.p95_ms = p95(durations);
        report
    }
}

/// By nearest rank: the smallest of which at least 95 % are no larger.
fn p95(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let rank = (95 * values.len()).div_ceil(100);
    values.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_the_sample_is_the_expected_one() {
        let report = run(include_bytes!("../../access.log").to_vec()).unwrap();
        assert_eq!(str::from_utf8(&report).unwrap(), include_str!("../../expected.json"));
    }

    #[test]
    fn nearest_rank_is_a_value_that_occurs() {
        assert_eq!(p95(vec![]), None);
        assert_eq!(p95(vec![7]), Some(7));
        assert_eq!(p95((1..=20).collect()), Some(19));
        assert_eq!(p95((1..=21).rev().collect()), Some(20));
    }
}
