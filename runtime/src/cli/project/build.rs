//! `omnimind build`: runs a project's own toolchain, and checks what it made against this runtime.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow};

use super::super::client::connection::quoted;
use super::super::client::table::size;
use super::super::input::read_component;
use super::super::sandbox::Sandbox;
use super::super::terminal::{self, note};
use super::super::{Exit, Failed};
use super::tools::shell;
use super::{MANIFEST, Project};
use crate::config::Config;
use crate::engine::{Adapted, Component, Metadata, Refusal};
use crate::executor::{Interface, Kind};
use crate::task::escape_guest_text;

/// How an archive of object files begins: what Go makes of any package but `main`.
const ARCHIVE: &[u8] = b"!<arch>";

const EXIT_CODES: &str = "\
Exit codes:
    0  the component is there, and this runtime takes it
    1  the toolchain failed; its own message is above
    2  the project is not as it must be, or a tool is missing: the command that gets it is told
    3  the component was refused (an unknown import, no `run`, …)
    5  the runtime itself failed

A project is a directory with component.yaml: omnimind new NAME --lang LANGUAGE writes one.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// The project's directory
    #[arg(default_value = ".")]
    dir: PathBuf,

    /// Where the component is to be written [default: NAME.wasm in the project's directory]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds, checks and tells.
pub fn run(args: &Args, config: &Config) -> Result<Exit, Failed> {
    let project = Project::load(&args.dir)?;
    let output = args.output.clone().unwrap_or_else(|| project.output());
    let built = checked(&project, config).inspect_err(|_| {
        if output.exists() {
            note!("{} is still that of the last build", output.display());
        }
    });
    let built = built?;
    write(&output, &built.bytes)?;
    terminal::print(&told(&output, &built)).map_err(Failed::runtime)?;
    let file = quoted(&output.to_string_lossy());
    let input = project.input.as_ref().filter(|input| input.is_file());
    let input = input.map(|input| format!(" --input {}", quoted(&format!("@{}", input.display()))));
    note!("run it:  omnimind run {file}{}", input.unwrap_or_default());
    note!("push it: omnimind component push {file}");
    Ok(Exit::Completed)
}

/// A component that was built, and what this runtime found in it.
struct Built {
    bytes: Arc<[u8]>,
    component: Arc<Component>,
    interface: Interface,
}

fn checked(project: &Project, config: &Config) -> Result<Built, Failed> {
    let bytes = make(project)?;
    let sandbox = Sandbox::new(config)?;
    let checked = sandbox.runtime.block_on(sandbox.inspect(bytes.clone()));
    let (component, interface) = checked.map_err(|refusal| refused(project, &refusal))?;
    Ok(Built { bytes, component, interface })
}

/// A component that this runtime does not take.
pub fn refused(project: &Project, refusal: &Refusal) -> Failed {
    let error = anyhow!("{} was built, and is refused: {refusal}", project.artifact.display());
    Failed { exit: Exit::Refused, error }
}

/// Writes a component that was taken: the last one that was is there until then.
pub fn write(output: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let unfinished = output.with_extension("wasm.tmp");
    std::fs::write(&unfinished, bytes)
        .and_then(|()| std::fs::rename(&unfinished, output))
        .with_context(|| output.display().to_string())
        .map_err(Failed::usage)
}

/// Runs the toolchain; the component that it makes, which says of itself what the manifest says.
pub fn make(project: &Project) -> Result<Arc<[u8]>, Failed> {
    look_for_tools(project)?;
    let begun = Instant::now();
    for command in &project.build {
        note!("$ {command}");
        let mut shell = shell(&project.dir, command);
        // A tool's own stack buries what it says of the source.
        shell.env("RUST_BACKTRACE", "0");
        // What tools print is for people: standard output has what the component is.
        let status = shell.stdin(Stdio::null()).stdout(std::io::stderr()).status();
        let status = status.context("cannot start sh").map_err(Failed::runtime)?;
        if !status.success() {
            let error = anyhow!("`{command}` failed ({status}); its own message is above");
            return Err(Failed { exit: Exit::TaskFailed, error });
        }
    }
    let artifact = &project.artifact;
    if !artifact.is_file() {
        let error = anyhow!(
            "{}: the build made no such file; `artifact` in {MANIFEST} is to name what it makes",
            artifact.display()
        );
        return Err(Failed::usage(error));
    }
    let bytes = read_component(artifact)?.map_err(|refusal| refused(project, &refusal))?;
    if bytes.starts_with(ARCHIVE) {
        let error =
            anyhow!("{}: a library, and no program; in Go that is `package main`", artifact.display());
        return Err(Failed::usage(error));
    }
    let bytes = Metadata::embed(&bytes, &project.metadata);
    note!("built in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(bytes.into())
}

fn look_for_tools(project: &Project) -> Result<(), Failed> {
    let missing = project.language.map(|language| language.missing(&project.dir)).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let tools: String =
        missing.iter().map(|(name, install)| format!("\n  {name} is missing: {install}")).collect();
    Err(Failed::usage(anyhow!("the project cannot be built here yet; in its directory:{tools}")))
}

/// What a person wants to know of a component.
fn told(output: &Path, built: &Built) -> String {
    let Built { bytes, component, interface } = built;
    let Interface { kind, imports, exports, capabilities } = interface;
    let kind = match kind {
        Kind::Task => "task: exports `run`",
        Kind::Command => "command: standard input to standard output",
    };
    let names = |names: Vec<String>| match names.is_empty() {
        true => "none".to_owned(),
        false => escape_guest_text(&names.join(", ")),
    };
    let (wasi, own): (Vec<String>, Vec<String>) =
        imports.iter().cloned().partition(|name| name.starts_with("wasi:"));
    let imports = match (own.is_empty(), wasi.len()) {
        (_, 0) => names(own),
        (true, count) => format!("{count} interfaces of WASI"),
        (false, count) => format!("{}, and {count} interfaces of WASI", names(own)),
    };
    let capabilities = names(capabilities.iter().map(|capability| capability.name().to_owned()).collect());
    let kind = match &component.adapted {
        None => kind.to_owned(),
        Some(Adapted::Wasi01) => format!("{kind}; made from a module of WASI 0.1"),
    };
    format!(
        "{}\n  kind          {kind}\n  size          {}\n  imports       {imports}\n  exports       {}\n  capabilities  {capabilities}\n  compiled in   {} ms\n",
        output.display(),
        size(bytes.len() as u64),
        names(exports.clone()),
        component.compiled_ms,
    )
}
