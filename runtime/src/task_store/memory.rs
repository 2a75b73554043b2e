//! Tasks that were submitted with `"durable": false`: they end with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Error, Idempotency, Inserted, Query, Summary, TaskStore, WithOutput};
use crate::task::{Log, State, Status, Task, TaskId};

/// Finished tasks kept; the oldest go first.
const MAX_FINISHED: usize = 10_000;

/// Bytes of inputs, outputs, logs and checkpoints kept.
const MAX_BYTES: usize = 512 << 20;

/// A store that forgets.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tasks: BTreeMap<TaskId, Kept>,
    keys: HashMap<(String, String), ([u8; 32], TaskId)>,
    /// In the order of their ends.
    finished: VecDeque<TaskId>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    task: Task,
    key: Option<String>,
    input: Arc<[u8]>,
    output: Option<Arc<[u8]>>,
    log: Option<Log>,
    checkpoints: HashMap<String, Vec<u8>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let checkpoints = self.checkpoints.iter().map(|(name, data)| name.len() + data.len()).sum::<usize>();
        let log = self.log.as_ref().map_or(0, |log| log.head.len() + log.tail.len());
        self.input.len() + self.output.as_ref().map_or(0, |output| output.len()) + log + checkpoints
    }
}

impl Inner {
    fn get(&self, tenant: &str, id: TaskId) -> Option<&Kept> {
        self.tasks.get(&id).filter(|kept| kept.task.tenant == tenant)
    }

    /// Changes one task, keeping count of its bytes. Finished tasks make room.
    fn change(&mut self, id: TaskId, change: impl FnOnce(&mut Kept)) -> Result<(), Error> {
        let Some(kept) = self.tasks.get_mut(&id) else {
            return Err(Error::Unreadable(format!("task {id} is not kept")));
        };
        let before = kept.bytes();
        change(kept);
        self.bytes = (self.bytes + kept.bytes()).saturating_sub(before);
        Ok(())
    }

