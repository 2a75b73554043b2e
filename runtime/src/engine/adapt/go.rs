//! Makes room for the adapter in what Go's own compiler builds for WASI 0.1.
//!
//! Go's allocator takes all memory above the program's data for its own, whoever grew it. The adapter gets its
//! two pages by growing the memory, unless the module exports an allocator for it. So this moves the start of
//! Go's heap up by a gap, and appends an allocator that hands out the pages of the gap:
//!
//! ```text
//! before   data, bss | heap ...................................
//! after    data, bss | gap: the adapter's | heap ..............
//!                  end                    end, as Go is told
//! ```
//!
//! Where its data ends the linker notes in `runtime.firstmoduledata`, and that is the one value to change. No
//! symbol leads there; it is found by its layout, the same from Go 1.21, the first with WASI, to 1.27
//! (src/runtime/symtab.go).
//!
//! The allocator is appended: nothing in the module is renumbered.

use wasm_encoder::{
    BlockType, ConstExpr, DataSection, Encode, ExportKind, Function, GlobalType, MemorySection, MemoryType,
    RawSection, SectionId, ValType,
};
use wasmparser::{BinaryReader, DataKind, DataSectionReader, Operator, Parser, Payload, TypeRef};

/// Bytes of a page of memory.
const PAGE: u64 = 64 << 10;

/// Pages of the gap. The adapter takes one for its state and one for its stack; those that are not touched
/// cost nothing.
const GAP: u64 = 4;

/// Pages that a 32-bit memory can have.
const MAX_PAGES: u64 = 1 << 16;

/// Most bytes from the beginning of memory to the end of the data that are looked through; and as many for each
/// byte of the module. Go leaves out no more than zeros.
const MAX_IMAGE: usize = 256 << 20;
const MAX_IMAGE_PER_BYTE: usize = 64;

/// What `wit-component` calls the allocator that is for the adapter alone.
const ALLOCATOR: &str = "cabi_realloc_adapter";

/// How the header of Go's table of functions begins: magic of Go 1.20, two zeros, instructions of 1 byte,
/// pointers of 8.
const HEADER: u64 = u64::from_le_bytes([0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);

/// The word of `moduledata` that says where the program's data ends.
const END: u32 = 34;

/// Data is written out in pieces of so many bytes; those that are all zeros are left out.
const CHUNK: usize = 1024;

/// Why no room could be made, as the rest of "a Go module in which ...".
pub type Why = &'static str;

const UNREADABLE: Why = "a section cannot be read";

/// `module` with a gap below Go's heap for the adapter.
///
/// # Errors
/// It is not a module of Go's, or not one as known here.
pub fn with_gap(module: &[u8]) -> Result<Vec<u8>, Why> {
    let module = Module::read(module)?;
    module.with_gap(module.module_data()?)
}

/// A core module, as far as it matters here.
struct Module<'a> {
    bytes: &'a [u8],
    /// The memory as the data segments leave it, up to the last of their bytes.
    image: Vec<u8>,
    memory: Option<wasmparser::MemoryType>,
    types: u32,
    functions: u32,
    globals: u32,
}

/// Go's `runtime.firstmoduledata`, where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModuleData {
    address: u32,
    /// Where the program's data ends.
    end: u64,
}

impl<'a> Module<'a> {
    /// Reads what is needed to find Go's data and to make room.
    ///
    /// # Errors
    /// The bytes are not of a kind that Go's linker writes.
    fn read(bytes: &'a [u8]) -> Result<Module<'a>, Why> {
        Module::parse(bytes).unwrap_or(Err(UNREADABLE))
    }

    /// The outer result is the parser's; what it means is said by whoever reads the module next.
    fn parse(bytes: &'a [u8]) -> wasmparser::Result<Result<Module<'a>, Why>> {
        let nothing = Module { bytes, image: Vec::new(), memory: None, types: 0, functions: 0, globals: 0 };
        let mut module = nothing;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match payload {
                Payload::TypeSection(types) => module.types = types.count(),
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => module.functions += 1,
                            TypeRef::Global(_) => module.globals += 1,
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    module.functions = module.functions.saturating_add(functions.count());
                }
                Payload::GlobalSection(globals) => {
                    module.globals = module.globals.saturating_add(globals.count());
                }
                Payload::MemorySection(memories) if memories.count() == 1 => {
                    module.memory = memories.into_iter().next().transpose()?;
                }
                Payload::DataSection(segments) => match image(segments, bytes.len())? {
                    Some(image) => module.image = image,
                    None => return Ok(Err("the data has no fixed place in memory, or ends above 256 MiB")),
                },
                _ => {}
            }
        }
        Ok(Ok(module))
    }

