//! `omnimind cache`: what a server keeps in memory because it may be asked for again.

use reqwest::Method;
use serde::Deserialize;

use super::super::settings::Global;
use super::super::terminal;
use super::connection::segment;
use super::table::{self, shown, size};
use super::{Connection, Exit, Failed, ServerArgs, after_help, block_on};

const AFTER_HELP: &str = after_help!(
    "\
The caches, which are the operator's to see and to empty:
  task_list           answers of `GET /tasks` (cache.enabled, cache.expire)
  embeddings          vectors of texts, each tenant's own (cache.enabled, embedding.cache)
  inference           answers of language models, each tenant's own (cache.enabled, model.cache_size)
  linked_components   components that are ready to run
  loaded_components   their code, mapped from DATA_DIR/artefacts

Emptying one costs time later and nothing else: what is asked for again is made again.

Examples:
  omnimind cache list
  omnimind cache clear
  omnimind cache clear task_list
"
);

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
    /// List the caches: what they keep, and how often that was of use
    #[command(after_help = AFTER_HELP)]
    List {
        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
    /// Empty one of them, or all; what is in use stays
    #[command(after_help = AFTER_HELP)]
    Clear {
        /// Which: task_list, embeddings, inference, linked_components or loaded_components [default: all]
        name: Option<String>,
    },
}

#[derive(Deserialize)]
struct List {
    caches: Vec<Figures>,
}

#[derive(Deserialize)]
struct Figures {
    name: String,
    enabled: bool,
    entries: u64,
    bytes: Option<u64>,
    capacity: u64,
    hits: u64,
    misses: u64,
    hit_rate: Option<f64>,
}

#[derive(Deserialize)]
struct Cleared {
    cleared: Vec<Removed>,
}

#[derive(Deserialize)]
struct Removed {
    name: String,
    removed: u64,
}

/// Runs the subcommand.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failed> {
    let connection = Connection::of_command(&args.server, global)?;
    block_on(async {
        match args.command {
            Command::List { json } => {
                let body = connection.get(&["api", "cache", ""], &[]).await?;
                if json {
                    table::print_json(&body).map_err(Failed::runtime)?;
                    return Ok(Exit::Completed);
                }
                let List { caches } = connection.parse(&body)?;
                let rows: Vec<Vec<String>> = caches.iter().map(row).collect();
                let head = ["NAME", "ENTRIES", "OF", "SIZE", "HITS", "MISSES", "HIT RATE"];
                table::print(&head, &rows, 0).map_err(Failed::runtime)?;
            }
            Command::Clear { name } => {
                let name = name.as_deref().map(|name| segment("cache", name)).transpose()?;
                let path = ["api", "cache", name.unwrap_or_default()];
                let body = connection.send(Method::DELETE, &path, &[], None).await?;
                let Cleared { cleared } = connection.parse(&body)?;
                for Removed { name, removed } in cleared {
                    let line = format!("{}: {removed} removed\n", shown(&name));
                    terminal::write_stdout(line.as_bytes()).map_err(Failed::runtime)?;
                }
            }
        }
        Ok(Exit::Completed)
    })
}

fn row(cache: &Figures) -> Vec<String> {
    let rate = cache.hit_rate.map_or("-".to_owned(), |rate| format!("{:.0} %", rate * 100.0));
    let capacity = if cache.enabled { cache.capacity.to_string() } else { "off".to_owned() };
    vec![
        shown(&cache.name),
        cache.entries.to_string(),
        capacity,
        cache.bytes.map_or("-".to_owned(), size),
        cache.hits.to_string(),
        cache.misses.to_string(),
        rate,
    ]
}
