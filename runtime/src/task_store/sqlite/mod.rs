//! The durable store: SQLite in WAL mode, with large values as files beside it.
//!
//! ```text
//! DATA_DIR/lock            held by the one process that writes
//! DATA_DIR/tasks.db        tasks, checkpoints, components; tasks.db-wal and -shm beside it while it is open
//! DATA_DIR/blobs/HASH      values over 64 KiB, by BLAKE3; on the disk before a row names them
//! ```
//!
//! One thread writes, with group commit and `synchronous=FULL`; a few connections read. What fails in a way
//! that leaves the disk in doubt stops all writing until a restart.

mod components;
pub mod maintenance;
mod readers;
mod retention;
mod rows;
mod schema;
mod space;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Params};

pub use retention::Retention;
pub use space::{Freed, Spared};

use super::blobs::{Blobs, Hash};
use super::data_dir::DataDir;
use super::{Error, Idempotency, Inserted, Query, Summary, TaskStore, WithOutput};
use crate::private;
use crate::task::{Log, State, Status, Task, TaskId};
use readers::Readers;
use rows::{Left, SpecRow, StateRow, Value};
use writer::{Health, Writer};

/// Databases up to this size are checked whole at every start; larger ones by `omnimind store check`.
const CHECKED_AT_START: u64 = 64 << 20;

/// The store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not one to go on with.
    #[error(
        "task store {path}: {why}; `omnimind store repair` saves what can be read, and keeps the damaged file"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is another program's file, or of another version.
    #[error("task store {path}: {what}; move it away, or give --data-dir another directory")]
    Unsuitable {
        /// Which file.
        path: PathBuf,
        /// What it is. Not called `source`: it would be told twice.
        what: schema::Unsuitable,
    },
    /// Files cannot be made or read.
    #[error("task store {path}: {why}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Tasks and components on disk.
pub struct SqliteStore {
    blobs: Blobs,
    health: Arc<Health>,
    writer: Writer,
    readers: Readers,
    /// The disk is nearly full: what can be refused is.
    refuses_new: AtomicBool,
    /// Of pruning for space.
    progress: tokio::sync::Mutex<space::Progress>,
    // Released last.
    _dir: DataDir,
}

impl SqliteStore {
    /// Opens the store in `dir`, or makes a new one where there is none.
    ///
    /// # Errors
    /// See [`OpenError`]: a damaged, foreign or newer file is never opened, and never replaced.
    pub fn open(dir: DataDir) -> Result<SqliteStore, OpenError> {
        let path = dir.path().join("tasks.db");
        let unusable = |why: String| OpenError::Unusable { path: path.clone(), why };
        let blobs_dir = dir.path().join("blobs");
        let blobs = Blobs::open(blobs_dir.clone()).map_err(|error| OpenError::Unusable {
            path: blobs_dir.clone(),
            why: format!("{error}; it must be a directory that this user can write to"),
        })?;
        let db = match fs::symlink_metadata(&path) {
            Ok(found) => existing(&path, &found)?,
            Err(_) => {
                // A log that is left would be taken for that of the new one.
                let log = fs::metadata(dir.path().join("tasks.db-wal")).is_ok_and(|found| found.len() > 0);
                if log || blobs.all().is_ok_and(|all| !all.is_empty()) {
                    let what = if log { "tasks.db-wal" } else { "blobs/" };
                    let why = format!("it is gone, and {what} still holds what belongs to it: put it back");
                    return Err(OpenError::Damaged { path, why });
                }
                new(dir.path(), &path).map_err(|error| unusable(error.to_string()))?
            }
        };
        schema::configure(&db).map_err(|error| unusable(error.to_string()))?;
        forget_orphans(&db);
        let health = Arc::new(Health::default());
        let readers = Readers::open(&path).map_err(|error| unusable(error.to_string()))?;
        let writer = Writer::start(db, health.clone()).map_err(|error| unusable(error.to_string()))?;
        let progress = tokio::sync::Mutex::new((Spared::default(), i64::MIN));
        let refuses_new = AtomicBool::new(false);
        Ok(SqliteStore { blobs, health, writer, readers, refuses_new, progress, _dir: dir })
    }

