//! The database's tables, and how a database file is recognised.

use std::time::Duration;

use rusqlite::Connection;

/// Stands in the header of our files: `Omni`.
pub const APPLICATION_ID: i32 = 0x4f6d_6e69;

/// Counts up with every change of the tables.
pub const VERSION: i32 = 1;

/// Version 1.
const TABLES: &str = "
CREATE TABLE tasks (
    id BLOB NOT NULL,                   -- TaskId, 16 bytes
    tenant TEXT NOT NULL,
    status TEXT NOT NULL,
    priority TEXT NOT NULL,
    component TEXT NOT NULL,            -- as it was named
    digest BLOB NOT NULL,               -- sha256, 32 bytes
    created INTEGER NOT NULL,           -- milliseconds of Unix time, as all times
    started INTEGER,
    completed INTEGER,
    due INTEGER,
    attempts INTEGER NOT NULL,
    interruptions INTEGER NOT NULL,
    progress REAL NOT NULL,
    message TEXT NOT NULL,
    cancel_asked INTEGER NOT NULL,
    spec TEXT NOT NULL,                 -- JSON, as the three below
    failure TEXT,
    receipt TEXT,
    history TEXT NOT NULL,
    input BLOB,                         -- here when small, else in blobs/ under this hash
    input_blob BLOB,
    output BLOB,
    output_blob BLOB,
    output_bytes INTEGER,
    log_head BLOB,
    log_head_blob BLOB,
    log_tail BLOB,
    log_tail_blob BLOB,
    log_dropped INTEGER,                -- bytes that are not here
    UNIQUE (tenant, id)                 -- declared, so that an update knows that it changes one row
);
-- Answers every list by itself: one page more to write for each task instead of four.
CREATE INDEX tasks_listing ON tasks (tenant, id, status, priority, component, digest);
CREATE INDEX tasks_by_completion ON tasks (completed) WHERE completed IS NOT NULL;
CREATE INDEX tasks_by_input_blob ON tasks (input_blob) WHERE input_blob IS NOT NULL;
CREATE INDEX tasks_by_output_blob ON tasks (output_blob) WHERE output_blob IS NOT NULL;
CREATE INDEX tasks_by_log_head_blob ON tasks (log_head_blob) WHERE log_head_blob IS NOT NULL;
CREATE INDEX tasks_by_log_tail_blob ON tasks (log_tail_blob) WHERE log_tail_blob IS NOT NULL;

CREATE TABLE checkpoints (
    task BLOB NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    data BLOB,
    data_blob BLOB,
    PRIMARY KEY (task, name)
) WITHOUT ROWID;

CREATE INDEX checkpoints_by_blob ON checkpoints (data_blob) WHERE data_blob IS NOT NULL;

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    task BLOB NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_task ON idempotency (task);

CREATE TABLE components (
    tenant TEXT NOT NULL,
    digest BLOB NOT NULL,
    created INTEGER NOT NULL,
    about TEXT NOT NULL,                -- JSON
    bytes_blob BLOB NOT NULL,
    PRIMARY KEY (tenant, digest)
) WITHOUT ROWID;
CREATE INDEX components_by_blob ON components (bytes_blob);

CREATE TABLE component_names (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
";

/// Every column that names a blob; each has an index.
pub const BLOB_COLUMNS: [(&str, &str); 6] = [
    ("tasks", "input_blob"),
    ("tasks", "output_blob"),
    ("tasks", "log_head_blob"),
    ("tasks", "log_tail_blob"),
    ("checkpoints", "data_blob"),
    ("components", "bytes_blob"),
];

/// Makes the tables of a new database.
pub fn create(db: &mut Connection) -> rusqlite::Result<()> {
    // Before the first table: pages that retention empties can then be given back.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = db.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Why a database file is not ours to open.
#[derive(Debug, thiserror::Error)]
pub enum Unsuitable {
    /// Another program's, or none at all.
    #[error("it is not a task store of OmniMind")]
    Foreign,
    /// Of a later release.
    #[error(
        "it has schema version {0}, this omnimind knows up to {VERSION}: use the newer release that wrote it"
    )]
    Newer(i32),
    /// SQLite cannot read it.
    #[error("it cannot be read: {0}")]
    Unreadable(rusqlite::Error),
}

/// Checks that `db` is a task store of this version.
pub fn recognise(db: &Connection) -> Result<(), Unsuitable> {
    let number = |name: &str| {
        db.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(Unsuitable::Unreadable)
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(Unsuitable::Foreign);
    }
    match number("user_version")? {
        VERSION => Ok(()),
        newer if newer > VERSION => Err(Unsuitable::Newer(newer)),
        _ => Err(Unsuitable::Foreign),
    }
}

/// How long a connection waits for another.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that the database's log keeps once they were needed.
pub const LOG_BYTES: u64 = 64 << 20;

/// What every connection is set to.
pub fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // 32 MiB of log between two checkpoints: each of them makes writers wait.
    db.pragma_update(None, "wal_autocheckpoint", 8192)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    // In KiB. It fills for good, and what is not in it, the system's page cache has.
    db.pragma_update(None, "cache_size", -4096)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    // A damaged file must not make SQLite call functions or write its own tables.
    db.pragma_update(None, "trusted_schema", false)?;
    db.set_prepared_statement_cache_capacity(64);
    db.busy_timeout(PATIENCE)
}
