//! The one table of budgets: name, unit, and per mode the default and the maximum.

use std::ops::{Index, IndexMut};

use super::Mode;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a mode gives when nothing was asked for, and the most that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The limit of a task that does not ask.
    pub default: u64,
    /// The highest limit a task may ask for.
    pub max: u64,
}

/// A row of the table.
struct Row {
    name: &'static str,
    unit: &'static str,
    /// Default and maximum in dev, test and prod.
    bounds: [(u64, u64); 3],
    ceiling: Option<u64>,
}

const fn row(name: &'static str, unit: &'static str, bounds: [(u64, u64); 3]) -> Row {
    Row { name, unit, bounds, ceiling: None }
}

const fn same(name: &'static str, unit: &'static str, bounds: (u64, u64)) -> Row {
    row(name, unit, [bounds; 3])
}

const fn fixed(name: &'static str, unit: &'static str, limit: u64) -> Row {
    same(name, unit, (limit, limit))
}

impl Row {
    /// A configuration may set the maximum up to `ceiling`, not to that of mode dev.
    const fn up_to(mut self, ceiling: u64) -> Row {
        self.ceiling = Some(ceiling);
        self
    }
}

/// wasmtime counts fuel in a signed number, and so do we what nothing else bounds.
const SIGNED: u64 = i64::MAX as u64;

macro_rules! budgets {
    ($($(#[$doc:meta])+ $budget:ident = $row:expr;)+) => {
        /// One thing a task may spend. The names are part of the HTTP and WIT contracts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Budget {
            $($(#[$doc])+ $budget,)+
        }

        const COUNT: usize = [$(Budget::$budget,)+].len();

        impl Budget {
            /// Every budget, in the order of docs/limits.md.
            pub const ALL: [Budget; COUNT] = [$(Budget::$budget,)+];
        }

        static TABLE: PerBudget<Row> = PerBudget([$($row,)+]);
    };
}

// A test holds docs/limits.md to it.
budgets! {
    /// Wasm operations, as wasmtime counts them, plus [`Budget::HOST_CALL_FUEL`] per host call.
    Fuel = row("fuel", "operations", [
        (1_000_000_000_000, 10_000_000_000_000),
        (100_000_000_000, 1_000_000_000_000),
        (20_000_000_000, 500_000_000_000),
    ]).up_to(SIGNED);
    /// Milliseconds from the start of the task to its end, host waits included.
    WallMs = row("wall_ms", "ms", [(300_000, 3_600_000), (300_000, 600_000), (300_000, 900_000)])
        .up_to(30 * 24 * 3600 * 1000);
    /// Bytes, summed over all linear memories of the task. The ceiling: as many memories as there can be, each as
    /// large as a 32-bit one gets.
    MemoryBytes =
        row("memory_bytes", "bytes", [(512 * MIB, 4 * GIB), (256 * MIB, 2 * GIB), (256 * MIB, GIB)]).up_to(64 * GIB);
    /// Elements, summed over all tables of the task.
    TableElements = fixed("table_elements", "count", 1_000_000);
    /// Tables.
    Tables = fixed("tables", "count", 64);
    /// Linear memories.
    Memories = fixed("memories", "count", 16);
    /// Core instances inside the component.
    Instances = fixed("instances", "count", 100);
    /// Bytes of wasm stack. Fixed by the engine.
    StackBytes = fixed("stack_bytes", "bytes", Budget::ENGINE_STACK_BYTES);
    /// Bytes of input.
    InputBytes = same("input_bytes", "bytes", (16 * MIB, 64 * MIB));
    /// Bytes of output: what `run` returns, or a command's standard output.
    OutputBytes = same("output_bytes", "bytes", (16 * MIB, 64 * MIB));
    /// Bytes of log kept, head and tail; the middle is dropped and counted.
    LogBytes = same("log_bytes", "bytes", (MIB, 16 * MIB));
    /// Bytes copied across the sandbox boundary by host calls, both ways.
    HostCallBytes = same("host_call_bytes", "bytes", (GIB, 64 * GIB)).up_to(SIGNED);
    /// Calls from the guest to the host.
    HostCalls = same("host_calls", "count", (10_000_000, 1_000_000_000)).up_to(SIGNED);
    /// Bytes of checkpoints kept.
    CheckpointBytes = same("checkpoint_bytes", "bytes", (64 * MIB, GIB));
    /// Live resource handles.
    Handles = fixed("handles", "count", 10_000);
    /// Bytes of tensors, at one time. The ceiling: no machine has more; what this one has is looked at besides.
    TensorBytes = row("tensor_bytes", "bytes", [(2 * GIB, 16 * GIB), (2 * GIB, 16 * GIB), (GIB, 8 * GIB)])
        .up_to(1 << 50);
    /// Floating-point operations of tensors.
    TensorFlops =
        same("tensor_flops", "operations", (10_000_000_000_000, 1_000_000_000_000_000)).up_to(SIGNED);
    /// Tokens of texts that are embedded.
    EmbedTokens = same("embed_tokens", "tokens", (1_000_000, 100_000_000)).up_to(SIGNED);
    /// Tokens that language models read and write.
    LlmTokens = same("llm_tokens", "tokens", (100_000, 10_000_000)).up_to(SIGNED);
}

impl Budget {
    /// Fuel charged for each host call, so that a loop around cheap calls pays for the host's work.
    pub const HOST_CALL_FUEL: u64 = 100;

    /// The engine's stack: every task has exactly this much.
    pub const ENGINE_STACK_BYTES: u64 = 512 * KIB;

    /// The name in JSON, on the command line and in WIT.
    pub fn name(self) -> &'static str {
        TABLE[self].name
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
        self.unit() == "bytes"
    }

    /// What is counted, in a word.
    pub fn unit(self) -> &'static str {
        TABLE[self].unit
    }

    /// Default and maximum in `mode`.
    pub fn bounds(self, mode: Mode) -> Bounds {
        let [dev, test, prod] = TABLE[self].bounds;
        let (default, max) = match mode {
            Mode::Dev => dev,
            Mode::Test => test,
            Mode::Prod => prod,
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
        TABLE[self].ceiling.unwrap_or_else(|| self.bounds(Mode::Dev).max)
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

    #[test]
    fn amounts_are_shown_in_the_largest_unit_that_says_them_exactly() {
        for (budget, amount, shown) in [
            (Budget::WallMs, 2048, "2048 ms"),
            (Budget::Fuel, GIB, "1073741824"),
            (Budget::MemoryBytes, 0, "0 bytes"),
            (Budget::MemoryBytes, KIB - 1, "1023 bytes"),
            (Budget::MemoryBytes, KIB, "1 KiB"),
            (Budget::MemoryBytes, KIB + 1, "1025 bytes"),
            (Budget::MemoryBytes, MIB, "1 MiB"),
            (Budget::MemoryBytes, MIB + KIB, "1025 KiB"),
            (Budget::MemoryBytes, MIB + 1, "1048577 bytes"),
            (Budget::MemoryBytes, GIB, "1 GiB"),
            (Budget::MemoryBytes, GIB + MIB, "1025 MiB"),
            (Budget::MemoryBytes, GIB + 1, "1073741825 bytes"),
        ] {
            assert_eq!(budget.display(amount), shown);
        }
    }

    #[test]
    fn what_the_engine_keeps_to_itself_is_not_counted() {
        let uncounted: Vec<Budget> = Budget::ALL.into_iter().filter(|budget| !budget.is_counted()).collect();
        assert_eq!(uncounted, [Budget::StackBytes, Budget::Handles]);
    }
}
