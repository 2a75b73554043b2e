//! Between a task and its row.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::blobs::{Blobs, Hash, KeepError, Pin};
use super::super::{Error, Query, WithOutput};
use super::writer::Health;
use crate::task::{Digest, Priority, Spec, State, Status, Task, TaskId};

/// Bytes up to which a value stays in its row.
const INLINE: usize = 64 << 10;

/// Bytes in a row, or the blob that has them.
#[derive(Debug, Default)]
pub struct Value {
    pub inline: Option<Arc<[u8]>>,
    /// Pinned until the row that names it is written.
    pub blob: Option<Pin>,
}

impl Value {
    /// `bytes` in their row, if that is where so many belong.
    pub fn inline(bytes: &Arc<[u8]>) -> Option<Value> {
        (bytes.len() <= INLINE).then(|| Value { inline: Some(bytes.clone()), blob: None })
    }

    /// Puts `bytes` into a file. Blocks until it is on the disk.
    pub fn keep_as_file(bytes: &[u8], blobs: &Blobs, health: &Health) -> Result<Value, Error> {
        match blobs.keep(bytes) {
            Ok(pin) => Ok(Value { inline: None, blob: Some(pin) }),
            Err(KeepError::Write(error)) => {
                use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
                let why = format!("writing a file: {error}");
                match error.kind() {
                    StorageFull | QuotaExceeded | FileTooLarge => Err(Error::Full(why)),
                    _ => Err(Error::Unwritten(why)),
                }
            }
            Err(KeepError::Sync(error)) => {
                let why = format!("syncing a file failed: {error}");
                health.poison(why.clone());
                Err(Error::Poisoned(why))
            }
        }
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        self.inline.as_deref()
    }

    pub fn hash(&self) -> Option<Hash> {
        self.blob.as_ref().map(Pin::hash)
    }
}

/// Reads a value that lies in its row or in a blob.
pub fn read_value(
    inline: Option<Vec<u8>>,
    hash: Option<Hash>,
    blobs: &Blobs,
) -> std::io::Result<Option<Vec<u8>>> {
    match hash {
        Some(hash) => blobs.read(&hash).map(Some),
        None => Ok(inline),
    }
}

/// The changing part of a row, made ready outside of the writer's thread.
pub struct StateRow {
    status: &'static str,
    started: Option<i64>,
    completed: Option<i64>,
    due: Option<i64>,
    attempts: u32,
    interruptions: u32,
    progress: f32,
    message: String,
    cancel_asked: bool,
    failure: Option<String>,
    receipt: Option<String>,
    history: String,
    output_bytes: Option<u64>,
}

impl StateRow {
    pub fn of(state: &State) -> StateRow {
        StateRow {
            status: state.status.name(),
            started: state.started.map(milliseconds),
            completed: state.completed.map(milliseconds),
            due: state.due.map(milliseconds),
            attempts: state.attempts,
            interruptions: state.interruptions,
            progress: state.progress,
            message: state.message.clone(),
            cancel_asked: state.cancel_asked,
            failure: state.failure.as_ref().map(json),
            receipt: state.receipt.as_ref().map(json),
            history: json(&state.history),
            output_bytes: state.output_bytes,
        }
    }

    /// Writes it over the row of `id`, with what the task `left` if this is its end; unless it has ended.
    pub fn update(&self, db: &Connection, tenant: &str, id: TaskId, left: &Left) -> rusqlite::Result<()> {
        let Left { output, log_head, log_tail, log_dropped } = left;
        let mut update = db.prepare_cached(
            "UPDATE tasks SET status = ?3, started = ?4, completed = ?5, due = ?6, attempts = ?7,
                interruptions = ?8, progress = ?9, message = ?10, cancel_asked = ?11, failure = ?12,
                receipt = ?13, history = ?14, output_bytes = ?15, output = ?16, output_blob = ?17,
                log_head = ?18, log_head_blob = ?19, log_tail = ?20, log_tail_blob = ?21, log_dropped = ?22
             WHERE tenant = ?1 AND id = ?2 AND completed IS NULL",
        )?;
        update.execute(params![
            tenant,
            id.as_bytes(),
            self.status,
            self.started,
            self.completed,
            self.due,
            self.attempts,
            self.interruptions,
            self.progress,
            self.message,
            self.cancel_asked,
            self.failure,
            self.receipt,
            self.history,
            self.output_bytes,
            output.bytes(),
            output.hash(),
            log_head.bytes(),
            log_head.hash(),
            log_tail.bytes(),
            log_tail.hash(),
            log_dropped,
        ])?;
        Ok(())
    }
}

