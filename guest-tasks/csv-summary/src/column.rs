//! One column: what its values are, and the figures that fit them, in one pass and bounded memory.
//!
//! A value is its field without white space around it; an empty one is missing (`NA` and `null` are text,
//! because somebody's data means Namibia). A column has the narrowest type that fits *all* its values:
//!
//! * `integer`: digits with an optional sign, within 64 bits;
//! * `number`: a decimal with `.`, optionally an exponent, or an integer beyond 64 bits;
//! * `boolean`: `true` or `false` in any case;
//! * `text`: all else, also digits with a leading zero (`00501` is a postal code);
//! * `empty`: no value at all.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

/// Different values kept per column; beyond it `distinct` is a lower bound and `distinct_capped` is true.
const MAX_DISTINCT: usize = 10_000;
const TOP_VALUES: usize = 5;

/// What is reported about a column. Figures that do not fit its type are left out.
#[derive(Debug, Serialize)]
pub struct ColumnSummary {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Values, without the missing ones.
    pub count: u64,
    pub missing: u64,
    /// Different values as they are written: `1` and `1.0` are two.
    pub distinct: usize,
    pub distinct_capped: bool,
    #[serde(flatten)]
    pub numeric: Option<NumericSummary>,
    #[serde(flatten)]
    pub text: Option<TextSummary>,
    /// Of text and boolean columns: the most frequent values, among equals in the order of their bytes.
    /// Left out when `distinct_capped`, where it could be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_values: Option<Vec<TopValue>>,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Integer,
    Number,
    Boolean,
    Text,
    Empty,
}

/// Figures of integer and number columns.
#[derive(Debug, Serialize)]
pub struct NumericSummary {
    pub min: Figure,
    pub max: Figure,
    pub mean: f64,
    /// Of the sample (divided by n - 1); null for a single value.
    pub stddev: Option<f64>,
}

/// An extreme: exact where the column is of integers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Figure {
    Integer(i64),
    Number(f64),
}

/// Lengths of a text column's values, in characters.
#[derive(Debug, Serialize)]
pub struct TextSummary {
    pub shortest: usize,
    pub longest: usize,
}

/// A value and how often it occurs.
#[derive(Debug, PartialEq, Serialize)]
pub struct TopValue {
    pub value: String,
    pub count: u64,
}

/// A column being read.
pub struct Column {
    name: String,
    missing: u64,
    integers: u64,
    numbers: u64,
    booleans: u64,
    texts: u64,
    integer_range: (i64, i64),
    number_range: (f64, f64),
    /// Welford's running mean and sum of squared differences, stable where the naive sums are not.
    mean: f64,
    squares: f64,
    lengths: (usize, usize),
    occurrences: HashMap<String, u64>,
    distinct_capped: bool,
}

impl Column {
    /// A column by its header field; an empty one is named by its position.
    pub fn new(name: &str, index: usize) -> Column {
        let name = match name.trim() {
            "" => format!("column {}", index + 1),
            name => name.into(),
        };
        Column {
            name,
            missing: 0,
            integers: 0,
            numbers: 0,
            booleans: 0,
            texts: 0,
            integer_range: (i64::MAX, i64::MIN),
            number_range: (f64::INFINITY, f64::NEG_INFINITY),
            mean: 0.0,
            squares: 0.0,
            lengths: (usize::MAX, 0),
            occurrences: HashMap::new(),
            distinct_capped: false,
        }
    }

    /// Takes one more field of this column.
    pub fn add(&mut self, field: &str) {
        let value = field.trim();
        if value.is_empty() {
            self.missing += 1;
            return;
        }
        match Value::parse(value) {
            Value::Integer(integer) => {
                self.integers += 1;
                let (min, max) = self.integer_range;
                self.integer_range = (min.min(integer), max.max(integer));
                self.add_number(integer as f64);
            }
            Value::Number(number) => {
                self.numbers += 1;
                self.add_number(number);
            }
            Value::Boolean => self.booleans += 1,
            Value::Text => self.texts += 1,
        }
        let length = value.chars().count();
        self.lengths = (self.lengths.0.min(length), self.lengths.1.max(length));
        if let Some(count) = self.occurrences.get_mut(value) {
            *count += 1;
        } else if self.occurrences.len() < MAX_DISTINCT {
            self.occurrences.insert(value.into(), 1);
        } else {
            self.distinct_capped = true;
        }
    }

    fn add_number(&mut self, number: f64) {
        let (min, max) = self.number_range;
        self.number_range = (min.min(number), max.max(number));
        let from_old_mean = number - self.mean;
        self.mean += from_old_mean / (self.integers + self.numbers) as f64;
        self.squares += from_old_mean * (number - self.mean);
    }

    fn kind(&self) -> Kind {
        let numeric = self.integers + self.numbers;
        match (numeric, self.booleans, self.texts) {
            (0, 0, 0) => Kind::Empty,
            (_, 0, 0) if self.numbers == 0 => Kind::Integer,
            (_, 0, 0) => Kind::Number,
            (0, _, 0) => Kind::Boolean,
            _ => Kind::Text,
        }
    }

