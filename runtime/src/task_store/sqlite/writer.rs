//! The one thread that writes. Whatever waits when it comes round goes into one transaction, so that a
//! hundred clients pay for one fsync together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::ffi;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::super::Error;

/// Most writes in one transaction.
const MAX_BATCH: usize = 1024;

/// Whether writing is still allowed.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<String>>);

impl Health {
    /// Why nothing is written any more, if that is so.
    pub fn poisoned(&self) -> Option<String> {
        self.0.lock().clone()
    }

    /// From now on nothing is written.
    pub fn poison(&self, why: String) {
        tracing::error!(%why, "the task store is poisoned: nothing is written until a restart");
        self.0.lock().get_or_insert(why);
    }

    /// What a failed write means, poisoning the store where it has to be.
    pub fn judge(&self, error: &rusqlite::Error) -> Error {
        let Some(failure) = error.sqlite_error() else {
            return Error::Unreadable(error.to_string());
        };
        match (failure.code, failure.extended_code) {
            // A shared-memory file that cannot grow is a full disk too.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Error::Full(error.to_string()),
            (ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => {
                // After a failed write or fsync nobody knows what is on the disk; trying again and being
                // told that all is well is how databases lose data.
                self.poison(error.to_string());
                Error::Poisoned(error.to_string())
            }
            _ => Error::Unreadable(error.to_string()),
        }
    }
}

/// One write that waits for its transaction.
trait Write: Send {
    fn apply(&mut self, db: &Connection) -> rusqlite::Result<()>;
    /// Its transaction is on the disk, and the next one has not begun.
    fn committed(&mut self, db: &Connection);
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Waiting<T, F, A> {
    work: F,
    after: A,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F, A> Write for Waiting<T, F, A>
where
    T: Send,
    F: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    A: FnMut(&mut T, &Connection) + Send,
{
    fn apply(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.value = Some((self.work)(db)?);
        Ok(())
    }

    fn committed(&mut self, db: &Connection) {
        if let Some(value) = &mut self.value {
            (self.after)(value, db);
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let Waiting { value, answer, .. } = *self;
        // Whoever asked may be gone; what is written is written.
        let _ = answer.send(committed.and_then(|()| value.ok_or(Error::Closed)));
    }
}

/// A handle on the writer.
pub struct Writer {
    queue: Mutex<Option<Sender<Box<dyn Write>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Arc<Health>,
}

impl Writer {
    /// Starts the thread that writes to `db`.
    pub fn start(db: Connection, health: Arc<Health>) -> std::io::Result<Writer> {
        let (sender, receiver) = channel();
        let judge = health.clone();
        let thread = std::thread::Builder::new()
            .name("task-store".into())
            .spawn(move || write_all(&db, &receiver, &judge))?;
        Ok(Writer { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), health })
    }

    /// Runs `work` in a transaction and returns once it is on the disk.
    ///
    /// `work` may run twice, when another write of the same batch fails.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.write_then(work, |_, _| {}).await
    }

    /// The same; and once it is on the disk, before anything else is written, does `after`.
    pub async fn write_then<T, F, A>(&self, work: F, after: A) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        A: FnMut(&mut T, &Connection) + Send + 'static,
    {
        if let Some(why) = self.health.poisoned() {
            return Err(Error::Poisoned(why));
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Box::new(Waiting { work, after, value: None, answer });
        {
            let queue = self.queue.lock();
            let sent = queue.as_ref().map(|queue| queue.send(waiting));
            if !matches!(sent, Some(Ok(()))) {
                return Err(Error::Closed);
            }
        }
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// Writes what still waits and ends.
    pub fn close(&self) {
        drop(self.queue.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_all(db: &Connection, queue: &Receiver<Box<dyn Write>>, health: &Health) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(MAX_BATCH - 1));
        if let Some(why) = health.poisoned() {
            batch.into_iter().for_each(|write| write.answer(Err(Error::Poisoned(why.clone()))));
            continue;
        }
        match together(db, &mut batch) {
            Ok(()) => {
                // Of all before any is answered: what they hold until then may be what another one needs.
                batch.iter_mut().for_each(|write| write.committed(db));
                batch.into_iter().for_each(|write| write.answer(Ok(())));
            }
            // One of them is at fault: each for itself, so that it alone is told.
            Err(error) if batch.len() > 1 && is_ones_own(&error) => {
                for write in batch {
                    let mut alone = [write];
                    let result = together(db, &mut alone).map_err(|error| health.judge(&error));
                    let [mut write] = alone;
                    if result.is_ok() {
                        write.committed(db);
                    }
                    write.answer(result);
                }
            }
            Err(error) => {
                let error = health.judge(&error);
                batch.into_iter().for_each(|write| write.answer(Err(error.clone())));
            }
        }
    }
    if health.poisoned().is_none() {
        // The log goes into the database, so that a copy of the one file is whole.
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// All or none of `batch`.
fn together(db: &Connection, batch: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let begun = db.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
    let done = begun.and_then(|_| {
        batch.iter_mut().try_for_each(|write| write.apply(db))?;
        db.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    });
    if done.is_err() && !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
    done
}

/// Whether `error` says something of one write and nothing of the disk. Where there is no room for one, there
/// may be for another; what frees some needs none.
fn is_ones_own(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
