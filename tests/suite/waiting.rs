//! What waits is bounded, by number and by bytes; what cannot be stored holds everybody up, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use omnimind::events::Bus;
use omnimind::executor::{Attempt, TaskExecutor};
use omnimind::metrics::Metrics;
use omnimind::protection::Admission;
use omnimind::scheduler::{Error, Room, Scheduler, Settings, Submission, Submitted};
use omnimind::task::{Digest, End, Grants, Log, Outcome, Retry, Spec, State, Task, TaskId};
use omnimind::task_store::{self, Idempotency, Inserted, MemoryStore, Query, Summary, TaskStore, WithOutput};
use omnimind_tests::block_on;

/// Runs what it is given, once it may.
struct Fake {
    gate: tokio::sync::Semaphore,
    knows: bool,
}

#[async_trait]
impl TaskExecutor for Fake {
    async fn execute(&self, attempt: Attempt) -> Outcome {
        let _turn = self.gate.acquire().await;
        let mut outcome = Outcome::not_begun(failure(), attempt.number, "");
        outcome.end = End::Completed(Vec::new());
        outcome
    }

    fn memory_limit(&self, spec: &Spec) -> u64 {
        spec.limits.get("memory_bytes").copied().unwrap_or(1 << 20)
    }

    fn has_component(&self, _: &str, _: &Digest) -> bool {
        self.knows
    }
}

fn failure() -> omnimind::task::Failure {
    omnimind::task::Failure::new(omnimind::task::FailureKind::HostError, "")
}

