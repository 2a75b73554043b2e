//! Component bytes that are cheap to send and dear to compile, and bytes that are no component at all.
//!
//! Compiling is outside wasmtime's security model and cannot be interrupted inside a process, so the runtime
//! must refuse most of these before compiling (the pre-scan) and survive the rest (a child process with limits).
//! Every bomb is valid WebAssembly unless its comment says otherwise, and is a whole task: it exports `run`, which
//! returns its input. So a small bomb is its own twin: it must be accepted and must run.
//!
//! Times and sizes in the comments: `wasmtime compile` 48.0.2, default options, 2 cores, 6 GiB of address space,
//! given up after 60 s. Single functions keep one core busy, many functions both.
//! Everything is deterministic. Nothing here is hostile to the test process itself: the largest takes some tens
//! of megabytes to build at the sizes that the comments name.

use wasm_encoder::{
    Alias, BlockType, CanonicalOption, CodeSection, ComponentBuilder, ComponentExportKind,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, ComponentValType, ConstExpr, DataSection,
    Encode, ExportKind, ExportSection, Function, FunctionSection, InstructionSink, MemorySection, MemoryType,
    Module, PrimitiveValType, TypeSection, ValType,
};

// ---- The task around a bomb ------------------------------------------------------------------------------------

/// The smallest task: a valid component whose `run` returns its input (up to 63 KiB).
///
/// The twin of every malformed input below. Owes: accepted, completes.
pub fn echo() -> Vec<u8> {
    task(|_| {})
}

/// A task that holds `module` and instantiates it once; `module` must have no imports.
///
/// It has two core instances, `module`'s and that of `run`.
pub fn wrap_core(module: &[u8]) -> Vec<u8> {
    task(|component| {
        let module = component.core_module_raw(None, module);
        component.core_instantiate(None, module, []);
    })
}

/// A component with what `fill` puts into it first, and then `run`, which costs one core instance.
fn task(fill: impl FnOnce(&mut ComponentBuilder)) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    fill(&mut component);

    let module = component.core_module_raw(None, &core_module());
    let instance = component.core_instantiate(None, module, []);
    let memory = component.core_alias_export(None, instance, "memory", ExportKind::Memory);
    let realloc = component.core_alias_export(None, instance, "realloc", ExportKind::Func);
    let run = component.core_alias_export(None, instance, "run", ExportKind::Func);

    let (bytes, list) = component.type_defined(None);
    list.list(PrimitiveValType::U8);
    let (answer, result) = component.type_defined(None);
    result.result(Some(ComponentValType::Type(bytes)), Some(PrimitiveValType::String.into()));
    let (signature, mut function) = component.type_function(None);
    function.params([("input", ComponentValType::Type(bytes))]).result(Some(ComponentValType::Type(answer)));
    let run = component.lift_func(
        None,
        run,
        signature,
        [CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)],
    );
    component.export("run", ComponentExportKind::Func, run, None);
    component.finish()
}

/// The core module behind [`echo`], by itself: valid, but neither a component nor a WASI 0.1 command.
///
/// Owes: `400 not_a_component`.
pub fn core_module() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    types.ty().function([ValType::I32; 2], [ValType::I32]);
    let mut functions = FunctionSection::new();
    functions.function(0).function(1);
    let mut memories = MemorySection::new();
    memories.memory(memory(1));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0).export("realloc", ExportKind::Func, 0).export(
        "run",
        ExportKind::Func,
        1,
    );

    // The input goes to 1024, the result area is at 16: tag, pointer, length.
    let mut realloc = Function::new([]);
    realloc.instructions().i32_const(1024).end();
    let at = |offset| wasm_encoder::MemArg { offset, align: 2, memory_index: 0 };
    let mut run = Function::new([]);
    run.instructions()
        .i32_const(16)
        .local_get(0)
        .i32_store(at(4))
        .i32_const(16)
        .local_get(1)
        .i32_store(at(8))
        .i32_const(16)
        .end();
    let mut code = CodeSection::new();
    code.function(&realloc).function(&run);

    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
    module.finish()
}