    /// Tasks that had not ended when the last process did, oldest first.
    pub async fn unfinished(&self) -> Result<Vec<Task>, Error> {
        self.readers.read(rows::unfinished).await
    }

    /// The latest of the ids that were given last.
    pub async fn newest(&self) -> Result<Option<TaskId>, Error> {
        self.readers.read(rows::newest).await
    }

    /// Why nothing is written any more, if that is so.
    pub fn poisoned(&self) -> Option<String> {
        self.health.poisoned()
    }

    /// Writes a little and waits for the disk: what a health check wants to know.
    pub async fn probe(&self) -> Result<(), Error> {
        // An unchanged pragma still commits: the header's page is written.
        self.writer.write(|db| db.pragma_update(None, "user_version", schema::VERSION)).await
    }

    /// Writes what still waits, and ends. What is asked of it later is [`Error::Closed`].
    pub fn close(&self) {
        self.writer.close();
    }

    /// Keeps `bytes`, in their row or in a file.
    async fn keep(&self, bytes: Arc<[u8]>) -> Result<Value, Error> {
        match Value::inline(&bytes) {
            Some(value) => Ok(value),
            None => self.keep_as_file(bytes).await,
        }
    }

    /// Keeps `bytes` in a file, whatever their size.
    async fn keep_as_file(&self, bytes: Arc<[u8]>) -> Result<Value, Error> {
        let (blobs, health) = (self.blobs.clone(), self.health.clone());
        let kept = tokio::task::spawn_blocking(move || Value::keep_as_file(&bytes, &blobs, &health)).await;
        kept.unwrap_or_else(|error| Err(Error::Unreadable(error.to_string())))
    }

    /// Keeps what a task left.
    async fn keep_left(&self, output: Option<Arc<[u8]>>, log: Log) -> Result<Left, Error> {
        let mut left = Left::default();
        if let Some(output) = output {
            left.output = self.keep(output).await?;
        }
        if !log.head.is_empty() {
            left.log_head = self.keep(log.head.into()).await?;
            left.log_tail = self.keep(log.tail.into()).await?;
            left.log_dropped = Some(log.dropped);
        }
        Ok(left)
    }

    /// Passes the result of a write on that was to name these blobs. One that failed leaves none of them:
    /// on a full disk they would be what keeps it full.
    async fn written<T>(
        &self,
        blobs: impl IntoIterator<Item = Hash>,
        written: Result<T, Error>,
    ) -> Result<T, Error> {
        if written.is_err() {
            let _ = self.release(blobs.into_iter().collect()).await;
        }
        written
    }

    /// Reads one value: `select` gives it and its blob.
    async fn value(
        &self,
        select: &'static str,
        key: impl Params + Send + 'static,
    ) -> Result<Option<Vec<u8>>, Error> {
        let blobs = self.blobs.clone();
        let read = move |db: &Connection| {
            let found = db.prepare_cached(select)?.query_row(key, |row| {
                Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<Hash>>(1)?))
            });
            Ok(found.optional()?.map(|(inline, hash)| rows::read_value(inline, hash, &blobs)))
        };
        match self.readers.read(read).await? {
            None => Ok(None),
            Some(value) => value.map_err(|error| Error::Unreadable(error.to_string())),
        }
    }
}

