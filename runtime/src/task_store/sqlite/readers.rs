//! Connections that only read, beside the writer.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::super::Error;
use super::schema::PATIENCE;

/// Reads that run at one time.
const READERS: usize = 4;

/// A few connections, shared.
pub struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    /// Opens them on the database `path`, which is there.
    pub fn open(path: &Path) -> rusqlite::Result<Readers> {
        let connection = |_| {
            let db = open_read_only(path)?;
            db.pragma_update(None, "cache_size", -1024)?;
            db.busy_timeout(PATIENCE)?;
            Ok(db)
        };
        let idle = (0..READERS).map(connection).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Readers { idle: Arc::new(Mutex::new(idle)), turns: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs `work` on each of them, elsewhere, once none of them reads.
    pub async fn each(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let all = self.turns.clone().acquire_many_owned(READERS as u32).await.map_err(|_| Error::Closed)?;
        let idle = self.idle.clone();
        let each = tokio::task::spawn_blocking(move || {
            let done = idle.lock().iter().try_for_each(work);
            drop(all);
            done
        });
        match each.await {
            Ok(done) => done.map_err(|error| Error::Unreadable(error.to_string())),
            Err(error) => Err(Error::Unreadable(error.to_string())),
        }
    }

    /// Runs `work` on one of them, elsewhere.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let idle = self.idle.clone();
        let connection = idle.lock().pop();
        let db = connection.ok_or(Error::Closed)?;
        let read = tokio::task::spawn_blocking(move || {
            let result = work(&db);
            idle.lock().push(db);
            // Not before: who asked may be gone, and the next one must find a connection.
            drop(turn);
            result
        });
        match read.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::Unreadable(error.to_string())),
            Err(error) => Err(Error::Unreadable(error.to_string())),
        }
    }
}

/// Opens a database that nothing is to be written to.
pub fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
