//! `wasi:clocks`: the machine's, or in deterministic mode one that only sleeping moves.
//!
//! A frozen clock with real sleeps would hang every guest that waits, so in deterministic mode a sleep
//! returns at once and the clock jumps to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::HostView;

/// Unix time at which deterministic tasks begin: 2025-01-01T00:00:00Z.
const BEGIN_UNIX_SECONDS: u64 = 1_735_689_600;
const NANOSECONDS: u64 = 1_000_000_000;

/// A clock that stands still until the guest sleeps.
#[derive(Debug, Default)]
pub struct VirtualClock(Mutex<Time>);

#[derive(Debug, Default)]
struct Time {
    /// Nanoseconds since the task began.
    now: u64,
    /// Who sleeps until when: end of the sleep -> number of sleepers.
    sleepers: BTreeMap<u64, u32>,
}

impl VirtualClock {
    /// Time slept so far.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    fn now(&self) -> u64 {
        self.0.lock().now
    }
}

/// One sleep on a virtual clock.
struct Sleep {
    clock: Arc<VirtualClock>,
    until: u64,
}

#[async_trait::async_trait]
impl Pollable for Sleep {
    /// The first look only registers, so that whatever else the guest waits for is looked at too; at
    /// the second, nothing else was ready, and the sleep that ends first moves the clock.
    async fn ready(&mut self) {
        let mut waiting: Option<Waiting<'_>> = None;
        std::future::poll_fn(|cx| {
            let mut time = self.clock.0.lock();
            if time.now >= self.until {
                return Poll::Ready(());
            }
            if waiting.is_some() && time.sleepers.keys().next() == Some(&self.until) {
                time.now = self.until;
                return Poll::Ready(());
            }
            if waiting.is_none() {
                *time.sleepers.entry(self.until).or_default() += 1;
                waiting = Some(Waiting(self));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Registered as a sleeper, until dropped.
struct Waiting<'a>(&'a Sleep);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut time = self.0.clock.0.lock();
        if let Some(count) = time.sleepers.get_mut(&self.0.until) {
            *count -= 1;
            if *count == 0 {
                time.sleepers.remove(&self.0.until);
            }
        }
    }
}

/// What the clock functions of one task work on.
pub(super) struct ClocksView<'a> {
    clock: Option<Arc<VirtualClock>>,
    real: WasiClocksCtxView<'a>,
}

pub(super) struct Clocks;

impl HasData for Clocks {
    type Data<'a> = ClocksView<'a>;
}

impl ClocksView<'_> {
    fn sleep_until(
        &mut self,
        clock: Arc<VirtualClock>,
        until: u64,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let sleep = self.real.table.push(Sleep { clock, until })?;
        subscribe(self.real.table, sleep)
    }
}

impl monotonic_clock::Host for ClocksView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        match &self.clock {
            Some(clock) => Ok(clock.now()),
            None => monotonic_clock::Host::now(&mut self.real),
        }
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        match &self.clock {
            Some(_) => Ok(1),
            None => monotonic_clock::Host::resolution(&mut self.real),
        }
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.clock.clone() {
            Some(clock) => self.sleep_until(clock, when),
            None => self.real.subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.clock.clone() {
            Some(clock) => {
                let until = clock.now().saturating_add(duration);
                self.sleep_until(clock, until)
            }
            None => self.real.subscribe_duration(duration),
        }
    }
}

impl wall_clock::Host for ClocksView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        match &self.clock {
            None => wall_clock::Host::now(&mut self.real),
            Some(clock) => {
                let now = clock.now();
                Ok(wall_clock::Datetime {
                    seconds: BEGIN_UNIX_SECONDS + now / NANOSECONDS,
                    nanoseconds: u32::try_from(now % NANOSECONDS).unwrap_or_default(),
                })
            }
        }
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        match &self.clock {
            None => wall_clock::Host::resolution(&mut self.real),
            Some(_) => Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1 }),
        }
    }
}

pub(super) fn view<T: HostView>(data: &mut T) -> ClocksView<'_> {
    let host = data.host().call();
    ClocksView { clock: host.clock.clone(), real: host.clocks() }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<T, Clocks>(linker, view)?;
    wall_clock::add_to_linker::<T, Clocks>(linker, view)
}
