//! The one table of budgets: name, unit, and per mode the default and the maximum.

use std::ops::{Index, IndexMut};

use super::Mode;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// One thing a task may spend. The names are part of the HTTP and WIT contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Budget {
    /// Wasm operations, as wasmtime counts them, plus [`Budget::HOST_CALL_FUEL`] per host call.
    Fuel,
    /// Milliseconds from the start of the task to its end, host waits included.
    WallMs,
    /// Bytes, summed over all linear memories of the task.
    MemoryBytes,
    /// Elements, summed over all tables of the task.
    TableElements,
    /// Tables.
    Tables,
    /// Linear memories.
    Memories,
    /// Core instances inside the component.
    Instances,
    /// Bytes of wasm stack. Fixed by the engine.
    StackBytes,
    /// Bytes of input.
    InputBytes,
    /// Bytes of output: what `run` returns, or a command's standard output.
    OutputBytes,
    /// Bytes of log kept, head and tail; the middle is dropped and counted.
    LogBytes,
    /// Bytes copied across the sandbox boundary by host calls, both ways.
    HostCallBytes,
    /// Calls from the guest to the host.
    HostCalls,
    /// Bytes of checkpoints kept.
    CheckpointBytes,
    /// Live resource handles.
    Handles,
    /// Bytes of tensors, at one time.
    TensorBytes,
    /// Floating-point operations of tensors.
    TensorFlops,
    /// Tokens of texts that are embedded.
    EmbedTokens,
}

/// What a mode gives when nothing was asked for, and the most that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The limit of a task that does not ask.
    pub default: u64,
    /// The highest limit a task may ask for.
    pub max: u64,
}

impl Budget {
    /// Every budget, in the order of docs/limits.md.
    pub const ALL: [Budget; 18] = [
        Budget::Fuel,
        Budget::WallMs,
        Budget::MemoryBytes,
        Budget::TableElements,
        Budget::Tables,
        Budget::Memories,
        Budget::Instances,
        Budget::StackBytes,
        Budget::InputBytes,
        Budget::OutputBytes,
        Budget::LogBytes,
        Budget::HostCallBytes,
        Budget::HostCalls,
        Budget::CheckpointBytes,
        Budget::Handles,
        Budget::TensorBytes,
        Budget::TensorFlops,
        Budget::EmbedTokens,
    ];

    /// Fuel charged for each host call, so that a loop around cheap calls pays for the host's work.
    pub const HOST_CALL_FUEL: u64 = 100;

    /// The engine's stack: every task has exactly this much.
    pub const ENGINE_STACK_BYTES: u64 = 512 * KIB;

