//! One value of a key: what it may be, how it is read, and how it is written.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use crate::task::{Misfit, Object};
use crate::tenants::Token;

/// Characters of what is said of an item that is wrong.
const MAX_WHY: usize = 400;

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`: what the code finds out by itself.
    Null,
    /// `auto`
    Auto,
    /// `true` or `false`
    Bool(bool),
    /// A number, of whatever the key counts; bytes for sizes.
    Number(u64),
    /// A number with a fraction.
    Decimal(f64),
    /// `-1`: what the code finds out by itself.
    MinusOne,
    /// An IP address.
    Address(IpAddr),
    /// Text.
    Text(String),
    /// Addresses and networks.
    Networks(Vec<IpNet>),
    /// Tokens to come in with.
    Tokens(Vec<Token>),
}

/// What the value of a key may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`
    Bool,
    /// A whole number.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `auto`, or a whole number.
    AutoOr {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `-1`, or a whole number.
    MinusOneOr {
        /// The largest.
        max: u32,
    },
    /// A number from 0 on, with a fraction or without.
    Decimal {
        /// The largest.
        max: u32,
    },
    /// Bytes, as in `1000` or `256MiB`.
    Size {
        /// The fewest.
        min: u64,
        /// The most.
        max: u64,
    },
    /// One of these words, in whatever case.
    Choice(&'static [&'static str]),
    /// An IP address.
    Address,
    /// A path, or `null`.
    Path,
    /// Any text; in the environment alone.
    Word,
    /// The URL of an HTTP server.
    Url,
    /// A model's name.
    ModelName,
    /// A model's name, or `null`.
    ModelNameOrNull,
    /// A list of IP addresses and networks.
    Networks,
    /// A list of tokens.
    Tokens,
}

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    /// In the file.
    pub written: String,
    /// After expansion.
    pub text: String,
    /// Between quotes: never a number, a truth or `null`.
    pub quoted: bool,
}

impl Scalar {
    /// What comes from the environment or a flag is what it reads as.
    pub fn plain(text: &str) -> Scalar {
        Scalar { written: text.to_owned(), text: text.to_owned(), quoted: false }
    }

    /// Whether YAML reads it as nothing. What was expanded reads as if it had been written without quotes, which
    /// variables need within `{ }`.
    pub fn is_null(&self) -> bool {
        (!self.quoted || self.is_expanded())
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    fn is_expanded(&self) -> bool {
        self.written != self.text
    }
}

impl Kind {
    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong, and what is allowed. What was expanded is not shown: it may be a secret.
    pub(super) fn read(&self, scalar: &Scalar) -> Result<Value, String> {
        match self {
            Kind::Networks => return networks(&scalar.text),
            Kind::Tokens => return tokens(&scalar.text),
            _ => {}
        }
        let expanded = scalar.is_expanded();
        let text = scalar.text.as_str();
        let is_text = !matches!(
            self,
            Kind::Bool
                | Kind::Number { .. }
                | Kind::AutoOr { .. }
                | Kind::MinusOneOr { .. }
                | Kind::Decimal { .. }
        );
        let value = match scalar.quoted && !expanded && !is_text {
            true => None,
            false if scalar.is_null() => {
                matches!(self, Kind::Path | Kind::ModelNameOrNull).then_some(Value::Null)
            }
            false => self.parse(text),
        };
        value.ok_or_else(|| {
            let shown = shorten(&scalar.written);
            let (what, how) = match (expanded, scalar.is_null(), scalar.quoted) {
                (true, ..) => (format!("`{shown}`"), ", expanded,"),
                (_, true, _) => ("nothing".to_owned(), ""),
                (.., true) => (format!("`\"{shown}\"`"), ", a text in quotes,"),
                _ => (format!("`{shown}`"), ""),
            };
            format!("{what}{how} is not allowed; it is {self}")
        })
    }

