//! What is kept of finished tasks: by age, by number, by bytes; and files that go with the last that names
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use omnimind::task::{
    Digest, End, Failure, FailureKind, Grants, Log, Outcome, Priority, Retry, Spec, State, Task, TaskId,
};
use omnimind::task_store::{DataDir, Inserted, Query, Retention, SqliteStore, TaskStore};
use omnimind_tests::block_on;
use omnimind_tests::server::scratch;

pub const TENANT: &str = "default";
const NO_BOUND: Retention = Retention { age: Duration::MAX, tasks: u64::MAX, bytes: u64::MAX };

/// A store of its own for a test.
pub struct Kept {
    pub dir: PathBuf,
    pub store: SqliteStore,
}

impl Kept {
    pub fn new() -> Kept {
        Kept::at(scratch("retention"))
    }

    /// The same in this directory.
    pub fn at(dir: PathBuf) -> Kept {
        let store = SqliteStore::open(DataDir::open(&dir).expect("a directory")).expect("a store");
        Kept { dir, store }
    }

    /// A task with this input that has not ended.
    pub fn submit(&self, input: &[u8]) -> Task {
        let task = self.task();
        let inserted = block_on(self.store.insert(&task, input.into(), None));
        assert_eq!(inserted, Ok(Inserted::New));
        task
    }

    /// A task that is not stored.
    pub fn task(&self) -> Task {
        let spec = Spec {
            component: "c".into(),
            digest: Digest::of(b"c"),
            description: None,
            metadata: serde_json::value::RawValue::NULL.to_owned(),
            priority: Priority::Medium,
            mode: Default::default(),
            limits: Default::default(),
            args: Vec::new(),
            env: Default::default(),
            retry: Retry { max_attempts: 1, on: Vec::new(), backoff_ms: 0 },
            grants: Grants::default(),
            deterministic: false,
            durable: true,
        };
        let now = Timestamp::now();
        let state = State::submitted(now);
        Task { id: TaskId::generate(), tenant: TENANT.into(), created: now, spec: Arc::new(spec), state }
    }

    /// The same, and ended at this time, in milliseconds of Unix time.
    pub fn ended(&self, input: &[u8], output: &[u8], at_ms: i64) -> TaskId {
        self.ended_with_log(input, output, Log::default(), at_ms)
    }

    /// The same with a log.
    pub fn ended_with_log(&self, input: &[u8], output: &[u8], log: Log, at_ms: i64) -> TaskId {
        let mut task = self.submit(input);
        let at = Timestamp::from_millisecond(at_ms).expect("a time");
        task.state.start(at);
        let failure = Failure::new(FailureKind::HostError, "for its receipt");
        let receipt = Outcome::not_begun(failure, 1, "").receipt;
        let end = End::Completed(output.to_vec());
        task.state.end(at, &end, receipt, &task.spec.retry, 0.0);
        let output = Some(output.into());
        block_on(self.store.finish(TENANT, task.id, &task.state, output, log)).expect("room");
        task.id
    }

    fn prune(&self, retention: Retention, now_ms: i64) -> u64 {
        block_on(self.store.prune(retention, now_ms)).expect("a sound store")
    }

    /// Those that are there, newest first.
    fn ids(&self) -> Vec<TaskId> {
        let query = Query {
            tenant: TENANT.into(),
            before: None,
            status: None,
            priority: None,
            component: None,
            limit: 10_000,
        };
        let tasks = block_on(self.store.list(&query)).expect("a sound store");
        tasks.iter().map(|task| task.id).collect()
    }

    pub fn blobs(&self) -> usize {
        std::fs::read_dir(self.dir.join("blobs")).expect("a directory").count()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.dir));
    }
}

/// Over 64 KiB: a file.
fn large(number: usize) -> Vec<u8> {
    number.to_le_bytes().repeat(10_000)
}

#[test]
fn the_old_go_and_the_young_stay() {
    let kept = Kept::new();
    let ids: Vec<TaskId> = (0..10).map(|number| kept.ended(b"", b"", number * 1000)).collect();
    let unfinished = kept.submit(b"");
    let retention = Retention { age: Duration::from_secs(5), ..NO_BOUND };
    assert_eq!(kept.prune(retention, 4_999), 0);
    // At 10 s, what ended before 5 s is too old; what ended at 5 s is not yet.
    assert_eq!(kept.prune(retention, 10_000), 5);
    let mut left: Vec<TaskId> = ids[5..].to_vec();
    left.push(unfinished.id);
    left.reverse();
    assert_eq!(kept.ids(), left);
    assert_eq!(kept.prune(retention, i64::MAX), 5);
    assert_eq!(kept.ids(), [unfinished.id], "what has not ended never goes");
}

