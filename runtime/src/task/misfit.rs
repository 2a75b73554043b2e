//! JSON of another shape than it should have, told in JSON's own words: serde's are Rust's.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny};

/// Characters of what was sent that are shown again.
const MAX_SHOWN: usize = 64;

/// Characters of a path, and of all that is said.
const MAX_PATH: usize = 256;
const MAX_RULE: usize = 1024;

/// What is wrong with the shape of some JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The path of the member that is wrong; none where it is the whole.
    pub path: Option<String>,
    /// What it should be.
    pub rule: String,
}

impl std::error::Error for Misfit {}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.rule),
            None => f.write_str(&self.rule),
        }
    }
}

impl Misfit {
    /// Reads a `T` from JSON text; what is no JSON is told with line and column.
    ///
    /// # Errors
    /// It is not JSON, or of another shape.
    pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Misfit> {
        serde_json::from_slice::<IgnoredAny>(text)
            .map_err(|error| Misfit { path: None, rule: format!("not JSON: {error}") })?;
        Misfit::fit(&mut serde_json::Deserializer::from_slice(text))
    }

    /// Makes a `T` of what is known to be JSON.
    ///
    /// # Errors
    /// It is of another shape.
    pub fn fit<'de, T: Deserialize<'de>, D: Deserializer<'de>>(json: D) -> Result<T, Misfit> {
        serde_path_to_error::deserialize(json).map_err(|error| {
            let path = cut(&error.path().to_string(), MAX_PATH);
            let rule = cut(&in_words(without_place(&error.inner().to_string())), MAX_RULE);
            Misfit { path: (path != ".").then_some(path), rule }
        })
    }
}

/// Without line and column, which say nothing to whoever has the path.
fn without_place(said: &str) -> &str {
    let is_place = |place: &str| place.chars().all(|c| c.is_ascii_digit() || " column".contains(c));
    match said.rsplit_once(" at line ") {
        Some((what, place)) if is_place(place) => what,
        _ => said,
    }
}

/// The beginning of a long text: an answer is not to be longer than what it is about.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// ``unknown field `x`, expected …`` with no more of the name than is shown.
fn with_short_name(said: &str) -> String {
    let Some((what, rest)) = said.split_once('`') else { return said.to_owned() };
    match rest
        .rsplit_once("`, expected ")
        .map(|(name, known)| (name, "expected ", known))
        .or_else(|| rest.rsplit_once("`, there are ").map(|(name, known)| (name, "there are ", known)))
    {
        Some((name, words, known)) => format!("{what}`{}`, {words}{known}", cut(name, MAX_SHOWN)),
        None => said.to_owned(),
    }
}

fn in_words(said: &str) -> String {
    // Of an enum: all of ours are written as texts.
    if said == "expected value" {
        return "a string is expected".to_owned();
    }
    if let Some(rest) = said.strip_prefix("unknown variant ") {
        return with_short_name(&format!("unknown value {rest}"));
    }
    if said.starts_with("unknown field ") {
        return with_short_name(said);
    }
    let found = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
    match found.and_then(|found| found.rsplit_once(", expected ")) {
        Some((found, wanted)) => format!("{} is expected, not {}", wanted_words(wanted), found_words(found)),
        None => said.to_owned(),
    }
}

/// What serde expects, by Rust's names of types or by its own of kinds.
fn wanted_words(wanted: &str) -> String {
    let whole = |min: i128, max: u128| format!("a whole number from {min} to {max}");
    match wanted {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX.into()),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" | "map" => "an object".to_owned(),
        "a borrowed string" | "string or map" | "path string" => "a string".to_owned(),
        "unit" => "null".to_owned(),
        _ if wanted.starts_with("struct ") || wanted.contains("tagged enum ") => "an object".to_owned(),
        _ if wanted.starts_with("enum ") || wanted.ends_with(" identifier") => "a string".to_owned(),
        _ => wanted.to_owned(),
    }
}

