//! A cheap, linear look at a component before anything expensive happens to it.
//!
//! Compile cost is outside wasmtime's security promise, and the validator's own limits are far too
//! wide to bound it: 458 bytes of nested instantiation cost gigabytes. This pass reads each byte once,
//! keeps a few counters, recurses over nothing, and refuses what lies above the [`Caps`]. It does not
//! validate; the compile worker does that, in its own process.

use std::ops::Range;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, FunctionBody, Instance, Operator, Parser, Payload,
};

use super::asynchronous;
use super::refusal::{Code, Refusal};

/// The most of each thing that is still compiled. Real components, Python's and JavaScript's
/// included, stay well below (docs/performance.md has the figures).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of the whole component.
    pub bytes: usize,
    /// Components within components.
    pub nesting: usize,
    /// Core modules.
    pub modules: u64,
    /// Instances after flattening: what instantiating the component really makes.
    pub instances: u64,
    /// Functions of all core modules.
    pub functions: u64,
    /// Bytes of one function body.
    pub body_bytes: usize,
    /// Locals of one function.
    pub locals: u64,
    /// Targets of one `br_table`.
    pub br_table: u32,
    /// Blocks within blocks in one function.
    pub block_nesting: u32,
    /// Data segments of one core module: Go and StarlingMonkey have ten thousand and more.
    pub data_segments: u32,
    /// Entries of any other section.
    pub entries: u32,
    /// Sections of the whole component.
    pub sections: u64,
}

impl Default for Caps {
    fn default() -> Caps {
        Caps {
            bytes: 64 << 20,
            nesting: 16,
            modules: 128,
            instances: 256,
            functions: 50_000,
            body_bytes: 1 << 20,
            locals: 5_000,
            br_table: 16_384,
            block_nesting: 2_000,
            data_segments: 100_000,
            entries: 10_000,
            sections: 50_000,
        }
    }
}

/// What the scan saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the binary is a core module, not a component.
    pub core_module: bool,
    /// Core modules instantiated after flattening: what the budget `instances` counts.
    pub core_instances: u64,
}

/// What instantiating one component makes.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Instances of every kind.
    instances: u64,
    /// Instances of core modules only.
    core: u64,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.instances = self.instances.saturating_add(other.instances);
        self.core = self.core.saturating_add(other.core);
    }
}

/// One component or module that is being read.
struct Frame {
    module: bool,
    cost: Cost,
    /// The component index space: the cost of instantiating each.
    components: Vec<Cost>,
}

