//! What documents list is what the code has, and the other way round.

use std::collections::BTreeSet;
use std::fs;

use omnimind::limits::{Budget, Mode};
use omnimind_tests::checkout;

/// A method, and a path in which names are `{}`.
type Route = (String, String);

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The path that `text` begins with, whatever its names are and whether a slash is at its end.
fn path(text: &str) -> String {
    let (mut path, mut in_name) = (String::new(), false);
    for c in text.chars() {
        match c {
            '{' => {
                in_name = true;
                path.push_str("{}");
            }
            '}' => in_name = false,
            _ if in_name => {}
            _ if c.is_ascii_alphanumeric() || "/-_.".contains(c) => path.push(c),
            _ => break,
        }
    }
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

/// What `server/router.rs` answers.
fn routed() -> BTreeSet<Route> {
    let constant = |file: &str| {
        let text = read(file);
        let (_, rest) = text.split_once("pub const PATH: &str = ").expect("a path");
        rest.split(';').next().expect("its end").to_owned()
    };
    let text = read("runtime/src/server/router.rs");
    let (_, table) = text.split_once("\npub fn router(").expect("the table of routes");
    let (table, _) = table.split_once("\nasync fn ").expect("its end");
    let table = table
        .replace("websocket::PATH", &constant("runtime/src/server/websocket/mod.rs"))
        .replace("sessions::PATH", &constant("runtime/src/server/sessions.rs"));
    let mut routes = BTreeSet::new();
    for row in table.split("(\"/").skip(1) {
        let (rest, handlers) = row.split_once('"').expect("the path's end");
        for method in METHODS {
            let call = format!("{}(", method.to_lowercase());
            let is_word = |at: usize| !handlers[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if handlers.match_indices(call.as_str()).any(|(at, _)| is_word(at)) {
                routes.insert((method.to_owned(), path(&format!("/{rest}"))));
            }
        }
    }
    routes
}

/// What `text` writes as `GET /path`.
fn written(text: &str) -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for method in METHODS {
        let mark = format!("{method} /");
        let paths = text.split(mark.as_str()).skip(1);
        routes.extend(paths.map(|rest| (method.to_owned(), path(&format!("/{rest}")))));
    }
    routes
}

#[test]
fn the_api_document_has_every_route_and_no_other() {
    let (text, routed) = (read("docs/api.md"), routed());
    assert!(routed.len() > 40, "{routed:?}");
    let lacks: Vec<Route> = routed.difference(&written(&text)).cloned().collect();
    assert!(lacks.is_empty(), "docs/api.md does not have {lacks:?}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let in_tables = written(&rows.join("\n"));
    let gone: Vec<&Route> =
        in_tables.difference(&routed).filter(|(_, path)| path.starts_with("/api")).collect();
    assert!(gone.is_empty(), "docs/api.md has {gone:?}, which nothing answers");
    assert!(in_tables.len() > 30, "{in_tables:?}");
}

#[test]
fn the_monitoring_document_has_every_metric_and_no_other() {
    let is_name = |word: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (word.starts_with("omnimind_") || word.starts_with("process_")) && word.chars().all(plain)
    };
    let mut files = vec!["runtime/src/server/figures.rs".to_owned()];
    for entry in fs::read_dir(checkout().join("runtime/src/metrics")).expect("a directory") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        files.push(format!("runtime/src/metrics/{name}"));
    }
    let mut literals = BTreeSet::new();
    for file in files {
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().expect("code");
        literals.extend(code.split('"').filter(|word| is_name(word)).map(str::to_owned));
    }
    let text = read("docs/monitoring.md");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    // A histogram's buckets have its name and their own.
    let names = words.filter(|word| is_name(word)).map(|word| word.trim_end_matches("_bucket").to_owned());
    let documented: BTreeSet<String> = names.collect();
    let gone: Vec<&String> = documented.difference(&literals).collect();
    assert!(gone.is_empty(), "docs/monitoring.md has {gone:?}, which nothing tells");
    // Of the others some are members of JSON.
    let lacks: Vec<&String> =
        literals.difference(&documented).filter(|name| name.starts_with("omnimind_")).collect();
    assert!(lacks.is_empty(), "docs/monitoring.md does not have {lacks:?}");
    assert!(documented.len() > 40, "{documented:?}");
}

