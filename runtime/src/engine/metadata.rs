//! `omnimind:component`: a custom section in which a component says what it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasm_encoder::{CustomSection, Section as _};
use wasmparser::{Parser, Payload};

use super::{Code, Refusal};
use crate::limits::{Mode, Requested};
use crate::task::{Grants, Misfit, Object};

/// The section's name.
const SECTION: &str = "omnimind:component";

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
        let read = Misfit::read(text).map_err(|misfit| refuse(misfit.to_string()));
        let Object(metadata): Object<Metadata> = read?;
        metadata.check().map_err(refuse)?;
        Ok(metadata)
    }

    /// The section's text.
    ///
    /// # Errors
    /// What [`Metadata::parse`] would say of it.
    pub fn to_text(&self) -> Result<Vec<u8>, String> {
        self.check()?;
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        match text.len() > MAX_BYTES {
            true => Err(format!("{} bytes, {MAX_BYTES} are allowed", text.len())),
            false => Ok(text),
        }
    }

    fn check(&self) -> Result<(), String> {
        let length = self.description.as_ref().map_or(0, String::len);
        if length > MAX_DESCRIPTION {
            return Err(format!("description: {length} bytes, {MAX_DESCRIPTION} are allowed"));
        }
        self.grants.as_ref().map_or(Ok(()), Grants::check).map_err(|error| error.to_string())?;
        let wishes = Requested::all(&self.limits).map_err(|error| error.to_string())?;
        // What one mode allows is a sensible wish, whatever this server's mode is.
        let possible = Mode::ALL.map(|mode| wishes.effective(mode));
        match possible.iter().all(Result::is_err) {
            true => Err(wishes.effective(Mode::Dev).err().map(|error| error.to_string()).unwrap_or_default()),
            false => Ok(()),
        }
    }

    /// `bytes`, a component or a core module, with a section at its end that says `text`, which was parsed.
    pub fn embed(bytes: &[u8], text: &[u8]) -> Vec<u8> {
        let mut with = bytes.to_vec();
        CustomSection { name: SECTION.into(), data: text.into() }.append_to(&mut with);
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
