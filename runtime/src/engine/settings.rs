//! The one place that builds a `wasmtime::Config`.
//!
//! Runner and compile worker build theirs here from the same lines, because an artefact only loads
//! into an engine with the same compiler settings. Figures behind the choices: docs/performance.md.

use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig, Strategy,
    VariableOperatorCost, WasmBacktraceDetails,
};

use crate::limits::Budget;

/// What of core WebAssembly guests may use: what the supported languages emit, and no more. Without
/// memory64, threads, garbage collection, exceptions and multi-memory there is less to attack.
const CORE_FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST);

/// Largest image of a memory that is mostly empty; a dense one may be larger.
const MAX_SPARSE_IMAGE: u64 = 1 << 20;

/// Which of the two engines a component runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Without the async component model: four times less overhead for each task.
    Plain,
    /// With it, for the components that need a little of it (JavaScript built with QuickJS, say).
    Concurrent,
}

impl Flavour {
    /// The name in artefact folders and on the worker's command line.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Plain => "plain",
            Flavour::Concurrent => "concurrent",
        }
    }

    /// The features a component may use on this engine.
    pub fn features(self) -> WasmFeatures {
        let features = CORE_FEATURES.union(WasmFeatures::COMPONENT_MODEL);
        match self {
            Flavour::Plain => features,
            Flavour::Concurrent => features.union(WasmFeatures::CM_ASYNC),
        }
    }
}

/// The settings that decide what the compiler emits: the same for worker and runner.
pub fn compiler(flavour: Flavour) -> Config {
    let mut config = Config::new();
    let features = flavour.features();
    for (_, feature) in WasmFeatures::all().iter_names() {
        config.wasm_features(feature, features.contains(feature));
    }
    config
        .strategy(Strategy::Cranelift)
        .consume_fuel(true)
        .operator_cost(operator_cost())
        .epoch_interruption(true)
        // wasmtime's own adapters between composed components need it. Guests do not get it: the worker
        // validates them with `Flavour::features`.
        .wasm_multi_memory(true)
        .relaxed_simd_deterministic(true)
        .concurrency_support(flavour == Flavour::Concurrent)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // A byte at each end of a memory makes an image of all that lies between: no artefact may be
        // many times larger than its component.
        .memory_guaranteed_dense_image_size(MAX_SPARSE_IMAGE);
    config
}

/// wasmtime's prices, except that growing a memory costs something: each page is zeroed by someone.
fn operator_cost() -> OperatorCost {
    let mut cost = OperatorCost::new();
    cost.variable = VariableOperatorCost { memory_grow_per_page: 64, ..VariableOperatorCost::new() };
    cost
}

/// The settings of an engine that runs at most `instances` tasks at once.
///
/// The pool is sized so that it is never what a guest meets: every cap lies at or above the budgets
/// of `limits`, which answer first and by name.
pub fn runner(flavour: Flavour, instances: u32) -> Config {
    const KEEP_RESIDENT_MEMORY: usize = 2 << 20;
    const KEEP_RESIDENT_TABLE: usize = 64 << 10;
    const MAX_INSTANCE_METADATA: usize = 10 << 20;
    // The most that the validator lets one module declare.
    const VALIDATOR_MEMORIES: u32 = 100;
    const VALIDATOR_TABLES: u32 = 100;
    const VALIDATOR_TABLE_ELEMENTS: usize = 10_000_000;
    const CORE_INSTANCES: u32 = 256;

    let mode = crate::limits::Mode::Dev;
    let most = |budget: Budget| u32::try_from(budget.bounds(mode).max).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(most(Budget::Instances)))
        .total_memories(instances.saturating_mul(most(Budget::Memories)))
        .total_tables(instances.saturating_mul(most(Budget::Tables)))
        // One for each: subtasks, which have stacks of their own, are refused by the pre-scan.
        .total_stacks(instances)
        .max_component_instance_size(MAX_INSTANCE_METADATA)
        .max_core_instance_size(MAX_INSTANCE_METADATA)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(VALIDATOR_MEMORIES * CORE_INSTANCES)
        .max_tables_per_component(VALIDATOR_TABLES * CORE_INSTANCES)
        .max_memories_per_module(VALIDATOR_MEMORIES)
        .max_tables_per_module(VALIDATOR_TABLES)
        .table_elements(VALIDATOR_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_MEMORY)
        .table_keep_resident(KEEP_RESIDENT_TABLE)
        .pagemap_scan(Enabled::Auto);
    let mut config = compiler(flavour);
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(Budget::ENGINE_STACK_BYTES as usize);
    config
}