/// Opens a database that is there, after a look at whether it is one.
fn existing(path: &Path, found: &fs::Metadata) -> Result<Connection, OpenError> {
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    if !found.is_file() {
        return Err(damaged("it is not a file".to_owned()));
    }
    if found.len() == 0 {
        return Err(damaged("it is empty".to_owned()));
    }
    let unread = |error: rusqlite::Error| match error.sqlite_error_code() {
        // The file may be sound: it is the disk, its rights or the machine that does not let it be read.
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked,
        ) => OpenError::Unusable { path: path.to_owned(), why: error.to_string() },
        _ => damaged(error.to_string()),
    };
    // Inputs and outputs of everybody are in it. Its log is made with its permissions.
    for file in [path.to_owned(), path.with_extension("db-wal"), path.with_extension("db-shm")] {
        if private::restrict(&file).is_ok_and(|could| could) {
            tracing::warn!(file = %file.display(), "others could read it: they cannot any more");
        }
    }
    let db = connect(path, OpenFlags::empty()).map_err(unread)?;
    schema::recognise(&db).map_err(|what| match what {
        schema::Unsuitable::Unreadable(error) => unread(error),
        what => OpenError::Unsuitable { path: path.to_owned(), what },
    })?;
    if found.len() <= CHECKED_AT_START {
        let verdict = maintenance::quick_check(&db).map_err(unread)?;
        verdict.map_err(damaged)?;
    }
    Ok(db)
}

/// Makes a new database under another name first: one that is half made is never found.
fn new(dir: &Path, path: &Path) -> anyhow::Result<Connection> {
    let scratch = dir.join("tasks.db.new");
    for left in [scratch.clone(), dir.join("tasks.db.new-journal")] {
        let _ = fs::remove_file(left);
    }
    private::file(&scratch)?;
    let mut db = connect(&scratch, OpenFlags::empty())?;
    schema::create(&mut db)?;
    db.close().map_err(|(_, error)| error)?;
    fs::rename(&scratch, path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(connect(path, OpenFlags::empty())?)
}

fn connect(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags | more)?;
    // The log goes into the database when the writer says so. Otherwise a file that was only looked at, and
    // refused, would be changed by closing it.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(db)
}

/// The task that was submitted under `key`, and the fingerprint of its submission.
fn known(db: &Connection, tenant: &str, key: &str) -> rusqlite::Result<Option<(TaskId, [u8; 32])>> {
    let mut select =
        db.prepare_cached("SELECT task, fingerprint FROM idempotency WHERE tenant = ? AND key = ?")?;
    let found = select.query_row((tenant, key), |row| Ok((TaskId::from_bytes(row.get(0)?), row.get(1)?)));
    found.optional()
}

/// Removes checkpoints of tasks that were never stored, or ended: a process that was killed may leave them.
fn forget_orphans(db: &Connection) {
    let orphans = format!(
        "DELETE FROM checkpoints WHERE task NOT IN (SELECT id FROM tasks WHERE {})",
        rows::UNFINISHED
    );
    let removed = db.execute(&orphans, []);
    if let Err(error) = removed {
        // On a full disk, say: another start will do it.
        tracing::warn!(%error, "checkpoints that belong to no task stay");
    }
}

/// Removes a task's checkpoints, and names the blobs they lay in.
fn forget_checkpoints(db: &Connection, id: TaskId) -> rusqlite::Result<Vec<Hash>> {
    let mut select = db.prepare_cached("SELECT data_blob FROM checkpoints WHERE task = ?")?;
    let blobs = select.query_map([id.as_bytes()], |row| row.get::<_, Option<Hash>>(0))?;
    let blobs = blobs.collect::<rusqlite::Result<Vec<_>>>()?;
    // Most tasks have none, and a DELETE costs more than a look.
    if !blobs.is_empty() {
        db.prepare_cached("DELETE FROM checkpoints WHERE task = ?")?.execute([id.as_bytes()])?;
    }
    Ok(blobs.into_iter().flatten().collect())
}

