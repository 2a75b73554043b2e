//! Whether an answer is the JSON that was asked for.
//!
//! A schema is a guest's, and so is much of the answer: what checking takes is bounded before anything is checked. It
//! leads nowhere else, its patterns are matched in linear time, and it is measured as it would be with what it refers
//! to written out, for that is how often it is looked at.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::{Error, Message, Prompt, Role};

/// Bytes of a schema, and how deep it is.
const MAX_BYTES: usize = 64 << 10;
const MAX_DEPTH: usize = 64;

/// Values of it, with those that it refers to.
const MAX_VALUES: usize = 4096;

/// Its patterns, and bytes that one takes when it is made ready.
const MAX_PATTERNS: usize = 16;
const MAX_PATTERN_BYTES: usize = 1 << 16;

/// What dividing large numbers by small ones counts for.
const DIVISION: usize = 64;

/// Values of a schema times values of an answer: a second or two; and where all that does not fit is still gathered.
const MAX_STEPS: usize = 1 << 23;
const MAX_STEPS_TOLD: usize = 1 << 17;

/// What makes other texts of what `$ref` says, or has parts of a schema looked at twice as often on each level.
const REFUSED: [&str; 7] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Characters of what does not fit, as it is told.
const MAX_TOLD: usize = 500;

/// A schema that is one. It is made ready when it is needed: an answer that takes long holds no more than its text.
#[derive(Clone, Debug)]
pub struct Schema {
    value: Value,
    /// Of it and what it refers to.
    values: usize,
}

impl Schema {
    /// Looks whether it is one.
    ///
    /// # Errors
    /// It is no schema, too large, refers to itself, or is of something that lies elsewhere.
    pub fn new(text: &str) -> Result<Schema, Error> {
        let no_schema = |why: &str| Error::Invalid(format!("no JSON schema: {}", told(why)));
        let too_large =
            || no_schema(&format!("it has {MAX_BYTES} bytes at most and is {MAX_DEPTH} levels deep at most"));
        if text.len() > MAX_BYTES {
            return Err(too_large());
        }
        let value: Value = serde_json::from_str(text).map_err(|error| no_schema(&error.to_string()))?;
        if depth(&value) > MAX_DEPTH {
            return Err(too_large());
        }
        let mut measure = Measure { whole: &value, inside: Vec::new(), values: 0, patterns: 0 };
        measure.add(&value).map_err(|why| no_schema(&why))?;
        let schema = Schema { values: measure.values, value };
        schema.ready().map_err(|why| no_schema(&why))?;
        Ok(schema)
    }

    fn ready(&self) -> Result<Validator, String> {
        let patterns =
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        let made = jsonschema::options().with_pattern_options(patterns).build(&self.value);
        made.map_err(|error| error.to_string())
    }

    /// Whether `text` satisfies it; else what does not.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(text.trim()).map_err(|error| format!("no JSON: {error}"))?;
        let values = count(&value);
        let steps = self.values.saturating_mul(values);
        if steps > MAX_STEPS {
            return Err(format!("{values} values are too many to be checked by a schema of {}", self.values));
        }
        let ready = self.ready()?;
        if ready.is_valid(&value) {
            return Ok(());
        }
        // One error may be made of one for each pair.
        let error = (steps <= MAX_STEPS_TOLD).then(|| ready.validate(&value).err()).flatten();
        Err(match error {
            Some(error) if error.instance_path().as_str().is_empty() => told(&error.to_string()),
            Some(error) => told(&format!("{}: {error}", error.instance_path())),
            None => "some of its values are not what the schema says".to_owned(),
        })
    }
}

/// How large a schema is, with what it refers to written out.
struct Measure<'a> {
    whole: &'a Value,
    /// What is being written out.
    inside: Vec<&'a str>,
    values: usize,
    patterns: usize,
}

