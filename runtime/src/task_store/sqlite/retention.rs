//! What is kept of finished tasks, and for how long.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::Connection;

use super::super::Error;
use super::super::blobs::Hash;
use super::{SqliteStore, schema};

/// Tasks removed in one transaction: writers wait for no more.
const BATCH: usize = 500;

/// Looks at the size of everything in one round: each goes over all blobs.
const MAX_ROUNDS: usize = 100;

/// A blob that no row names, and that nobody released, is a killed process's; when it is this old it goes.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// Bounds on what is kept. The oldest finished tasks go first; one that has not ended never goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long after its end a task is kept.
    pub age: Duration,
    /// How many tasks are kept.
    pub tasks: u64,
    /// Bytes of the database and the blobs together.
    pub bytes: u64,
}

/// What one batch removed.
struct Removed {
    tasks: u64,
    blob_bytes: u64,
}

impl SqliteStore {
    /// Removes what `retention` no longer keeps; returns how many tasks that were.
    pub async fn prune(&self, retention: Retention, now_ms: i64) -> Result<u64, Error> {
        let age = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
        let too_old = now_ms.saturating_sub(age);
        let mut removed = 0;
        loop {
            let batch = self.remove(too_old, BATCH as u64).await?.tasks;
            removed += batch;
            if batch < BATCH as u64 {
                break;
            }
        }
        loop {
            let tasks = self
                .readers
                .read(|db| db.query_row("SELECT count(*) FROM tasks", [], |row| row.get::<_, u64>(0)));
            let excess = tasks.await?.saturating_sub(retention.tasks).min(BATCH as u64);
            let batch = if excess == 0 { 0 } else { self.remove(i64::MAX, excess).await?.tasks };
            if batch == 0 {
                break;
            }
            removed += batch;
        }
        // What comes in meanwhile is the next round's. The blobs are many files: they are counted once.
        let mut blobs = self.blob_bytes().await?;
        for _ in 0..MAX_ROUNDS {
            let size = self.database_bytes().await?.saturating_add(blobs);
            if size <= retention.bytes {
                break;
            }
            // Half as many as it takes if all are of one size, because they are not.
            let share = (size - retention.bytes) as f64 / size as f64 / 2.0;
            let count = (self.finished().await? as f64 * share) as u64;
            let Removed { tasks, blob_bytes } = self.remove(i64::MAX, count.clamp(1, BATCH as u64)).await?;
            if tasks == 0 {
                break;
            }
            removed += tasks;
            blobs = blobs.saturating_sub(blob_bytes);
        }
        self.sweep().await?;
        if removed > 0 {
            self.give_back_pages().await?;
        }
        Ok(removed)
    }

    async fn finished(&self) -> Result<u64, Error> {
        let count = "SELECT count(*) FROM tasks WHERE completed IS NOT NULL";
        self.readers.read(move |db| db.query_row(count, [], |row| row.get(0))).await
    }

    /// Removes some of the tasks that ended first, and the blobs that nothing else names.
    async fn remove(&self, ended_before: i64, count: u64) -> Result<Removed, Error> {
        let (tasks, blobs) = self.writer.write(move |db| remove(db, ended_before, count)).await?;
        Ok(Removed { tasks, blob_bytes: self.release(blobs).await? })
    }

    /// Removes those of `hashes` that no row names any more; returns their bytes. The rows that did are gone
    /// for good.
    pub(super) async fn release(&self, hashes: Vec<Hash>) -> Result<u64, Error> {
        if hashes.is_empty() {
            return Ok(0);
        }
        let blobs = self.blobs.clone();
        let unused = move |db: &Connection| {
            let mut unused = Vec::new();
            for hash in &hashes {
                if !is_used(db, hash)? {
                    unused.push(*hash);
                }
            }
            Ok((unused, 0))
        };
        // Between two transactions: in one, a row that seemed to be gone could come back. Whoever is about
        // to name a blob has it pinned, or has named it.
        let remove = move |(unused, bytes): &mut (Vec<Hash>, u64), _: &Connection| {
            *bytes = unused.iter().map(|hash| blobs.remove(hash)).sum();
        };
        Ok(self.writer.write_then(unused, remove).await?.1)
    }

    /// Bytes of the database, without its empty pages, and of the blobs.
    pub async fn size(&self) -> Result<u64, Error> {
        Ok(self.database_bytes().await?.saturating_add(self.blob_bytes().await?))
    }

    async fn database_bytes(&self) -> Result<u64, Error> {
        let read = |db: &Connection| {
            let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
            Ok(pages.saturating_mul(number("page_size")?).unsigned_abs())
        };
        self.readers.read(read).await
    }

    async fn blob_bytes(&self) -> Result<u64, Error> {
        let blobs = self.blobs.clone();
        self.readers.read(move |_| Ok(blobs.size().unwrap_or(0))).await
    }

    /// Removes blobs that no row names.
    async fn sweep(&self) -> Result<(), Error> {
        let blobs = self.blobs.clone();
        let swept = self.readers.read(move |db| {
            let used = used_blobs(db)?;
            Ok(blobs.sweep(&used, ORPHAN_AGE))
        });
        match swept.await? {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "blobs that no task names were removed"),
            Err(error) => tracing::warn!(%error, "sweeping the blobs"),
        }
        Ok(())
    }
}

/// Every blob that a row names.
pub fn used_blobs(db: &Connection) -> rusqlite::Result<HashSet<Hash>> {
    let mut used = HashSet::new();
    for (table, column) in schema::BLOB_COLUMNS {
        let mut select = db.prepare(&format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL"))?;
        for hash in select.query_map([], |row| row.get::<_, Hash>(0))? {
            used.insert(hash?);
        }
    }
    Ok(used)
}

fn is_used(db: &Connection, hash: &Hash) -> rusqlite::Result<bool> {
    for (table, column) in schema::BLOB_COLUMNS {
        if db.prepare_cached(&format!("SELECT 1 FROM {table} WHERE {column} = ?"))?.exists([hash])? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove(db: &Connection, ended_before: i64, count: u64) -> rusqlite::Result<(u64, Vec<Hash>)> {
    let mut select = db.prepare_cached(
        "SELECT rowid, id, input_blob, output_blob, log_head_blob, log_tail_blob FROM tasks
         WHERE completed < ? ORDER BY completed LIMIT ?",
    )?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let mut rows = select.query((ended_before, count))?;
    let (mut removed, mut blobs) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let (rowid, id): (i64, [u8; 16]) = (row.get(0)?, row.get(1)?);
        for column in 2..6 {
            blobs.extend(row.get::<_, Option<Hash>>(column)?);
        }
        db.prepare_cached("DELETE FROM idempotency WHERE task = ?")?.execute([id])?;
        db.prepare_cached("DELETE FROM tasks WHERE rowid = ?")?.execute([rowid])?;
        removed += 1;
    }
    Ok((removed, blobs))
}
