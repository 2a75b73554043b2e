//! From the way a call ended to the failure that clients see.
//!
//! wasmtime gives typed errors for traps; some limits it reports only as text. Those texts are pinned
//! here and in the tests, which fail when an upgrade changes one.

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::control::Ended;
use super::prepared::Prepared;
use crate::host::Stop;
use crate::limits::{Budget, Exhausted, Ledger, Refusal};
use crate::task::{Failure, FailureKind, escape_guest_text};

/// wasmtime's words where it has no type. Each is met by a hostile guest in the tests.
const HANDLES_FULL: &str = "store handle limit exceeded";
const CARRY_FULL: &str = "fuel allocated for hostcalls has been exhausted";
const INSTANCES_FULL: &str = "resource limit exceeded: instance count too high";
const MEMORIES_FULL: &str = "resource limit exceeded: memory count too high";
const TABLES_FULL: &str = "resource limit exceeded: table count too high";

const MAX_FRAMES: usize = 20;

/// What is known when a call has failed.
pub(super) struct Scene<'a> {
    pub prepared: &'a Prepared,
    pub ledger: &'a Ledger,
    /// The growth that was refused last, if nothing has grown since.
    pub refusal: Option<Refusal>,
}

/// How a call that returned an error ended.
pub(super) enum Verdict {
    Failed(Box<Failure>),
    Cancelled,
    /// A command's `exit(0)`.
    Exited,
}

impl Scene<'_> {
    /// Classifies `error`.
    pub fn classify(&self, error: &wasmtime::Error) -> Verdict {
        if let Some(ended) = error.downcast_ref::<Ended>() {
            return self.ended(*ended);
        }
        if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
            return match (code, self.prepared.kind()) {
                (0, super::Kind::Command) => Verdict::Exited,
                _ => Verdict::Failed(Box::new(exited(*code))),
            };
        }
        let mut failure = match error.downcast_ref::<Trap>() {
            Some(trap) => self.trapped(*trap),
            None => self.stopped(error),
        };
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            failure.backtrace = frames(backtrace);
        }
        Verdict::Failed(Box::new(failure))
    }

    /// The end that came from outside.
    pub fn ended(&self, ended: Ended) -> Verdict {
        match ended {
            Ended::Cancelled => Verdict::Cancelled,
            Ended::Deadline => {
                let limit = self.ledger.limits().get(Budget::WallMs);
                let message = format!("the task was still running after {limit} ms");
                Verdict::Failed(Box::new(self.limit(
                    FailureKind::DeadlineExceeded,
                    Budget::WallMs,
                    None,
                    message,
                )))
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
            Trap::UnreachableCodeReached if self.refusal.is_some() => self.growth_refused(),
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
        if let Some(wasmtime::component::ResourceTableError::Full) = error.downcast_ref() {
            return self.handles_full();
        }
        let text = format!("{error:#}");
        let contract = |budget, kind, needed: u64, what: &str| {
            self.limit(kind, budget, Some(needed), format!("the component makes {needed} {what}"))
        };
        if text.contains(HANDLES_FULL) {
            self.handles_full()
        } else if text.contains(INSTANCES_FULL) {
            let needed = self.prepared.component.core_instances;
            contract(Budget::Instances, FailureKind::InstanceLimit, needed, "core instances")
        } else if text.contains(MEMORIES_FULL) {
            contract(Budget::Memories, FailureKind::MemoryLimit, self.prepared.memories, "linear memories")
        } else if text.contains(TABLES_FULL) {
            contract(Budget::Tables, FailureKind::TableLimit, self.prepared.tables, "tables")
        } else if text.contains(CARRY_FULL) {
            // The result of `run` is read when no guest frame is left on the stack.
            match error.downcast_ref::<WasmBacktrace>() {
                None => self.output_too_large(None),
                Some(_) => self.carry_full(),
            }
        } else if self.refusal.is_some() {
            // A memory or table whose initial size was refused: the component was not instantiated.
            self.growth_refused()
        } else {
            Failure::new(
                FailureKind::AbiViolation,
                format!("the guest broke the canonical ABI: {}", escape_guest_text(&text)),
            )
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
            "one host call carried more than it may: {left} bytes of host_call_bytes are left, and 128 MiB is the most for one call"
        );
        let mut failure = self.limit(FailureKind::HostcallLimit, Budget::HostCallBytes, None, message);
        failure.hint = Some("pass the data in smaller pieces, or raise limits.host_call_bytes".into());
        failure
    }

    fn handles_full(&self) -> Failure {
        let limit = self.ledger.limits().get(Budget::Handles);
        let message = format!("the guest holds more than {limit} resource handles");
        self.limit(FailureKind::HandleLimit, Budget::Handles, Some(limit + 1), message)
    }

    fn growth_refused(&self) -> Failure {
        let Some(Refusal { budget, asked }) = self.refusal else {
            return Failure::new(FailureKind::HostError, "a growth was refused and not recorded");
        };
        let (kind, what) = match budget {
            Budget::MemoryBytes => (FailureKind::MemoryLimit, "memory"),
            _ => (FailureKind::TableLimit, "table elements"),
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
        failure.used = Some(self.ledger.used(budget));
        failure.hint = Some(self.hint(budget, asked));
        failure
    }

    fn hint(&self, budget: Budget, asked: Option<u64>) -> String {
        let limits = self.ledger.limits();
        let (mode, limit, max) = (limits.mode(), limits.get(budget), budget.bounds(limits.mode()).max);
        let (name, maximum) = (budget.name(), budget.display(max));
        let limit_text = budget.display(limit);
        match asked {
            _ if limit >= max => format!(
                "the limit is {limit_text}, the maximum in mode {mode}: the task has to need less of {name}"
            ),
            Some(asked) if asked > max => format!(
                "asked for {}, limit {limit_text}, maximum in mode {mode} {maximum}: the task has to need less of {name}",
                budget.display(asked)
            ),
            Some(asked) => format!(
                "asked for {}, limit {limit_text}, maximum in mode {mode} {maximum}: set limits.{name} to {asked}",
                budget.display(asked)
            ),
            None => format!(
                "it needs at least {}, limit {limit_text}, maximum in mode {mode} {maximum}: set limits.{name} higher",
                budget.display(self.ledger.used(budget).max(limit))
            ),
        }
    }
}

/// A guest that returned an error text.
pub(super) fn guest_error(text: &str) -> Failure {
    Failure::new(FailureKind::GuestError, escape_guest_text(text))
}

/// A program that ended itself.
pub(super) fn exited(code: i32) -> Failure {
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
    backtrace
        .frames()
        .iter()
        .take(MAX_FRAMES)
        .map(|frame| {
            let offset = frame.func_offset().map(|at| format!("+{at:#x}")).unwrap_or_default();
            match frame.func_name() {
                Some(name) => {
                    format!("{}{offset}", escape_guest_text(&format!("{:#}", rustc_demangle::demangle(name))))
                }
                None => format!("function {}{offset}", frame.func_index()),
            }
        })
        .collect()
}
