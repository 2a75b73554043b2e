//! `omnimind store check | backup | repair`: work on a store while no server, or another one, runs on it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::super::blobs::{Blobs, Hash};
use super::super::data_dir::DataDir;
use super::readers::open_read_only;
use super::{connect, retention, rows, schema};
use crate::private;

/// Problems named in a report; of more, the number.
const MAX_PROBLEMS: usize = 20;

/// Moments of the database that a backup tries; each lacks only the files that went since the one before.
const BACKUP_TRIES: u32 = 10;

/// SQLite's own look at the structure of the file, without the rows' cross-checks.
///
/// # Errors
/// The file cannot be read; inside, what is wrong with it.
pub fn quick_check(db: &Connection) -> rusqlite::Result<Result<(), String>> {
    verdict(db, "PRAGMA quick_check(1)")
}

fn verdict(db: &Connection, check: &str) -> rusqlite::Result<Result<(), String>> {
    let words: String = db.query_row(check, [], |row| row.get(0))?;
    Ok(if words == "ok" { Ok(()) } else { Err(words.trim().to_owned()) })
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Tasks that can be read.
    pub tasks: u64,
    /// Components that can be read.
    pub components: u64,
    /// Blobs that are what their name says.
    pub blobs: u64,
    /// Blobs that no row names: leftovers, not damage.
    pub orphans: u64,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

impl Report {
    fn problem(&mut self, what: String) {
        match self.problems.len().cmp(&MAX_PROBLEMS) {
            Ordering::Less => self.problems.push(what),
            Ordering::Equal => self.problems.push("and more".to_owned()),
            Ordering::Greater => {}
        }
    }
}

/// Checks the whole store in `data_dir`: the file's structure, its indexes, and every blob that a row names.
/// A server may be running on it.
///
/// # Errors
/// There is nothing to check; damage is in the report.
pub fn check(data_dir: &Path) -> anyhow::Result<Report> {
    let path = data_dir.join("tasks.db");
    let mut report = Report::default();
    let found = fs::metadata(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    if found.len() == 0 {
        report.problem(format!("{} is empty", path.display()));
        return Ok(report);
    }
    if let Err(error) = examine(data_dir, &path, &mut report) {
        report.problem(format!("{}: {error:#}", path.display()));
    }
    Ok(report)
}

fn examine(data_dir: &Path, path: &Path, report: &mut Report) -> anyhow::Result<()> {
    let db = open_read_only(path)?;
    schema::recognise(&db)?;
    if let Err(words) = verdict(&db, "PRAGMA integrity_check(10)")? {
        words.lines().for_each(|line| report.problem(line.to_owned()));
    }
    let count =
        |table: &str| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0));
    report.tasks = count("tasks")?;
    report.components = count("components")?;
    for (row, why) in rows::unreadable(&db)? {
        report.problem(format!("row {row} of tasks: {why}"));
    }
    let blobs = Blobs::at(data_dir.join("blobs"));
    let used = retention::used_blobs(&db)?;
    for hash in &used {
        match blobs.read(hash) {
            Ok(_) => report.blobs += 1,
            Err(error) => report.problem(error.to_string()),
        }
    }
    report.orphans = blobs.all()?.iter().filter(|(hash, _)| !used.contains(hash)).count() as u64;
    Ok(())
}