    /// Forgets finished tasks until there is room for `more` bytes.
    fn make_room(&mut self, more: usize) -> Result<(), Error> {
        while self.bytes + more > MAX_BYTES || self.finished.len() >= MAX_FINISHED {
            let Some(oldest) = self.finished.pop_front() else {
                return Err(Error::Full(format!(
                    "tasks that are not durable hold {} MiB, which is all they may",
                    MAX_BYTES >> 20
                )));
            };
            if let Some(kept) = self.tasks.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(kept.bytes());
                if let Some(key) = kept.key {
                    self.keys.remove(&(kept.task.tenant, key));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn insert(
        &self,
        task: &Task,
        input: Arc<[u8]>,
        idempotency: Option<Idempotency>,
    ) -> Result<Inserted, Error> {
        let mut inner = self.0.lock();
        let key = idempotency.as_ref().map(|known| known.key.clone());
        if let Some(Idempotency { key, fingerprint }) = idempotency {
            let key = (task.tenant.clone(), key);
            if let Some((submitted, id)) = inner.keys.get(&key) {
                return Ok(if *submitted == fingerprint {
                    Inserted::Before(*id)
                } else {
                    Inserted::Conflict
                });
            }
            inner.make_room(input.len())?;
            inner.keys.insert(key, (fingerprint, task.id));
        } else {
            inner.make_room(input.len())?;
        }
        inner.bytes += input.len();
        let (task, checkpoints) = (task.clone(), HashMap::new());
        inner.tasks.insert(task.id, Kept { task, key, input, output: None, log: None, checkpoints });
        Ok(Inserted::New)
    }

    async fn recall(&self, tenant: &str, key: &str) -> Result<Option<(TaskId, [u8; 32])>, Error> {
        let found = self.0.lock().keys.get(&(tenant.to_owned(), key.to_owned())).copied();
        Ok(found.map(|(fingerprint, id)| (id, fingerprint)))
    }

    async fn update(&self, _tenant: &str, id: TaskId, state: &State) -> Result<(), Error> {
        self.0.lock().change(id, |kept| kept.task.state = state.clone())
    }

    async fn finish(
        &self,
        _tenant: &str,
        id: TaskId,
        state: &State,
        output: Option<Arc<[u8]>>,
        log: Log,
    ) -> Result<(), Error> {
        let mut inner = self.0.lock();
        // An end is never refused, or its place would be held for ever: what runs is bounded by the places.
        let more = output.as_ref().map_or(0, |output| output.len()) + log.head.len() + log.tail.len();
        let _ = inner.make_room(more);
        inner.change(id, |kept| {
            kept.task.state = state.clone();
            kept.output = output;
            kept.log = (!log.head.is_empty()).then_some(log);
            kept.checkpoints.clear();
        })?;
        inner.finished.push_back(id);
        Ok(())
    }

    async fn get(&self, tenant: &str, id: TaskId) -> Result<Option<WithOutput>, Error> {
        Ok(self.0.lock().get(tenant, id).map(|kept| (kept.task.clone(), kept.output.clone())))
    }

    async fn list(&self, query: &Query) -> Result<Vec<Task>, Error> {
        let inner = self.0.lock();
        let newest_first = match query.before {
            Some(before) => inner.tasks.range(..before).rev(),
            None => inner.tasks.range(..).rev(),
        };
        let tasks = newest_first
            .map(|(_, kept)| &kept.task)
            .filter(|task| query.admits(&task.tenant, &task.spec, task.state.status));
        Ok(tasks.take(query.limit).cloned().collect())
    }

    async fn summary(&self, tenant: &str) -> Result<Summary, Error> {
        let inner = self.0.lock();
        let mut counts = Status::ALL.map(|status| (status, 0));
        for kept in inner.tasks.values().filter(|kept| kept.task.tenant == tenant) {
            for (status, count) in &mut counts {
                *count += u64::from(*status == kept.task.state.status);
            }
        }
        let ended = inner.finished.iter().rev().filter_map(|id| inner.get(tenant, *id)).take(1000);
        let durations_ms = ended
            .filter_map(|kept| {
                let State { started, completed, .. } = &kept.task.state;
                let length = completed.as_ref()?.as_millisecond() - started.as_ref()?.as_millisecond();
                Some(length.max(0).unsigned_abs())
            })
            .collect();
        Ok(Summary { counts: counts.into(), durations_ms })
    }

    async fn input(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(self.0.lock().get(tenant, id).map(|kept| kept.input.clone()))
    }

    async fn output(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(self.0.lock().get(tenant, id).and_then(|kept| kept.output.clone()))
    }

    async fn log(&self, tenant: &str, id: TaskId) -> Result<Option<Log>, Error> {
        Ok(self.0.lock().get(tenant, id).and_then(|kept| kept.log.clone()))
    }

    async fn save_checkpoint(
        &self,
        _tenant: &str,
        id: TaskId,
        name: &str,
        data: Vec<u8>,
    ) -> Result<(), Error> {
        let mut inner = self.0.lock();
        inner.make_room(name.len() + data.len())?;
        inner.change(id, |kept| {
            // It came too late where the task has ended: nobody would ever remove it.
            if kept.task.state.completed.is_none() {
                kept.checkpoints.insert(name.to_owned(), data);
            }
        })
    }

    async fn load_checkpoint(&self, tenant: &str, id: TaskId, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.lock().get(tenant, id).and_then(|kept| kept.checkpoints.get(name).cloned()))
    }

    async fn checkpoints(&self, tenant: &str, id: TaskId) -> Result<Vec<(String, u64)>, Error> {
        let inner = self.0.lock();
        let checkpoints = inner.get(tenant, id).map(|kept| &kept.checkpoints);
        let sizes = checkpoints.into_iter().flatten().map(|(name, data)| (name.clone(), data.len() as u64));
        Ok(sizes.collect())
    }
}
