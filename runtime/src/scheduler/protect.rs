//! What protects the machine: who may begin, who is paused, and who is ended for the others' sake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::admission::{Candidate, Room};
use super::live::Live;
use super::{Error, Scheduler, Shared};
use crate::executor::Control;
use crate::task::{Priority, TaskId};

/// A task that something was done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// Which.
    pub id: TaskId,
    /// How urgent it is.
    pub priority: Priority,
    /// Bytes that it held, in linear memories and tensors.
    pub memory_bytes: u64,
}

/// What tasks hold and may come to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes of linear memories and tensors.
    pub used_bytes: u64,
    /// What they count with where another one wants to begin.
    pub counted_bytes: u64,
}

impl Scheduler {
    /// Who may begin, until this is said again.
    pub fn set_room(&self, room: Room) {
        let running = self.0.running();
        {
            let mut state = self.0.state.lock();
            state.admission.room = room;
            state
                .admission
                .measure(running.iter().map(|(live, control)| (control.memory_bytes(), live.memory_bytes)));
        }
        self.0.wake.notify_one();
    }

    /// From now on there are this many places. Who has one keeps it.
    pub fn set_places(&self, places: usize) {
        self.0.state.lock().admission.resize(places);
        self.0.wake.notify_one();
    }

    /// What tasks hold.
    pub fn held(&self) -> Held {
        let used_bytes = self.0.running().iter().map(|(_, control)| control.memory_bytes()).sum();
        Held { used_bytes, counted_bytes: self.0.state.lock().admission.counted() }
    }

    /// Whether a task like this would begin if it came now; it would wait otherwise.
    ///
    /// # Errors
    /// It would be refused.
    pub fn would_begin(&self, candidate: Candidate<'_>) -> Result<bool, Error> {
        let now = self.0.clock.now_ms();
        self.0.state.lock().look_at(candidate, &self.0.settings, now)
    }

    /// Tenants may hold this many percent of the places, from now on; who is not named may hold all.
    pub fn set_shares(&self, shares: BTreeMap<String, u8>) {
        self.0.state.lock().admission.fair.set_shares(shares);
        self.0.wake.notify_one();
    }

    /// Pauses every running task below `below` at its next yield, and lets the others go on. Returns those that
    /// were paused and those that go on. It holds for what begins later, too.
    pub fn pause_below(&self, below: Option<Priority>) -> (Vec<Affected>, Vec<Affected>) {
        self.0.state.lock().paused_below = below;
        let (mut paused, mut resumed) = (Vec::new(), Vec::new());
        for (live, control) in self.0.running() {
            match self.0.pause_as_told(&live) {
                Some(true) => paused.push(affected(&live, &control)),
                Some(false) => resumed.push(affected(&live, &control)),
                None => {}
            }
        }
        (paused, resumed)
    }

    /// Ends the running task of the lowest priority that holds the most memory; it is tried again later.
    pub fn end_largest(&self) -> Option<Affected> {
        let running = self.0.running();
        let (live, control) = running
            .iter()
            .filter(|(_, control)| control.memory_bytes() > 0)
            .min_by_key(|(live, control)| (live.spec.priority, std::cmp::Reverse(control.memory_bytes())))?;
        let ended = affected(live, control);
        control.end_for_memory();
        Some(ended)
    }

    /// Waits until nothing runs.
    pub(super) async fn idle(&self, patience: Duration) -> bool {
        let idle = async {
            loop {
                let told = self.0.idle.notified();
                let mut told = std::pin::pin!(told);
                told.as_mut().enable();
                if self.0.state.lock().admission.held() == 0 {
                    break;
                }
                told.await;
            }
        };
        tokio::time::timeout(patience, idle).await.is_ok()
    }
}

impl Shared {
    /// Every task that is being executed.
    fn running(&self) -> Vec<(Arc<Live>, Control)> {
        let state = self.state.lock();
        let running = state
            .running
            .values()
            .filter_map(|live| Some((live.clone(), live.inner.lock().control.clone()?)));
        running.collect()
    }

    /// Pauses a running task at its next yield, or lets it go on, as everybody was told last; says which if that
    /// changed something.
    pub(super) fn pause_as_told(&self, live: &Live) -> Option<bool> {
        let (paused, is_known, _change) = {
            // Under the lock: whoever tells everybody else now comes after this.
            let state = self.state.lock();
            let paused = state.paused_below.is_some_and(|below| live.spec.priority < below);
            let mut inner = live.inner.lock();
            let control = inner.control.clone()?;
            match paused {
                true => control.pause(),
                false => control.resume(),
            }
            let why = Some("the processors are wanted by others");
            if !inner.state.pause(Timestamp::now(), paused, why) {
                return None;
            }
            // Under the lock too: nobody has seen it yet.
            (paused, state.live.contains_key(&live.id), self.bus.changes().begin())
        };
        // Of one that is not stored yet nobody is told.
        if is_known {
            self.bus.task_changed(|| live.task());
        }
        Some(paused)
    }
}

fn affected(live: &Live, control: &Control) -> Affected {
    Affected { id: live.id, priority: live.spec.priority, memory_bytes: control.memory_bytes() }
}
