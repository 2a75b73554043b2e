//! How a task fails: the one object that HTTP, WebSocket, the command line and traces all show.

use serde::{Deserialize, Serialize};

/// Bytes of guest text kept in a failure.
const MAX_GUEST_TEXT: usize = 4096;

/// Why a task failed. Stable names: clients branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// `run` returned an error, or a command's exit code was not 0.
    GuestError,
    /// The guest trapped; `trap` has wasmtime's code.
    Trap,
    /// The task used up its `fuel`.
    FuelExhausted,
    /// The task reached its `wall_ms`.
    DeadlineExceeded,
    /// `memory_bytes` or `memories` was too small.
    MemoryLimit,
    /// `table_elements` or `tables` was too small.
    TableLimit,
    /// `instances` was too small.
    InstanceLimit,
    /// The guest recursed deeper than `stack_bytes`.
    StackOverflow,
    /// The output was larger than `output_bytes`.
    OutputLimit,
    /// One call carried too much, or `host_call_bytes` or `host_calls` was used up.
    HostcallLimit,
    /// More live handles than `handles`.
    HandleLimit,
    /// The guest broke the canonical ABI: bad pointers, lengths, text or handles.
    AbiViolation,
    /// A budget of a capability was used up; `limit` names it.
    BudgetExhausted,
    /// The task used a capability that it was not granted.
    CapabilityDenied,
    /// A service behind a capability failed or was not there.
    UpstreamUnavailable,
    /// The machine was short of memory: the task was chosen to end, or gave up after a refused growth.
    MachineMemory,
    /// The runtime's own fault.
    HostError,
    /// Crashes of the runtime interrupted the task more often than allowed.
    Lost,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [FailureKind; 18] = [
        FailureKind::GuestError,
        FailureKind::Trap,
        FailureKind::FuelExhausted,
        FailureKind::DeadlineExceeded,
        FailureKind::MemoryLimit,
        FailureKind::TableLimit,
        FailureKind::InstanceLimit,
        FailureKind::StackOverflow,
        FailureKind::OutputLimit,
        FailureKind::HostcallLimit,
        FailureKind::HandleLimit,
        FailureKind::AbiViolation,
        FailureKind::BudgetExhausted,
        FailureKind::CapabilityDenied,
        FailureKind::UpstreamUnavailable,
        FailureKind::MachineMemory,
        FailureKind::HostError,
        FailureKind::Lost,
    ];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::GuestError => "guest_error",
            FailureKind::Trap => "trap",
            FailureKind::FuelExhausted => "fuel_exhausted",
            FailureKind::DeadlineExceeded => "deadline_exceeded",
            FailureKind::MemoryLimit => "memory_limit",
            FailureKind::TableLimit => "table_limit",
            FailureKind::InstanceLimit => "instance_limit",
            FailureKind::StackOverflow => "stack_overflow",
            FailureKind::OutputLimit => "output_limit",
            FailureKind::HostcallLimit => "hostcall_limit",
            FailureKind::HandleLimit => "handle_limit",
            FailureKind::AbiViolation => "abi_violation",
            FailureKind::BudgetExhausted => "budget_exhausted",
            FailureKind::CapabilityDenied => "capability_denied",
            FailureKind::UpstreamUnavailable => "upstream_unavailable",
            FailureKind::MachineMemory => "machine_memory",
            FailureKind::HostError => "host_error",
            FailureKind::Lost => "lost",
        }
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