    /// Where Go's `runtime.firstmoduledata` is. Reads each word of the data once.
    ///
    /// # Errors
    /// There is none, or more than one.
    fn module_data(&self) -> Result<ModuleData, Why> {
        let mut found = (0..self.image.len() as u64).step_by(8).filter_map(|at| self.module_data_at(at));
        match (found.next(), found.next()) {
            (Some(data), None) => Ok(data),
            (None, _) => Err("the table `runtime.firstmoduledata` was not found"),
            (Some(_), Some(_)) => Err("the table `runtime.firstmoduledata` was found twice"),
        }
    }

    /// Go's `moduledata`, if that is what begins at `address`:
    ///
    /// ```text
    /// word  0      pointer to the header of the table of functions
    ///       1..19  six slices of pointer, length, capacity: parts of that table, in their order
    ///      20..24  minpc, maxpc, text, etext
    ///      24..32  begin and end of noptrdata, data, bss, noptrbss, in their order in memory
    ///      32..34  covctrs, ecovctrs: within noptrbss
    ///      34      end
    /// ```
    fn module_data_at(&self, address: u64) -> Option<ModuleData> {
        const SLICES: [(u64, u64); 6] = [(1, 1), (4, 4), (7, 1), (10, 1), (13, 1), (16, 8)];
        let word = |index: u64| self.word(address + 8 * index);
        let header = word(0);
        if header % 8 != 0 || self.word(header) != HEADER {
            return None;
        }
        let memory = self.memory?.initial.checked_mul(PAGE)?;
        let end = word(END.into());
        if end > memory || (self.image.len() as u64) > end.next_multiple_of(8) {
            return None;
        }
        let mut below = header;
        for (at, size) in SLICES {
            let (pointer, length, capacity) = (word(at), word(at + 1), word(at + 2));
            let past = length.checked_mul(size)?.checked_add(pointer)?;
            if pointer < below || length == 0 || length != capacity || past > end {
                return None;
            }
            below = pointer;
        }
        let ascending = |from: u64, to: u64| (from..to).all(|index| word(index) <= word(index + 1));
        let sections = ascending(24, 31) && word(31) <= end && ascending(32, 34);
        let code = word(20) <= word(21) && word(22) <= word(23);
        let address = u32::try_from(address).ok()?;
        (sections && code).then_some(ModuleData { address, end })
    }

