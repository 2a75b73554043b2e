//! Turns a WASI 0.1 core module (what `zig cc`, Go, TinyGo or `rustc --target wasm32-wasip1` emit) into a
//! component, with the adapter that wasmtime's project publishes for it.

mod go;

use serde::{Deserialize, Serialize};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::refusal::{Code, Refusal};

/// What a component was made from. The text is part of the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adapted {
    /// A core module that imports WASI 0.1.
    #[serde(rename = "wasi 0.1")]
    Wasi01,
}

/// Makes a component of a core module.
///
/// A module that exports `_start` and imports WASI 0.1 becomes a command. Any other is taken for a
/// reactor, and only accepted where it carries the component type of a world (`wit-bindgen` puts it there).
///
/// # Errors
/// `not_a_component` where the module is neither.
pub fn to_component(module: &[u8]) -> Result<(Vec<u8>, Option<Adapted>), Refusal> {
    let shape = Shape::of(module)?;
    if !shape.command && !shape.world {
        return Err(Refusal::new(
            Code::NotAComponent,
            "a core module, not a component, and not a WASI 0.1 command either (one exports `_start` and imports \
             `wasi_snapshot_preview1`); build a component, or a command for wasm32-wasip1",
        ));
    }
    // Looked for in every module: what tells that one is Go's is taken away by tools that strip.
    let with_gap;
    let module = match go::with_gap(module) {
        Ok(made) => {
            with_gap = made;
            &with_gap
        }
        Err(why) if shape.go => {
            return Err(Refusal::new(
                Code::NotAComponent,
                format!(
                    "a Go module for WASI 0.1 in which {why}: Go's heap would overwrite the adapter's memory, and \
                     it would fail at random; build it with Go 1.21 to 1.27, or build a component instead"
                ),
            ));
        }
        Err(_) => module,
    };
    let adapter = match shape.command {
        true => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let refused = |error: anyhow::Error| {
        Refusal::new(
            Code::NotAComponent,
            format!("a core module that could not be made a component: {error:#}"),
        )
    };
    let component = ComponentEncoder::default()
        .module(module)
        .map_err(refused)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)
        .map_err(refused)?
        .encode()
        .map_err(refused)?;
    Ok((component, shape.wasi.then_some(Adapted::Wasi01)))
}

/// What kind of core module it is.
struct Shape {
    command: bool,
    /// Imports WASI 0.1.
    wasi: bool,
    world: bool,
    /// Made by Go's own compiler.
    go: bool,
}

impl Shape {
    fn of(module: &[u8]) -> Result<Shape, Refusal> {
        let (mut start, mut wasi, mut world, mut go) = (false, false, false, false);
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        wasi |= import?.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        start |= export?.name == "_start";
                    }
                }
                Payload::CustomSection(section) => {
                    world |= section.name().starts_with("component-type");
                    go |= section.name() == "go:buildid";
                }
                _ => {}
            }
        }
        Ok(Shape { command: start && wasi, wasi, world, go })
    }
}
