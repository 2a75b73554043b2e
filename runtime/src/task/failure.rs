//! How a task fails: the one object that HTTP, WebSocket, the command line and traces all show.

use super::named;
use serde::{Deserialize, Serialize};

/// Bytes of guest text kept in a failure.
const MAX_GUEST_TEXT: usize = 4096;

named! {
    /// Why a task failed. Stable names: clients branch on them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum FailureKind {
        /// `run` returned an error, or a command's exit code was not 0.
        GuestError = "guest_error",
        /// The guest trapped; `trap` has wasmtime's code.
        Trap = "trap",
        /// The task used up its `fuel`.
        FuelExhausted = "fuel_exhausted",
        /// The task reached its `wall_ms`.
        DeadlineExceeded = "deadline_exceeded",
        /// `memory_bytes` or `memories` was too small.
        MemoryLimit = "memory_limit",
        /// `table_elements` or `tables` was too small.
        TableLimit = "table_limit",
        /// `instances` was too small.
        InstanceLimit = "instance_limit",
        /// The guest recursed deeper than `stack_bytes`.
        StackOverflow = "stack_overflow",
        /// The output was larger than `output_bytes`.
        OutputLimit = "output_limit",
        /// One call carried too much, or `host_call_bytes` or `host_calls` was used up.
        HostcallLimit = "hostcall_limit",
        /// More live handles than `handles`.
        HandleLimit = "handle_limit",
        /// The guest broke the canonical ABI: bad pointers, lengths, text or handles.
        AbiViolation = "abi_violation",
        /// A budget of a capability was used up; `limit` names it.
        BudgetExhausted = "budget_exhausted",
        /// The task used a capability that it was not granted.
        CapabilityDenied = "capability_denied",
        /// A service behind a capability failed or was not there.
        UpstreamUnavailable = "upstream_unavailable",
        /// The machine was short of memory: the task was chosen to end, or gave up after a refused growth.
        MachineMemory = "machine_memory",
        /// The runtime's own fault.
        HostError = "host_error",
        /// Crashes of the runtime interrupted the task more often than allowed.
        Lost = "lost",
    }
}

/// A failed task's `failure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub kind: FailureKind,
    /// The budget that stopped the task, by its name in `limits`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What would have been needed, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<u64>,
    /// What had been used of that budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// wasmtime's trap code in snake case, e.g. `integer_divide_by_zero`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trap: Option<String>,
    /// The exit code of a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One sentence; or, where the guest's language printed why it gave up, that with its stack. Guest text in it
    /// is escaped and cut to 4 KiB.
    pub message: String,
    /// Innermost first, at most 20 frames; function names where the component has them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub backtrace: Vec<String>,
    /// The smallest change that would have let it pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of which nothing but the kind and the message is known.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            limit: None,
            asked: None,
            used: None,
            trap: None,
            exit_code: None,
            message: message.into(),
            backtrace: Vec::new(),
            hint: None,
        }
    }
}

/// Guest text made safe to show: control characters escaped, cut to 4 KiB on a character's border.
pub fn escape_guest_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(MAX_GUEST_TEXT));
    for (at, character) in text.char_indices() {
        if at + character.len_utf8() > MAX_GUEST_TEXT {
            safe.push_str(&format!("… ({} bytes in all)", text.len()));
            break;
        }
        match character {
            '\n' | '\t' => safe.push(character),
            // Control characters drive terminals; the bidirectional ones reorder what is read.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                safe.extend(c.escape_unicode());
            }
            c => safe.push(c),
        }
    }
    safe
}
