//! A component checked against the contract and linked: all that is left is to instantiate it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{InstancePre, Linker, Type};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::store::Ctx;
use crate::bindings::TaskPre;
use crate::engine::{Code, Component, Refusal, WASI_0_3, is_wasi_0_3};
use crate::task::Capability;

/// The interface a command exports; any 0.2 version will do.
const COMMAND_EXPORT: &str = "wasi:cli/run@0.2.";

/// wasmtime's words for a function that an interface does not have; whatever else is wrong with an
/// import of a known interface is its type.
const NO_SUCH_FUNCTION: &str = "implementation is missing";

/// Bytes of a name of the guest's that are looked at, and told.
const MAX_NAME: usize = 128;

/// How the component is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Exports `run` of world `task`.
    Task,
    /// Exports `wasi:cli/run`.
    Command,
}

/// A linked component.
pub struct Prepared {
    /// What it was made from.
    pub component: Arc<Component>,
    pub(super) entry: Entry,
    /// Linear memories that instantiating makes.
    pub(super) memories: u64,
    /// Tables that instantiating makes.
    pub(super) tables: u64,
}

pub(super) enum Entry {
    Task(TaskPre<Ctx>),
    Command(CommandPre<Ctx>),
}

impl Prepared {
    /// How it is called.
    pub fn kind(&self) -> Kind {
        match self.entry {
            Entry::Task(_) => Kind::Task,
            Entry::Command(_) => Kind::Command,
        }
    }

    /// Links `component`.
    ///
    /// # Errors
    /// `missing_export`, `type_mismatch` and `unknown_import`, naming the thing.
    pub(super) fn link(component: Arc<Component>, linker: &Linker<Ctx>) -> Result<Prepared, Refusal> {
        let Interface { kind, capabilities, .. } = Interface::of(&component)?;
        if let Some(missing) = capabilities.iter().find(|capability| !capability.is_offered()) {
            return Err(Refusal::new(
                Code::CapabilityUnavailable,
                format!(
                    "the component imports the capability `{}`, which this omnimind does not have",
                    missing.name()
                ),
            ));
        }
        let pre = linker.instantiate_pre(&component.code).map_err(|error| {
            // The interfaces are known, so it is a function's name or its type.
            let text = format!("{error:#}");
            let code = match text.ends_with(NO_SUCH_FUNCTION) {
                true => Code::UnknownImport,
                false => Code::TypeMismatch,
            };
            Refusal::new(code, format!("an import does not fit this runtime: {text}"))
        })?;
        let resources = component.code.resources_required();
        let (memories, tables) = resources.map_or((0, 0), |r| (r.num_memories, r.num_tables));
        Ok(Prepared { entry: entry(kind, pre)?, component, memories: memories.into(), tables: tables.into() })
    }
}

fn entry(kind: Kind, pre: InstancePre<Ctx>) -> Result<Entry, Refusal> {
    let entry = match kind {
        Kind::Task => TaskPre::new(pre).map(Entry::Task),
        Kind::Command => CommandPre::new(pre).map(Entry::Command),
    };
    entry.map_err(|error| Refusal::new(Code::TypeMismatch, format!("an export does not fit: {error:#}")))
}

fn kind(component: &Component) -> Result<Kind, Refusal> {
    let engine = component.code.engine();
    let ty = component.code.component_type();
    let mut command = false;
    for (name, item) in ty.exports(engine) {
        match (name, item.ty) {
            ("run", ComponentItem::ComponentFunc(run)) if run.async_() => {
                return Err(Refusal::new(
                    Code::TypeMismatch,
                    format!("`run` is an asynchronous function: {WASI_0_3}"),
                ));
            }
            ("run", ComponentItem::ComponentFunc(run)) if is_run(&run) => return Ok(Kind::Task),
            ("run", ComponentItem::ComponentFunc(_)) => {
                return Err(Refusal::new(
                    Code::TypeMismatch,
                    "`run` has another type; the world `task` wants `run: func(input: list<u8>) -> result<list<u8>, string>`",
                ));
            }
            ("run", _) => {
                return Err(Refusal::new(
                    Code::TypeMismatch,
                    "`run` is not a function; the world `task` wants `run: func(input: list<u8>) -> result<list<u8>, string>`",
                ));
            }
            (name, ComponentItem::ComponentInstance(_)) if name.starts_with(COMMAND_EXPORT) => command = true,
            _ => {}
        }
    }
    if command {
        return Ok(Kind::Command);
    }
    if let Some((name, _)) = ty.exports(engine).find(|(name, _)| is_wasi_0_3(name)) {
        let message = format!("the component exports `{name}`: {WASI_0_3}");
        return Err(Refusal::new(Code::MissingExport, message));
    }
    Err(Refusal::new(
        Code::MissingExport,
        "the component exports neither `run` (world `task` of omnimind:runtime) nor `wasi:cli/run@0.2.x` (a command)",
    ))
}

