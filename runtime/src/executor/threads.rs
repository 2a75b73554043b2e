//! The threads that guests run on: their own, and nice.
//!
//! A spinning guest must not delay an answer, so guests never run on the threads that serve HTTP,
//! timers and the task store.

use tokio::runtime::{Builder, Handle, Runtime};

use crate::backend::work::be_nice;

/// The guests' threads. Dropping it leaves running guests to end by themselves.
pub struct GuestThreads(Option<Runtime>);

impl GuestThreads {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// The threads could not be started.
    pub fn start(workers: usize) -> std::io::Result<GuestThreads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .thread_name("guest")
            // Timers are looked at after every slice of a guest, not after 61 of them.
            .event_interval(1)
            .enable_time()
            .on_thread_start(be_nice)
            .build()?;
        Ok(GuestThreads(Some(runtime)))
    }

    /// Where to spawn guests.
    pub fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::backend::work::NICE;

    /// What `stat` of /proc says of a thread: its name and its niceness.
    fn name_and_nice(path: &str) -> (String, i32) {
        let stat = std::fs::read_to_string(path).unwrap();
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        // From field 3, the state; the niceness is field 19.
        (name.to_owned(), rest.split_whitespace().nth(16).unwrap().parse().unwrap())
    }

    #[test]
    fn guests_threads_are_nicer_than_the_others() {
        let (_, ours) = name_and_nice("/proc/thread-self/stat");
        let threads = GuestThreads::start(2).unwrap();
        let guests = threads.handle().unwrap();
        let (tell, told) = mpsc::channel();
        // Two that wait for each other, so that each has a thread of its own.
        let both = std::sync::Arc::new(std::sync::Barrier::new(2));
        for _ in 0..2 {
            let (tell, both) = (tell.clone(), both.clone());
            guests.spawn(async move {
                both.wait();
                tell.send(name_and_nice("/proc/thread-self/stat")).unwrap();
            });
        }
        for _ in 0..2 {
            let (name, nice) = told.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!((name.as_str(), nice), ("guest", (ours + NICE).min(19)));
        }
        assert_eq!(name_and_nice("/proc/thread-self/stat").1, ours, "only they are");
    }
}