fn memory(minimum: u64) -> MemoryType {
    MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None }
}

/// A core module with the functions given, all of type `(param i32) (result i32)`, none exported.
fn module_of(functions: impl IntoIterator<Item = Function>) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut declared = FunctionSection::new();
    let mut code = CodeSection::new();
    for function in functions {
        declared.function(0);
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&code);
    module.finish()
}

/// A task around one function with `locals` locals of type i32 besides its parameter.
fn one_function(locals: u32, body: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    let mut function = Function::new([(locals, ValType::I32)]);
    let mut code = function.instructions();
    body(&mut code);
    code.end();
    wrap_core(&module_of([function]))
}

// ---- One function that is dear to compile ----------------------------------------------------------------------

/// `n` locals that meet at one label from `n` branches with other values each: n² arguments of block parameters.
///
/// A naive host: `phis(500)`, 10 KB, compiles for 7 s; `phis(1000)`, 21 KB, for 29 s with 0.6 GB; `phis(2000)`,
/// 42 KB, for more than 60 s with 2 GB. All are under every cap of the pre-scan.
/// Owes: `422 component_too_complex` above the cap on locals (5 000); below it `422 compile_timeout` where the
/// child's CPU budget ends first.
pub fn phis(n: u32) -> Vec<u8> {
    one_function(n, |code| {
        code.block(BlockType::Empty);
        for local in 1..=n {
            code.local_get(0).i32_const(local as i32).i32_add().local_set(local);
            code.local_get(0).i32_const(local as i32).i32_eq().br_if(0);
        }
        code.end();
        sum_of_locals(code, n);
    })
}

/// `n` locals, each the result of a call and all set before any is used: all live at once, across calls.
///
/// A naive host: 10 000 locals, 110 KB, compile for 1.3 s; 49 999, 617 KB, for 54 s. The validator stops at 50 000,
/// the parameter included. Owes: `422 component_too_complex` above the cap on locals (5 000).
pub fn many_locals(n: u32) -> Vec<u8> {
    one_function(n, |code| {
        for local in 1..=n {
            code.local_get(0).call(0).local_set(local);
        }
        sum_of_locals(code, n);
    })
}

fn sum_of_locals(code: &mut InstructionSink<'_>, n: u32) {
    code.local_get(0);
    for local in 1..=n {
        code.local_get(local).i32_xor();
    }
}

/// One function of about `bytes` bytes without a branch.
///
/// A naive host: 1 MB compiles for 6 s and takes 0.6 GB, 5.4 MB for 29 s and 2.9 GB. The validator stops at
/// 7 654 321 bytes.
/// Owes: `422 component_too_complex` above the cap on a body (1 MB).
pub fn straight_line(bytes: usize) -> Vec<u8> {
    wrap_core(&module_of([straight_body(bytes, 1)]))
}

/// About `bytes` bytes of arithmetic, an instruction a byte, each on the result of the one before; `seed` keeps two
/// bodies from being equal.
fn straight_body(bytes: usize, seed: u64) -> Function {
    let mut body = Function::new([]);
    let mut code = body.instructions();
    code.local_get(0);
    for choice in Random::new(seed).take(bytes) {
        match choice % 3 {
            0 => code.i32_clz(),
            1 => code.i32_ctz(),
            _ => code.i32_popcnt(),
        };
    }
    code.end();
    body
}

/// One `br_table` with `targets` targets, to two labels in turn.
///
/// A naive host: 1 800 000 targets, 1.8 MB, compile for 3 s (15 s on a loaded machine) and take 1.0 GB.
/// Owes: `422 component_too_complex` above the cap on targets (16 384).
pub fn br_table(targets: u32) -> Vec<u8> {
    one_function(0, |code| {
        code.block(BlockType::Empty).block(BlockType::Empty);
        code.local_get(0).br_table((0..targets).map(|target| target % 2), 0);
        code.end().i32_const(1).return_().end().i32_const(2);
    })
}

