//! Source code in the place of a component: what ends in .py or .js is run by an interpreter, as its input.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Failed;
use super::input::Work;
use crate::components::Interpreter;

/// Most bytes of a script.
const MAX_BYTES: u64 = 8 << 20;

/// A script, read.
pub struct Script {
    /// What runs it.
    pub interpreter: &'static Interpreter,
    name: String,
    source: String,
}

/// What the interpreters take. The input goes through as it is written: no digit and no order is lost.
#[derive(Serialize)]
struct Request<'a> {
    name: &'a str,
    source: &'a str,
    input: &'a RawValue,
}

impl Script {
    /// The script that `file` is, if its name says that it is one.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn read(file: &Path) -> Result<Option<Script>, Failed> {
        let Some(interpreter) = Interpreter::of(file) else { return Ok(None) };
        let wrong = |why: String| Failed::usage(anyhow!("{}: {why}", file.display()));
        let mut source = String::new();
        let opened = std::fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
        opened.take(MAX_BYTES + 1).read_to_string(&mut source).map_err(|error| wrong(error.to_string()))?;
        if source.len() as u64 > MAX_BYTES {
            return Err(wrong("larger than 8 MiB, the most that a script may be".to_owned()));
        }
        if source.starts_with('\u{feff}') {
            source.drain(..'\u{feff}'.len_utf8());
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Some(Script { interpreter, name, source }))
    }

    /// The interpreter's input: the source, and what of `work` is for it.
    ///
    /// # Errors
    /// It is neither JSON nor text.
    pub fn input(&self, work: &Work, input: &[u8]) -> anyhow::Result<Arc<[u8]>> {
        let null = RawValue::NULL;
        let text;
        let input: &RawValue = match serde_json::from_slice(input) {
            _ if input.is_empty() => null,
            Ok(value) if !work.is_text() => value,
            _ => {
                let Ok(words) = std::str::from_utf8(input) else {
                    bail!(
                        "the input of a script is JSON or text, and this is neither: encode it, e.g. as base64"
                    );
                };
                text = serde_json::value::to_raw_value(words)?;
                &text
            }
        };
        let Script { name, source, .. } = self;
        Ok(serde_json::to_vec(&Request { name, source, input })?.into())
    }
}
