//! The compile worker: the other side of [`super::compiler`], in a process of its own.
//!
//! The same binary, started as `omnimind compile-worker` with the submitted bytes on standard input,
//! the artefact's file as standard output and a file in memory for the report as standard error. The
//! first thing it does is to give up everything it does not need: it can neither outlive its parent,
//! nor use more CPU time or address space than it was started with, nor (where the kernel has Landlock)
//! open a file.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use wasmparser::Validator;

use super::adapt::{self, Adapted};
use super::prescan;
use super::refusal::{Code, Refusal};
use super::settings::{self, Flavour};

/// What a compilation found out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compiled {
    /// Whether it is for the engine with the async component model.
    pub concurrent: bool,
    /// What the budget `instances` will count.
    pub core_instances: u64,
    /// What the component was made from, where it was not one.
    pub adapted: Option<Adapted>,
}

/// The one line of report.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The artefact is complete.
    Compiled(Compiled),
    /// There is none.
    Refused(Refusal),
}

/// Runs the worker to its end; the exit code is 0 whenever a report was written.
pub fn run(cpu_seconds: u64, memory_bytes: u64, artefact_bytes: u64) -> std::io::Result<()> {
    give_up_rights(cpu_seconds, memory_bytes, artefact_bytes)?;
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let report = match compile(&bytes) {
        Ok((artefact, report)) => match std::io::stdout().lock().write_all(&artefact) {
            Ok(()) => report,
            Err(error) => Report::Refused(Refusal::unwritten("storing the compiled component", &error)),
        },
        Err(refusal) => Report::Refused(refusal),
    };
    serde_json::to_writer(std::io::stderr().lock(), &report)?;
    Ok(())
}

fn compile(submitted: &[u8]) -> Result<(Vec<u8>, Report), Refusal> {
    let caps = prescan::Caps::default();
    let mut seen = prescan::scan(submitted, &caps)?;
    let mut adapted = None;
    let made;
    let component = if seen.core_module {
        // Here, not in the parent: the encoder reads hostile bytes too.
        (made, adapted) = adapt::to_component(submitted)?;
        seen = prescan::scan(&made, &caps)?;
        &made
    } else {
        submitted
    };
    let flavour = validate(component)?;
    let engine = wasmtime::Engine::new(&settings::compiler(flavour))
        .map_err(|error| Refusal::internal("starting the compiler", format!("{error:#}")))?;
    let artefact = engine.precompile_component(component).map_err(|error| {
        Refusal::new(Code::ComponentInvalid, format!("the component does not compile: {error:#}"))
    })?;
    let concurrent = flavour == Flavour::Concurrent;
    Ok((artefact, Report::Compiled(Compiled { concurrent, core_instances: seen.core_instances, adapted })))
}

/// Finds the engine whose features suffice. Of two refusals, the one that read further says more.
fn validate(component: &[u8]) -> Result<Flavour, Refusal> {
    let valid = |flavour: Flavour| {
        Validator::new_with_features(flavour.features()).validate_all(component).map(|_| flavour)
    };
    valid(Flavour::Plain)
        .or_else(|plain| {
            valid(Flavour::Concurrent)
                .map_err(|concurrent| if concurrent.offset() > plain.offset() { concurrent } else { plain })
        })
        .map_err(Refusal::from)
}

fn give_up_rights(cpu_seconds: u64, memory_bytes: u64, artefact_bytes: u64) -> std::io::Result<()> {
    let limit =
        |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    // The soft limit's signal says that it was CPU time; the hard one a second later is for a
    // process that would ignore it.
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_seconds), maximum: Some(cpu_seconds + 1) })?;
    limit(Resource::As, memory_bytes)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, artefact_bytes)?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::nice(10)?;
    // Best effort from here on: old kernels and containers may not have these.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = deny_files();
    Ok(())
}

/// No opening of files and no TCP, where the kernel has Landlock. What is open stays usable.
fn deny_files() -> Result<(), landlock::RulesetError> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr};
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .create()?
        .restrict_self()?;
    Ok(())
}
