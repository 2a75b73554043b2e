//! The threads that guests run on: their own, and nice.
//!
//! A spinning guest must not delay an answer, so guests never run on the threads that serve HTTP,
//! timers and the task store.

use tokio::runtime::{Builder, Handle, Runtime};

/// How much nicer than the rest of the process guests are.
const NICE: i32 = 10;

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
            .on_thread_start(|| {
                if let Err(error) = rustix::process::nice(NICE) {
                    tracing::debug!(%error, "guest threads run at the process's own priority");
                }
            })
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