/// Copies the store in `data_dir` to `to`, which must not be there yet. A server may be running on it.
///
/// # Errors
/// Anything that keeps the copy from being whole; what was copied until then stays.
pub fn backup(data_dir: &Path, to: &Path) -> anyhow::Result<Report> {
    let path = data_dir.join("tasks.db");
    let source = open_read_only(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
    schema::recognise(&source).with_context(|| path.display().to_string())?;
    fs::create_dir(to)
        .with_context(|| format!("{}: give a directory that is not there yet", to.display()))?;
    let (from, blobs) = (Blobs::at(data_dir.join("blobs")), Blobs::open(to.join("blobs"))?);
    // One moment of the database, for the rows and for the files that they name. What is gone before it could
    // be copied, no later moment names.
    let mut tries = 0;
    let used = loop {
        source.execute_batch("BEGIN")?;
        let used = retention::used_blobs(&source)?;
        tries += 1;
        if copy_blobs(&from, &blobs, &used)? || tries == BACKUP_TRIES {
            break used;
        }
        source.execute_batch("ROLLBACK")?;
    };
    let target = to.join("tasks.db");
    private::file(&target)?;
    let mut copy = connect(&target, OpenFlags::empty())?;
    // All in one step: between two, a writer makes it begin again, and a busy server never lets it end.
    if !matches!(Backup::new(&source, &mut copy)?.step(-1)?, StepResult::Done) {
        bail!("{} is locked by another program", path.display());
    }
    source.execute_batch("ROLLBACK")?;
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    blobs.sweep(&used, std::time::Duration::ZERO)?;
    copy.close().map_err(|(_, error)| error)?;
    for path in [&target, &to.join("blobs"), to] {
        fs::File::open(path)?.sync_all()?;
    }
    check(to)
}

/// Copies those of `used` that are not there yet; false if one of them is gone.
fn copy_blobs(from: &Blobs, to: &Blobs, used: &HashSet<Hash>) -> anyhow::Result<bool> {
    let there: HashSet<_> = to.all()?.into_iter().map(|(hash, _)| hash).collect();
    let mut whole = true;
    for hash in used.difference(&there) {
        let (path, target) = (from.path(hash), to.path(hash));
        // A link costs nothing and is safe: a blob is never written again.
        if fs::hard_link(&path, &target).is_ok() {
            continue;
        }
        let copied = fs::copy(&path, &target).and_then(|_| fs::File::open(&target)?.sync_all());
        match copied {
            Err(error) if error.kind() == ErrorKind::NotFound => whole = false,
            copied => copied.with_context(|| path.display().to_string())?,
        }
    }
    Ok(whole)
}

/// What a repair did.
#[derive(Debug)]
pub struct Repaired {
    /// Where the damaged file is now.
    pub kept: PathBuf,
    /// Rows saved, by table.
    pub saved: Vec<(&'static str, u64)>,
    /// What was found afterwards.
    pub report: Report,
}

const TABLES: [&str; 5] = ["tasks", "checkpoints", "idempotency", "components", "component_names"];

/// Saves what can be read of a damaged store into a new one, and keeps the damaged file beside it.
///
/// # Errors
/// A server is running on it, or the file is not a database at all.
pub fn repair(data_dir: &Path) -> anyhow::Result<Repaired> {
    let dir = DataDir::open(data_dir)?;
    let path = dir.path().join("tasks.db");
    let damaged = connect(&path, OpenFlags::empty())
        .and_then(|db| db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map(|()| db));
    let damaged = damaged.with_context(|| {
        format!("{} holds nothing that can be saved; put a backup in its place", path.display())
    })?;
    if let Err(schema::Unsuitable::Newer(version)) = schema::recognise(&damaged) {
        bail!(
            "{} has schema version {version}, of a newer omnimind: repair it with that one",
            path.display()
        );
    }
    let scratch = dir.path().join("tasks.db.repaired");
    let _ = fs::remove_file(&scratch);
    private::file(&scratch)?;
    let mut new = connect(&scratch, OpenFlags::empty())?;
    schema::create(&mut new)?;
    let mut saved = Vec::new();
    for table in TABLES {
        saved.push((table, save(&damaged, &mut new, table)?));
    }
    // A damaged page may still be a page. One such row would keep all others from being listed.
    for (row, _) in rows::unreadable(&new)? {
        new.execute("DELETE FROM tasks WHERE rowid = ?", [row])?;
        if let Some((_, tasks)) = saved.first_mut() {
            *tasks -= 1;
        }
    }
    new.close().map_err(|(_, error)| error)?;
    drop(damaged);
    let stamp = jiff::Timestamp::now().as_second();
    let kept = dir.path().join(format!("tasks.db.damaged-{stamp}"));
    for suffix in ["", "-wal", "-shm"] {
        let from = dir.path().join(format!("tasks.db{suffix}"));
        if from.exists() {
            fs::rename(&from, format!("{}{suffix}", kept.display()))?;
        }
    }
    fs::rename(&scratch, &path)?;
    fs::File::open(dir.path())?.sync_all()?;
    Ok(Repaired { kept, saved, report: check(dir.path())? })
}

/// Copies the rows of one table that can be read: from the first on, and from the last back, because a
/// damaged page ends each of the two at another place.
fn save(from: &Connection, to: &mut Connection, table: &str) -> anyhow::Result<u64> {
    let columns: Vec<String> = to
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let key = if table == "tasks" { "rowid" } else { "1" };
    let transaction = to.transaction()?;
    let marks = vec!["?"; columns.len()].join(", ");
    let names = columns.join(", ");
    let mut saved = 0;
    for order in ["ASC", "DESC"] {
        let select = format!("SELECT {names} FROM {table} NOT INDEXED ORDER BY {key} {order}");
        let Ok(mut select) = from.prepare(&select) else { continue };
        let Ok(mut rows) = select.query([]) else { continue };
        let mut insert =
            transaction.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"))?;
        while let Ok(Some(row)) = rows.next() {
            let values: rusqlite::Result<Vec<Value>> = (0..columns.len()).map(|at| row.get(at)).collect();
            if let Ok(values) = values {
                // A row that breaks the table's own rules is one of the damages.
                saved += insert.execute(params_from_iter(values)).unwrap_or(0) as u64;
            }
        }
    }
    transaction.commit()?;
    Ok(saved)
}