    /// The report on all that was added.
    pub fn finish(self) -> ColumnSummary {
        let kind = self.kind();
        let count = self.integers + self.numbers + self.booleans + self.texts;
        let (min, max) = match kind {
            Kind::Integer => {
                let (min, max) = self.integer_range;
                (Figure::Integer(min), Figure::Integer(max))
            }
            _ => {
                let (min, max) = self.number_range;
                (Figure::Number(min), Figure::Number(max))
            }
        };
        let numeric = matches!(kind, Kind::Integer | Kind::Number).then(|| NumericSummary {
            min,
            max,
            mean: self.mean,
            stddev: (count > 1).then(|| (self.squares / (count - 1) as f64).sqrt()),
        });
        let (shortest, longest) = self.lengths;
        let named = matches!(kind, Kind::Text | Kind::Boolean) && !self.distinct_capped;
        ColumnSummary {
            name: self.name,
            kind,
            count,
            missing: self.missing,
            distinct: self.occurrences.len(),
            distinct_capped: self.distinct_capped,
            numeric,
            text: (kind == Kind::Text).then_some(TextSummary { shortest, longest }),
            top_values: named.then(|| top_values(self.occurrences)),
        }
    }
}

fn top_values(occurrences: HashMap<String, u64>) -> Vec<TopValue> {
    let by_count = occurrences.into_iter().map(|(v, count)| (Reverse(count), v));
    let mut values: Vec<(Reverse<u64>, String)> = by_count.collect();
    values.sort_unstable();
    let top = values.into_iter().take(TOP_VALUES);
    top.map(|(Reverse(count), value)| TopValue { value, count }).collect()
}

#[derive(Debug, PartialEq)]
enum Value {
    Integer(i64),
    Number(f64),
    Boolean,
    Text,
}

impl Value {
    fn parse(value: &str) -> Value {
        if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") {
            return Value::Boolean;
        }
        let unsigned = value.strip_prefix(['+', '-']).unwrap_or(value);
        let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        // Also keeps out `inf` and `nan`, which Rust would read as numbers.
        if digits == 0 || (digits > 1 && unsigned.starts_with('0')) {
            return Value::Text;
        }
        if let Ok(integer) = value.parse() {
            return Value::Integer(integer);
        }
        match value.parse() {
            Ok(number) if f64::is_finite(number) => Value::Number(number),
            _ => Value::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[&str]) -> ColumnSummary {
        let mut column = Column::new("c", 0);
        values.iter().for_each(|value| column.add(value));
        column.finish()
    }

    #[test]
    fn values_are_read_as_documented() {
        for (value, expected) in [
            ("0", Value::Integer(0)),
            ("-7", Value::Integer(-7)),
            ("+7", Value::Integer(7)),
            ("9223372036854775808", Value::Number(9223372036854775808.0)),
            ("0.5", Value::Number(0.5)),
            ("1e3", Value::Number(1000.0)),
            ("1e999", Value::Text),
            ("TRUE", Value::Boolean),
        ] {
            assert_eq!(Value::parse(value), expected, "{value}");
        }
        for text in ["00501", "inf", "NaN", "NA", "-", "1,5", "--1", "12 kg", "."] {
            assert_eq!(Value::parse(text), Value::Text, "{text}");
        }
    }

    #[test]
    fn integers_keep_exact_extremes() {
        let summary = summary(&["9007199254740993", " 1 ", ""]);
        assert_eq!((summary.kind, summary.count, summary.missing), (Kind::Integer, 2, 1));
        let max = summary.numeric.map(|n| n.max);
        assert!(matches!(max, Some(Figure::Integer(9007199254740993))));
    }

    #[test]
    fn mean_and_deviation_hold_far_from_zero() {
        // The naive formula loses all digits here; the deviation of 4, 7, 13, 16 is sqrt(30).
        let numeric = summary(&["1000000004.0", "1000000007", "1000000013", "1000000016"]).numeric.unwrap();
        assert_eq!(numeric.mean, 1_000_000_010.0);
        assert!((numeric.stddev.unwrap() - 30_f64.sqrt()).abs() < 1e-9);
        assert!(summary(&["5"]).numeric.unwrap().stddev.is_none());
    }

    #[test]
    fn one_text_makes_the_column_text() {
        let summary = summary(&["1", "b", "b", "añadir"]);
        assert_eq!(summary.kind, Kind::Text);
        assert!(summary.numeric.is_none());
        let text = summary.text.unwrap();
        assert_eq!((text.shortest, text.longest), (1, 6));
        let top = summary.top_values.unwrap();
        assert_eq!((top[0].value.as_str(), top[0].count), ("b", 2));
        assert_eq!(top[1].value, "1");
    }

    #[test]
    fn distinct_is_exact_up_to_the_cap_and_says_when_it_is_not() {
        let values: Vec<String> = (0..MAX_DISTINCT + 1).map(|i| format!("v{i}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let exact = summary(&values[..MAX_DISTINCT]);
        assert_eq!((exact.distinct, exact.distinct_capped), (MAX_DISTINCT, false));
        let capped = summary(&values);
        assert_eq!((capped.distinct, capped.distinct_capped), (MAX_DISTINCT, true));
        assert!(capped.top_values.is_none());
    }
}
