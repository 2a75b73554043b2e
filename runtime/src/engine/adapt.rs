//! Turns a WASI 0.1 core module (what `zig cc`, TinyGo or `rustc --target wasm32-wasip1` emit) into a
//! component, with the adapter that wasmtime's project publishes for it.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::refusal::{Code, Refusal};

/// Makes a component of a core module.
///
/// A module that exports `_start` and imports WASI 0.1 becomes a command. Any other is taken for a
/// reactor, and only accepted where it carries the component type of a world (`wit-bindgen` puts it there).
///
/// # Errors
/// `not_a_component` where the module is neither.
pub fn to_component(module: &[u8]) -> Result<Vec<u8>, Refusal> {
    let shape = Shape::of(module)?;
    if !shape.command && !shape.world {
        return Err(Refusal::new(
            Code::NotAComponent,
            "a core module, not a component, and not a WASI 0.1 command either (one exports `_start` and imports \
             `wasi_snapshot_preview1`); build a component, or a command for wasm32-wasip1",
        ));
    }
    if shape.go {
        return Err(Refusal::new(
            Code::NotAComponent,
            "a Go module for WASI 0.1: Go's allocator takes all of memory for its own and overwrites the \
             adapter's part of it, so it would fail at random; build a component instead",
        ));
    }
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
    ComponentEncoder::default()
        .module(module)
        .map_err(refused)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)
        .map_err(refused)?
        .encode()
        .map_err(refused)
}

/// What kind of core module it is.
struct Shape {
    command: bool,
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
        Ok(Shape { command: start && wasi, world, go })
    }
}
