//! How many requests are worked on at one time.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Problem, Result};

/// The places of requests.
pub struct Active {
    places: Arc<Semaphore>,
    count: usize,
}

/// A request's place, in its extensions: until the answer, or until it only waits. Clones are the same place.
#[derive(Clone)]
pub struct AtWork(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Active {
    /// This many.
    pub fn new(count: usize) -> Active {
        Active { places: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))), count }
    }

    /// A place for one more.
    ///
    /// # Errors
    /// `503 overloaded`
    pub fn begin(&self) -> Result<AtWork> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            Problem::overloaded(format!("{} requests are worked on, which is as many as may be", self.count))
        })?;
        Ok(AtWork(Arc::new(Mutex::new(Some(place)))))
    }

    /// How many are worked on.
    pub fn now(&self) -> usize {
        self.count.saturating_sub(self.places.available_permits())
    }
}

impl AtWork {
    /// From now on it waits for something else, and does not count.
    pub fn waits(&self) {
        drop(self.0.lock().take());
    }
}