/// What a task leaves at its end.
#[derive(Debug, Default)]
pub struct Left {
    pub output: Value,
    pub log_head: Value,
    pub log_tail: Value,
    pub log_dropped: Option<u64>,
}

impl Left {
    /// The blobs that it names.
    pub fn hashes(&self) -> impl Iterator<Item = Hash> {
        [&self.output, &self.log_head, &self.log_tail].into_iter().filter_map(Value::hash)
    }
}

/// The part of a row that never changes.
pub struct SpecRow {
    pub id: TaskId,
    pub tenant: String,
    priority: &'static str,
    component: String,
    digest: Digest,
    created: i64,
    spec: String,
    state: StateRow,
}

impl SpecRow {
    pub fn of(task: &Task) -> SpecRow {
        SpecRow {
            id: task.id,
            tenant: task.tenant.clone(),
            priority: task.spec.priority.name(),
            component: task.spec.component.clone(),
            digest: task.spec.digest,
            created: milliseconds(task.created),
            spec: json(&*task.spec),
            state: StateRow::of(&task.state),
        }
    }

    /// Inserts a task, with what it left if it has ended.
    pub fn insert(&self, db: &Connection, input: &Value, left: &Left) -> rusqlite::Result<()> {
        let mut insert = db.prepare_cached(
            "INSERT INTO tasks (id, tenant, priority, component, digest, created, spec, input, input_blob,
                status, started, completed, attempts, interruptions, progress, message, cancel_asked, failure,
                receipt, history, output_bytes, output, output_blob, log_head, log_head_blob, log_tail,
                log_tail_blob, log_dropped)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
        )?;
        let SpecRow { id, tenant, priority, component, digest, created, spec, state } = self;
        let Left { output, log_head, log_tail, log_dropped } = left;
        insert.execute(params![
            id.as_bytes(),
            tenant,
            priority,
            component,
            digest.as_bytes(),
            created,
            spec,
            input.bytes(),
            input.hash(),
            state.status,
            state.started,
            state.completed,
            state.attempts,
            state.interruptions,
            state.progress,
            state.message,
            state.cancel_asked,
            state.failure,
            state.receipt,
            state.history,
            state.output_bytes,
            output.bytes(),
            output.hash(),
            log_head.bytes(),
            log_head.hash(),
            log_tail.bytes(),
            log_tail.hash(),
            log_dropped,
        ])?;
        Ok(())
    }
}

/// What is true of a task that has not ended. The index of lists answers it: of a long past, few rows are read.
pub const UNFINISHED: &str = "status IN ('pending', 'running', 'paused')";

/// The columns that [`task`] reads.
const COLUMNS: &str =
    "id, tenant, status, created, started, completed, due, attempts, interruptions, progress,
    message, cancel_asked, spec, failure, receipt, history, output_bytes,
    output_bytes IS NOT NULL AND output IS NULL AND output_blob IS NULL AS output_removed";

fn task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let spec: Spec = parsed(row, "spec")?;
    let failure: Option<String> = row.get("failure")?;
    let receipt: Option<String> = row.get("receipt")?;
    let status: String = row.get("status")?;
    let status = Status::ALL.into_iter().find(|known| known.name() == status);
    Ok(Task {
        id: TaskId::from_bytes(row.get("id")?),
        tenant: row.get("tenant")?,
        created: time(row, "created")?.unwrap_or(Timestamp::UNIX_EPOCH),
        spec: Arc::new(spec),
        state: State {
            status: status.ok_or_else(|| broken("status"))?,
            attempts: row.get("attempts")?,
            interruptions: row.get("interruptions")?,
            started: time(row, "started")?,
            completed: time(row, "completed")?,
            due: time(row, "due")?,
            progress: row.get("progress")?,
            message: row.get("message")?,
            cancel_asked: row.get("cancel_asked")?,
            failure: failure.map(|text| from_json("failure", &text)).transpose()?,
            receipt: receipt.map(|text| from_json("receipt", &text)).transpose()?,
            output_bytes: row.get::<_, Option<i64>>("output_bytes")?.map(i64::unsigned_abs),
            output_removed: row.get("output_removed")?,
            history: parsed(row, "history")?,
        },
    })
}