impl<'a> Measure<'a> {
    fn grow(&mut self, values: usize, patterns: usize) -> Result<(), String> {
        self.values += values;
        self.patterns += patterns;
        match self.values <= MAX_VALUES && self.patterns <= MAX_PATTERNS {
            true => Ok(()),
            false => Err(format!(
                "with what it refers to it has {MAX_VALUES} values and {MAX_PATTERNS} patterns at most"
            )),
        }
    }

    fn add(&mut self, value: &'a Value) -> Result<(), String> {
        self.grow(1, 0)?;
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.add(value)),
            Value::Object(members) => members.iter().try_for_each(|(name, value)| self.member(name, value)),
            _ => Ok(()),
        }
    }

    fn member(&mut self, name: &str, value: &'a Value) -> Result<(), String> {
        match (name, value) {
            ("$ref", Value::String(place)) => self.refer(place),
            ("multipleOf", Value::Number(_)) => {
                self.grow(DIVISION, 0)?;
                self.add(value)
            }
            ("pattern", Value::String(_)) => self.grow(1, 1),
            ("patternProperties", Value::Object(patterns)) => {
                self.grow(0, patterns.len())?;
                self.add(value)
            }
            // Before `$id`, `id` was what said where `$ref` begins.
            ("$schema", Value::String(draft)) if draft.contains("draft-03") || draft.contains("draft-04") => {
                Err(format!("{draft} is too old: write it for 2020-12"))
            }
            // What a property is called is nobody's affair: its value is a schema.
            (_, Value::String(_)) | ("unevaluatedItems" | "unevaluatedProperties", _)
                if REFUSED.contains(&name) =>
            {
                Err(format!("{name} is not for schemas of answers"))
            }
            _ => self.add(value),
        }
    }

    fn refer(&mut self, place: &'a str) -> Result<(), String> {
        if self.inside.contains(&place) {
            return Err(format!("{place} refers to itself: write out as many levels as there may be"));
        }
        // What has two spellings would be found in another place when it is checked.
        let pointer = place.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
        let there = pointer.and_then(|pointer| self.whole.pointer(pointer));
        let there = there.ok_or_else(|| format!("there is nothing at `$ref` {place}, or it is encoded"))?;
        self.inside.push(place);
        self.add(there)?;
        self.inside.pop();
        Ok(())
    }
}

/// The conversation with an answer that does not fit, and what is wrong with it.
pub fn repaired(prompt: Prompt, text: &str, misfit: &str) -> Prompt {
    let said = |role, content: String| Message { role, content, extra: serde_json::Map::new() };
    let mut messages = match prompt {
        Prompt::Text(text) => vec![said(Role::User, text)],
        Prompt::Messages(messages) => messages,
    };
    messages.push(said(Role::Assistant, text.to_owned()));
    let told = format!(
        "That does not satisfy the JSON schema: {misfit}. Answer again with JSON that does, and nothing else."
    );
    messages.push(said(Role::User, told));
    Prompt::Messages(messages)
}