/// A store that has no room for changes while it is told so, and counts how often it is asked.
#[derive(Default)]
struct Full {
    inner: MemoryStore,
    is_full: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl TaskStore for Full {
    async fn insert(
        &self,
        task: &Task,
        input: Arc<[u8]>,
        idempotency: Option<Idempotency>,
    ) -> Result<Inserted, task_store::Error> {
        self.inner.insert(task, input, idempotency).await
    }

    async fn update(&self, tenant: &str, id: TaskId, state: &State) -> Result<(), task_store::Error> {
        if self.is_full.load(Ordering::Relaxed) {
            self.asked.fetch_add(1, Ordering::Relaxed);
            return Err(task_store::Error::Full("no room".to_owned()));
        }
        self.inner.update(tenant, id, state).await
    }

    async fn finish(
        &self,
        tenant: &str,
        id: TaskId,
        state: &State,
        output: Option<Arc<[u8]>>,
        log: Log,
    ) -> Result<(), task_store::Error> {
        self.inner.finish(tenant, id, state, output, log).await
    }

    async fn recall(&self, tenant: &str, key: &str) -> Result<Option<(TaskId, [u8; 32])>, task_store::Error> {
        self.inner.recall(tenant, key).await
    }

    async fn get(&self, tenant: &str, id: TaskId) -> Result<Option<WithOutput>, task_store::Error> {
        self.inner.get(tenant, id).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Task>, task_store::Error> {
        self.inner.list(query).await
    }

    async fn summary(&self, tenant: &str) -> Result<Summary, task_store::Error> {
        self.inner.summary(tenant).await
    }

    async fn input(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, task_store::Error> {
        self.inner.input(tenant, id).await
    }

    async fn output(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, task_store::Error> {
        self.inner.output(tenant, id).await
    }

    async fn log(&self, tenant: &str, id: TaskId) -> Result<Option<Log>, task_store::Error> {
        self.inner.log(tenant, id).await
    }

    async fn save_checkpoint(
        &self,
        tenant: &str,
        id: TaskId,
        name: &str,
        data: Vec<u8>,
    ) -> Result<(), task_store::Error> {
        self.inner.save_checkpoint(tenant, id, name, data).await
    }

    async fn load_checkpoint(
        &self,
        tenant: &str,
        id: TaskId,
        name: &str,
    ) -> Result<Option<Vec<u8>>, task_store::Error> {
        self.inner.load_checkpoint(tenant, id, name).await
    }

    async fn checkpoints(&self, tenant: &str, id: TaskId) -> Result<Vec<(String, u64)>, task_store::Error> {
        self.inner.checkpoints(tenant, id).await
    }
}

/// One place, and whatever else `settings` says.
struct Setup {
    scheduler: Scheduler,
    executor: Arc<Fake>,
    store: Arc<Full>,
}

impl Setup {
    fn new(max_pending: usize, max_pending_bytes: usize, knows: bool) -> Setup {
        let executor = Arc::new(Fake { gate: tokio::sync::Semaphore::new(0), knows });
        let store = Arc::new(Full::default());
        let memory = Arc::new(MemoryStore::default());
        let settings = Settings { places: 1, max_pending, max_pending_bytes };
        let metrics = Metrics::new().expect("names that are good");
        let scheduler =
            Scheduler::new(store.clone(), memory, executor.clone(), Bus::default(), metrics, settings);
        Setup { scheduler, executor, store }
    }

    async fn submit(&self, words: usize) -> Result<TaskId, Error> {
        self.submit_with(words, Arc::from(*b"")).await
    }

    async fn submit_with(&self, words: usize, input: Arc<[u8]>) -> Result<TaskId, Error> {
        self.submit_of(words, input, 1 << 20).await
    }

    /// One that may take so much memory.
    async fn submit_of(&self, words: usize, input: Arc<[u8]>, memory: u64) -> Result<TaskId, Error> {
        let now = jiff::Timestamp::now();
        let metadata = serde_json::value::to_raw_value(&"x".repeat(words)).expect("JSON");
        let spec = Spec {
            component: "none".to_owned(),
            digest: Digest::of(b""),
            description: None,
            metadata,
            priority: Default::default(),
            mode: Default::default(),
            limits: [("memory_bytes".to_owned(), memory)].into(),
            args: Vec::new(),
            env: Default::default(),
            retry: Retry { max_attempts: 1, on: Vec::new(), backoff_ms: 0 },
            grants: Grants::default(),
            deterministic: false,
            durable: true,
        };
        let task = Task {
            id: TaskId::generate(),
            tenant: "default".to_owned(),
            created: now,
            spec: Arc::new(spec),
            state: State::submitted(now),
        };
        let submission = Submission { task, input, idempotency: None, waits: false };
        match self.scheduler.submit(submission).await? {
            Submitted::Accepted(accepted) => Ok(accepted.live.id),
            _ => panic!("it has no key"),
        }
    }

    async fn all_ended(&self) {
        self.executor.gate.add_permits(1);
        while self.scheduler.load().running + self.scheduler.load().pending > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[test]
fn as_many_tasks_wait_as_may_and_no_more() {
    block_on(async {
        let setup = Setup::new(3, usize::MAX, true);
        setup.scheduler.start(Vec::new()).await.expect("it starts");
        // One that runs, three that wait.
        for _ in 0..4 {
            setup.submit(0).await.expect("there is room");
        }
        let refused = setup.submit(0).await.expect_err("there is none");
        assert!(matches!(refused, Error::QueueFull { tasks: 3, .. }), "{refused:?}");
        setup.all_ended().await;
        setup.submit(0).await.expect("there is room again");
    });
}

#[test]
fn as_many_bytes_wait_as_may_and_no_more() {
    block_on(async {
        let setup = Setup::new(usize::MAX, 1 << 20, true);
        setup.scheduler.start(Vec::new()).await.expect("it starts");
        let mut accepted = 0;
        let refused = loop {
            match setup.submit(60_000).await {
                Ok(_) => accepted += 1,
                Err(error) => break error,
            }
            assert!(accepted < 100, "a hundred of 60 kB are more than a mebibyte");
        };
        assert!(matches!(refused, Error::QueueFull { .. }), "{refused:?}");
        assert!((16..=18).contains(&accepted), "{accepted}");
        setup.all_ended().await;
        setup.submit(60_000).await.expect("there is room again");
    });
}

#[test]
fn the_input_of_a_task_that_runs_keeps_nobody_from_waiting() {
    block_on(async {
        let setup = Setup::new(usize::MAX, 1 << 20, true);
        setup.scheduler.start(Vec::new()).await.expect("it starts");
        setup.submit_with(0, vec![0; 4 << 20].into()).await.expect("it runs at once");
        setup.submit(0).await.expect("nothing else waits");
        setup.all_ended().await;
    });
}

#[test]
fn a_store_without_room_is_asked_once_in_a_while_and_not_for_each_task() {
    block_on(async {
        let setup = Setup::new(usize::MAX, usize::MAX, true);
        for _ in 0..50 {
            setup.submit(0).await.expect("there is room");
        }
        setup.store.is_full.store(true, Ordering::Relaxed);
        setup.scheduler.start(Vec::new()).await.expect("it starts");
        // The first one runs already: its end makes room for the others to try.
        setup.executor.gate.add_permits(1);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let asked = setup.store.asked.load(Ordering::Relaxed);
        assert!((1..=4).contains(&asked), "{asked}");
        setup.store.is_full.store(false, Ordering::Relaxed);
        setup.all_ended().await;
    });
}

#[test]
fn a_task_whose_component_is_gone_is_not_accepted() {
    block_on(async {
        let setup = Setup::new(usize::MAX, usize::MAX, false);
        setup.scheduler.start(Vec::new()).await.expect("it starts");
        let refused = setup.submit(0).await.expect_err("nothing could run it");
        assert_eq!(refused, Error::ComponentGone(Digest::of(b"")));
        assert_eq!(setup.scheduler.load().running, 0);
        assert!(!setup.scheduler.uses("default", &Digest::of(b"")));
    });
}

#[test]
fn a_task_begins_once_there_is_memory_for_it() {
    block_on(async {
        let setup = Setup::new(usize::MAX, usize::MAX, true);
        let scheduler = &setup.scheduler;
        scheduler.set_places(10);
        scheduler.start(Vec::new()).await.expect("it starts");
        let room = |rule, mebibytes: u64| Room { rule, bytes: Some(mebibytes << 20), ..Room::default() };
        let submit = |mebibytes: u64| setup.submit_of(0, Arc::from(*b""), mebibytes << 20);
        let running = async |wanted: usize| {
            let begun = Instant::now();
            while scheduler.load().running != wanted {
                assert!(begun.elapsed() < Duration::from_secs(30), "{:?}, not {wanted}", scheduler.load());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Nothing is short: a quarter has to fit.
        scheduler.set_room(room(Admission::Open, 100));
        for _ in 0..3 {
            submit(160).await.expect("it waits, if need be");
        }
        running(2).await;
        assert_eq!((scheduler.load().pending, scheduler.held().counted_bytes), (1, 80 << 20));
        scheduler.set_room(room(Admission::Open, 120));
        running(3).await;
        // Elevated: all of it, and what is smaller goes first.
        scheduler.set_room(room(Admission::WaitToFit, 200));
        submit(90).await.expect("it waits");
        submit(70).await.expect("it begins");
        running(4).await;
        assert_eq!(scheduler.load().pending, 1);
        // Critical: what comes and does not fit is refused, what waits goes on waiting.
        scheduler.set_room(room(Admission::RefuseUnfit, 200));
        let refused = submit(90).await.expect_err("it does not fit");
        assert!(
            matches!(refused, Error::MachineMemory { memory_bytes, .. } if memory_bytes == 90 << 20),
            "{refused}"
        );
        submit(50).await.expect("it fits");
        running(5).await;
        // One ends, and who waits for memory begins by itself.
        setup.executor.gate.add_permits(1);
        setup.all_ended().await;
        assert_eq!(scheduler.held().counted_bytes, 0, "nothing is left behind");
    });
}