#[async_trait]
impl TaskStore for SqliteStore {
    async fn insert(
        &self,
        task: &Task,
        input: Arc<[u8]>,
        idempotency: Option<Idempotency>,
    ) -> Result<Inserted, Error> {
        let input = self.keep(input).await?;
        let hash = input.hash();
        let row = SpecRow::of(task);
        let insert = move |db: &Connection| {
            if let Some(Idempotency { key, fingerprint }) = &idempotency {
                if let Some((task, submitted)) = known(db, &row.tenant, key)? {
                    return Ok(match submitted == *fingerprint {
                        true => Inserted::Before(task),
                        false => Inserted::Conflict,
                    });
                }
                let mut remember = db.prepare_cached("INSERT INTO idempotency VALUES (?, ?, ?, ?)")?;
                remember.execute((&row.tenant, key, fingerprint, row.id.as_bytes()))?;
            }
            row.insert(db, &input, &Left::default()).map(|()| Inserted::New)
        };
        let inserted = self.writer.write(insert).await;
        self.written(hash, inserted).await
    }

    async fn insert_ended(
        &self,
        task: &Task,
        input: Arc<[u8]>,
        output: Option<Arc<[u8]>>,
        log: Log,
    ) -> Result<(), Error> {
        let input = self.keep(input).await?;
        let hash = input.hash();
        let left = self.keep_left(output, log).await?;
        let hashes: Vec<Hash> = hash.into_iter().chain(left.hashes()).collect();
        let row = SpecRow::of(task);
        let insert = move |db: &Connection| {
            row.insert(db, &input, &left)?;
            forget_checkpoints(db, row.id)
        };
        let blobs = self.written(hashes, self.writer.write(insert).await).await?;
        let _ = self.release(blobs).await;
        Ok(())
    }

