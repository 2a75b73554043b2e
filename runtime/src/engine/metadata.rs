//! `omnimind:component`: a custom section in which a component says what it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use super::{Code, Refusal};
use crate::limits::{Mode, Requested};
use crate::task::{Grants, Object};

/// The section's name.
const SECTION: &str = "omnimind:component";

/// The id of custom sections.
const CUSTOM: u8 = 0;

/// Longest section that is read.
const MAX_BYTES: usize = 256 << 10;

/// Longest description.
const MAX_DESCRIPTION: usize = 4096;

/// What a component says of itself. Shown, and nothing more: it grants itself nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<serde_json::Map<String, serde_json::Value>>,
    /// A JSON schema of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Map<String, serde_json::Value>>,
    /// What it would like to be granted.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "Object::optional")]
    pub grants: Option<Grants>,
    /// The limits it would like.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
}

impl Metadata {
    /// Reads metadata that was given beside the component, or found in it.
    ///
    /// # Errors
    /// `invalid_metadata`: not JSON, not of this shape, or a limit that no mode allows.
    pub fn parse(text: &[u8]) -> Result<Metadata, Refusal> {
        let refuse = |why: String| Refusal::new(Code::InvalidMetadata, format!("{SECTION}: {why}"));
        if text.len() > MAX_BYTES {
            return Err(refuse(format!("{} bytes, {MAX_BYTES} are allowed", text.len())));
        }
        let read = serde_json::from_slice(text).map_err(|error| refuse(error.to_string()));
        let Object(metadata): Object<Metadata> = read?;
        let length = metadata.description.as_ref().map_or(0, String::len);
        if length > MAX_DESCRIPTION {
            return Err(refuse(format!("description: {length} bytes, {MAX_DESCRIPTION} are allowed")));
        }
        let wishes = Requested::all(&metadata.limits).map_err(|error| refuse(error.to_string()))?;
        // What one mode allows is a sensible wish, whatever this server's mode is.
        let possible = Mode::ALL.map(|mode| wishes.effective(mode));
        match possible.iter().all(Result::is_err) {
            true => Err(refuse(
                wishes.effective(Mode::Dev).err().map(|error| error.to_string()).unwrap_or_default(),
            )),
            false => Ok(metadata),
        }
    }

    /// `bytes`, a component or a core module, with a section at its end that says `text`, which was parsed.
    pub fn embed(bytes: &[u8], text: &[u8]) -> Vec<u8> {
        let mut section = Vec::with_capacity(text.len() + 32);
        number(&mut section, SECTION.len());
        section.extend_from_slice(SECTION.as_bytes());
        section.extend_from_slice(text);
        let mut with = Vec::with_capacity(bytes.len() + section.len() + 8);
        with.extend_from_slice(bytes);
        with.push(CUSTOM);
        number(&mut with, section.len());
        with.extend_from_slice(&section);
        with
    }

    /// What the component `bytes` says of itself; of several sections the last counts.
    ///
    /// # Errors
    /// As [`Metadata::parse`]. The bytes have passed the pre-scan.
    pub fn of(bytes: &[u8]) -> Result<Option<Metadata>, Refusal> {
        let mut found = None;
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) if section.name() == SECTION && depth == 0 => {
                    found = Some(Metadata::parse(section.data())?);
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// An unsigned LEB128.
fn number(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::Metadata;

    #[test]
    fn what_is_embedded_is_found_again() {
        for length in [1, 126, 127, 128, 4000] {
            let text = format!(r#"{{"description": "{}"}}"#, "d".repeat(length));
            for empty in [b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0"] {
                let once = Metadata::embed(empty, b"{}");
                let bytes = Metadata::embed(&once, text.as_bytes());
                let found = Metadata::of(&bytes).expect("whole").expect("a section");
                assert_eq!(found.description.map(|text| text.len()), Some(length));
            }
        }
    }
}
