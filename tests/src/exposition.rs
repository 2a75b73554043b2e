//! The text that Prometheus reads, version 0.0.4: a parser that takes nothing else.
//!
//! Stricter than Prometheus': every family has its help and its type, once and before its samples, which are in one
//! piece; no series comes twice; counters are called so; buckets are cumulative and end with all there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    /// By name.
    pub families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Exposition {
    /// Takes `text` apart, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Exposition, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut exposition = Exposition::default();
        let mut name = String::new();
        let mut helped: Option<(String, String)> = None;
        for line in text.lines() {
            let wrong = |what: &str| Err(format!("{what}: {line:?}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let Some((of, help)) = rest.split_once(' ') else { return wrong("help without words") };
                if helped.is_some() {
                    return wrong("help after help");
                }
                unescape(help, false).ok_or("an escape in help")?;
                helped = Some((of.to_owned(), help.to_owned()));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((of, kind)) = rest.split_once(' ') else { return wrong("a type without a name") };
                let Some((_, help)) = helped.take().filter(|(helped, _)| helped == of) else {
                    return wrong("a type without help");
                };
                if !is_name(of, true) || !["counter", "gauge", "histogram"].contains(&kind) {
                    return wrong("no such name or type");
                }
                if (kind == "counter") != of.ends_with("_total") {
                    return wrong("counters, and nothing else, end with _total");
                }
                let family = Family { kind: kind.to_owned(), help, samples: Vec::new() };
                if exposition.families.insert(of.to_owned(), family).is_some() {
                    return wrong("a family comes twice");
                }
                of.clone_into(&mut name);
            } else {
                let Some(sample) = Sample::parse(line) else { return wrong("no sample") };
                let Some(family) = exposition.families.get_mut(&name).filter(|_| helped.is_none()) else {
                    return wrong("a sample without a family");
                };
                let suffix = sample.name.strip_prefix(&name);
                let fits = match family.kind.as_str() {
                    "histogram" => {
                        suffix.is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix))
                    }
                    _ => suffix == Some(""),
                };
                if !fits {
                    return wrong("a sample of another family");
                }
                family.samples.push(sample);
            }
        }
        if helped.is_some() {
            return Err("help at the end".to_owned());
        }
        for (name, family) in &exposition.families {
            family.check().map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(exposition)
    }

    /// The value of the one series of that name with just these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples
            .filter(|sample| sample.name == name && sample.labels == labels)
            .map(|sample| sample.value)
            .next()
    }

    /// The samples of one family; none where it is not there.
    pub fn samples(&self, family: &str) -> &[Sample] {
        self.families.get(family).map_or(&[], |family| &family.samples)
    }
}

impl Family {
    fn check(&self) -> Result<(), String> {
        if self.samples.is_empty() {
            return Err("no samples".to_owned());
        }
        let mut seen = BTreeSet::new();
        for Sample { name, labels, value } in &self.samples {
            if !seen.insert((name, labels)) {
                return Err(format!("{name} {labels:?} comes twice"));
            }
            if self.kind != "gauge" && (value.is_nan() || *value < 0.0) {
                return Err(format!("{name} is {value}"));
            }
        }
        if self.kind == "histogram" { self.check_buckets() } else { Ok(()) }
    }

    fn check_buckets(&self) -> Result<(), String> {
        let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        let (mut sums, mut counts) = (BTreeSet::new(), BTreeMap::new());
        for Sample { name, labels, value } in &self.samples {
            let mut labels = labels.clone();
            let bound = labels.remove("le");
            match (name.rsplit('_').next(), bound) {
                (Some("bucket"), Some(bound)) => {
                    let bound = bound.parse().map_err(|_| format!("le is {bound:?}"))?;
                    series.entry(labels).or_default().push((bound, *value));
                }
                (Some("sum"), None) => drop(sums.insert(labels)),
                (Some("count"), None) => drop(counts.insert(labels, *value)),
                _ => return Err(format!("{name} {labels:?}")),
            }
        }
        if series.len() != sums.len() || series.len() != counts.len() {
            return Err("buckets, sums and counts are not of the same series".to_owned());
        }
        for (labels, buckets) in series {
            let rises = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
            let last = buckets.last().map(|(bound, count)| (*bound, Some(count)));
            if !rises || last != Some((f64::INFINITY, counts.get(&labels))) || !sums.contains(&labels) {
                return Err(format!("{labels:?}: {buckets:?}"));
            }
        }
        Ok(())
    }
}

impl Sample {
    /// `name{label="value",…} number`
    fn parse(line: &str) -> Option<Sample> {
        let (head, labels, number) = match line.split_once('{') {
            Some((name, rest)) => {
                let (labels, rest) = labels(rest)?;
                (name, labels, rest.strip_prefix(' ')?)
            }
            None => {
                let (name, number) = line.split_once(' ')?;
                (name, BTreeMap::new(), number)
            }
        };
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e');
        let plain = number.chars().all(is_number) || ["+Inf", "-Inf", "NaN"].contains(&number);
        let value = number.parse().ok().filter(|_| plain && is_name(head, true))?;
        Some(Sample { name: head.to_owned(), labels, value })
    }
}

/// Labels up to their closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut found = BTreeMap::new();
    loop {
        let (name, rest) = text.split_once("=\"")?;
        // The first quote without a backslash before it.
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let (value, rest) = (&rest[..end], &rest[end + 1..]);
        if !is_name(name, false) || found.insert(name.to_owned(), unescape(value, true)?).is_some() {
            return None;
        }
        match rest.strip_prefix(',') {
            Some(more) => text = more,
            None => return Some((found, rest.strip_prefix('}')?)),
        }
    }
}

fn unescape(text: &str, quotes: bool) -> Option<String> {
    let (mut plain, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                '\\' => '\\',
                '"' if quotes => '"',
                _ => return None,
            },
            '"' if quotes => return None,
            letter => letter,
        });
    }
    Some(plain)
}

fn is_name(text: &str, colons: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || colons && c == ':';
    !text.is_empty() && text.chars().all(fits) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Prometheus' own tool, on PATH or in `~/.cache/omnimind`; says that a test was not run where it is not there.
pub fn promtool() -> Option<PathBuf> {
    let cache = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/omnimind");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([cache.clone(), cache.join("guest-tools")]);
    let found = places.find_map(|place| Some(place.join("promtool")).filter(|tool| tool.is_file()));
    if found.is_none() {
        eprintln!("not run: there is no promtool on PATH or in {}", cache.display());
    }
    found
}