    async fn recall(&self, tenant: &str, key: &str) -> Result<Option<(TaskId, [u8; 32])>, Error> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.readers.read(move |db| known(db, &tenant, &key)).await
    }

    async fn update(&self, tenant: &str, id: TaskId, state: &State) -> Result<(), Error> {
        let (row, tenant) = (StateRow::of(state), tenant.to_owned());
        self.writer.write(move |db| row.update(db, &tenant, id, &Left::default())).await
    }

    async fn finish(
        &self,
        tenant: &str,
        id: TaskId,
        state: &State,
        output: Option<Arc<[u8]>>,
        log: Log,
    ) -> Result<(), Error> {
        let left = self.keep_left(output, log).await?;
        let (row, tenant) = (StateRow::of(state), tenant.to_owned());
        let finish = move |db: &Connection| {
            row.update(db, &tenant, id, &left)?;
            forget_checkpoints(db, id)
        };
        let blobs = self.writer.write(finish).await?;
        // The task's end is kept; a blob that stays behind is swept some day.
        let _ = self.release(blobs).await;
        Ok(())
    }

    async fn get(&self, tenant: &str, id: TaskId) -> Result<Option<WithOutput>, Error> {
        let tenant = tenant.to_owned();
        self.readers.read(move |db| rows::get(db, &tenant, id)).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Task>, Error> {
        let query = query.clone();
        self.readers.read(move |db| rows::list(db, &query)).await
    }

    async fn summary(&self, tenant: &str) -> Result<Summary, Error> {
        let tenant = tenant.to_owned();
        let read = move |db: &Connection| {
            let mut counts = Status::ALL.map(|status| (status, 0));
            let mut count =
                db.prepare_cached("SELECT status, count(*) FROM tasks WHERE tenant = ? GROUP BY status")?;
            let mut rows = count.query([&tenant])?;
            while let Some(row) = rows.next()? {
                let (name, number): (String, u64) = (row.get(0)?, row.get(1)?);
                for (status, count) in &mut counts {
                    if status.name() == name {
                        *count = number;
                    }
                }
            }
            let mut durations = db.prepare_cached(
                "SELECT completed - started FROM tasks
                 WHERE completed IS NOT NULL AND started IS NOT NULL AND tenant = ?
                 ORDER BY completed DESC LIMIT 1000",
            )?;
            let durations_ms = durations
                .query_map([&tenant], |row| Ok(row.get::<_, i64>(0)?.max(0).unsigned_abs()))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(Summary { counts: counts.into(), durations_ms })
        };
        self.readers.read(read).await
    }

    async fn input(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, Error> {
        let select = "SELECT input, input_blob FROM tasks WHERE tenant = ? AND id = ?";
        Ok(self.value(select, (tenant.to_owned(), *id.as_bytes())).await?.map(Arc::from))
    }

    async fn output(&self, tenant: &str, id: TaskId) -> Result<Option<Arc<[u8]>>, Error> {
        let select = "SELECT output, output_blob FROM tasks WHERE tenant = ? AND id = ?";
        Ok(self.value(select, (tenant.to_owned(), *id.as_bytes())).await?.map(Arc::from))
    }

    async fn log(&self, tenant: &str, id: TaskId) -> Result<Option<Log>, Error> {
        let head = "SELECT log_head, log_head_blob FROM tasks WHERE tenant = ? AND id = ?";
        let head = self.value(head, (tenant.to_owned(), *id.as_bytes())).await?;
        let tail = "SELECT log_tail, log_tail_blob FROM tasks WHERE tenant = ? AND id = ?";
        let tail = self.value(tail, (tenant.to_owned(), *id.as_bytes())).await?.unwrap_or_default();
        let tenant = tenant.to_owned();
        let dropped = self.readers.read(move |db| {
            let dropped = "SELECT log_dropped FROM tasks WHERE tenant = ? AND id = ?";
            db.query_row(dropped, (tenant, id.as_bytes()), |row| row.get::<_, Option<i64>>(0)).optional()
        });
        // Of a log that was removed, what is left is how long it was.
        let dropped = dropped.await?.flatten().map(i64::unsigned_abs);
        Ok(dropped.map(|dropped| Log { head: head.unwrap_or_default(), tail, dropped }))
    }

    async fn save_checkpoint(
        &self,
        tenant: &str,
        id: TaskId,
        name: &str,
        data: Vec<u8>,
    ) -> Result<(), Error> {
        self.admit_new()?;
        let (tenant, name, size) = (tenant.to_owned(), name.to_owned(), data.len() as i64);
        let data = self.keep(data.into()).await?;
        let hash = data.hash();
        let save = move |db: &Connection| {
            // It came too late: nobody would ever remove it. A task may also not be stored yet.
            let ended = "SELECT 1 FROM tasks WHERE tenant = ? AND id = ? AND completed IS NOT NULL";
            if db.prepare_cached(ended)?.exists((&tenant, id.as_bytes()))? {
                return Ok(Vec::from_iter(data.hash()));
            }
            let select = "SELECT data_blob FROM checkpoints WHERE task = ? AND name = ?";
            let before = db
                .prepare_cached(select)?
                .query_row((id.as_bytes(), &name), |row| row.get::<_, Option<Hash>>(0))
                .optional()?;
            let mut save = db.prepare_cached("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)")?;
            save.execute((id.as_bytes(), &name, size, data.bytes(), data.hash()))?;
            Ok(Vec::from_iter(before.flatten()))
        };
        let before = self.written(hash, self.writer.write(save).await).await?;
        self.release(before).await.map(drop)
    }

    async fn load_checkpoint(&self, _tenant: &str, id: TaskId, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let select = "SELECT data, data_blob FROM checkpoints WHERE task = ? AND name = ?";
        self.value(select, (*id.as_bytes(), name.to_owned())).await
    }

    async fn checkpoints(&self, _tenant: &str, id: TaskId) -> Result<Vec<(String, u64)>, Error> {
        let read = move |db: &Connection| {
            let mut select = db.prepare_cached("SELECT name, size FROM checkpoints WHERE task = ?")?;
            let rows = select.query_map([id.as_bytes()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            rows.collect()
        };
        self.readers.read(read).await
    }
}
