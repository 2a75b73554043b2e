//! `omnimind demo`: a server of its own, tasks on files that are here, and guests that are stopped.
//!
//! Needs nothing but this binary: the samples are in it, and the data directory goes when it ends.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::terminal;
use super::connection::{Connection, Content};
use super::form::Form;
use super::own_server::OwnServer;
use super::table::{self, duration, shown, size};
use super::{Exit, Failed};
use crate::app::Stop;
use crate::limits::Mode;
use crate::task::{Receipt, Record};

/// The components that are uploaded first, by name.
const SAMPLES: [(&str, &[u8]); 3] = [
    ("text-stats", include_bytes!("../../../../guest-tasks/prebuilt/text-stats.wasm")),
    ("csv-summary", include_bytes!("../../../../guest-tasks/prebuilt/csv-summary.wasm")),
    ("primes", include_bytes!("../../../../guest-tasks/prebuilt/primes.wasm")),
];
const RUNAWAY: &[u8] = include_bytes!("../../../../guest-tasks/prebuilt/runaway.wasm");

/// What is counted where there is no README.md.
const README: &[u8] = include_bytes!("../../../../README.md");

/// How long the guests that never end may run.
const ALLOWED_MS: u64 = 2000;

/// Files of the list, at most.
const MAX_FILES: usize = 2000;

/// Shows what OmniMind does.
pub fn run() -> Result<Exit, Failed> {
    super::block_on(async {
        let mut stop = Stop::new().map_err(Failed::runtime)?;
        let shown = async { show(&OwnServer::start("demo", Mode::Dev).await?).await };
        tokio::select! {
            shown = shown => shown.map(|()| Exit::Completed),
            () = stop.asked() => Ok(Exit::Cancelled),
        }
    })
}

async fn show(server: &OwnServer) -> Result<(), Failed> {
    let connection = server.connection()?;
    say(&format!("A server of its own: {}\n\nThree components, uploaded and compiled:\n", connection.url()))?;
    upload(&connection).await?;
    say("\nThree tasks on what is in this directory, and what each of them took:\n")?;
    run_tasks(&connection).await?;
    stop_runaways(&connection).await
}

async fn upload(connection: &Connection) -> Result<(), Failed> {
    let mut rows = Vec::new();
    for (name, bytes) in SAMPLES {
        let component = push(connection, name, bytes).await?;
        rows.push(vec![
            name.to_owned(),
            size(component.size),
            milliseconds(component.compiled_ms),
            table::short(&component.digest).to_owned(),
        ]);
    }
    table::print(&["NAME", "SIZE", "COMPILED IN", "DIGEST"], &rows, 0).map_err(Failed::runtime)
}

async fn run_tasks(connection: &Connection) -> Result<(), Failed> {
    let (list, files) = list_of_files(Path::new("."));
    let readme = fs::read("README.md").unwrap_or_else(|_| README.to_vec());
    let tasks = [
        ("text-stats", format!("README.md, {}", size(readme.len() as u64)), readme, "words"),
        ("csv-summary", format!("a list of {files} files"), list, "rows"),
        ("primes", "100000000".to_owned(), b"100000000".to_vec(), "primes"),
    ];
    let mut rows = Vec::new();
    for (name, about, input, noun) in tasks {
        let record = submit(connection, &json!({"component": name}), &input, Some("60s")).await?;
        let receipt = record.receipt.as_ref().ok_or_else(|| unexpected(name, &record))?;
        let result = record.result.as_ref().ok_or_else(|| unexpected(name, &record))?;
        rows.push(vec![
            name.to_owned(),
            about,
            shown(&count(result, noun)),
            used(receipt, "fuel", |fuel| format!("{:.1} M", fuel as f64 / 1e6)),
            used(receipt, "memory_bytes", size),
            milliseconds(receipt.wall_ms),
        ]);
    }
    let head = ["TASK", "INPUT", "OUTPUT", "FUEL", "MEMORY", "TIME"];
    table::print(&head, &rows, 2).map_err(Failed::runtime)
}

