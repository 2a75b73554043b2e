//! Why a component is not accepted.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::task::escape_guest_text;
use crate::task::named;

named! {
    /// The stable `code` of a refusal, as in the HTTP contract.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum Code {
        /// Not WebAssembly, or not valid WebAssembly.
        ComponentInvalid = "component_invalid",
        /// A core module that is not a WASI 0.1 command.
        NotAComponent = "not_a_component",
        /// Over a cap of the pre-scan, or over the compiler's memory.
        ComponentTooComplex = "component_too_complex",
        /// Over the compiler's time.
        CompileTimeout = "compile_timeout",
        /// Imports something that nobody here offers.
        UnknownImport = "unknown_import",
        /// Exports neither `run` nor `wasi:cli/run`.
        MissingExport = "missing_export",
        /// Exports or imports a function of another type than the contract's.
        TypeMismatch = "type_mismatch",
        /// Imports a capability that this runtime does not have.
        CapabilityUnavailable = "capability_unavailable",
        /// What the component says of itself makes no sense.
        InvalidMetadata = "invalid_metadata",
        /// More bytes than are read.
        TooLarge = "too_large",
        /// There is no room on the disk for the compiled code.
        StorageUnavailable = "storage_unavailable",
        /// The runtime's own fault: the compile worker could not be started, a file could not be read.
        Internal = "internal",
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
