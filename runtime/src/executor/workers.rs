//! Work of a task besides its guest: in turns with all guests, on their threads, under the task's own end.

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};

use super::control::Control;
use super::slots::{Slots, Turns};
use super::{Tenant, control};
use crate::backend::work::{Share, Stopped, Workers};
use crate::task::Priority;

/// The threads of the guests, for the work of one task.
///
/// Each share is like a guest of the task: it waits for a compute slot, makes room when its turn is over, stands
/// still while the task is paused, and ends where the task does. So there are never more threads at work than slots,
/// whoever has work for them.
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
        for share in shares {
            let turns = self.slots.turns(self.priority, self.tenant.clone());
            running.spawn_on(run(share, turns, self.control.clone()), &self.guests);
        }
        while let Some(joined) = running.join_next().await {
            joined.map_err(|_| Stopped::Failed)?.map_err(|_| Stopped::Ended)?;
        }
        Ok(())
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