#[test]
fn of_too_many_those_that_ended_first_go() {
    let kept = Kept::new();
    // The last submitted ended first.
    let ids: Vec<TaskId> = (0..10).map(|number| kept.ended(b"", b"", 100_000 - number * 1000)).collect();
    let unfinished: Vec<TaskId> = (0..3).map(|_| kept.submit(b"").id).collect();
    assert_eq!(kept.prune(Retention { tasks: 13, ..NO_BOUND }, 0), 0);
    assert_eq!(kept.prune(Retention { tasks: 7, ..NO_BOUND }, 0), 6);
    let left: Vec<TaskId> = unfinished.iter().rev().chain(ids[..4].iter().rev()).copied().collect();
    assert_eq!(kept.ids(), left);
    assert_eq!(kept.prune(Retention { tasks: 1, ..NO_BOUND }, 0), 4);
    assert_eq!(kept.ids().len(), 3, "what has not ended never goes");
}

#[test]
fn of_too_many_bytes_no_more_goes_than_has_to() {
    for (count, size) in [(40, 500_000), (2000, 5_000)] {
        let kept = Kept::new();
        let output = |number: usize| {
            let mut output = vec![b'x'; size];
            output[..8].copy_from_slice(&number.to_le_bytes());
            output
        };
        let ids: Vec<TaskId> =
            (0..count).map(|number| kept.ended(b"", &output(number), number as i64)).collect();
        let before = block_on(kept.store.size()).expect("a size");
        assert!(before > (count * size) as u64, "{before}");
        let bytes = before * 3 / 4;
        let removed = kept.prune(Retention { bytes, ..NO_BOUND }, 0) as usize;
        let after = block_on(kept.store.size()).expect("a size");
        assert!(after <= bytes, "{after} > {bytes}");
        // A quarter has to go; what is more than a third was not asked for.
        assert!(removed >= count / 5 && removed <= count / 3, "{removed} of {count} are gone");
        assert_eq!(kept.ids(), ids[removed..].iter().rev().copied().collect::<Vec<_>>());
        kept.prune(Retention { bytes: 0, ..NO_BOUND }, 0);
        assert_eq!((kept.ids().len(), kept.blobs()), (0, 0));
    }
}

#[test]
fn a_file_goes_with_the_last_that_names_it() {
    let kept = Kept::new();
    // One input for two tasks, which is also the output of a third; each has an output of its own.
    let shared = large(0);
    let first = kept.ended(&shared, &large(1), 1000);
    let second = kept.ended(&shared, &large(2), 2000);
    let third = kept.ended(b"", &shared, 3000);
    let waiting = kept.submit(&large(3));
    assert_eq!(kept.blobs(), 4);
    let output = |id| block_on(kept.store.output(TENANT, id)).expect("a sound store");
    let input = |id| block_on(kept.store.input(TENANT, id)).expect("a sound store");

    assert_eq!(kept.prune(Retention { tasks: 3, ..NO_BOUND }, 0), 1);
    assert_eq!((output(first), kept.blobs()), (None, 3));
    assert_eq!(input(second).as_deref(), Some(&*shared));
    assert_eq!(kept.prune(Retention { tasks: 2, ..NO_BOUND }, 0), 1);
    assert_eq!((input(second), kept.blobs()), (None, 2));
    assert_eq!(output(third).as_deref(), Some(&*shared), "the third still names it");
    assert_eq!(kept.prune(Retention { tasks: 1, ..NO_BOUND }, 0), 1);
    assert_eq!(kept.blobs(), 1);
    assert_eq!(input(waiting.id).as_deref(), Some(&*large(3)));
}

#[test]
fn what_a_key_led_to_goes_with_its_task() {
    use omnimind::task_store::Idempotency;
    let kept = Kept::new();
    let mut task = kept.submit(b"");
    let key = || Some(Idempotency { key: "k".into(), fingerprint: [7; 32] });
    task.id = TaskId::generate();
    let insert = |task: &Task| block_on(kept.store.insert(task, Arc::from(*b""), key()));
    assert_eq!(insert(&task), Ok(Inserted::New));
    let keyed = task.id;
    task.id = TaskId::generate();
    assert_eq!(insert(&task), Ok(Inserted::Before(keyed)));
    let mut state = task.state.clone();
    state.cancelled(Timestamp::UNIX_EPOCH);
    block_on(kept.store.finish(TENANT, keyed, &state, None, Log::default())).expect("room");
    assert_eq!(kept.prune(Retention { age: Duration::ZERO, ..NO_BOUND }, 1), 1);
    assert_eq!(block_on(kept.store.recall(TENANT, "k")), Ok(None));
    assert_eq!(insert(&task), Ok(Inserted::New));
}

#[test]
fn a_checkpoint_that_comes_after_the_end_is_not_kept() {
    let kept = Kept::new();
    let task = kept.submit(b"");
    let save = |id, name: &str| {
        block_on(kept.store.save_checkpoint(TENANT, id, name, vec![1; 100_000])).expect("a sound store");
        block_on(kept.store.checkpoints(TENANT, id)).expect("a sound store").len()
    };
    assert_eq!(save(task.id, "in time"), 1);
    let ended = kept.ended(b"", b"", 0);
    assert_eq!(save(ended, "late"), 0);
    // The blob that it came in goes too, unless somebody else has the same.
    kept.prune(NO_BOUND, 0);
    assert_eq!(std::fs::read_dir(kept.dir.join("blobs")).expect("a directory").count(), 1);
}