    fn parse(&self, text: &str) -> Option<Value> {
        let within = |number: u64, min: &u64, max: &u64| {
            (*min..=*max).contains(&number).then_some(Value::Number(number))
        };
        match self {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
            Kind::Bool => None,
            Kind::AutoOr { .. } if text == "auto" => Some(Value::Auto),
            Kind::Number { min, max } | Kind::AutoOr { min, max } => within(parse_number(text)?, min, max),
            Kind::MinusOneOr { .. } if text == "-1" => Some(Value::MinusOne),
            Kind::MinusOneOr { max } => within(parse_number(text)?, &0, &(*max).into()),
            Kind::Decimal { max } => {
                let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
                let number: f64 = text.parse().ok().filter(|_| plain)?;
                (number <= f64::from(*max)).then_some(Value::Decimal(number))
            }
            Kind::Size { min, max } => within(parse_size(text).ok()?, min, max),
            Kind::Choice(words) => {
                // Two names of one level.
                let text = if text.eq_ignore_ascii_case("warn") { "WARNING" } else { text };
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text))?;
                Some(Value::Text((*word).to_owned()))
            }
            Kind::Address => text.parse().ok().map(Value::Address),
            Kind::Path | Kind::Word if text.is_empty() || text.contains('\0') => None,
            Kind::Url if !is_url(text) => None,
            Kind::ModelName | Kind::ModelNameOrNull if !is_model_name(text) => None,
            Kind::Path | Kind::Word | Kind::Url | Kind::ModelName | Kind::ModelNameOrNull => {
                Some(Value::Text(text.to_owned()))
            }
            Kind::Networks | Kind::Tokens => None,
        }
    }

    /// Whether it is a list in a file.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Kind::Networks | Kind::Tokens)
    }

    /// A value as it would be written in a file.
    pub fn write(&self, value: &Value) -> String {
        match (self, value) {
            (Kind::Size { .. }, Value::Number(bytes)) => write_size(*bytes),
            (_, Value::Null) => "null".to_owned(),
            (_, Value::Auto) => "auto".to_owned(),
            (_, Value::Bool(truth)) => truth.to_string(),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Decimal(number)) => number.to_string(),
            (_, Value::MinusOne) => "-1".to_owned(),
            (_, Value::Address(address)) => address.to_string(),
            (_, Value::Text(text)) => text.escape_debug().to_string(),
            (_, Value::Networks(networks)) => {
                let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
                format!("[{}]", networks.join(", "))
            }
            (_, Value::Tokens(tokens)) if tokens.is_empty() => "[]".to_owned(),
            (_, Value::Tokens(tokens)) => {
                let tokens: Vec<String> =
                    tokens.iter().map(|token| format!("{} of {}", token.id, token.tenant)).collect();
                format!("[{}]", tokens.join(", "))
            }
        }
    }
}

impl fmt::Display for Kind {
    /// What is allowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::AutoOr { min, max } => write!(f, "auto or a number from {min} to {max}"),
            Kind::MinusOneOr { max } => write!(f, "-1 or a number from 0 to {max}"),
            Kind::Decimal { max } => write!(f, "a number from 0 to {max} like 0.7"),
            Kind::Size { min, max } => {
                write!(
                    f,
                    "a number of bytes like 1000 or 256MiB, from {} to {}",
                    write_size(*min),
                    write_size(*max)
                )
            }
            Kind::Choice(words) => match words.split_last() {
                Some((last, others)) => write!(f, "{} or {last}", others.join(", ")),
                None => Ok(()),
            },
            Kind::Address => f.write_str("an IP address"),
            Kind::Path => f.write_str("a path or null"),
            Kind::Word => f.write_str("a text"),
            Kind::Url => f.write_str("a URL like http://localhost:11434"),
            Kind::ModelName => f.write_str("a model's name like OWNER/NAME or NAME:TAG"),
            Kind::ModelNameOrNull => f.write_str("a model's name like OWNER/NAME or NAME:TAG, or null"),
            Kind::Networks => f.write_str("a list of IP addresses and networks like 10.0.0.0/8"),
            Kind::Tokens => f.write_str("a list of what `omnimind token create --print` prints"),
        }
    }
}

impl Value {
    /// The value in JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => json!(null),
            Value::Auto => json!("auto"),
            Value::Bool(truth) => json!(truth),
            Value::Number(number) => json!(number),
            Value::Decimal(number) => json!(number),
            Value::MinusOne => json!(-1),
            Value::Address(address) => json!(address),
            Value::Text(text) => json!(text),
            Value::Networks(networks) => networks.iter().map(|network| json!(network.to_string())).collect(),
            Value::Tokens(tokens) => {
                tokens.iter().map(|token| json!({"id": token.id, "tenant": token.tenant})).collect()
            }
        }
    }
}

/// The items of a list: JSON, or words with commas between.
fn items(text: &str) -> Result<Vec<serde_json::Value>, String> {
    match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map_err(|error| format!("not a list: {error}")),
        false => Ok(text.split(',').map(|word| json!(word.trim())).filter(|word| word != "").collect()),
    }
}

