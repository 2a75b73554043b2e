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

impl SqliteStore {
    /// Removes what `retention` no longer keeps; returns how many tasks that were.
    pub async fn prune(&self, retention: Retention, now_ms: i64) -> Result<u64, Error> {
        let age = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
        let too_old = now_ms.saturating_sub(age);
        let mut removed = 0;
        while self.remove(too_old, BATCH as u64, &mut removed).await? == BATCH as u64 {}
        loop {
            let tasks = self
                .readers
                .read(|db| db.query_row("SELECT count(*) FROM tasks", [], |row| row.get::<_, u64>(0)));
            let excess = tasks.await?.saturating_sub(retention.tasks).min(BATCH as u64);
            if excess == 0 || self.remove(i64::MAX, excess, &mut removed).await? == 0 {
                break;
            }
        }
        // What comes in meanwhile is the next round's.
        for _ in 0..MAX_ROUNDS {
            let size = self.size().await?;
            if size <= retention.bytes {
                break;
            }
            // Half as many as it takes if all are of one size, because they are not.
            let share = (size - retention.bytes) as f64 / size as f64 / 2.0;
            let count = (self.finished().await? as f64 * share) as u64;
            if self.remove(i64::MAX, count.clamp(1, BATCH as u64), &mut removed).await? == 0 {
                break;
            }
        }
        self.sweep().await?;
        if removed > 0 {
            // Empty pages go back to the file system, some at a time.
            // The pragma frees one page for each row that is taken from it.
            let free = |db: &Connection| {
                let mut vacuum = db.prepare("PRAGMA incremental_vacuum(2000)")?;
                let mut freed = vacuum.query([])?;
                while freed.next()?.is_some() {}
                Ok(())
            };
            self.writer.write(free).await?;
        }
        Ok(removed)
    }

    async fn finished(&self) -> Result<u64, Error> {
        let count = "SELECT count(*) FROM tasks WHERE completed IS NOT NULL";
        self.readers.read(move |db| db.query_row(count, [], |row| row.get(0))).await
    }

    /// Removes some of the tasks that ended first, and the blobs that nothing else names.
    async fn remove(&self, ended_before: i64, count: u64, removed: &mut u64) -> Result<u64, Error> {
        let (batch, blobs) = self.writer.write(move |db| remove(db, ended_before, count)).await?;
        self.release(blobs).await?;
        *removed += batch;
        Ok(batch)
    }

    /// Removes those of `hashes` that no row names any more. The rows that did are gone for good.
    pub(super) async fn release(&self, hashes: Vec<Hash>) -> Result<(), Error> {
        if hashes.is_empty() {
            return Ok(());
        }
        let blobs = self.blobs.clone();
        // On the writer's thread: whoever is about to name one has it pinned, or has named it.
        let release = move |db: &Connection| {
            for hash in &hashes {
                if !is_used(db, hash)? {
                    blobs.remove(hash);
                }
            }
            Ok(())
        };
        self.writer.write(release).await
    }

    /// Bytes of the database, without its empty pages, and of the blobs.
    pub async fn size(&self) -> Result<u64, Error> {
        let blobs = self.blobs.clone();
        self.readers
            .read(move |db| {
                let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
                let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
                let database = pages.saturating_mul(number("page_size")?).unsigned_abs();
                Ok(database.saturating_add(blobs.size().unwrap_or(0)))
            })
            .await
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
