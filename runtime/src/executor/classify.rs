//! From the way a call ended to the failure that clients see.
//!
//! wasmtime gives typed errors for traps; some limits it reports only as text. Those texts are pinned
//! here and in the tests, which fail when an upgrade changes one.

use std::fmt::{self, Write as _};

use wasmtime::error::OutOfMemory;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::control::Ended;
use super::prepared::Prepared;
use crate::host::Stop;
use crate::limits::{Budget, Exhausted, Ledger, Refusal, Refused};
use crate::task::{End, Failure, FailureKind, escape_guest_text};

/// wasmtime's words where it has no type. Each is met by a hostile guest in the tests.
const HANDLES_FULL: &str = "store handle limit exceeded";
const CARRY_FULL: &str = "fuel allocated for hostcalls has been exhausted";
const INSTANCES_FULL: &str = "resource limit exceeded: instance count too high";
const MEMORIES_FULL: &str = "resource limit exceeded: memory count too high";
const TABLES_FULL: &str = "resource limit exceeded: table count too high";

const MAX_FRAMES: usize = 20;

/// Longest symbol that is demangled. The work can be far more than the length: longer ones stay as they are.
const MAX_SYMBOL: usize = 512;
/// Bytes kept of a frame's name.
const MAX_NAME: usize = 256;

/// What wasmtime says of an initial size that the limiter refused.
fn refused_words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Limit { budget: Budget::MemoryBytes, .. } | Refusal::Machine { .. } => "memory minimum size",
        Refusal::Limit { .. } => "table minimum size",
    }
}

/// What is known when a call has failed.
pub(super) struct Scene<'a> {
    pub prepared: &'a Prepared,
    pub ledger: &'a Ledger,
    /// The growth that was refused last, if nothing has grown since.
    pub refusal: Option<Refusal>,
}

/// How a call that returned an error ended.
pub(super) enum Verdict {
    Ended(End),
    /// A command's `exit(0)`.
    Exited,
}

fn failed(failure: Failure) -> End {
    End::Failed(Box::new(failure))
}

