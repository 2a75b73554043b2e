//! Work of a task besides its guest: in turns with all guests, on their threads, under the task's own end.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};

use super::control::Control;
use super::slots::{Slots, Turns};
use super::{Tenant, control};
use crate::backend::work::{ComputeSlots, Share, Stopped, TakenSlots, Workers};
use crate::task::Priority;

/// The threads of the guests, for the work of one task.
///
/// Each share is like a part of a guest: it waits for a compute slot, makes room when its turn is over, stands still
/// while the task is paused, and ends where the task does. So there are never more threads at work than slots, whoever
/// has work for them, and a task gets no more of them than another by sharing its work out.
pub(super) struct TaskWorkers {
    pub guests: Handle,
    pub slots: Slots,
    pub priority: Priority,
    pub tenant: Tenant,
    pub control: Control,
}

#[async_trait]
impl Workers for TaskWorkers {
    fn count(&self) -> usize {
        self.slots.count()
    }

    async fn work(&self, shares: Vec<Box<dyn Share>>) -> Result<(), Stopped> {
        // Dropped, it ends them where they yield, which is after the piece that they are at.
        let mut running = JoinSet::new();
        let parts = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        for share in shares {
            let turns = self.slots.turns_of_part(self.priority, self.tenant.clone(), parts);
            running.spawn_on(run(share, turns, self.control.clone()), &self.guests);
        }
        while let Some(joined) = running.join_next().await {
            joined.map_err(|_| Stopped::Failed)?.map_err(|_| Stopped::Ended)?;
        }
        Ok(())
    }

    fn charge(&self, cpu: Duration) {
        self.control.add_cpu(cpu);
    }
}

async fn run(mut share: Box<dyn Share>, mut turns: Turns, control: Control) -> Result<(), control::Ended> {
    loop {
        control.turn(&mut turns).await?;
        control.check()?;
        if !control.piece(&mut turns, || share.piece()) {
            return Ok(());
        }
        // Whoever else is on this thread has his turn, and whoever stops this can.
        yield_now().await;
    }
}

#[async_trait]
impl ComputeSlots for TaskWorkers {
    async fn take(&self, most: usize) -> Box<dyn TakenSlots> {
        let mut turns = self.slots.turns(self.priority, self.tenant.clone());
        poll_fn(|cx| turns.poll_begin(cx)).await;
        let others = self.slots.take_free(most.saturating_sub(1));
        Box::new(Taken { slots: self.slots.clone(), others, since: Instant::now(), _turns: turns })
    }
}

/// A turn, and slots besides that were free.
struct Taken {
    slots: Slots,
    others: usize,
    since: Instant,
    // Dropped last, when what was computed is charged.
    _turns: Turns,
}

impl TakenSlots for Taken {
    fn count(&self) -> usize {
        1 + self.others
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let threads = u32::try_from(self.count()).unwrap_or(u32::MAX);
        self.slots.give_back(self.others, self.since.elapsed().saturating_mul(threads));
    }
}