    /// The name in JSON, on the command line and in WIT.
    pub fn name(self) -> &'static str {
        match self {
            Budget::Fuel => "fuel",
            Budget::WallMs => "wall_ms",
            Budget::MemoryBytes => "memory_bytes",
            Budget::TableElements => "table_elements",
            Budget::Tables => "tables",
            Budget::Memories => "memories",
            Budget::Instances => "instances",
            Budget::StackBytes => "stack_bytes",
            Budget::InputBytes => "input_bytes",
            Budget::OutputBytes => "output_bytes",
            Budget::LogBytes => "log_bytes",
            Budget::HostCallBytes => "host_call_bytes",
            Budget::HostCalls => "host_calls",
            Budget::CheckpointBytes => "checkpoint_bytes",
            Budget::Handles => "handles",
            Budget::TensorBytes => "tensor_bytes",
            Budget::TensorFlops => "tensor_flops",
            Budget::EmbedTokens => "embed_tokens",
        }
    }

    /// The budget of that name.
    pub fn from_name(name: &str) -> Option<Budget> {
        Budget::ALL.into_iter().find(|budget| budget.name() == name)
    }

    /// Whether what was used is counted. wasmtime enforces these two without telling how near it was.
    pub fn is_counted(self) -> bool {
        !matches!(self, Budget::StackBytes | Budget::Handles)
    }

    /// Whether the unit is bytes (for messages, and for `256MiB` on the command line).
    pub fn is_bytes(self) -> bool {
        self.name().ends_with("_bytes")
    }

    /// What is counted, in a word.
    pub fn unit(self) -> &'static str {
        match self {
            Budget::Fuel | Budget::TensorFlops => "operations",
            Budget::WallMs => "ms",
            Budget::EmbedTokens => "tokens",
            _ if self.is_bytes() => "bytes",
            _ => "count",
        }
    }

    /// Default and maximum in `mode`. The table of docs/limits.md; a test holds the two together.
    pub fn bounds(self, mode: Mode) -> Bounds {
        let (default, max) = match (self, mode) {
            (Budget::Fuel, Mode::Dev) => (1_000_000_000_000, 10_000_000_000_000),
            (Budget::Fuel, Mode::Test) => (100_000_000_000, 1_000_000_000_000),
            (Budget::Fuel, Mode::Prod) => (20_000_000_000, 500_000_000_000),
            (Budget::WallMs, Mode::Dev) => (300_000, 3_600_000),
            (Budget::WallMs, Mode::Test) => (300_000, 600_000),
            (Budget::WallMs, Mode::Prod) => (300_000, 900_000),
            (Budget::MemoryBytes, Mode::Dev) => (512 * MIB, 4 * GIB),
            (Budget::MemoryBytes, Mode::Test) => (256 * MIB, 2 * GIB),
            (Budget::MemoryBytes, Mode::Prod) => (256 * MIB, GIB),
            (Budget::TableElements, _) => (1_000_000, 1_000_000),
            (Budget::Tables, _) => (64, 64),
            (Budget::Memories, _) => (16, 16),
            (Budget::Instances, _) => (100, 100),
            (Budget::StackBytes, _) => (Self::ENGINE_STACK_BYTES, Self::ENGINE_STACK_BYTES),
            (Budget::InputBytes | Budget::OutputBytes, _) => (16 * MIB, 64 * MIB),
            (Budget::LogBytes, _) => (MIB, 16 * MIB),
            (Budget::HostCallBytes, _) => (GIB, 64 * GIB),
            (Budget::HostCalls, _) => (10_000_000, 1_000_000_000),
            (Budget::CheckpointBytes, _) => (64 * MIB, GIB),
            (Budget::Handles, _) => (10_000, 10_000),
            (Budget::TensorBytes, Mode::Prod) => (GIB, 8 * GIB),
            (Budget::TensorBytes, _) => (2 * GIB, 16 * GIB),
            (Budget::TensorFlops, _) => (10_000_000_000_000, 1_000_000_000_000_000),
            (Budget::EmbedTokens, _) => (1_000_000, 100_000_000),
        };
        Bounds { default, max }
    }

    /// The lowest limit that makes sense: without a stack or an instance no guest can start; anything else
    /// may be refused outright.
    pub fn least(self) -> u64 {
        match self {
            Budget::StackBytes => Self::ENGINE_STACK_BYTES,
            Budget::Fuel | Budget::WallMs | Budget::Instances => 1,
            _ => 0,
        }
    }

    /// The highest maximum that a configuration may set. Where the engine's pool, the server's buffers or the
    /// store are sized by mode dev, that is dev's; where nothing but the task itself grows, it is more.
    pub fn ceiling(self) -> u64 {
        match self {
            // wasmtime counts fuel in a signed number.
            Budget::Fuel
            | Budget::HostCalls
            | Budget::HostCallBytes
            | Budget::TensorFlops
            | Budget::EmbedTokens => i64::MAX as u64,
            // No machine has more; what this one has is looked at besides.
            Budget::TensorBytes => 1 << 50,
            Budget::WallMs => 30 * 24 * 3600 * 1000,
            // As many memories as there can be, each as large as a 32-bit one gets.
            Budget::MemoryBytes => 64 * GIB,
            _ => self.bounds(Mode::Dev).max,
        }
    }

    /// A quantity of this budget for people: `272 MiB`, `1000 ms`, `5`.
    pub fn display(self, amount: u64) -> String {
        match self {
            Budget::WallMs => format!("{amount} ms"),
            _ if !self.is_bytes() => amount.to_string(),
            _ => match amount {
                n if n >= GIB && n.is_multiple_of(GIB) => format!("{} GiB", n / GIB),
                n if n >= MIB && n.is_multiple_of(MIB) => format!("{} MiB", n / MIB),
                n if n >= KIB && n.is_multiple_of(KIB) => format!("{} KiB", n / KIB),
                n => format!("{n} bytes"),
            },
        }
    }
}

/// One value for each budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerBudget<T>([T; Budget::ALL.len()]);

impl<T> PerBudget<T> {
    pub(super) fn new(value: impl Fn(Budget) -> T) -> PerBudget<T> {
        PerBudget(Budget::ALL.map(value))
    }
}

// `ALL` lists the variants in their order, so every budget's number is a place in the array.
#[allow(clippy::indexing_slicing)]
impl<T> Index<Budget> for PerBudget<T> {
    type Output = T;

    fn index(&self, budget: Budget) -> &T {
        &self.0[budget as usize]
    }
}

#[allow(clippy::indexing_slicing)]
impl<T> IndexMut<Budget> for PerBudget<T> {
    fn index_mut(&mut self, budget: Budget) -> &mut T {
        &mut self.0[budget as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_budget_in_order() {
        for (at, budget) in Budget::ALL.into_iter().enumerate() {
            assert_eq!(budget as usize, at);
            assert_eq!(Budget::from_name(budget.name()), Some(budget));
        }
    }
}