impl Scene<'_> {
    /// Classifies `error`.
    pub fn classify(&self, error: &wasmtime::Error) -> Verdict {
        if let Some(ended) = error.downcast_ref::<Ended>() {
            return Verdict::Ended(self.ended(*ended));
        }
        if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
            return match (code, self.prepared.kind()) {
                (0, super::Kind::Command) => Verdict::Exited,
                // A C or Python program that ran out of memory says so and exits.
                _ => Verdict::Ended(failed(self.gave_up(exited(*code)))),
            };
        }
        let mut failure = match error.downcast_ref::<Trap>() {
            Some(trap) => self.trapped(*trap),
            None => self.stopped(error),
        };
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            failure.backtrace = frames(backtrace);
        }
        Verdict::Ended(failed(failure))
    }

    /// The end that came from outside.
    pub fn ended(&self, ended: Ended) -> End {
        match ended {
            Ended::Cancelled => End::Cancelled,
            Ended::Memory => {
                let used = Budget::MemoryBytes.display(self.ledger.memory_held());
                failed(machine_memory(format!("the task, which held {used} of memory, was ended to free it")))
            }
            Ended::Deadline => {
                let limit = self.ledger.limits().get(Budget::WallMs);
                let message = format!("the task was still running after {limit} ms");
                failed(self.limit(FailureKind::DeadlineExceeded, Budget::WallMs, None, message))
            }
        }
    }

    /// The guest's output was larger than `output_bytes`.
    pub fn output_too_large(&self, asked: Option<u64>) -> Failure {
        let limit = Budget::OutputBytes.display(self.ledger.limits().get(Budget::OutputBytes));
        self.limit(
            FailureKind::OutputLimit,
            Budget::OutputBytes,
            asked,
            format!("the output is larger than {limit}"),
        )
    }

    /// For a guest that gave up by itself: by an error that it returned, or an exit code. After a growth that
    /// its limit refused it gets the hint; after one that the machine refused, it was the machine. After a call that a
    /// capability refused, it was that.
    pub fn gave_up(&self, mut failure: Failure) -> Failure {
        match self.refusal {
            None => failure = self.refused(failure),
            Some(Refusal::Limit { budget, asked }) => failure.hint = Some(self.hint(budget, Some(asked))),
            Some(Refusal::Machine { asked }) => {
                let message = format!("{}, and then: {}", refused_by_machine(asked), failure.message);
                failure = Failure { exit_code: failure.exit_code, ..machine_memory(message) };
                failure.asked = Some(asked);
            }
        }
        failure
    }

    fn refused(&self, failure: Failure) -> Failure {
        let Some(refused) = self.ledger.refused() else { return failure };
        let Failure { message, exit_code, .. } = failure;
        let refused = match refused {
            Refused::Budget(budget, requested) => {
                let asked = self.ledger.used(budget).saturating_add(requested);
                self.limit(FailureKind::BudgetExhausted, budget, Some(asked), message)
            }
            Refused::Denied => Failure::new(FailureKind::CapabilityDenied, message),
            Refused::Unavailable => Failure::new(FailureKind::UpstreamUnavailable, message),
        };
        Failure { exit_code, ..refused }
    }

    fn trapped(&self, trap: Trap) -> Failure {
        match trap {
            Trap::OutOfFuel => {
                let limit = self.ledger.limits().get(Budget::Fuel);
                let message = format!("the task used up its {limit} units of fuel");
                self.limit(FailureKind::FuelExhausted, Budget::Fuel, None, message)
            }
            Trap::StackOverflow => {
                let message = "the guest recursed deeper than its stack of 512 KiB; the size is fixed";
                let mut failure =
                    self.limit(FailureKind::StackOverflow, Budget::StackBytes, None, message.into());
                failure.hint =
                    Some("turn the recursion into a loop, or keep large values on the heap".into());
                failure
            }
            // What an allocator does a moment after its growth was refused.
            Trap::UnreachableCodeReached if let Some(refusal) = self.refusal => self.growth_refused(refusal),
            // What the adapters between composed components say of broken pointers, lengths and text.
            Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::UnalignedPointer
            | Trap::InvalidChar => abi_violation(&trap.to_string()),
            trap => {
                let text = trap.to_string();
                let text = text.strip_prefix("wasm trap: ").unwrap_or(&text);
                let mut failure = Failure::new(FailureKind::Trap, format!("the guest trapped: {text}"));
                failure.trap = Some(code(trap));
                failure
            }
        }
    }

    /// An error that is not a trap: a limit that wasmtime or a host function reports, or a broken ABI.
    fn stopped(&self, error: &wasmtime::Error) -> Failure {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return self.host_stop(stop);
        }
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return self.growth_refused(*refusal);
        }
        if let Some(wasmtime::component::ResourceTableError::Full) = error.downcast_ref() {
            return self.handles_full();
        }
        if let Some(pool) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            // A permit is held for every store, so nobody should get here.
            return Failure::new(FailureKind::HostError, format!("the engine's pool is exhausted: {pool}"));
        }
        // The cause alone: the chain above it holds a backtrace, whose names the guest chose.
        let text = error.root_cause().to_string();
        let component = &self.prepared.component;
        if text.ends_with(HANDLES_FULL) {
            self.handles_full()
        } else if text.starts_with(INSTANCES_FULL) {
            let message = format!("the component makes {} core instances", component.core_instances);
            self.limit(FailureKind::InstanceLimit, Budget::Instances, Some(component.core_instances), message)
        } else if text.starts_with(MEMORIES_FULL) {
            let message = format!("the component makes {} linear memories", self.prepared.memories);
            self.limit(FailureKind::MemoryLimit, Budget::Memories, Some(self.prepared.memories), message)
        } else if text.starts_with(TABLES_FULL) {
            let message = format!("the component makes {} tables", self.prepared.tables);
            self.limit(FailureKind::TableLimit, Budget::Tables, Some(self.prepared.tables), message)
        } else if text.ends_with(CARRY_FULL) {
            // The result of `run` is read when no guest frame is left on the stack.
            match error.downcast_ref::<WasmBacktrace>() {
                None => self.output_too_large(None),
                Some(_) => self.carry_full(),
            }
        } else if let Some(refusal) = self.refusal.filter(|refusal| text.contains(refused_words(*refusal))) {
            // A memory or table whose initial size was refused: the component was not instantiated.
            self.growth_refused(refusal)
        } else if error.is::<std::io::Error>() || error.is::<OutOfMemory>() {
            Failure::new(FailureKind::HostError, format!("the host ran short: {text}"))
        } else {
            abi_violation(&text)
        }
    }

    fn host_stop(&self, stop: &Stop) -> Failure {
        match stop {
            Stop::Exhausted(Exhausted { budget: Budget::OutputBytes, requested, .. }) => {
                self.output_too_large(Some(self.ledger.used(Budget::OutputBytes).saturating_add(*requested)))
            }
            Stop::Exhausted(exhausted) => {
                let needed = self.ledger.used(exhausted.budget).saturating_add(exhausted.requested);
                let (name, limit) = (exhausted.budget.name(), exhausted.budget.display(exhausted.limit));
                let message = format!("the task's host calls used up {name}: {limit}");
                self.limit(FailureKind::HostcallLimit, exhausted.budget, Some(needed), message)
            }
            Stop::TooMuchAtOnce { asked, .. } => {
                let mut failure =
                    Failure::new(FailureKind::HostcallLimit, format!("one host call asked for {stop}"));
                failure.asked = Some(*asked);
                failure.hint = Some("ask for it in pieces".into());
                failure
            }
        }
    }

    fn carry_full(&self) -> Failure {
        let left = self.ledger.remaining(Budget::HostCallBytes);
        let message = format!(
            "one host call carried more than it may: {left} bytes of host_call_bytes are left, and one call carries at most 128 MiB, or 10 MiB and a third of the memory that the task has not taken"
        );
        let mut failure = self.limit(FailureKind::HostcallLimit, Budget::HostCallBytes, None, message);
        failure.hint = Some(
            "pass the data in smaller pieces, or raise limits.host_call_bytes or limits.memory_bytes".into(),
        );
        failure
    }

    fn handles_full(&self) -> Failure {
        let limit = self.ledger.limits().get(Budget::Handles);
        let message = format!("the guest holds more than {limit} resource handles");
        self.limit(FailureKind::HandleLimit, Budget::Handles, Some(limit + 1), message)
    }

    fn growth_refused(&self, refusal: Refusal) -> Failure {
        let (kind, what, budget, asked) = match refusal {
            Refusal::Machine { asked } => {
                let mut failure = machine_memory(refused_by_machine(asked));
                failure.asked = Some(asked);
                return failure;
            }
            Refusal::Limit { budget: budget @ Budget::MemoryBytes, asked } => {
                (FailureKind::MemoryLimit, "memory", budget, asked)
            }
            Refusal::Limit { budget, asked } => (FailureKind::TableLimit, "table elements", budget, asked),
        };
        let limit = budget.display(self.ledger.limits().get(budget));
        self.limit(
            kind,
            budget,
            Some(asked),
            format!("the guest asked for {} of {what}; its limit is {limit}", budget.display(asked)),
        )
    }

    /// A failure for a limit, with the hint that follows from its numbers.
    fn limit(&self, kind: FailureKind, budget: Budget, asked: Option<u64>, message: String) -> Failure {
        let mut failure = Failure::new(kind, message);
        failure.limit = Some(budget.name().to_owned());
        failure.asked = asked;
        failure.used = budget.is_counted().then(|| self.ledger.used(budget));
        failure.hint = Some(self.hint(budget, asked));
        failure
    }

    fn hint(&self, budget: Budget, asked: Option<u64>) -> String {
        let limits = self.ledger.limits();
        let (rule, limit, max) = (limits.rule(budget), limits.get(budget), limits.max(budget));
        let (name, maximum) = (budget.name(), budget.display(max));
        let limit_text = budget.display(limit);
        match asked {
            _ if limit >= max => {
                format!("the limit is {limit_text}, the maximum {rule}: the task has to need less of {name}")
            }
            Some(asked) if asked > max => format!(
                "asked for {}, limit {limit_text}, maximum {rule} {maximum}: the task has to need less of {name}",
                budget.display(asked)
            ),
            Some(asked) => format!(
                "asked for {}, limit {limit_text}, maximum {rule} {maximum}: set limits.{name} to {asked}",
                budget.display(asked)
            ),
            None => format!(
                "it needs at least {}, limit {limit_text}, maximum {rule} {maximum}: set limits.{name} higher, or look for a loop that does not end",
                budget.display(self.ledger.used(budget).max(limit.saturating_add(1)))
            ),
        }
    }
}