/// Reads `bytes` once and refuses what is above `caps`.
///
/// # Errors
/// `component_invalid` with the byte offset where the bytes are not wasm or asynchronous,
/// `component_too_complex` naming the cap where they are too much of it, `unknown_import` for WASI 0.3.
pub fn scan(bytes: &[u8], caps: &Caps) -> Result<Seen, Refusal> {
    if bytes.len() > caps.bytes {
        let message = format!("the component has {} bytes; at most {} are read", bytes.len(), caps.bytes);
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let mut seen = Seen::default();
    let mut frames: Vec<Frame> = Vec::new();
    let mut modules = 0;
    let mut functions = 0;
    let mut sections = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if !matches!(payload, Payload::CodeSectionEntry(_)) {
            sections += 1;
            at_most("sections", sections, caps.sections)?;
        }
        match payload {
            Payload::Version { encoding, .. } => {
                if frames.is_empty() {
                    seen.core_module = encoding == Encoding::Module;
                }
                at_most("nested components", frames.len() as u64, caps.nesting as u64)?;
                if encoding == Encoding::Module {
                    modules += 1;
                    at_most("core modules", modules, caps.modules)?;
                }
                frames.push(Frame {
                    module: encoding == Encoding::Module,
                    cost: Cost::default(),
                    components: Vec::new(),
                });
            }
            Payload::FunctionSection(reader) => {
                claim("functions", reader.count(), reader.range())?;
                functions += u64::from(reader.count());
                at_most("functions", functions, caps.functions)?;
            }
            Payload::CodeSectionStart { count, range, .. } => {
                claim("functions", count, range)?;
                at_most("functions", u64::from(count), caps.functions)?;
            }
            Payload::CodeSectionEntry(body) => function(&body, caps)?,
            Payload::TypeSection(r) => entries("types", r.count(), r.range(), caps)?,
            Payload::ImportSection(r) => entries("imports", r.count(), r.range(), caps)?,
            Payload::GlobalSection(r) => entries("globals", r.count(), r.range(), caps)?,
            Payload::TableSection(r) => entries("tables", r.count(), r.range(), caps)?,
            Payload::MemorySection(r) => entries("memories", r.count(), r.range(), caps)?,
            Payload::ExportSection(r) => entries("exports", r.count(), r.range(), caps)?,
            Payload::ElementSection(r) => entries("element segments", r.count(), r.range(), caps)?,
            Payload::DataSection(r) => {
                claim("data segments", r.count(), r.range())?;
                at_most("data segments", r.count().into(), caps.data_segments.into())?;
            }
            Payload::CoreTypeSection(r) => entries("core types", r.count(), r.range(), caps)?,
            Payload::ComponentTypeSection(r) => entries("component types", r.count(), r.range(), caps)?,
            Payload::ComponentCanonicalSection(reader) => {
                entries("canonical functions", reader.count(), reader.range(), caps)?;
                for function in reader.into_iter_with_offsets() {
                    let (offset, function) = function?;
                    asynchronous::canonical(&function, offset as u64)?;
                }
            }
            Payload::InstanceSection(reader) => {
                entries("instances", reader.count(), reader.range(), caps)?;
                let frame = top(&mut frames)?;
                for instance in reader {
                    let core = u64::from(matches!(instance?, Instance::Instantiate { .. }));
                    frame.cost.add(Cost { instances: 1, core });
                }
                at_most("instances", frame.cost.instances, caps.instances)?;
            }
            Payload::ComponentInstanceSection(reader) => {
                entries("component instances", reader.count(), reader.range(), caps)?;
                let frame = top(&mut frames)?;
                for instance in reader {
                    frame.cost.add(Cost { instances: 1, core: 0 });
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let child = component(frame, component_index)?;
                        frame.cost.add(child);
                    }
                }
                at_most("instances", frame.cost.instances, caps.instances)?;
            }
            Payload::ComponentAliasSection(reader) => {
                entries("aliases", reader.count(), reader.range(), caps)?;
                for alias in reader {
                    alias_component(&alias?, &mut frames)?;
                }
            }
            Payload::ComponentImportSection(reader) => {
                entries("imports", reader.count(), reader.range(), caps)?;
                for import in reader {
                    let import = import?;
                    if frames.len() == 1 {
                        asynchronous::import(import.name.name)?;
                    }
                    if let ComponentTypeRef::Component(_) = import.ty {
                        return Err(hidden("imports a component"));
                    }
                }
            }
            Payload::ComponentExportSection(reader) => {
                entries("exports", reader.count(), reader.range(), caps)?;
                for export in reader {
                    // Exporting a component gives it a second index.
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        let frame = top(&mut frames)?;
                        let cost = component(frame, export.index)?;
                        push(frame, cost)?;
                    }
                }
            }
            Payload::End(_) => {
                if let Some(done) = frames.pop() {
                    match frames.last_mut() {
                        // Modules have an index space of their own.
                        Some(_) if done.module => {}
                        Some(parent) => push(parent, done.cost)?,
                        None => seen.core_instances = done.cost.core,
                    }
                }
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn top(frames: &mut [Frame]) -> Result<&mut Frame, Refusal> {
    frames.last_mut().ok_or_else(|| invalid("a section before the header"))
}

fn component(frame: &Frame, index: u32) -> Result<Cost, Refusal> {
    frame
        .components
        .get(index as usize)
        .copied()
        .ok_or_else(|| invalid("instantiates a component that does not exist"))
}

/// Adds to the component index space. The validator allows as many.
fn push(frame: &mut Frame, cost: Cost) -> Result<(), Refusal> {
    const MAX_COMPONENTS: u64 = 1000;
    frame.components.push(cost);
    at_most("components", frame.components.len() as u64, MAX_COMPONENTS)
}

/// Follows an alias that brings a component into the index space.
fn alias_component(alias: &ComponentAlias<'_>, frames: &mut [Frame]) -> Result<(), Refusal> {
    match alias {
        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
            let outer = frames
                .len()
                .checked_sub(1 + *count as usize)
                .and_then(|at| frames.get(at))
                .ok_or_else(|| invalid("an alias points outside the component"))?;
            let cost = component(outer, *index)?;
            push(top(frames)?, cost)
        }
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
            Err(hidden("takes a component out of an instance"))
        }
        _ => Ok(()),
    }
}

fn function(body: &FunctionBody<'_>, caps: &Caps) -> Result<(), Refusal> {
    at_most("bytes of one function", body.range().len() as u64, caps.body_bytes as u64)?;
    let mut locals = 0u64;
    for group in body.get_locals_reader()? {
        locals = locals.saturating_add(u64::from(group?.0));
        at_most("locals of one function", locals, caps.locals)?;
    }
    let mut nesting = 0u32;
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                nesting += 1;
                at_most("blocks within blocks", nesting.into(), caps.block_nesting.into())?;
            }
            Operator::End => nesting = nesting.saturating_sub(1),
            Operator::BrTable { targets } => {
                at_most("targets of one br_table", targets.len().into(), caps.br_table.into())?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the number of entries that a section claims, before anyone believes it.
fn entries(what: &str, count: u32, section: Range<usize>, caps: &Caps) -> Result<(), Refusal> {
    claim(what, count, section)?;
    at_most(what, count.into(), caps.entries.into())
}

/// Every entry has one byte at least.
fn claim(what: &str, count: u32, section: Range<usize>) -> Result<(), Refusal> {
    if count as usize <= section.len() {
        return Ok(());
    }
    let mut refusal = invalid(&format!("a section of {} bytes claims {count} {what}", section.len()));
    refusal.offset = Some(section.start as u64);
    Err(refusal)
}

fn at_most(what: &str, count: u64, cap: u64) -> Result<(), Refusal> {
    if count > cap {
        return Err(Refusal::new(
            Code::ComponentTooComplex,
            format!("the component has {count} {what}; at most {cap} are compiled"),
        ));
    }
    Ok(())
}

fn hidden(how: &str) -> Refusal {
    Refusal::new(
        Code::ComponentTooComplex,
        format!(
            "the component {how}, which hides how many instances it makes; compose it so that components are nested or imported as instances"
        ),
    )
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::ComponentInvalid, format!("not a valid component: {what}"))
}
