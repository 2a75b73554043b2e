//! `omnimind component`: what a server has to run.

use std::path::PathBuf;

use anyhow::anyhow;
use reqwest::Method;
use serde::Deserialize;

use super::super::input::read_component;
use super::super::settings::Global;
use super::super::terminal::{self, note};
use super::connection::{Content, segment};
use super::table::{self, age, short, shown, size};
use super::{Connection, Exit, Failed, ServerArgs, after_help, block_on};
use crate::components::Interpreter;
use crate::server::is_name;

const AFTER_HELP: &str = after_help!(
    "\
Examples:
  omnimind component push guest-tasks/prebuilt/text-stats.wasm   # usable as `text-stats` from now on
  omnimind component push guest-tasks/prebuilt/primes.wasm --name other
  omnimind component list
  omnimind component show text-stats
  omnimind component remove text-stats other
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
    /// Upload a component; what it is called leads to it from now on
    #[command(after_help = AFTER_HELP)]
    Push(Push),
    /// List what is there
    #[command(after_help = AFTER_HELP)]
    List {
        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a component is: its interface, and what it says of itself
    #[command(after_help = AFTER_HELP)]
    Show {
        /// A name, or a digest (sha256:…)
        component: String,

        /// Print the server's JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove components; every name that leads to one goes with it
    #[command(after_help = AFTER_HELP)]
    Remove {
        /// Names, or digests (sha256:…)
        #[arg(required = true)]
        components: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Push {
    /// A .wasm file: a component, or a WASI 0.1 command module
    file: PathBuf,

    /// What it is called [default: the file's name without .wasm]
    #[arg(long)]
    name: Option<String>,

    /// Give it no name: it is found by its digest
    #[arg(long, conflicts_with = "name")]
    no_name: bool,

    /// Print the server's JSON
    #[arg(long)]
    json: bool,
}

/// A component as the server tells it.
#[derive(Debug, Deserialize)]
struct Component {
    digest: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    imports: Vec<String>,
    #[serde(default)]
    exports: Vec<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    compiled_ms: u64,
    adapted: Option<String>,
    description: Option<String>,
    /// `compiling`, while it is.
    status: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failed> {
    let connection = Connection::of_command(&args.server, global)?;
    block_on(async {
        match args.command {
            Command::Push(push) => upload(&connection, push).await,
            Command::List { json } => list(&connection, json).await,
            Command::Show { component, json } => show(&connection, &component, json).await,
            Command::Remove { components } => remove(&connection, &components).await,
        }
    })
}

async fn upload(connection: &Connection, push: Push) -> Result<Exit, Failed> {
    let Push { file, name, no_name, json } = push;
    if Interpreter::of(&file).is_some() {
        let file = file.display();
        return Err(Failed::usage(anyhow!(
            "{file} is a script, and not pushed: omnimind task submit {file}"
        )));
    }
    let bytes = read_component(&file)?
        .map_err(|refusal| Failed { exit: Exit::Refused, error: anyhow!("{refusal}") })?;
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_name(stem));
    let name = name.or_else(|| stem.map(str::to_owned)).filter(|_| !no_name);
    if name.is_none() && !no_name {
        note!(
            "the file's name is no name for a component: give one with --name, or it is found by its digest"
        );
    }
    let query: Vec<(&str, &str)> = name.iter().map(|name| ("name", name.as_str())).collect();
    let content = Content {
        media_type: "application/wasm".to_owned(),
        bytes: bytes::Bytes::from_owner(bytes),
        headers: Vec::new(),
    };
    let sent = connection.send(Method::POST, &["api", "components", ""], &query, Some(content));
    let body = terminal::while_waiting(sent, |seconds| {
        format!("the server compiles it for {seconds} s, which is done once for these bytes")
    });
    let body = body.await?;
    if json {
        table::print_json(&body).map_err(Failed::runtime)?;
        return Ok(Exit::Completed);
    }
    let component: Component = connection.parse(&body)?;
    let called = shown(name.as_deref().unwrap_or(&component.digest));
    let text = format!(
        "{called}\n  digest        {}\n  kind          {}\n  size          {}\n  capabilities  {}\n  compiled in   {} ms\n",
        shown(&component.digest),
        shown(&component.kind),
        size(component.size),
        listed(&component.capabilities),
        component.compiled_ms,
    );
    terminal::write_stdout(text.as_bytes()).map_err(Failed::runtime)?;
    note!("run it: omnimind task submit {called} --wait{} --input …", connection.flags());
    Ok(Exit::Completed)
}

async fn list(connection: &Connection, json: bool) -> Result<Exit, Failed> {
    #[derive(Deserialize)]
    struct List {
        components: Vec<Component>,
    }
    let body = connection.get(&["api", "components", ""], &[]).await?;
    if json {
        table::print_json(&body).map_err(Failed::runtime)?;
        return Ok(Exit::Completed);
    }
    let List { components } = connection.parse(&body)?;
    let row = |component: &Component| {
        vec![
            shown(&if component.names.is_empty() { "-".to_owned() } else { component.names.join(",") }),
            shown(short(&component.digest)),
            shown(&component.kind),
            size(component.size),
            listed(&component.capabilities),
            age(&component.created_at),
        ]
    };
    let rows: Vec<Vec<String>> = components.iter().map(row).collect();
    table::print(&["NAME", "DIGEST", "KIND", "SIZE", "CAPABILITIES", "AGE"], &rows, 0)
        .map_err(Failed::runtime)?;
    if rows.is_empty() {
        note!("nothing is there yet: omnimind component push FILE.wasm{}", connection.flags());
    }
    Ok(Exit::Completed)
}

async fn show(connection: &Connection, reference: &str, json: bool) -> Result<Exit, Failed> {
    let reference = segment("component's name or digest", reference)?;
    let body = connection.get(&["api", "components", reference], &[]).await.map_err(|error| {
        match error.status() {
            Some(404) => unknown(connection, reference, error.into()),
            _ => error.into(),
        }
    })?;
    if json {
        table::print_json(&body).map_err(Failed::runtime)?;
        return Ok(Exit::Completed);
    }
    let component: Component = connection.parse(&body)?;
    let mut text = format!("digest        {}\n", shown(&component.digest));
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<13} {value}\n"));
    if let Some(status) = &component.status {
        line("status", shown(status));
    } else {
        line("names", listed(&component.names));
        line("kind", shown(&component.kind));
        line("size", size(component.size));
        if let Some(adapted) = &component.adapted {
            line("adapted", format!("from {}", shown(adapted)));
        }
        line("uploaded", format!("{} ({} ago)", shown(&component.created_at), age(&component.created_at)));
        line("compiled in", format!("{} ms", component.compiled_ms));
        line("capabilities", listed(&component.capabilities));
        line("imports", listed(&component.imports));
        line("exports", listed(&component.exports));
        if let Some(description) = &component.description {
            line("description", shown(description));
        }
    }
    terminal::write_stdout(text.as_bytes()).map_err(Failed::runtime)?;
    Ok(Exit::Completed)
}

/// What helps where nothing is called like this.
pub fn unknown(connection: &Connection, reference: &str, failed: Failed) -> Failed {
    let Failed { exit, error } = failed;
    let flags = connection.flags();
    let name = if is_name(reference) { format!(" --name {reference}") } else { String::new() };
    Failed { exit, error: anyhow!("{error:#}; from here: omnimind component push FILE.wasm{name}{flags}") }
}

async fn remove(connection: &Connection, references: &[String]) -> Result<Exit, Failed> {
    for reference in references {
        let reference = segment("component's name or digest", reference)?;
        // A name takes the component with it, and so every other name: say which.
        let known = connection.get(&["api", "components", reference], &[]).await;
        let known = known.ok().and_then(|body| connection.parse::<Component>(&body).ok());
        connection.send(Method::DELETE, &["api", "components", reference], &[], None).await?;
        match known.filter(|known| known.names.len() > 1) {
            Some(known) => note!("removed {}: {}", shown(short(&known.digest)), listed(&known.names)),
            None => note!("removed {}", shown(reference)),
        }
    }
    Ok(Exit::Completed)
}

fn listed(words: &[String]) -> String {
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(", "),
    }
}
