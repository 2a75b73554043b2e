//! A submission in any of its three forms, checked field by field.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::problem::{Problem, Result};
use super::query::Query;
use crate::task::{AtMost, Digest, FailureKind, Grants, Misfit, NotAGrant, Object, Priority, Retry};

const MAX_DESCRIPTION: usize = 4096;
const MAX_METADATA: usize = 64 << 10;
const MAX_NAME: usize = 128;
/// Arguments, or environment variables.
const MAX_WORDS: usize = 256;
const MAX_WORDS_BYTES: usize = 64 << 10;

/// The JSON of a submission.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskJson {
    /// A name or a digest.
    pub component: Option<String>,
    /// Any JSON, `null` too.
    #[serde(default, deserialize_with = "given", skip_serializing)]
    input: Option<Box<RawValue>>,
    #[serde(skip_serializing)]
    input_text: Option<String>,
    #[serde(skip_serializing)]
    input_base64: Option<String>,
    #[serde(default, deserialize_with = "AtMost::<_, MAX_WORDS>::required")]
    pub args: Vec<String>,
    #[serde(default, deserialize_with = "AtMost::<_, MAX_WORDS>::required")]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default, deserialize_with = "AtMost::<_, MAX_WORDS>::required")]
    pub limits: BTreeMap<String, u64>,
    #[serde(default, deserialize_with = "Object::optional")]
    pub grants: Option<Grants>,
    #[serde(default, deserialize_with = "Object::required")]
    retry: RetryJson,
    #[serde(default)]
    pub deterministic: bool,
    pub durable: Option<bool>,
    #[serde(default)]
    profile: bool,
    pub description: Option<String>,
    pub metadata: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryJson {
    max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "AtMost::<_, { FailureKind::ALL.len() }>::optional")]
    on: Option<Vec<FailureKind>>,
    backoff_ms: Option<u64>,
}