/// `n` blocks, one inside the other, in one function.
///
/// A naive host: recursion over the nesting, in a validator or in a scan of its own, overflows its stack.
/// Owes: `422 component_too_complex` above the cap on block nesting (2 000).
pub fn deep_blocks(n: u32) -> Vec<u8> {
    one_function(0, |code| {
        for _ in 0..n {
            code.block(BlockType::Empty);
        }
        for _ in 0..n {
            code.end();
        }
        code.local_get(0);
    })
}

/// `n` results of calls on the operand stack at once, 5 bytes each.
///
/// A naive host: 30 000, 150 KB, compile for 36 s; 100 000, 500 KB, for more than 60 s. The function has no locals
/// but its parameter and no branch: up to 200 000 no cap of the pre-scan but one on operands sees it.
/// Owes: `422 compile_timeout`; above the cap on a body (1 MB) `422 component_too_complex`.
pub fn stack_depth(n: u32) -> Vec<u8> {
    one_function(0, |code| {
        code.local_get(0);
        for _ in 0..n {
            code.local_get(0).call(0);
        }
        for _ in 0..n {
            code.i32_xor();
        }
    })
}

// ---- Many of something -----------------------------------------------------------------------------------------

/// `n` functions that return their parameter: 6 bytes each.
///
/// A naive host: 50 000, 300 KB, compile for 3 s; 900 000, 5.4 MB, for 55 s and take 4.7 GB.
/// Owes: `422 component_too_complex` above the cap on functions (50 000).
pub fn many_functions(n: u32) -> Vec<u8> {
    wrap_core(&module_of((0..n).map(|_| {
        let mut body = Function::new([]);
        body.instructions().local_get(0).end();
        body
    })))
}

/// `n` functions of about `body_bytes` bytes each, no two alike: under every cap on a single function.
///
/// A naive host: 20 000 of 1 KB, 20 MB, compile for 13 s, 25 s of CPU, and take 0.9 GB.
/// Owes: accepted if it compiles within 5 s + 3 s per MB of CPU (90 s at most), else `422 compile_timeout`.
pub fn medium_functions(n: u32, body_bytes: usize) -> Vec<u8> {
    wrap_core(&module_of((0..n).map(|seed| straight_body(body_bytes, u64::from(seed)))))
}

/// `n` core instances in all, flat, that of `run` among them; `n` is at least 1.
///
/// A naive host: allocates an instance for each before the guest runs an instruction.
/// Owes: with the limit `instances` at 100, 100 complete and 101 end as `instance_limit` (or are refused as
/// `422 component_too_complex` by the pre-scan, above its cap of 256).
pub fn many_instances(n: u32) -> Vec<u8> {
    task(|component| {
        let empty = component.core_module(None, &Module::new());
        for _ in 1..n {
            component.core_instantiate(None, empty, []);
        }
    })
}

/// `n` imported functions, `i0`, `i1` and so on, that nobody offers.
///
/// A naive host: resolves and reports each, `n` lines of error.
/// Owes: `422 unknown_import` for few, naming the first ones only; `422 component_too_complex` above the cap (10 000).
pub fn many_imports(n: u32) -> Vec<u8> {
    task(|component| {
        let (signature, mut function) = component.type_function(None);
        function.params::<_, ComponentValType>([]).result(None);
        for import in 0..n {
            component.import(format!("i{import}").as_str(), ComponentTypeRef::Func(signature));
        }
    })
}

