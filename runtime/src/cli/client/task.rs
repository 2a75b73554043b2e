//! `omnimind task`: from a submission to its result.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::settings::Global;
use super::super::terminal::{self, note};
use super::connection::segment;
use super::table::{self, age, between, duration, short, shown};
use super::wait::{time, to_the_end};
use super::{Connection, Exit, Failed, ServerArgs, after_help, block_on, logs, show, submit};
use crate::task::{Priority, Record, Status};

const AFTER_HELP: &str = after_help!(
    "\
Examples:
  omnimind task submit guest-tasks/prebuilt/text-stats.wasm --input @README.md --limit fuel=1000000000 --wait=30s
  omnimind component push guest-tasks/prebuilt/text-stats.wasm
  omnimind task submit text-stats --input '{\"n\": 5}' --wait
  id=$(ls | omnimind task submit text-stats --input -)
  omnimind task logs $id --follow
  omnimind task wait $id > output
  omnimind task list --status failed
  omnimind task cancel $id --grace 5s
"
);

/// Tasks that are listed where nobody says how many.
const LISTED: usize = 50;

/// Tasks in one answer of the server.
const PAGE: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Submit a task: print its id, or with --wait its output and receipt
    #[command(after_help = AFTER_HELP)]
    Submit(Box<submit::Args>),
    /// List tasks, the newest first
    #[command(after_help = AFTER_HELP)]
    List(List),
    /// Show what is known of a task: how far it is, why it failed, what it cost
    #[command(after_help = AFTER_HELP)]
    Show {
        /// The task's id
        id: String,

        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
    /// Wait for a task's end, then print its output and receipt
    #[command(after_help = AFTER_HELP)]
    Wait {
        /// The task's id
        id: String,

        /// At most so long, e.g. 30s [default: until it ends]
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,

        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a task wrote to its log
    #[command(after_help = AFTER_HELP)]
    Logs {
        /// The task's id
        id: String,

        /// Go on until the task ends
        #[arg(long, short)]
        follow: bool,
    },
    /// End a task
    #[command(after_help = AFTER_HELP)]
    Cancel {
        /// The task's id
        id: String,

        /// How long it may see that it is to end, before it is ended [default: 0s]
        #[arg(long, value_name = "TIME", value_parser = time)]
        grace: Option<Duration>,

        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Those that are pending, running, paused, completed, failed or cancelled
    #[arg(long, value_parser = Status::ALL.map(Status::name))]
    status: Option<String>,

    /// Those of one priority
    #[arg(long, value_parser = Priority::ALL.map(Priority::name))]
    priority: Option<String>,

    /// Those of one component, as it was named in the submission
    #[arg(long)]
    component: Option<String>,

    /// So many at most [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failed> {
    let connection = Connection::of_command(&args.server, global)?;
    block_on(async {
        match args.command {
            Command::Submit(args) => submit::run(&connection, *args).await,
            Command::List(args) => list(&connection, &args).await,
            Command::Show { id, json } => show(&connection, segment("task's id", &id)?, json).await,
            Command::Wait { id, timeout, json } => {
                to_the_end(&connection, segment("task's id", &id)?, timeout, json).await
            }
            Command::Logs { id, follow } => {
                logs::print(&connection, segment("task's id", &id)?, follow).await
            }
            Command::Cancel { id, grace, json } => {
                cancel(&connection, segment("task's id", &id)?, grace, json).await
            }
        }
    })
}

/// A page of the list, and all of them together.
#[derive(Default, Deserialize, Serialize)]
struct Page {
    tasks: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// What a line of the list shows of a record.
#[derive(Deserialize)]
struct Listed {
    task_id: String,
    status: String,
    progress: f64,
    priority: String,
    component: String,
    created_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
}

async fn list(connection: &Connection, args: &List) -> Result<Exit, Failed> {
    let most = match (args.all, args.limit) {
        (true, _) => usize::MAX,
        (false, Some(limit)) => usize::try_from(limit).unwrap_or(usize::MAX),
        (false, None) => LISTED,
    };
    let mut whole = Page::default();
    loop {
        let limit = most.saturating_sub(whole.tasks.len()).min(PAGE).to_string();
        let mut query = vec![("limit", limit.as_str())];
        let filters =
            [("status", &args.status), ("priority", &args.priority), ("component", &args.component)];
        query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        let cursor = whole.next_cursor.take();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let body = connection.get(&["api", "tasks", ""], &query).await?;
        let page: Page = connection.parse(&body)?;
        let done = page.next_cursor.is_none() || whole.tasks.len() + page.tasks.len() >= most;
        if done && whole.tasks.is_empty() && args.json {
            table::print_json(&body).map_err(Failed::runtime)?;
            return Ok(Exit::Completed);
        }
        whole.tasks.extend(page.tasks);
        whole.next_cursor = page.next_cursor;
        if done {
            break;
        }
    }
    if args.json {
        let body = serde_json::to_vec(&whole).map_err(Failed::runtime)?;
        table::print_json(&body).map_err(Failed::runtime)?;
        return Ok(Exit::Completed);
    }
    let rows = whole.tasks.iter().map(|task| Ok(row(&connection.parse(task.get().as_bytes())?)));
    let rows: Vec<Vec<String>> = rows.collect::<Result<_, Failed>>()?;
    table::print(&["ID", "STATUS", "%", "PRIO", "COMPONENT", "AGE", "TIME"], &rows, 4)
        .map_err(Failed::runtime)?;
    if whole.next_cursor.is_some() {
        note!("these are the newest {}; --limit N or --all shows more", rows.len());
    }
    Ok(Exit::Completed)
}

fn row(task: &Listed) -> Vec<String> {
    let component = match task.component.starts_with("sha256:") {
        true => short(&task.component),
        false => &task.component,
    };
    let took = task.started_at.as_deref().and_then(|from| between(from, task.completed_at.as_deref()));
    vec![
        shown(&task.task_id),
        shown(&task.status),
        format!("{:.0}", task.progress),
        shown(match task.priority.as_str() {
            "medium" => "med",
            "critical" => "crit",
            other => other,
        }),
        shown(component),
        age(&task.created_at),
        took.map_or_else(|| "-".to_owned(), duration),
    ]
}

async fn show(connection: &Connection, id: &str, json: bool) -> Result<Exit, Failed> {
    let body = connection.get(&["api", "tasks", id], &[]).await?;
    if json {
        table::print_json(&body).map_err(Failed::runtime)?;
        return Ok(Exit::Completed);
    }
    let record: Record = connection.parse(&body)?;
    terminal::write_stdout(show::text(&record, connection.flags()).as_bytes()).map_err(Failed::runtime)?;
    Ok(Exit::Completed)
}

async fn cancel(
    connection: &Connection,
    id: &str,
    grace: Option<Duration>,
    json: bool,
) -> Result<Exit, Failed> {
    let grace = grace.map(|grace| format!("{}ms", grace.as_millis()));
    let query: Vec<(&str, &str)> = grace.iter().map(|grace| ("grace", grace.as_str())).collect();
    let body = connection.send(Method::DELETE, &["api", "tasks", id], &query, None).await?;
    if json {
        table::print_json(&body).map_err(Failed::runtime)?;
        return Ok(Exit::Completed);
    }
    let record: Record = connection.parse(&body)?;
    match record.status.is_final() {
        true => note!("task {id} is {}", record.status.name()),
        false => note!("task {id} is being ended: omnimind task wait {id}{} shows when", connection.flags()),
    }
    Ok(Exit::Completed)
}