/// What is there is `Some`, even where it is `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl TaskJson {
    /// The submission whose component is the body, and whose rest is in the query.
    pub fn from_query(query: &mut Query) -> Result<TaskJson> {
        let number = |name: &str, value: String| {
            value.parse::<u64>().map_err(|_| Problem::invalid(name, "a whole number that is not negative"))
        };
        let mut task = TaskJson {
            input_text: query.take("input").or_else(|| query.take("input_text")),
            input_base64: query.take("input_base64"),
            args: query.take_all("arg"),
            description: query.take("description"),
            deterministic: query.take_flag("deterministic")?.unwrap_or(false),
            durable: query.take_flag("durable")?,
            ..TaskJson::default()
        };
        if let Some(priority) = query.take("priority") {
            task.priority = word("priority", priority)?;
        }
        for variable in query.take_all("env") {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| Problem::invalid("env", "it is written NAME=VALUE"))?;
            if task.env.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(Problem::invalid("env", "a name comes once"));
            }
        }
        for (name, value) in query.take_prefixed("limits.") {
            let value = number(&format!("limits.{name}"), value)?;
            task.limits.insert(name, value);
        }
        if let Some(attempts) = query.take("retry.max_attempts") {
            let attempts = number("retry.max_attempts", attempts)?;
            task.retry.max_attempts = Some(u32::try_from(attempts).unwrap_or(u32::MAX));
        }
        if let Some(on) = query.take("retry.on") {
            let kinds = on.split(',').map(|kind| word("retry.on", kind.to_owned()));
            task.retry.on = Some(kinds.collect::<Result<_>>()?);
        }
        if let Some(wait) = query.take("retry.backoff_ms") {
            task.retry.backoff_ms = Some(number("retry.backoff_ms", wait)?);
        }
        if let Some(grants) = query.take("grants") {
            let Object(grants) = super::json::parse_as("grants", grants.as_bytes())?;
            task.grants = Some(grants);
        }
        if let Some(metadata) = query.take("metadata") {
            task.metadata = Some(super::json::parse(metadata.as_bytes())?);
        }
        Ok(task)
    }

    /// What [`TaskJson::from_query`] reads.
    pub const QUERY: &str = "input, input_base64, arg, env, priority, limits.NAME, grants, retry.max_attempts, \
        retry.on, retry.backoff_ms, deterministic, durable, description, metadata, wait, dry_run, digest";

    /// Takes the input out: the JSON's text, a text, or bytes; at most one of them.
    pub fn take_input(&mut self) -> Result<Option<Bytes>> {
        let (json, text, base64) = (self.input.take(), self.input_text.take(), self.input_base64.take());
        match (json, text, base64) {
            (None, None, None) => Ok(None),
            (Some(json), None, None) => Ok(Some(Bytes::from(json.get().to_owned()))),
            (None, Some(text), None) => Ok(Some(Bytes::from(text))),
            (None, None, Some(base64)) => {
                let decoded = STANDARD.decode(base64);
                decoded.map(Bytes::from).map(Some).map_err(|error| {
                    Problem::invalid("input_base64", format!("not base64 (RFC 4648, section 4): {error}"))
                })
            }
            _ => Err(Problem::invalid("input", "give one of input, input_text and input_base64")),
        }
    }

    /// When it is tried again, with `default_attempts` where it does not say.
    pub fn retry(&self, default_attempts: u32) -> Retry {
        Retry {
            max_attempts: self.retry.max_attempts.unwrap_or(default_attempts),
            on: self.retry.on.clone().unwrap_or_else(|| Retry::DEFAULT_ON.to_vec()),
            backoff_ms: self.retry.backoff_ms.unwrap_or(Retry::DEFAULT_BACKOFF_MS),
        }
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<()> {
        if let Some(component) = &self.component {
            check_reference("component", component)?;
        }
        let description = self.description.as_deref().unwrap_or_default();
        if description.len() > MAX_DESCRIPTION || description.contains(is_control) {
            return Err(Problem::invalid(
                "description",
                format!("at most {MAX_DESCRIPTION} bytes and no control characters"),
            ));
        }
        if let Some(metadata) = &self.metadata {
            if metadata.get().len() > MAX_METADATA {
                return Err(Problem::invalid("metadata", format!("at most {MAX_METADATA} bytes")));
            }
            if !metadata.get().trim_start().starts_with('{') {
                return Err(Problem::invalid("metadata", "a JSON object"));
            }
        }
        check_words("args", MAX_WORDS, self.args.iter().map(String::as_str))?;
        check_words(
            "env",
            2 * MAX_WORDS,
            self.env.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]),
        )?;
        if self.env.keys().any(|name| name.is_empty() || name.contains('=')) {
            return Err(Problem::invalid("env", "a name is not empty and has no `=`"));
        }
        let RetryJson { max_attempts, backoff_ms, .. } = &self.retry;
        if max_attempts.is_some_and(|attempts| attempts == 0 || attempts > Retry::MAX_ATTEMPTS) {
            return Err(Problem::invalid("retry.max_attempts", format!("from 1 to {}", Retry::MAX_ATTEMPTS)));
        }
        if backoff_ms.is_some_and(|wait| wait > Retry::MAX_BACKOFF_MS) {
            return Err(Problem::invalid("retry.backoff_ms", format!("from 0 to {}", Retry::MAX_BACKOFF_MS)));
        }
        if self.profile {
            return Err(Problem::invalid("profile", "this omnimind cannot profile tasks yet: leave it out"));
        }
        Ok(self.grants.as_ref().map_or(Ok(()), Grants::check)?)
    }
}

/// A word that is one of those of `T`.
fn word<T: serde::de::DeserializeOwned>(field: &str, word: String) -> Result<T> {
    Misfit::fit(serde_json::Value::String(word)).map_err(|Misfit { rule, .. }| Problem::invalid(field, rule))
}

/// Whether a component may be called that: what a file name, a URL and a terminal can all take.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    first && name.len() <= MAX_NAME && name.chars().all(plain)
}

/// Refuses what is no name.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    if !is_name(name) {
        return Err(Problem::invalid(
            field,
            format!(
                "a name has 1 to {MAX_NAME} characters from A-Z a-z 0-9 - _ . and begins with a letter or digit"
            ),
        ));
    }
    Ok(())
}

/// A name or a digest.
fn check_reference(field: &str, reference: &str) -> Result<()> {
    match reference.starts_with(Digest::PREFIX) {
        true => {
            reference.parse::<Digest>().map(drop).map_err(|error| Problem::invalid(field, error.to_string()))
        }
        false => check_name(field, reference),
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

fn check_words<'a>(field: &str, most: usize, words: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    let bytes: usize = words.clone().map(str::len).sum();
    if words.clone().count() > most
        || bytes > MAX_WORDS_BYTES
        || words.clone().any(|word| word.contains('\0'))
    {
        return Err(Problem::invalid(
            field,
            format!("at most {MAX_WORDS} of them, {MAX_WORDS_BYTES} bytes together, and no zero bytes"),
        ));
    }
    Ok(())
}

impl From<NotAGrant> for Problem {
    fn from(error: NotAGrant) -> Problem {
        Problem::invalid(error.field, error.rule)
    }
}
