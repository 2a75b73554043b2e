//! YAML as a JSON value: what a manifest is read from. Anchors, aliases and tags are refused; a key that comes
//! twice too.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Mappings and lists within each other: JSON schemas have some.
const MAX_DEPTH: usize = 64;

/// Reads the one document of `text`; an empty one is null.
///
/// # Errors
/// What is wrong, with its line.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) =
            event.map_err(|error| format!("line {}: not YAML: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        let refuse = |what: &str| Err(format!("line {line}: {what}"));
        let value = match event {
            Event::Alias(_) => return refuse("an alias (`*name`); write the value again"),
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                return refuse("an anchor or a tag; write the plain value");
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= MAX_DEPTH => {
                return refuse("more than 64 levels");
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping { entries: Map::new(), key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(values)) => Value::Array(values),
                Some(Open::Mapping { entries, .. }) => Value::Object(entries),
                None => continue,
            },
            Event::Scalar(text, style, ..) => match open.last_mut() {
                Some(Open::Mapping { entries, key: key @ None }) => {
                    if entries.contains_key(&*text) {
                        return refuse(&format!("`{text}` comes twice"));
                    }
                    *key = Some(text.into_owned());
                    continue;
                }
                _ if style == ScalarStyle::Plain => plain(&text),
                _ => Value::String(text.into_owned()),
            },
            Event::DocumentStart(_) if document.is_some() => return refuse("a second document (`---`)"),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            None => document = Some(value),
            Some(Open::List(values)) => values.push(value),
            Some(Open::Mapping { entries, key }) => match key.take() {
                Some(key) => drop(entries.insert(key, value)),
                None => return refuse("a mapping or list as a key"),
            },
        }
    }
    Ok(document.unwrap_or_default())
}

/// A mapping or list that is open.
enum Open {
    Mapping { entries: Map<String, Value>, key: Option<String> },
    List(Vec<Value>),
}

/// An unquoted scalar, by YAML's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    // What JSON takes for a number is one, and nothing else: `1_000`, `.5` and `0x10` are texts.
    match text.parse::<Number>() {
        Ok(number) => Value::Number(number),
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn what_a_manifest_may_say() {
        let text = "# about\nname: a-b\nbuild:\n  - cc -o 'x y' # why\n  - \"true\"\nn: [1, -2.5, yes, null, {k: v}]\nempty:\nschema: {type: object, properties: {a: {type: string}}}\nlong: >\n  one\n  two\n";
        let expected = json!({
            "name": "a-b",
            "build": ["cc -o 'x y'", "true"],
            "n": [1, -2.5, "yes", null, {"k": "v"}],
            "empty": null,
            "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
            "long": "one two\n",
        });
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(""), Ok(json!(null)));
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, said) in [
            ("a: 1\na: 2\n", "line 2: `a` comes twice"),
            ("a: &x 1\nb: *x\n", "line 1: an anchor"),
            ("a: !!str 1\n", "line 1: an anchor or a tag"),
            ("a: 1\n---\nb: 1\n", "a second document"),
            ("a: [1\n", "not YAML"),
            ("? {a: b}\n: c\n", "as a key"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(said), "{text:?}: {why}");
        }
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert!(parse(&deep).expect_err("deep").contains("levels"));
        parse(&"[".repeat(100_000)).expect_err("deeper");
    }
}
