//! What can be done: each lever is somebody else's, and all of them are ours alone. No process that we did not
//! start is ended, and no file that we did not write is removed.

use std::sync::Arc;

use jiff::Timestamp;

use super::journal::Effect;
use super::memory::Memory;
use crate::cache::Cache;
use crate::engine::Engines;
use crate::events::Changes;
use crate::executor;
use crate::protection::{Action, Stance};
use crate::scheduler::{Held, Room, Scheduler};
use crate::task::Priority;
use crate::task_store::{Freed, Spared, SqliteStore};

/// Everything that can be done.
pub struct Levers {
    /// Who runs, and who waits.
    pub scheduler: Scheduler,
    /// How fast guests run, and how far they grow.
    pub executor: executor::Levers,
    /// What is kept of tasks.
    pub store: Arc<SqliteStore>,
    /// What is kept of components.
    pub engines: Arc<Engines>,
    /// What is kept in memory and could be made again; what another of them holds comes after that one.
    pub caches: Arc<[Arc<dyn Cache>]>,
    /// Changes of tasks: what is removed of them is one.
    pub changes: Changes,
}

impl Levers {
    /// What lasts. Said after each look: whatever came in between is under it too.
    pub(super) fn follow(&self, stance: &Stance, memory: &Memory, places: usize) {
        self.scheduler.pause_below(stance.paused_below);
        self.scheduler.set_places(places);
        self.executor.cap_cpu(stance.cpu_cap_percent);
        self.executor.set_shares(stance.shares);
        self.executor.leave_memory(if stance.growth_refused {
            memory.spare_bytes
        } else {
            memory.free_bytes
        });
        self.store.refuse_new(stance.writes_refused);
        self.scheduler.set_room(Room {
            rule: stance.admission,
            bytes: memory.room_bytes,
            held_back_below: stance.held_back_below,
            writes_refused: stance.writes_refused,
        });
    }

    pub(super) fn set_places(&self, places: usize) {
        self.scheduler.set_places(places);
    }

    pub(super) fn held(&self) -> Held {
        self.scheduler.held()
    }

    /// What is done once, at the decision.
    pub(super) fn do_once(&self, action: &Action) -> Effect {
        match action {
            Action::Pause { below } => self.pause_below(Some(*below)),
            Action::Resume => self.pause_below(None),
            Action::EndOne => Effect::on(self.scheduler.end_largest().map(|task| (task, "ended"))),
            _ => Effect::default(),
        }
    }

    fn pause_below(&self, below: Option<Priority>) -> Effect {
        let (paused, resumed) = self.scheduler.pause_below(below);
        let paused = paused.into_iter().map(|task| (task, "paused"));
        Effect::on(paused.chain(resumed.into_iter().map(|task| (task, "resumed"))))
    }

    /// Compiled components that nobody uses; where `for_good`, old logs and large old outputs too, which nobody can
    /// make again.
    pub(super) async fn prune(&self, for_good: bool) -> Effect {
        let engines = self.engines.clone();
        let artefacts = tokio::task::spawn_blocking(move || engines.prune_artefacts(0)).await;
        let (artefact_bytes, mut error) = match artefacts {
            Ok(Ok(bytes)) => (bytes, None),
            Ok(Err(error)) => (0, Some(format!("compiled components: {error}"))),
            Err(error) => (0, Some(error.to_string())),
        };
        let mut freed = Freed::default();
        if for_good {
            let _change = self.changes.begin();
            match self.store.prune_for_space(Spared::default(), Timestamp::now().as_millisecond()).await {
                Ok(found) => freed = found,
                Err(why) => error = Some(why.to_string()),
            }
        }
        Effect {
            removed: Some(freed.logs + freed.outputs),
            freed_bytes: Some(freed.bytes + artefact_bytes),
            error,
            ..Effect::default()
        }
    }

    /// What is kept and nobody uses, and the store's pages.
    pub(super) async fn shrink_caches(&self) -> Effect {
        let removed = Some(self.caches.iter().map(|cache| cache.clear() as u64).sum());
        let error = self.store.shrink().await.err().map(|error| error.to_string());
        Effect { removed, error, ..Effect::default() }
    }
}