fn refused_by_machine(asked: u64) -> String {
    format!("the guest asked for {} more of memory, which was refused", Budget::MemoryBytes.display(asked))
}

/// The machine's need, and none of the guest's doing.
fn machine_memory(what: String) -> Failure {
    let message = format!("the machine is short of memory: {what}");
    let mut failure = Failure::new(FailureKind::MachineMemory, message);
    failure.hint = Some(
        "it passes when the machine has memory again: keep machine_memory in retry.on, or submit it later"
            .into(),
    );
    failure
}

fn abi_violation(text: &str) -> Failure {
    let text = escape_guest_text(text);
    Failure::new(FailureKind::AbiViolation, format!("the guest broke the canonical ABI: {text}"))
}

/// A guest that returned an error text.
pub(super) fn guest_error(text: &str) -> Failure {
    Failure::new(FailureKind::GuestError, escape_guest_text(text))
}

/// A program that ended itself.
pub(super) fn exited(code: i32) -> Failure {
    // WASI 0.2 tells success from failure and nothing more: an adapted program's code is lost on the way.
    let mut failure = Failure::new(FailureKind::GuestError, format!("the guest exited with code {code}"));
    failure.exit_code = Some(code);
    failure
}

/// wasmtime's trap code in snake case.
fn code(trap: Trap) -> String {
    let name = match trap {
        Trap::UnreachableCodeReached => "unreachable",
        Trap::IntegerDivisionByZero => "integer_divide_by_zero",
        Trap::MemoryOutOfBounds => "memory_out_of_bounds",
        Trap::TableOutOfBounds => "table_out_of_bounds",
        Trap::IndirectCallToNull => "indirect_call_to_null",
        Trap::BadSignature => "indirect_call_type_mismatch",
        Trap::IntegerOverflow => "integer_overflow",
        Trap::BadConversionToInteger => "invalid_conversion_to_integer",
        Trap::CannotEnterComponent => "cannot_enter_component",
        other => return snake_case(&format!("{other:?}")),
    };
    name.to_owned()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 8);
    for (at, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let frames = backtrace.frames().iter().take(MAX_FRAMES);
    frames
        .map(|frame| {
            let offset = frame.func_offset().map(|at| format!("+{at:#x}")).unwrap_or_default();
            match frame.func_name() {
                Some(symbol) => format!("{}{offset}", name(symbol)),
                None => format!("function {}{offset}", frame.func_index()),
            }
        })
        .collect()
}

/// A function's name, demangled where that is sure to be cheap. The guest chose it.
fn name(symbol: &str) -> String {
    let mut name = Bounded(String::new());
    if symbol.len() > MAX_SYMBOL || write!(name, "{:#}", rustc_demangle::demangle(symbol)).is_err() {
        name.0 = symbol.chars().take(MAX_NAME).collect();
    }
    escape_guest_text(&name.0).replace(['\n', '\t'], " ")
}

/// Stops a writer that writes too much.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_NAME {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}
