//! `omnimind:runtime/task-context`, as guests see it.

use std::sync::{Arc, Mutex};

use omnimind::task::{CheckpointError, Journal, MemoryJournal};
use omnimind_tests::{OutcomeExt, Run};

/// Remembers every progress report.
#[derive(Default)]
struct Watching {
    reports: Mutex<Vec<(f32, String)>>,
    checkpoints: MemoryJournal,
}

#[async_trait::async_trait]
impl Journal for Watching {
    fn progress(&self, percent: f32, message: &str) {
        self.reports.lock().expect("no panic").push((percent, message.to_owned()));
    }

    fn log(&self, _bytes: &[u8]) {}

    async fn save_checkpoint(&self, name: &str, data: Vec<u8>) -> Result<(), CheckpointError> {
        self.checkpoints.save_checkpoint(name, data).await
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.checkpoints.load_checkpoint(name).await
    }

    fn checkpoint_size(&self, name: &str) -> Option<u64> {
        self.checkpoints.checkpoint_size(name)
    }

    fn checkpoint_bytes(&self) -> u64 {
        self.checkpoints.checkpoint_bytes()
    }
}

#[test]
fn a_guest_can_ask_about_itself() {
    Run::hostile("describe").execute().output();
}

#[test]
fn progress_is_passed_on_within_bounds_and_not_too_often() {
    let journal = Arc::new(Watching::default());
    let mut run = Run::hostile("progress").units(5_000);
    run.journal = journal.clone();
    run.execute().output();
    let reports = journal.reports.lock().expect("no panic");
    assert!(!reports.is_empty() && reports.len() < 500, "{} of 5000 reports", reports.len());
    assert!(reports.iter().all(|(percent, _)| (0.0..=100.0).contains(percent)));
}

#[test]
fn a_checkpoint_is_found_by_the_next_attempt() {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let mut save = Run::hostile("checkpoint").units(100);
    save.journal = journal.clone();
    save.execute().output();
    let mut load = Run::hostile("checkpoint-load");
    load.journal = journal;
    assert_eq!(load.execute().output().len(), 100);
}