/// One task, with its output if that lies in its row.
pub fn get(db: &Connection, tenant: &str, id: TaskId) -> rusqlite::Result<Option<WithOutput>> {
    let mut select =
        db.prepare_cached(&format!("SELECT {COLUMNS}, output FROM tasks WHERE tenant = ? AND id = ?"))?;
    let mut rows = select.query((tenant, id.as_bytes()))?;
    rows.next()?.map(|row| Ok((task(row)?, row.get("output")?))).transpose()
}

/// Tasks that have not ended, oldest first.
pub fn unfinished(db: &Connection) -> rusqlite::Result<Vec<Task>> {
    let mut select = db.prepare(&format!(
        "SELECT {COLUMNS} FROM tasks WHERE rowid IN (SELECT rowid FROM tasks WHERE {UNFINISHED}) ORDER BY id"
    ))?;
    select.query_map([], task)?.collect()
}

/// The latest id of the tasks that were stored last; within a batch they come in any order.
pub fn newest(db: &Connection) -> rusqlite::Result<Option<TaskId>> {
    let last = "SELECT max(id) FROM (SELECT id FROM tasks ORDER BY rowid DESC LIMIT 1024)";
    let id: Option<[u8; 16]> = db.query_row(last, [], |row| row.get(0))?;
    Ok(id.map(TaskId::from_bytes))
}

/// Rows of tasks that do not hold what they should, and why.
pub fn unreadable(db: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut select = db.prepare(&format!("SELECT rowid, {COLUMNS} FROM tasks"))?;
    let mut rows = select.query([])?;
    let mut unreadable = Vec::new();
    while let Some(row) = rows.next()? {
        if let Err(error) = task(row) {
            unreadable.push((row.get("rowid")?, error.to_string()));
        }
    }
    Ok(unreadable)
}

/// Tasks, newest first.
pub fn list(db: &Connection, query: &Query) -> rusqlite::Result<Vec<Task>> {
    let mut sql = format!("SELECT {COLUMNS} FROM tasks WHERE tenant = :tenant AND id < :before");
    let before = query.before.map_or([0xff; 16], |id| *id.as_bytes());
    let limit = query.limit as i64;
    let mut params: Vec<(&str, &dyn rusqlite::ToSql)> =
        vec![(":tenant", &query.tenant), (":before", &before), (":limit", &limit)];
    let status = query.status.map(Status::name);
    if let Some(status) = &status {
        sql.push_str(" AND status = :status");
        params.push((":status", status));
    }
    let priority = query.priority.map(Priority::name);
    if let Some(priority) = &priority {
        sql.push_str(" AND priority = :priority");
        params.push((":priority", priority));
    }
    let digest = query.component.as_ref().and_then(|component| component.parse::<Digest>().ok());
    let digest = digest.map(|digest| *digest.as_bytes());
    if let Some(digest) = &digest {
        sql.push_str(" AND digest = :digest");
        params.push((":digest", digest));
    } else if let Some(component) = &query.component {
        sql.push_str(" AND component = :component");
        params.push((":component", component));
    }
    sql.push_str(" ORDER BY id DESC LIMIT :limit");
    let mut select = db.prepare_cached(&sql)?;
    select.query_map(params.as_slice(), task)?.collect()
}

fn milliseconds(at: Timestamp) -> i64 {
    at.as_millisecond()
}

fn time(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Timestamp>> {
    let at: Option<i64> = row.get(column)?;
    at.map(|at| Timestamp::from_millisecond(at).map_err(|_| broken(column))).transpose()
}

/// Of types that always have a JSON form.
fn json<T: Serialize>(value: T) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> rusqlite::Result<T> {
    from_json(column, row.get_ref(column)?.as_str().map_err(|_| broken(column))?)
}

fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|_| broken(column))
}

fn broken(column: &'static str) -> rusqlite::Error {
    let what = FromSqlError::Other(format!("column {column} does not hold what it should").into());
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(what))
}