/// `n` active data segments of one byte each, in one page of memory.
///
/// A naive host: a bookkeeping entry for each, at load and at each instantiation. The validator stops at 100 000.
/// Owes: `422 component_too_complex` above the cap on segments (10 000).
pub fn many_data_segments(n: u32) -> Vec<u8> {
    let mut memories = MemorySection::new();
    memories.memory(memory(1));
    let mut data = DataSection::new();
    for segment in 0..n {
        let offset = ConstExpr::i32_const((segment % 65_536) as i32);
        data.active(0, &offset, [segment as u8]);
    }
    let mut module = Module::new();
    module.section(&memories).section(&data);
    wrap_core(&module.finish())
}

// ---- Instances that multiply -----------------------------------------------------------------------------------

/// A component with one core instance, the leaf of the trees below.
fn leaf() -> ComponentBuilder {
    let mut leaf = ComponentBuilder::default();
    let empty = leaf.core_module(None, &Module::new());
    leaf.core_instantiate(None, empty, []);
    leaf
}

/// Each of `levels` components instantiates the one before twice: 2^levels core instances and that of `run`.
///
/// A naive host: `fanout(22)`, 790 bytes, compiles for 6 s (23 s on a loaded machine) and takes 1.1 GB; each level
/// doubles both, and no part of it is code generation. `fanout(7)` has 129 core instances.
/// Owes: `422 component_too_complex` by the flattened count of instances (256).
pub fn fanout(levels: u32) -> Vec<u8> {
    task(|component| {
        let mut last = component.component(None, leaf());
        for _ in 0..levels {
            let mut level = ComponentBuilder::default();
            let inner = level.alias(None, outer_component(last));
            level.instantiate(None, inner, no_arguments());
            level.instantiate(None, inner, no_arguments());
            last = component.component(None, level);
        }
        component.instantiate(None, last, no_arguments());
    })
}

/// The same 2^levels instances, but no component names what it instantiates twice: it is an import.
///
/// Level k imports a component, makes a new one that instantiates the import twice, and instantiates level k - 1
/// with that. A scan that counts the instantiations in the bytes, or multiplies along definitions only, sees about
/// 4 a level. 22 levels, 1.8 KB, cost what `fanout(22)` does. Owes: as [`fanout`].
pub fn component_import_fanout(levels: u32) -> Vec<u8> {
    task(|component| {
        let component_type = component.type_component(None, &ComponentType::new());
        // Level 0 instantiates its import once.
        let mut level = ComponentBuilder::default();
        let ty = level.alias(None, outer_type(component_type));
        let import = level.import("x", ComponentTypeRef::Component(ty));
        level.instantiate(None, import, no_arguments());
        let mut last = component.component(None, level);
        for _ in 0..levels {
            let mut level = ComponentBuilder::default();
            let ty = level.alias(None, outer_type(component_type));
            let import = level.import("x", ComponentTypeRef::Component(ty));
            let twice = level.component(None, twice(import));
            let below = level.alias(None, outer_component(last));
            level.instantiate(None, below, [("x", ComponentExportKind::Component, twice)]);
            last = component.component(None, level);
        }
        let leaf = component.component(None, leaf());
        component.instantiate(None, last, [("x", ComponentExportKind::Component, leaf)]);
    })
}

/// The same 2^levels instances through exports: one small component turns a component into one that instantiates
/// it twice and exports that; the outermost applies it again and again through aliases.
///
/// Only one definition instantiates anything twice, and it has no core instance: a scan has to follow what an alias
/// of an instance's export stands for. 22 levels, 770 bytes, cost what `fanout(22)` does. Owes: as [`fanout`].
pub fn alias_fanout(levels: u32) -> Vec<u8> {
    task(|component| {
        let component_type = component.type_component(None, &ComponentType::new());
        let mut doubler = ComponentBuilder::default();
        let ty = doubler.alias(None, outer_type(component_type));
        let import = doubler.import("x", ComponentTypeRef::Component(ty));
        let twice = doubler.component(None, twice(import));
        doubler.export("twice", ComponentExportKind::Component, twice, None);
        let doubler = component.component(None, doubler);

        let mut last = component.component(None, leaf());
        for _ in 0..levels {
            let instance =
                component.instantiate(None, doubler, [("x", ComponentExportKind::Component, last)]);
            last = component.alias_export(instance, "twice", ComponentExportKind::Component);
        }
        component.instantiate(None, last, no_arguments());
    })
}