/// What serde found: its word for the kind, and mostly the value between backticks or quotes.
fn found_words(found: &str) -> String {
    match found {
        "sequence" => return "an array".to_owned(),
        "map" | "unit variant" | "newtype variant" | "tuple variant" | "struct variant" => {
            return "an object".to_owned();
        }
        "unit value" => return "null".to_owned(),
        _ => {}
    }
    let value = ["boolean ", "integer ", "floating point "].iter().find_map(|kind| found.strip_prefix(kind));
    match (value, found.strip_prefix("string ")) {
        (Some(number), _) => number.trim_matches('`').to_owned(),
        (None, Some(text)) if text.chars().nth(MAX_SHOWN).is_some() => {
            format!("{}\"", cut(text, MAX_SHOWN))
        }
        (None, Some(text)) => text.to_owned(),
        (None, None) => found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::task::Object;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    #[allow(dead_code, reason = "it is not made")]
    struct Shape {
        word: Option<String>,
        small: Option<u8>,
        large: Option<u64>,
        half: Option<f64>,
        truth: Option<bool>,
        list: Option<Vec<Shape>>,
        names: Option<BTreeMap<String, u32>>,
        which: Option<Which>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Which {
        One,
        Two,
    }

    #[test]
    fn what_is_said_is_short_however_long_the_names_are() {
        let long = "x".repeat(1 << 20);
        for text in [
            format!(r#"{{"{long}": 1}}"#),
            format!(r#"{{"names": {{"{long}": "a"}}}}"#),
            format!(r#"{{"which": "{long}"}}"#),
            format!(r#"{{"small": "{long}"}}"#),
        ] {
            let Misfit { path, rule } = Misfit::read::<Shape>(text.as_bytes()).unwrap_err();
            assert!(path.is_some_and(|path| path.chars().count() <= MAX_PATH + 1));
            assert!(rule.len() < 300, "{rule}");
            assert!(rule.contains("expected"), "and still says the rule: {rule}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_json() {
        let said = |text: &str| Misfit::read::<Object<Shape>>(text.as_bytes()).unwrap_err().to_string();
        for (text, rule) in [
            ("[]", "an object is expected, not an array"),
            ("\"x\"", "an object is expected, not \"x\""),
            (r#"{"word": 5}"#, "word: a string is expected, not 5"),
            (r#"{"word": {}}"#, "word: a string is expected, not an object"),
            (r#"{"small": 256}"#, "small: a whole number from 0 to 255 is expected, not 256"),
            (r#"{"large": -1}"#, "large: a whole number from 0 to 18446744073709551615 is expected, not -1"),
            (r#"{"half": "1"}"#, "half: a number is expected, not \"1\""),
            (r#"{"truth": 1.5}"#, "truth: true or false is expected, not 1.5"),
            (r#"{"list": {}}"#, "list: an array is expected, not an object"),
            (r#"{"list": [{}, 1]}"#, "list[1]: an object is expected, not 1"),
            (r#"{"list": [true]}"#, "list[0]: an object is expected, not true"),
            (
                r#"{"names": {"a": null}}"#,
                "names.a: a whole number from 0 to 4294967295 is expected, not null",
            ),
            (r#"{"names": []}"#, "names: an object is expected, not an array"),
            (r#"{"which": "three"}"#, "which: unknown value `three`, expected `one` or `two`"),
            (r#"{"which": 1}"#, "which: a string is expected"),
            (r#"{"word": "x", "wort": 1}"#, "wort: unknown field `wort`, expected one of `word`, `small`"),
            ("{", "not JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"half": "in the file at line 3"}"#, "not \"in the file at line 3\""),
        ] {
            assert!(said(text).contains(rule), "{text}: {}", said(text));
        }
        let long = said(&format!(r#"{{"half": "{}"}}"#, "x".repeat(100_000)));
        assert!(long.len() < 200, "{long}");
        assert_eq!(
            Misfit::fit::<Which, _>(serde_json::json!("three")).unwrap_err().to_string(),
            "unknown value `three`, expected `one` or `two`"
        );
    }
}