fn told(text: &str) -> String {
    text.chars().take(MAX_TOLD).collect()
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or_default(),
        Value::Object(values) => 1 + values.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Value::Object(values) => 1 + values.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn schema(schema: &Value) -> Result<Schema, Error> {
        Schema::new(&schema.to_string())
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let named = schema(&json!({
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": "^a+$"}},
        }))
        .unwrap();
        assert_eq!(named.check(" {\"name\": \"aa\"}\n"), Ok(()));
        for (text, says) in
            [("{", "no JSON"), ("{}", "name"), ("{\"name\": 1}", "/name"), ("{\"name\": \"b\"}", "/name")]
        {
            let misfit = named.check(text).unwrap_err();
            assert!(misfit.contains(says), "{text}: {misfit}");
        }
    }

    #[test]
    fn a_schema_may_refer_to_its_parts_but_not_to_itself() {
        let places = json!({
            "$defs": {"place": {"type": "object", "properties": {"$id": {"type": "string"}}}},
            "type": "object", "properties": {"from": {"$ref": "#/$defs/place"}, "to": {"$ref": "#/$defs/place"}},
        });
        let places = schema(&places).unwrap();
        assert_eq!(places.check("{\"from\": {\"$id\": \"a\"}, \"to\": {}}"), Ok(()));
        let misfit = places.check("{\"from\": 1}").unwrap_err();
        assert!(misfit.starts_with("/from: "), "{misfit}");
        let misfit = places.check("1").unwrap_err();
        assert!(misfit.starts_with("1 is not"), "{misfit}");
        for (wrong, says) in [
            (json!({"items": {"$ref": "#"}}), "itself"),
            (json!({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}), "itself"),
            (json!({"$ref": "#/$defs/a"}), "nothing"),
            (
                json!({"%24defs": {"a": {}}, "$defs": {"a": {"$ref": "#/%24defs/a"}}, "$ref": "#/%24defs/a"}),
                "encoded",
            ),
            (json!({"$id": "http://a/", "$ref": "other"}), "$id"),
            (json!({"$schema": "http://json-schema.org/draft-04/schema#"}), "old"),
        ] {
            let error = schema(&wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    /// Each of these takes for ever, or all memory there is, where nobody looks.
    #[test]
    fn what_checking_takes_is_bounded() {
        let mut doubled: Map<String, Value> = (0..40)
            .map(|at| {
                let next = json!({"$ref": format!("#/$defs/{}", at + 1)});
                (at.to_string(), json!({"anyOf": [next, next]}))
            })
            .collect();
        doubled.insert("40".to_owned(), json!({"type": "string"}));
        let mut unevaluated = json!({"properties": {"z": true}});
        for _ in 0..15 {
            unevaluated = json!({"allOf": [unevaluated], "unevaluatedProperties": false});
        }
        let patterns: Vec<Value> = (0..17).map(|_| json!({"pattern": "a{1,100}"})).collect();
        let named: Map<String, Value> = (0..17).map(|at| (format!("a{at}"), json!(true))).collect();
        for wrong in [
            json!({"$defs": doubled, "$ref": "#/$defs/0"}),
            unevaluated,
            json!({"allOf": patterns}),
            json!({"patternProperties": named}),
            json!({"enum": vec![0; 5000]}),
            json!({"items": {"allOf": vec![json!({"multipleOf": 1e-300}); 100]}}),
        ] {
            let error = schema(&wrong).unwrap_err().to_string();
            assert!(error.contains("at most") || error.contains("unevaluatedProperties"), "{error}");
        }
        // One error for each pair would be a gigabyte.
        let any = vec![json!({"items": {"type": "string"}}); 1300];
        let any = schema(&json!({"anyOf": any})).unwrap();
        let misfit = any.check(&json!(vec![1; 2000]).to_string()).unwrap_err();
        assert!(misfit.contains("some of its values"), "{misfit}");
        let misfit = any.check(&json!(vec![1; 100_000]).to_string()).unwrap_err();
        assert!(misfit.contains("too many"), "{misfit}");
    }

    #[test]
    fn a_schema_that_is_none_or_leads_elsewhere_is_refused() {
        let mut deep = json!({});
        (0..100).for_each(|_| deep = json!({"not": deep.take()}));
        for wrong in [
            json!({"type": 1}),
            json!({"$ref": "http://127.0.0.1:1/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"pattern": "("}),
            json!({"pattern": "(a{1000}){1000}"}),
            json!({"enum": ["x".repeat(MAX_BYTES)]}),
            deep,
        ] {
            assert!(matches!(schema(&wrong), Err(Error::Invalid(_))), "{wrong}");
        }
        let slow = schema(&json!({"pattern": "^(a+)+$"})).unwrap();
        let begun = std::time::Instant::now();
        assert!(slow.check(&format!("\"{}b\"", "a".repeat(100_000))).is_err());
        assert!(begun.elapsed().as_secs() < 5, "in linear time");
    }
}