/// The point of it all.
async fn stop_runaways(connection: &Connection) -> Result<(), Failed> {
    let count = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    say(&format!(
        "\nAnd {count} guests that never end, two for each core, each with {} to live:\n\n",
        milliseconds(ALLOWED_MS)
    ))?;
    push(connection, "runaway", RUNAWAY).await?;
    let task = json!({"component": "runaway", "limits": {"wall_ms": ALLOWED_MS}});
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(submit(connection, &task, b"", None).await?.task_id.to_string());
    }
    let (mut asked, mut slowest, mut failure) = (0, Duration::ZERO, None);
    for id in &ids {
        let record = loop {
            slowest = slowest.max(ask_for_health(connection).await?);
            asked += 1;
            let record: Record = connection.parse(&connection.get(&["api", "tasks", id], &[]).await?)?;
            if record.status.is_final() {
                break record;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        };
        failure = Some(record.failure.clone().ok_or_else(|| unexpected("runaway", &record))?);
    }
    let failure = failure.ok_or_else(|| Failed::runtime(anyhow!("no guest was started")))?;
    say(&format!(
        "{}\n\nAll {count} were stopped. Meanwhile the server was asked {asked} times how it is: healthy each \
         time,\nthe slowest answer took {:.1} ms.\n",
        terminal::failure_text(&failure),
        slowest.as_secs_f64() * 1000.0
    ))
}

/// How long the server takes to say that it is healthy. Anything else ends the demo.
async fn ask_for_health(connection: &Connection) -> Result<Duration, Failed> {
    let begun = Instant::now();
    let health: Health = connection.parse(&connection.get(&["api", "v1", "health"], &[]).await?)?;
    match health.overall_status.as_str() {
        "healthy" => Ok(begun.elapsed()),
        other => Err(Failed::runtime(anyhow!("the server is {}", shown(other)))),
    }
}

/// What of an output is worth a line: so many of what it calls `noun`.
fn count(output: &RawValue, noun: &str) -> String {
    let output: serde_json::Value = serde_json::from_str(output.get()).unwrap_or_default();
    format!("{} {noun}", output.get(noun).unwrap_or_default())
}

fn say(text: &str) -> Result<(), Failed> {
    terminal::write_stdout(text.as_bytes()).map_err(Failed::runtime)
}

fn milliseconds(ms: u64) -> String {
    duration(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn unexpected(name: &str, record: &Record) -> Failed {
    let why = record.failure.as_ref().map_or(String::new(), |failure| terminal::failure_text(failure));
    Failed::runtime(anyhow!("the task {name} is {}, which it should not be: {why}", record.status.name()))
}

fn used(receipt: &Receipt, budget: &str, text: impl Fn(u64) -> String) -> String {
    receipt.budget(budget).and_then(|line| line.used).map_or_else(|| "-".to_owned(), text)
}

#[derive(Deserialize)]
struct Component {
    digest: String,
    size: u64,
    compiled_ms: u64,
}

#[derive(Deserialize)]
struct Health {
    overall_status: String,
}

async fn push(connection: &Connection, name: &str, bytes: &'static [u8]) -> Result<Component, Failed> {
    let content =
        Content { media_type: "application/wasm".to_owned(), bytes: bytes.into(), headers: Vec::new() };
    let path = ["api", "components"];
    let body = connection.send(Method::POST, &path, &[("name", name)], Some(content)).await?;
    Ok(connection.parse(&body)?)
}

async fn submit(
    connection: &Connection,
    task: &serde_json::Value,
    input: &[u8],
    wait: Option<&str>,
) -> Result<Record, Failed> {
    let form = Form::new().map_err(Failed::runtime)?;
    let form = form.part("task", "application/json", task.to_string().as_bytes());
    let form = form.part("input", "application/octet-stream", input);
    let query: Vec<(&str, &str)> = wait.map(|wait| ("wait", wait)).into_iter().collect();
    let body = connection.send(Method::POST, &["api", "tasks"], &query, Some(form.finish())).await?;
    Ok(connection.parse(&body)?)
}

/// The files below `dir` as CSV, hidden ones and build outputs left out; and how many they are.
fn list_of_files(dir: &Path) -> (Vec<u8>, usize) {
    let mut list = String::from("path,kind,lines,bytes\n");
    let mut files = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(kind) = entry.file_type() else { continue };
            if name.starts_with('.') || name == "target" || name == "node_modules" || files >= MAX_FILES {
                continue;
            }
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
                let path = entry.path();
                let lines = if bytes > 1 << 20 { 0 } else { lines(&path) };
                let extension = path.extension().unwrap_or_default().to_string_lossy().replace('"', "");
                let path = path.to_string_lossy().replace('"', "");
                list.push_str(&format!("\"{path}\",\"{extension}\",{lines},{bytes}\n"));
                files += 1;
            }
        }
    }
    (list.into_bytes(), files)
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}