fn networks(text: &str) -> Result<Value, String> {
    let network = |item: serde_json::Value| {
        let word = item.as_str().unwrap_or_default();
        let network = word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
        network
            .map_err(|_| format!("`{}` is not allowed; it is {}", shorten(&item.to_string()), Kind::Networks))
    };
    items(text)?.into_iter().map(network).collect::<Result<_, _>>().map(Value::Networks)
}

fn tokens(text: &str) -> Result<Value, String> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, item) in items(text)?.into_iter().enumerate() {
        let wrong = |why: String| format!("item {}: {}", number + 1, cut(&why, MAX_WHY));
        let Object(token): Object<Token> = Misfit::fit(item).map_err(|why| wrong(why.to_string()))?;
        token.check().map_err(|why| wrong(why.to_string()))?;
        if tokens.iter().any(|other| other.id == token.id) {
            return Err(wrong(format!("the id {} comes twice", token.id)));
        }
        tokens.push(Token { configured: true, ..token });
    }
    Ok(Value::Tokens(tokens))
}

/// Whether it is the URL of an HTTP server, with nothing behind a path.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
    host.is_some_and(|host| !host.is_empty())
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@'))
}

/// Whether it is a name of one or two parts, none of which leads anywhere else.
pub fn is_model_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':'))
    };
    name.len() <= 200 && name.split('/').count() <= 2 && name.split('/').all(part)
}

/// What was written, for a message that is not endless. Whoever shows the message escapes it.
pub(super) fn shorten(text: &str) -> String {
    cut(text, 64)
}

fn cut(text: &str, most: usize) -> String {
    let cut: String = text.chars().take(most).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    cut + more
}

/// A whole number; `_` may stand between digits.
pub fn parse_number(text: &str) -> Option<u64> {
    // `parse` would take a plus.
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.replace('_', "").parse().ok())?
}

/// Bytes, as in `1000`, `256MiB` or `20GiB`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("`{unit}` is not a unit: use KiB, MiB or GiB")),
    };
    let number = parse_number(digits)
        .ok_or_else(|| format!("`{digits}` is not a whole number from 0 to {}", u64::MAX))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

fn write_size(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        n if n.is_multiple_of(1 << 30) => format!("{}GiB", n >> 30),
        n if n.is_multiple_of(1 << 20) => format!("{}MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{}KiB", n >> 10),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in
            [("0", 0), ("1000", 1000), ("1KiB", 1024), ("256MiB", 256 << 20), ("20GiB", 20 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
        }
        for wrong in ["", "MiB", "1 MiB", "1MB", "-1", "+1", "1.5GiB", "99999999999GiB", "0x10", "1e3"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_in_quotes_is_no_number_unless_it_was_expanded() {
        let kind = Kind::Number { min: 0, max: 10 };
        let quoted =
            |written: &str, text: &str| Scalar { written: written.into(), text: text.into(), quoted: true };
        let said = kind.read(&quoted("7", "7")).unwrap_err();
        assert_eq!(said, "`\"7\"`, a text in quotes, is not allowed; it is a number from 0 to 10");
        assert_eq!(kind.read(&quoted("${N}", "7")), Ok(Value::Number(7)));
        let said = kind.read(&quoted("${N}", "secret")).unwrap_err();
        assert_eq!(said, "`${N}`, expanded, is not allowed; it is a number from 0 to 10");
    }

    #[test]
    fn names_and_urls_lead_nowhere_else() {
        for name in ["a", "A-1_b.c", "owner/name", "all-minilm:22m", "m2/x:latest"] {
            assert!(is_model_name(name), "{name}");
        }
        for wrong in
            ["", "/", "a/", "/a", "a/b/c", "..", "a/..", "../x", ".x", "a b", "a\\b", "a\n", "é", "http://x"]
        {
            assert!(!is_model_name(wrong), "{wrong:?}");
        }
        assert!(!is_model_name(&"x".repeat(201)));
        for url in ["http://localhost:11434", "https://a.example/ollama/", "http://127.0.0.1"] {
            assert!(is_url(url), "{url}");
        }
        for wrong in [
            "",
            "localhost:11434",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a?b",
            "http://u:p@h",
            "http://a b",
        ] {
            assert!(!is_url(wrong), "{wrong}");
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        let kind = Kind::AutoOr { min: 2, max: 10 };
        for wrong in ["1", "11", "-3", "99999999999999999999999", "2.0", "", "~", "null", "two", "AUTO"] {
            assert!(kind.read(&Scalar::plain(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(kind.read(&Scalar::plain("1_0")), Ok(Value::Number(10)));
        assert_eq!(kind.read(&Scalar::plain("auto")), Ok(Value::Auto));
    }
}