/// A default as the README writes it: `10¹²`, `10 000`, `10 million`, `512 MiB`, `300 s`.
fn amount(text: &str) -> Option<u64> {
    const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let units: [(&str, u64); 5] =
        [(" GiB", 1 << 30), (" MiB", 1 << 20), (" KiB", 1 << 10), (" million", 1_000_000), (" s", 1000)];
    for (unit, times) in units {
        if let Some(number) = text.strip_suffix(unit) {
            return Some(number.parse::<u64>().ok()? * times);
        }
    }
    let Some(power) = text.strip_prefix("10").filter(|power| power.starts_with(SUPERSCRIPTS)) else {
        return text.replace(' ', "").parse().ok();
    };
    let mut exponent = 0;
    for c in power.chars() {
        let digit = SUPERSCRIPTS.iter().position(|digit| *digit == c)?;
        exponent = 10 * exponent + u32::try_from(digit).ok()?;
    }
    10_u64.checked_pow(exponent)
}

#[test]
fn the_readme_has_every_limit_with_its_default() {
    let text = read("README.md");
    let mut named = BTreeSet::new();
    let from_head = text.lines().skip_while(|line| !line.starts_with("| limit | default |"));
    for row in from_head.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        for pair in cells.chunks(2) {
            let [limits, defaults] = pair else { panic!("README.md: a limit without a default in {row}") };
            let names: Vec<&str> = limits.split('`').skip(1).step_by(2).collect();
            if names.is_empty() {
                continue;
            }
            let defaults: Vec<&str> = match defaults.strip_suffix(" each") {
                Some(one) => vec![one; names.len()],
                None => defaults.split(", ").collect(),
            };
            assert_eq!(names.len(), defaults.len(), "README.md: {row}");
            for (name, default) in names.into_iter().zip(defaults) {
                let budget =
                    Budget::from_name(name).unwrap_or_else(|| panic!("README.md: no limit is {name}"));
                let right = budget.bounds(Mode::Dev).default;
                assert_eq!(amount(default), Some(right), "README.md, {name}: {default}");
                named.insert(budget.name());
            }
        }
    }
    let lacks: Vec<&str> =
        Budget::ALL.map(Budget::name).into_iter().filter(|name| !named.contains(name)).collect();
    assert!(lacks.is_empty(), "README.md does not have {lacks:?}");
    let said = format!(" {} limits in ", Budget::ALL.len());
    assert!(text.contains(&said), "README.md does not say that attest shows{said}so long");
}

#[test]
fn the_attestation_in_the_document_is_of_every_limit() {
    let text = read("docs/limits.md");
    let (_, transcript) = text.split_once("\nLIMIT ").expect("what `omnimind attest` printed");
    let (transcript, _) = transcript.split_once("\n```").expect("its end");
    let named: BTreeSet<&str> = transcript.lines().filter_map(|line| line.split(' ').next()).collect();
    let lacks: Vec<&str> =
        Budget::ALL.map(Budget::name).into_iter().filter(|name| !named.contains(name)).collect();
    assert!(lacks.is_empty(), "docs/limits.md: run `omnimind attest` again, its transcript lacks {lacks:?}");
    let said = format!("\n{} limits, ", Budget::ALL.len());
    assert!(transcript.contains(&said), "docs/limits.md: the transcript does not end with{said}");
}

#[test]
fn every_hostile_guest_is_in_the_list_of_them() {
    let text = read("guest-tasks/hostile/README.md");
    let (_, table) = text.split_once("\n## The guests\n").expect("the list");
    let cells = table.lines().filter(|line| line.starts_with("| `")).filter_map(|row| row.split('|').nth(1));
    let named: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let files = fs::read_dir(checkout().join("guest-tasks/hostile")).expect("a directory");
    let files = files.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let guests: BTreeSet<String> =
        files.filter_map(|name| name.strip_suffix(".wat").map(str::to_owned)).collect();
    assert!(guests.len() > 90, "{guests:?}");
    let apart: Vec<&String> = named.symmetric_difference(&guests).collect();
    assert!(
        apart.is_empty(),
        "guest-tasks/hostile: a guest without a row, or a row without a guest: {apart:?}"
    );
}
