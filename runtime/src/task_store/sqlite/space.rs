//! What goes when the disk is nearly full, and when memory is short.
//!
//! The bulk of what ended a while ago goes, and the records stay: a record says that its output was removed, a
//! log how long it was. Rows first and files after the commit, as in `retention`: a crash in between leaves files
//! that nobody names, which are swept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, named_params};

use super::super::Error;
use super::super::blobs::{Blobs, Hash};
use super::{SqliteStore, schema};

/// Tasks that one transaction changes: writers wait for no more.
const BATCH: usize = 500;

/// Pages that one transaction gives back to the file system.
const VACUUM: &str = "PRAGMA incremental_vacuum(2000)";

/// Bytes that the database's log keeps on a disk that is nearly full. On a full one they are the room for the next
/// removal.
const LOG_KEPT: u64 = 1 << 20;

/// What of finished tasks stays, however full the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spared {
    /// What ended within this time. A day: who waits for an output has it by then, and who looks for a mistake
    /// still finds the log.
    pub age: Duration,
    /// Outputs up to this size. 1 MiB: they are most of the outputs and little of the bytes.
    pub output_bytes: u64,
}

impl Default for Spared {
    fn default() -> Spared {
        Spared { age: Duration::from_secs(24 * 3600), output_bytes: 1 << 20 }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Logs.
    pub logs: u64,
    /// Outputs.
    pub outputs: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// How far the past has been gone through. Every minute of a full disk would read all of it again.
pub type Progress = (Spared, i64);

/// What is to be removed of one task.
struct Bulk {
    rowid: i64,
    completed: i64,
    /// Whether its output is.
    output: bool,
    /// How long its log was, if that is.
    log: Option<u64>,
    /// Bytes in its row.
    inline: u64,
    blobs: Vec<Hash>,
}

impl SqliteStore {
    /// From now on new components and checkpoints are refused, or accepted again. What became of the tasks that
    /// were accepted is always stored: that is what the rest of the disk is for.
    pub fn refuse_new(&self, refuses: bool) {
        self.refuses_new.store(refuses, Ordering::Relaxed);
    }

    /// Whether something new may be written.
    ///
    /// # Errors
    /// [`Error::Full`]: the disk is nearly full.
    pub fn admit_new(&self) -> Result<(), Error> {
        match self.refuses_new.load(Ordering::Relaxed) {
            true => Err(Error::nearly_full()),
            false => Ok(()),
        }
    }

    /// Makes room on a disk that is nearly full: removes the logs and the large outputs of finished tasks that
    /// are not `spared`, the oldest first, and gives what the database does not need back to the file system.
    ///
    /// # Errors
    /// The disk is so full that not even a removal can be noted, and nothing was removed; or it failed.
    pub async fn prune_for_space(&self, spared: Spared, now_ms: i64) -> Result<Freed, Error> {
        let age = i64::try_from(spared.age.as_millis()).unwrap_or(i64::MAX);
        let ended_before = now_ms.saturating_sub(age);
        let mut from = match *self.progress.lock().await {
            (of, until) if of == spared => until,
            _ => i64::MIN,
        };
        // On a full disk there is still the room that the log of the database has.
        self.between_writes(checkpoint).await?;
        let (mut freed, mut batch) = (Freed::default(), BATCH);
        loop {
            let bulk = self.bulk(spared, from, ended_before, batch).await?;
            let (count, last) = (bulk.len(), bulk.last().map_or(from, |last| last.completed));
            let removed = match self.remove_bulk(bulk).await {
                Ok(removed) => removed,
                // For fewer there may be room, and what they free is room for more.
                Err(Error::Full(_)) if batch > 1 => {
                    batch = (batch / 8).max(1);
                    continue;
                }
                Err(Error::Full(_)) if freed != Freed::default() => break,
                Err(error) => return Err(error),
            };
            freed.logs += removed.logs;
            freed.outputs += removed.outputs;
            freed.bytes += removed.bytes;
            from = last;
            if count < batch {
                from = ended_before.max(from);
                break;
            }
        }
        *self.progress.lock().await = (spared, from);
        self.give_back_pages().await?;
        self.between_writes(shorten_log).await?;
        Ok(freed)
    }

    /// Gives some empty pages back to the file system.
    pub(super) async fn give_back_pages(&self) -> Result<(), Error> {
        // The pragma frees one page for each row that is taken from it.
        let free = |db: &Connection| {
            let mut vacuum = db.prepare(VACUUM)?;
            let mut freed = vacuum.query([])?;
            while freed.next()?.is_some() {}
            Ok(())
        };
        self.writer.write(free).await
    }

    /// Frees what the connections keep in memory and can read again: up to 8 MiB.
    pub async fn shrink(&self) -> Result<(), Error> {
        let shrink = |db: &Connection| {
            db.flush_prepared_statement_cache();
            db.execute_batch("PRAGMA shrink_memory")
        };
        self.readers.each(shrink).await?;
        self.between_writes(shrink).await
    }

    /// Does `work` on the writer's connection, in no transaction. What it cannot do is logged.
    async fn between_writes(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let health = self.health.clone();
        let work = move |(): &mut (), db: &Connection| {
            if let Err(error) = work(db) {
                let error = health.judge(&error);
                tracing::warn!(%error, "room in the task store");
            }
        };
        self.writer.write_then(|_| Ok(()), work).await
    }

    /// Up to `count` tasks that have something to remove, those that ended first.
    async fn bulk(&self, spared: Spared, from: i64, before: i64, count: usize) -> Result<Vec<Bulk>, Error> {
        let blobs = self.blobs.clone();
        self.readers.read(move |db| bulk(db, &blobs, spared, (from, before), count)).await
    }

    async fn remove_bulk(&self, bulk: Vec<Bulk>) -> Result<Freed, Error> {
        let mut freed = Freed::default();
        let mut blobs = Vec::new();
        for task in &bulk {
            freed.outputs += u64::from(task.output);
            freed.logs += u64::from(task.log.is_some());
            freed.bytes += task.inline;
            blobs.extend_from_slice(&task.blobs);
        }
        if bulk.is_empty() {
            return Ok(freed);
        }
        self.writer.write(move |db| bulk.iter().try_for_each(|task| task.remove(db))).await?;
        freed.bytes += self.release(blobs).await?;
        Ok(freed)
    }
}

impl Bulk {
    fn remove(&self, db: &Connection) -> rusqlite::Result<()> {
        // The row may have gone since it was seen, and another one have its number.
        let row = (self.rowid, self.completed);
        if self.output {
            db.prepare_cached(
                "UPDATE tasks SET output = NULL, output_blob = NULL WHERE rowid = ? AND completed = ?",
            )?
            .execute(row)?;
        }
        if let Some(bytes) = self.log {
            db.prepare_cached(
                "UPDATE tasks SET log_head = NULL, log_head_blob = NULL, log_tail = NULL, log_tail_blob = NULL,
                    log_dropped = ?3 WHERE rowid = ?1 AND completed = ?2",
            )?
            .execute((self.rowid, self.completed, bytes))?;
        }
        Ok(())
    }
}

fn bulk(
    db: &Connection,
    blobs: &Blobs,
    spared: Spared,
    (from, before): (i64, i64),
    count: usize,
) -> rusqlite::Result<Vec<Bulk>> {
    let mut select = db.prepare_cached(
        "SELECT rowid, completed,
            output_bytes > :spared AND (output IS NOT NULL OR output_blob IS NOT NULL) AS is_large,
            log_head IS NOT NULL OR log_head_blob IS NOT NULL AS is_logged,
            length(output), output_blob, length(log_head), log_head_blob, length(log_tail), log_tail_blob,
            log_dropped
         FROM tasks WHERE completed >= :from AND completed < :before AND (is_large OR is_logged)
         ORDER BY completed LIMIT :count",
    )?;
    let spared = i64::try_from(spared.output_bytes).unwrap_or(i64::MAX);
    let params = named_params! {":spared": spared, ":from": from, ":before": before, ":count": count as i64};
    let mut rows = select.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let output = row.get::<_, Option<bool>>(2)?.unwrap_or(false);
        let mut bulk = Bulk {
            rowid: row.get(0)?,
            completed: row.get(1)?,
            output,
            log: None,
            inline: 0,
            blobs: Vec::new(),
        };
        // A value's bytes, in its row or in a file.
        let mut value = |column: usize| -> rusqlite::Result<u64> {
            let inline = row.get::<_, Option<i64>>(column)?.unwrap_or(0).unsigned_abs();
            bulk.inline += inline;
            let blob: Option<Hash> = row.get(column + 1)?;
            bulk.blobs.extend(blob);
            Ok(inline + blob.map_or(0, |hash| blobs.len(&hash)))
        };
        if output {
            value(4)?;
        }
        let logged = match row.get(3)? {
            true => Some(value(6)? + value(8)?),
            false => None,
        };
        let dropped = row.get::<_, Option<i64>>(10)?.unwrap_or(0).unsigned_abs();
        bulk.log = logged.map(|bytes| bytes + dropped);
        found.push(bulk);
    }
    Ok(found)
}

/// Between two transactions, so that nobody waits: where somebody reads, it is done the next time.
fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::ZERO)?;
    let done = db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
    db.busy_timeout(schema::PATIENCE)?;
    done
}

/// The same, and the log gives back most of its room: the first commit after it cuts it.
fn shorten_log(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    let shortened = checkpoint(db).and_then(|()| db.pragma_update(None, "user_version", schema::VERSION));
    db.pragma_update(None, "journal_size_limit", schema::LOG_BYTES)?;
    shortened
}