/// A component that instantiates component `index` of the enclosing one twice.
fn twice(index: u32) -> ComponentBuilder {
    let mut twice = ComponentBuilder::default();
    let inner = twice.alias(None, outer_component(index));
    twice.instantiate(None, inner, no_arguments());
    twice.instantiate(None, inner, no_arguments());
    twice
}

fn outer_component(index: u32) -> Alias<'static> {
    Alias::Outer { kind: ComponentOuterAliasKind::Component, count: 1, index }
}

fn outer_type(index: u32) -> Alias<'static> {
    Alias::Outer { kind: ComponentOuterAliasKind::Type, count: 1, index }
}

fn no_arguments() -> [(&'static str, ComponentExportKind, u32); 0] {
    []
}

// ---- Nesting and types -----------------------------------------------------------------------------------------

/// `depth` components, one inside the other, none instantiated.
///
/// A naive host: 20 000, 238 KB, end after 26 s in an abort at 6 GB; a recursive scan overflows its stack. (The
/// validator of later wasmparsers, 0.262 for one, stops at 1000.)
/// Owes: `422 component_too_complex` above the cap on nesting (16).
pub fn nested_components(depth: u32) -> Vec<u8> {
    let header = wasm_encoder::Component::HEADER;
    // Sizes from the innermost outwards, then bytes from the outermost inwards: linear in the depth.
    let mut sizes = vec![header.len()];
    let mut size = header.len();
    for _ in 1..depth {
        size += header.len() + 1 + leb128(size).len();
        sizes.push(size);
    }
    let mut nested = Vec::with_capacity(size);
    nested.extend_from_slice(&header);
    for inner in sizes.iter().rev().skip(1) {
        nested.push(4); // the section that holds a component
        nested.extend(leb128(*inner));
        nested.extend_from_slice(&header);
    }
    task(|component| {
        if depth > 0 {
            component.component_raw(None, &nested);
        }
    })
}

fn leb128(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    (size as u32).encode(&mut bytes);
    bytes
}

/// `n` tuple types, each a pair of the one before: a value of the last has 2^n fields.
///
/// A naive host: computes sizes or prints the type by walking it, 2^n steps for 4 bytes a level.
/// Owes: `400 component_invalid` where the validator's limit on a type's size (1 000 000, n = 19) is passed. Up to
/// there it is valid and must cost nothing (18 did).
pub fn exploding_types(n: u32) -> Vec<u8> {
    task(|component| {
        let mut last = ComponentValType::from(PrimitiveValType::U8);
        for _ in 0..n {
            let (index, ty) = component.type_defined(None);
            ty.tuple([last, last]);
            last = ComponentValType::Type(index);
        }
    })
}

/// `n` list types, each a list of the one before.
///
/// A naive host: recursion over the depth of a type. The validator stops at a depth of 100.
/// Owes: `400 component_invalid` above that, and below it nothing.
pub fn deep_types(n: u32) -> Vec<u8> {
    task(|component| {
        let mut last = ComponentValType::from(PrimitiveValType::U8);
        for _ in 0..n {
            let (index, ty) = component.type_defined(None);
            ty.list(last);
            last = ComponentValType::Type(index);
        }
    })
}

// ---- Not a component -------------------------------------------------------------------------------------------

/// A component whose one core module has a function section that claims 2^32 - 1 functions in 5 bytes.
///
/// A naive host: reserves room for them, 16 GB and more. Owes: `400 component_invalid` with the byte offset, at once.
pub fn huge_claimed_counts() -> Vec<u8> {
    let mut module = Module::HEADER.to_vec();
    module.extend([3, 5]); // function section, 5 bytes
    u32::MAX.encode(&mut module);
    let mut component = ComponentBuilder::default();
    component.core_module_raw(None, &module);
    component.finish()
}

/// A component with a section that claims 2^32 - 1 bytes and has none.
///
/// A naive host: allocates a buffer for them. Owes: `400 component_invalid` with the byte offset.
pub fn huge_claimed_length() -> Vec<u8> {
    let mut bytes = wasm_encoder::Component::HEADER.to_vec();
    bytes.push(1); // core module section
    u32::MAX.encode(&mut bytes);
    bytes
}

/// The first half of [`echo`]. Owes: `400 component_invalid` with the byte offset.
pub fn truncated() -> Vec<u8> {
    let mut bytes = echo();
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// A component's header and 4096 pseudo-random bytes. Owes: `400 component_invalid`, for every seed; never a panic.
pub fn random_after_header(seed: u64) -> Vec<u8> {
    let mut bytes = wasm_encoder::Component::HEADER.to_vec();
    bytes.extend(Random::new(seed).take(4096));
    bytes
}

/// [`echo`] with one bit flipped, at a place that `seed` chooses.
///
/// Owes: an answer, never a panic: most are `400 component_invalid`, some are valid and run or trap.
pub fn bit_flipped(seed: u64) -> Vec<u8> {
    let mut bytes = echo();
    let mut random = Random::new(seed);
    let place = (0..4).fold(0, |place, _| place << 8 | usize::from(random.next().unwrap_or(0)));
    let length = bytes.len();
    if let Some(byte) = bytes.get_mut(place / 8 % length) {
        *byte ^= 1 << (place % 8);
    }
    bytes
}

/// Xorshift64*, one byte a step.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
}

impl Iterator for Random {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        Some((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8)
    }
}

/// A component in the text format, valid as such.
///
/// A naive host: wasmtime's `Component::new` parses it when the cargo feature `wat` is on, without limits.
/// Owes: `400 component_invalid`, saying that text is not accepted.
pub fn text() -> Vec<u8> {
    b"(component\n  (core module)\n)\n".to_vec()
}

/// A million opening parentheses: overflows the stack of a recursive parser of the text format.
///
/// Owes: as [`text`].
pub fn text_nesting() -> Vec<u8> {
    vec![b'('; 1_000_000]
}

/// [`echo`] in a valid gzip file (stored, not compressed).
///
/// A naive host: decompresses uploads, and with that any bomb. Owes: `400 component_invalid`, never decompressed.
pub fn gzip() -> Vec<u8> {
    let content = echo();
    let length = content.len() as u16; // some hundred bytes
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.push(1); // last block, stored
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(&content);
    bytes.extend(crc32(&content).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// An ELF header of an x86-64 executable and nothing else. Owes: `400 component_invalid`.
pub fn elf() -> Vec<u8> {
    elf_header(0, 2, 62, 0)
}

/// What wasmtime's `Engine::detect_precompiled` takes for a precompiled component: ELF with wasmtime's own OS ABI
/// and flag.
///
/// A naive host: deserializes it, which runs whatever machine code it holds. Owes: `400 component_invalid`.
pub fn precompiled_lookalike() -> Vec<u8> {
    let mut bytes = elf_header(200, 1, 62, 1 << 1);
    bytes.extend(b"\0.wasmtime.engine\0.wasmtime.info\0.text\0");
    bytes
}

/// A 64-bit little-endian ELF header (64 bytes) without program headers or sections.
fn elf_header(os_abi: u8, kind: u16, machine: u16, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, os_abi, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(kind.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1u32.to_le_bytes()); // version
    bytes.extend([0; 24]); // entry, program headers, sections: none
    bytes.extend(flags.to_le_bytes());
    for field in [64u16, 0, 0, 0, 0, 0] {
        bytes.extend(field.to_le_bytes()); // header size; entry sizes and counts
    }
    bytes
}
