//! Why a component is not accepted.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::task::escape_guest_text;

/// The stable `code` of a refusal, as in the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not WebAssembly, or not valid WebAssembly.
    ComponentInvalid,
    /// A core module that is not a WASI 0.1 command.
    NotAComponent,
    /// Over a cap of the pre-scan, or over the compiler's memory.
    ComponentTooComplex,
    /// Over the compiler's time.
    CompileTimeout,
    /// Imports something that nobody here offers.
    UnknownImport,
    /// Exports neither `run` nor `wasi:cli/run`.
    MissingExport,
    /// Exports or imports a function of another type than the contract's.
    TypeMismatch,
    /// Imports a capability that this runtime does not have.
    CapabilityUnavailable,
    /// What the component says of itself makes no sense.
    InvalidMetadata,
    /// More bytes than are read.
    TooLarge,
    /// There is no room on the disk for the compiled code.
    StorageUnavailable,
    /// The runtime's own fault: the compile worker could not be started, a file could not be read.
    Internal,
}

impl Code {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Code::ComponentInvalid => "component_invalid",
            Code::NotAComponent => "not_a_component",
            Code::ComponentTooComplex => "component_too_complex",
            Code::CompileTimeout => "compile_timeout",
            Code::UnknownImport => "unknown_import",
            Code::MissingExport => "missing_export",
            Code::TypeMismatch => "type_mismatch",
            Code::CapabilityUnavailable => "capability_unavailable",
            Code::InvalidMetadata => "invalid_metadata",
            Code::TooLarge => "too_large",
            Code::StorageUnavailable => "storage_unavailable",
            Code::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A component was not accepted. The message names the thing, the rule and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Where in the submitted bytes, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl Refusal {
    /// A refusal that has no place in the bytes.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        // Names of imports and exports are the guest's own words.
        Refusal { code, message: escape_guest_text(&message.into()), offset: None }
    }

    /// A file could not be written.
    pub fn unwritten(doing: &str, error: &std::io::Error) -> Refusal {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => {
                Refusal::new(Code::StorageUnavailable, format!("{doing}: {error}"))
            }
            _ => Refusal::internal(doing, error),
        }
    }

    /// The runtime's own fault, with what it was doing.
    pub fn internal(doing: &str, error: impl fmt::Display) -> Refusal {
        Refusal::new(Code::Internal, format!("{doing}: {error}"))
    }
}

impl From<wasmparser::BinaryReaderError> for Refusal {
    fn from(error: wasmparser::BinaryReaderError) -> Refusal {
        let text = match error.message() {
            text if text.starts_with("magic header") => "not WebAssembly: it does not begin with `\\0asm`",
            text => text,
        };
        let message = format!("{text} (at byte {})", error.offset());
        let offset = Some(error.offset() as u64);
        Refusal { offset, ..Refusal::new(Code::ComponentInvalid, message) }
    }
}
