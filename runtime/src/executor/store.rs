//! The store of one task: its data, and the one function that applies every limit to it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use wasmtime::component::Linker;
use wasmtime::{CallHook, Store, StoreContextMut, Trap, UpdateDeadline};

use super::control::Control;
use crate::host::{HostCtx, HostView, Stop};
use crate::limits::{Budget, Ledger, Limiter, Refusal};

/// Most bytes that one host call may carry out of the guest.
const HOST_CALL_CARRY: u64 = 128 << 20;

/// What a byte that is carried may cost the host: text in another encoding becomes longer, in a buffer that grows.
const COST_OF_CARRY: u64 = 3;

/// Entries that calls take in the concurrent engine's table beside the handles: three for each component that is
/// entered, of which the pre-scan lets no more than 256 be.
const ENTRIES_OF_CALLS: usize = 3 * 256;

/// Room beside the output itself in what `run` returns.
const RESULT_OVERHEAD: u64 = 64 << 10;

/// Fuel after which wasmtime yields and saves its count: no receipt errs by more than this.
pub(super) const FUEL_INTERVAL: u64 = 10_000_000;

/// Data of a task's store.
pub struct Ctx {
    host: HostCtx,
    pub(super) limiter: Limiter,
    ledger: Arc<Ledger>,
    result_carry: usize,
    /// Set once the component is instantiated: what fails before then failed for its initial sizes.
    pub(super) instantiated: bool,
    /// Refused growths seen so far, and the fuel used at the last.
    refused: (u64, u64),
}

/// Fuel within which a guest that gives up after a refused growth does so: an allocator aborts at once,
/// a language runtime prints a message first.
/// The count of fuel at the refusal may itself be an interval old.
const GIVES_UP_WITHIN: u64 = 10_000_000 + FUEL_INTERVAL;

impl Ctx {
    pub(super) fn new(ledger: Arc<Ledger>, host: HostCtx, limiter: Limiter) -> Ctx {
        let result_carry = ledger.limits().get(Budget::OutputBytes).saturating_add(RESULT_OVERHEAD);
        Ctx {
            limiter,
            result_carry: usize::try_from(result_carry).unwrap_or(usize::MAX),
            ledger,
            host,
            instantiated: false,
            refused: (0, 0),
        }
    }

    /// The refused growth that an end right now is to be blamed on, if there is one.
    pub(super) fn blamed_refusal(&self) -> Option<Refusal> {
        if !self.instantiated {
            return self.limiter.refusal();
        }
        let since = self.ledger.used(Budget::Fuel).saturating_sub(self.refused.1);
        self.limiter.refusal().filter(|_| since < GIVES_UP_WITHIN)
    }
}

impl HostView for Ctx {
    fn host(&mut self) -> &mut HostCtx {
        &mut self.host
    }
}

/// A linker with every host function.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    crate::host::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Makes the store of one task, with every limit applied that a store can hold. The others are the
/// ledger's (host functions spend from it), the engine's (the stack) and `control`'s timer.
pub(super) fn new(engine: &wasmtime::Engine, ctx: Ctx, control: Control) -> wasmtime::Result<Store<Ctx>> {
    let [ledger, seen] = [ctx.ledger.clone(), ctx.ledger.clone()];
    let limits = *ledger.limits();
    let mut store = Store::new(engine, ctx);

    // fuel
    store.set_fuel(limits.get(Budget::Fuel))?;
    store.fuel_async_yield_interval(Some(FUEL_INTERVAL))?;
    // wall_ms, while the guest computes
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut store| {
        control.check()?;
        // Who looks on sees what it has used, as far as it is known.
        record(&mut store, &seen)?;
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(yield_now())))
    });
    // memory_bytes, memories, table_elements, tables, instances
    store.limiter(|ctx| &mut ctx.limiter);
    // handles
    let mut handles = usize::try_from(limits.get(Budget::Handles))?;
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(handles.saturating_add(ENTRIES_OF_CALLS));
        // The thread that `run` is called on is one there.
        handles = handles.saturating_add(1);
    }
    store.set_max_component_handles(handles);
    // host_calls, host_call_bytes, output_bytes
    store.call_hook(move |store, hook| boundary(store, hook, &ledger));
    Ok(store)
}

/// Comes up for air: woken at once, by which `Control` knows that the guest waits for nothing.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs whenever execution crosses between guest and host.
fn boundary(mut store: StoreContextMut<'_, Ctx>, hook: CallHook, ledger: &Ledger) -> wasmtime::Result<()> {
    match hook {
        CallHook::CallingWasm => {}
        CallHook::CallingHost => {
            record(&mut store, ledger)?;
            let carry = ledger.remaining(Budget::HostCallBytes).min(HOST_CALL_CARRY);
            let carry = carry.min(ledger.room_for_a_call() / COST_OF_CARRY);
            store.set_hostcall_fuel(usize::try_from(carry)?);
        }
        CallHook::ReturningFromHost => {
            if let Some(asked) = ledger.take_refused_by_machine() {
                store.data_mut().limiter.refused(Refusal::Machine { asked })?;
            }
            // Growing is a call of the host too, so this is the moment after a refusal.
            let refusals = store.data().limiter.refusals();
            if refusals > store.data().refused.0 {
                store.data_mut().refused = (refusals, ledger.used(Budget::Fuel));
            }
            let calls = store.data_mut().host.take_uncharged_calls();
            if calls > 0 {
                ledger.spend(Budget::HostCalls, calls).map_err(Stop::from)?;
                let price = calls.saturating_mul(Budget::HOST_CALL_FUEL);
                let rest = store.get_fuel()?.checked_sub(price).ok_or(Trap::OutOfFuel)?;
                store.set_fuel(rest)?;
            }
        }
        // What comes next is the result of `run`.
        CallHook::ReturningFromWasm => {
            let carry = store.data().result_carry;
            store.set_hostcall_fuel(carry);
        }
    }
    Ok(())
}

/// Brings into the ledger the fuel, which the store counts by itself.
pub(super) fn record(store: &mut StoreContextMut<'_, Ctx>, ledger: &Ledger) -> wasmtime::Result<()> {
    let left = store.get_fuel()?;
    ledger.record(Budget::Fuel, ledger.limits().get(Budget::Fuel).saturating_sub(left));
    Ok(())
}