    /// The eight bytes at `address`; memory is zero where there is no data.
    fn word(&self, address: u64) -> u64 {
        let bytes = usize::try_from(address).ok().and_then(|at| self.image.get(at..)?.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The module with a gap below Go's heap, and an allocator for the adapter that hands it out.
    ///
    /// # Errors
    /// It lacks one of the sections that a Go module has, or there is no room for the gap.
    fn with_gap(&self, data: ModuleData) -> Result<Vec<u8>, Why> {
        const UNUSUAL: Why = "the sections or the memory are not as Go's linker makes them";
        let memory = self.memory.filter(|memory| memory.initial <= MAX_PAGES - GAP).ok_or(UNUSUAL)?;
        let gap = data.end.next_multiple_of(PAGE);
        let heap = gap + GAP * PAGE;
        let entries = self.entries(gap as i32, heap as i32);
        let mut written = 0;
        let mut out = wasm_encoder::Module::new();
        for payload in Parser::new(0).parse_all(self.bytes) {
            let Some((id, range)) = payload.map_err(|_| UNREADABLE)?.as_section() else { continue };
            let section = self.bytes.get(range).ok_or(UNREADABLE)?;
            if let Some((_, entry)) = entries.iter().find(|(section, _)| *section as u8 == id) {
                out.section(&RawSection { id, data: &append(section, entry).ok_or(UNREADABLE)? });
                written += 1;
            } else if id == SectionId::Memory as u8 {
                out.section(MemorySection::new().memory(MemoryType {
                    minimum: memory.initial + GAP,
                    maximum: memory.maximum,
                    memory64: memory.memory64,
                    shared: memory.shared,
                    page_size_log2: memory.page_size_log2,
                }));
            } else if id == SectionId::Data as u8 {
                out.section(&self.data_with(data, heap));
            } else if id != SectionId::DataCount as u8 {
                out.section(&RawSection { id, data: section });
            }
        }
        if written == entries.len() { Ok(out.finish()) } else { Err(UNUSUAL) }
    }

    /// What is appended for the allocator, by section.
    fn entries(&self, gap: i32, heap: i32) -> [(SectionId, Vec<u8>); 5] {
        fn entry(parts: &[&dyn Encode]) -> Vec<u8> {
            let mut bytes = Vec::new();
            parts.iter().for_each(|part| part.encode(&mut bytes));
            bytes
        }
        let mut function_type = vec![0x60];
        [ValType::I32; 4].as_slice().encode(&mut function_type);
        [ValType::I32].as_slice().encode(&mut function_type);
        let next = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        [
            (SectionId::Type, function_type),
            (SectionId::Function, entry(&[&self.types])),
            (SectionId::Global, entry(&[&next, &ConstExpr::i32_const(gap)])),
            (SectionId::Export, entry(&[&ALLOCATOR, &ExportKind::Func, &self.functions])),
            (SectionId::Code, entry(&[&allocator(self.globals, heap)])),
        ]
    }

    /// The image as a data section, with `heap` for the end of the data. Go's linker makes up to 100,000
    /// segments, as many as one may have; these are fewer, because less is left out.
    fn data_with(&self, data: ModuleData, heap: u64) -> DataSection {
        let mut image = self.image.clone();
        let end = data.address as usize + 8 * END as usize;
        if let Some(end) = image.get_mut(end..end + 8) {
            end.copy_from_slice(&heap.to_le_bytes());
        }
        let mut section = DataSection::new();
        let mut rest = image.as_slice();
        while !rest.is_empty() {
            let zeros = rest.chunks(CHUNK).take_while(|chunk| is_zero(chunk)).map(<[u8]>::len).sum();
            let (_, from) = rest.split_at(zeros);
            let used = from.chunks(CHUNK).take_while(|chunk| !is_zero(chunk)).map(<[u8]>::len).sum();
            let (bytes, after) = from.split_at(used);
            let place = ConstExpr::i32_const((image.len() - from.len()) as i32);
            section.active(0, &place, bytes.iter().copied());
            rest = after;
        }
        section
    }
}

/// Memory as the data `segments` leave it; `None` where one has no constant place, or is too far up.
fn image(segments: DataSectionReader<'_>, module_bytes: usize) -> wasmparser::Result<Option<Vec<u8>>> {
    let most = module_bytes.saturating_mul(MAX_IMAGE_PER_BYTE).min(MAX_IMAGE);
    let mut image = Vec::new();
    for segment in segments {
        let segment = segment?;
        let DataKind::Active { memory_index: 0, offset_expr } = segment.kind else { return Ok(None) };
        let mut offset = offset_expr.get_operators_reader();
        let (Operator::I32Const { value }, Operator::End) = (offset.read()?, offset.read()?) else {
            return Ok(None);
        };
        let from = value.cast_unsigned() as usize;
        let to = from.saturating_add(segment.data.len());
        if to > most {
            return Ok(None);
        }
        if image.len() < to {
            image.resize(to.next_multiple_of(8), 0);
        }
        if let Some(place) = image.get_mut(from..to) {
            place.copy_from_slice(segment.data);
        }
    }
    Ok(Some(image))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// `cabi_realloc` of the component model, one page for each call. Nothing is given back or made larger: the
/// adapter asks for its two pages and no more, and who asks for what is not there is stopped.
fn allocator(next: u32, past: i32) -> Function {
    let mut function = Function::new([]);
    function
        .instructions()
        .local_get(3)
        .i32_const(PAGE as i32)
        .i32_gt_u()
        .global_get(next)
        .i32_const(past)
        .i32_ge_u()
        .i32_or()
        .if_(BlockType::Empty)
        .unreachable()
        .end()
        .global_get(next)
        .global_get(next)
        .i32_const(PAGE as i32)
        .i32_add()
        .global_set(next)
        .end();
    function
}

/// A section, which begins with the number of its entries, with one more.
fn append(section: &[u8], entry: &[u8]) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32().ok()?.checked_add(1)?;
    let mut out = Vec::with_capacity(section.len() + entry.len() + 1);
    count.encode(&mut out);
    out.extend_from_slice(section.get(reader.current_position()..)?);
    out.extend_from_slice(entry);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{CodeSection, ExportSection, FunctionSection, GlobalSection, TypeSection};

    /// Where the header of the table of functions is, and the `moduledata`.
    const TABLE: u64 = 4096;
    const DATA: u64 = 9000;
    /// Of the data: not at the end of a page.
    const OLD_END: u64 = 70_000;

    /// A `moduledata` as Go's linker writes it.
    fn words() -> Vec<u64> {
        let mut words = vec![TABLE];
        for slice in 0..6 {
            words.extend([TABLE + 72 + 16 * slice, 2, 2]);
        }
        words.extend([5000, 1 << 28, 1 << 30, 1 << 28, 1 << 30]);
        words.extend([8192, 10_000, 10_000, 11_000, 11_000, 12_000, 12_000, OLD_END]);
        words.extend([13_000, 14_000, OLD_END, 8200, 8300]);
        words
    }

    fn bytes_of(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A module of one function, with two pages of memory and these segments.
    fn module(segments: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let memory =
            MemoryType { minimum: 2, maximum: None, memory64: false, shared: false, page_size_log2: None };
        let mut data = DataSection::new();
        for (place, bytes) in segments {
            data.active(0, &ConstExpr::i32_const(*place as i32), bytes.iter().copied());
        }
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut body = Function::new([]);
        body.instructions().end();
        let global = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        wasm_encoder::Module::new()
            .section(&types)
            .section(FunctionSection::new().function(0))
            .section(MemorySection::new().memory(memory))
            .section(GlobalSection::new().global(global, &ConstExpr::i32_const(0)))
            .section(ExportSection::new().export("_start", ExportKind::Func, 0))
            .section(CodeSection::new().function(&body))
            .section(&data)
            .clone()
            .finish()
    }

    fn go_with(words: &[u64]) -> Vec<u8> {
        module(&[(TABLE, HEADER.to_le_bytes().to_vec()), (DATA, bytes_of(words))])
    }

    #[test]
    fn the_heap_begins_above_the_gap() {
        let made = with_gap(&go_with(&words())).expect("Go's layout");
        wasmparser::Validator::new().validate_all(&made).expect("valid");
        let read = Module::read(&made).expect("readable");
        let heap = 2 * PAGE + GAP * PAGE;
        assert_eq!(read.module_data(), Ok(ModuleData { address: DATA as u32, end: heap }));
        assert_eq!(read.memory.expect("a memory").initial, 2 + GAP);
        let before = go_with(&words());
        let before = Module::read(&before).expect("readable");
        let changed = |at: &u64| read.word(*at) != before.word(*at);
        let all = (0..read.image.len() as u64).step_by(8);
        assert_eq!(all.filter(changed).collect::<Vec<_>>(), [DATA + 8 * 34], "nothing else is another");
    }

    #[test]
    fn data_in_many_segments_is_read_as_memory_will_be() {
        // As the linker does: what is zero is left out, here each zero byte. What comes later counts.
        let mut segments = vec![(TABLE, HEADER.to_le_bytes().to_vec()), (DATA, vec![0xff; 80])];
        for (at, byte) in bytes_of(&words()).into_iter().enumerate() {
            if byte != 0 || at < 80 {
                segments.push((DATA + at as u64, vec![byte]));
            }
        }
        let made = with_gap(&module(&segments)).expect("Go's layout");
        let read = Module::read(&made).expect("readable");
        assert_eq!(read.word(DATA + 8 * 34), 6 * PAGE);
    }

    #[test]
    fn what_is_not_go_s_layout_is_not_touched() {
        let missing = Err("the table `runtime.firstmoduledata` was not found");
        for (word, value) in [
            (0, TABLE + 8),
            (0, TABLE + 1),
            (0, u64::MAX),
            (1, TABLE - 8),
            (2, 1 << 40),
            (3, 3),
            (17, u64::MAX),
            (18, 0),
            (21, 1),
            (25, 1),
            (31, OLD_END + 1),
            (33, OLD_END + 1),
            (34, 2 * PAGE + 1),
            (34, DATA),
            (34, u64::MAX),
        ] {
            let mut words = words();
            words[word] = value;
            assert_eq!(with_gap(&go_with(&words)), missing, "word {word} is {value}");
        }
        assert_eq!(with_gap(&module(&[(DATA, bytes_of(&words()))])), missing, "no header");
        let twice = [
            (TABLE, HEADER.to_le_bytes().to_vec()),
            (DATA, bytes_of(&words())),
            (DATA + 400, bytes_of(&words())),
        ];
        assert_eq!(with_gap(&module(&twice)), Err("the table `runtime.firstmoduledata` was found twice"));
        let far = with_gap(&module(&[(u64::from(u32::MAX) - 4, vec![1; 9])]));
        assert!(far.is_err_and(|why| why.contains("above 256 MiB")));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let good = go_with(&words());
        for length in 0..good.len() {
            let _ = with_gap(&good[..length]);
        }
        for at in 0..good.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = with_gap(&bad);
            }
        }
    }
}
