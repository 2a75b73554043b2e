//! Whether an answer is the JSON that was asked for.
//!
//! A schema is a guest's: it is bounded, leads nowhere else, and its patterns are matched in linear time.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::Error;

/// Bytes of a schema, and how deep it is.
const MAX_BYTES: usize = 64 << 10;
const MAX_DEPTH: usize = 64;

/// Bytes that patterns of it may take when they are made ready.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Characters of what does not fit, as it is told.
const MAX_TOLD: usize = 500;

/// A schema that is one.
pub struct Schema(Validator);

impl Schema {
    /// Makes it ready.
    ///
    /// # Errors
    /// It is no schema, too large, or of something that lies elsewhere.
    pub fn new(schema: &Value) -> Result<Schema, Error> {
        if schema.to_string().len() > MAX_BYTES || depth(schema) > MAX_DEPTH {
            return Err(Error::Invalid(format!(
                "a schema has {MAX_BYTES} bytes at most and is {MAX_DEPTH} levels deep at most"
            )));
        }
        let patterns =
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        let made = jsonschema::options().with_pattern_options(patterns).build(schema);
        made.map(Schema)
            .map_err(|error| Error::Invalid(format!("no JSON schema: {}", told(&error.to_string()))))
    }

    /// Whether `text` satisfies it; else what does not.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(text.trim()).map_err(|error| format!("no JSON: {error}"))?;
        match self.0.iter_errors(&value).next() {
            None => Ok(()),
            Some(error) => Err(told(&format!("{}: {error}", error.instance_path()))),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_named() {
        let schema = Schema::new(&json!({
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": "^a+$"}},
        }))
        .unwrap();
        assert_eq!(schema.check(" {\"name\": \"aa\"}\n"), Ok(()));
        for (text, says) in
            [("{", "no JSON"), ("{}", "name"), ("{\"name\": 1}", "/name"), ("{\"name\": \"b\"}", "/name")]
        {
            let misfit = schema.check(text).unwrap_err();
            assert!(misfit.contains(says), "{text}: {misfit}");
        }
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
            assert!(matches!(Schema::new(&wrong), Err(Error::Invalid(_))), "{wrong}");
        }
        let slow = Schema::new(&json!({"pattern": "^(a+)+$"})).unwrap();
        let begun = std::time::Instant::now();
        assert!(slow.check(&format!("\"{}b\"", "a".repeat(100_000))).is_err());
        assert!(begun.elapsed().as_secs() < 5, "in linear time");
    }
}