fn is_run(func: &ComponentFunc) -> bool {
    let is_bytes = |ty: &Type| matches!(ty, Type::List(list) if matches!(list.ty(), Type::U8));
    let params: Vec<Type> = func.params().map(|(_, ty)| ty).collect();
    let results: Vec<Type> = func.results().collect();
    let ([input], [Type::Result(result)]) = (&*params, &*results) else {
        return false;
    };
    is_bytes(input)
        && result.ok().is_some_and(|ok| is_bytes(&ok))
        && matches!(result.err(), Some(Type::String))
}

/// Interfaces that are linked, without their versions.
const KNOWN: [&str; 29] = [
    "omnimind:runtime/task-context",
    "omnimind:runtime/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What a component wants and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// How it is called.
    pub kind: Kind,
    /// The names of its imports, all of them known.
    pub imports: Vec<String>,
    /// The names of its exports.
    pub exports: Vec<String>,
    /// What of its imports needs a grant, and may or may not be there.
    pub capabilities: BTreeSet<Capability>,
}

impl Interface {
    /// Reads it off a compiled component.
    ///
    /// # Errors
    /// `missing_export`, `type_mismatch` and `unknown_import`, naming the thing.
    pub fn of(component: &Component) -> Result<Interface, Refusal> {
        let engine = component.code.engine();
        let ty = component.code.component_type();
        let mut capabilities = BTreeSet::new();
        for (name, item) in ty.imports(engine) {
            capabilities.extend(known_import(name, &item.ty, engine)?);
        }
        Ok(Interface {
            kind: kind(component)?,
            imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
            capabilities,
        })
    }
}

/// Checks that somebody here offers the import `name`; returns the capability that it belongs to, if it
/// needs one.
fn known_import(
    name: &str,
    item: &ComponentItem,
    engine: &wasmtime::Engine,
) -> Result<Option<Capability>, Refusal> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let known = KNOWN.contains(&interface);
    let offered = if interface.starts_with("omnimind:") { "0.1." } else { "0.2." };
    if known && version.starts_with(offered) {
        return Ok(None);
    }
    let capability = Capability::of_interface(interface);
    // Of those of WASI that are not offered any version is as good as another.
    if capability.is_some() && (version.starts_with(offered) || !interface.starts_with("omnimind:")) {
        return Ok(capability);
    }
    let function = match item {
        ComponentItem::ComponentInstance(instance) => {
            let first = instance.exports(engine).map(|(name, _)| name.to_owned()).next();
            first
                .filter(|first| first.len() <= MAX_NAME)
                .map(|first| format!(" (for `{first}`)"))
                .unwrap_or_default()
        }
        _ => String::new(),
    };
    let way_out = match known || capability.is_some() {
        true => format!("version {offered}x of it is offered"),
        false => match nearest(interface) {
            Some(nearest) => format!("the nearest that is offered is `{nearest}@{offered}x`"),
            None => "tasks may import wasi:cli, clocks, filesystem, io, random and sockets 0.2 and omnimind:runtime 0.1".to_owned(),
        },
    };
    Err(Refusal::new(
        Code::UnknownImport,
        format!(
            "the component imports `{}`{function}, which is not offered here; {way_out}",
            name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default()
        ),
    ))
}

fn nearest(interface: &str) -> Option<&'static str> {
    // Looking for it takes the product of both lengths.
    if interface.len() > MAX_NAME {
        return None;
    }
    let capabilities = ["omnimind:runtime/tensor", "omnimind:runtime/embedding"];
    KNOWN
        .into_iter()
        .chain(capabilities)
        .map(|known| (strsim::damerau_levenshtein(interface, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .map(|(_, known)| known)
}
