//! `host_call_bytes`, function by function: each that carries bytes pays for them, to the byte.
//!
//! Every test looks at what was used as well as at the end, because a call that carries more than is left
//! is refused by wasmtime too, whether or not the host function pays.

use std::sync::Arc;

use omnimind::task::{FailureKind, Journal, MemoryJournal};
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped, block_on};

/// `run` costs `bytes` of the budget; with one byte less it is stopped.
#[track_caller]
fn costs(run: &Run, bytes: u64) {
    let twin = run.clone().limit("host_call_bytes", bytes).execute();
    twin.output();
    assert_eq!(twin.used("host_call_bytes"), bytes);
    let over = run.clone().limit("host_call_bytes", bytes - 1).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
}

#[test]
fn one_call_carries_no_more_than_is_left() {
    // The host function would refuse it too, but only once the bytes are copied.
    let over = Run::hostile("log-unchecked").units(1 << 20).limit("host_call_bytes", 1000).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
    assert!(
        over.failure().message.contains("1000 bytes of host_call_bytes are left"),
        "{:?}",
        over.failure()
    );
    assert_eq!(over.used("host_call_bytes"), 0, "nothing was carried");
}

#[test]
fn poll_pays_for_its_list() {
    // On the virtual clock the sleeps of an hour are over at once. For the bytes in one list wasmtime
    // charges the call more than the host does, so there is no limit that only the host's price meets.
    let outcome = Run::hostile("poll-many").units(100).deterministic().execute();
    outcome.output();
    assert_eq!(outcome.used("host_call_bytes"), 800);
}

#[test]
fn get_arguments_pays_each_time() {
    let mut run = Run::hostile("get-arguments").units(10);
    run.args = vec!["x".repeat(1000)];
    costs(&run, 10_000);
}

#[test]
fn get_environment_pays_each_time() {
    let mut run = Run::hostile("get-environment").units(10);
    run.env = vec![("N".into(), "x".repeat(999))];
    costs(&run, 10_000);
}

#[test]
fn describe_pays_for_the_metadata() {
    let describe = |limit: u64| {
        let lab = Lab::shared();
        let mut job = Run::hostile("describe").limit("host_call_bytes", limit).job(lab).expect("a task");
        job.metadata = format!("\"{}\"", "x".repeat(998)).into();
        block_on(lab.executor.execute(job))
    };
    // Four for the name in `remaining("fuel")`.
    let twin = describe(1004);
    twin.output();
    assert_eq!(twin.used("host_call_bytes"), 1004);
    assert_stopped(&describe(1003), FailureKind::HostcallLimit, "host_call_bytes");
}

#[test]
fn report_progress_pays_for_its_message() {
    costs(&Run::hostile("progress").units(10), 40);
}

#[test]
fn save_checkpoint_pays_for_name_and_data() {
    costs(&Run::hostile("checkpoint").units(999), 1000);
}

#[test]
fn load_checkpoint_pays_for_name_and_data() {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let mut save = Run::hostile("checkpoint").units(999);
    save.journal = journal.clone();
    save.execute().output();
    let mut load = Run::hostile("checkpoint-load");
    load.journal = journal;
    costs(&load, 1000);
}

#[test]
fn resolve_addresses_pays_for_the_name_although_it_is_refused() {
    costs(&Run::hostile("resolve-addresses").units(10), 10_000);
}
