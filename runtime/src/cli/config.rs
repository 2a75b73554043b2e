//! `omnimind config`: is the configuration right, and what is in force?

use std::path::PathBuf;

use serde_json::json;

use super::settings::{self, Global, Overrides};
use super::{Exit, Failed, terminal};
use crate::config::{Loaded, Setting};
use crate::server;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check files, environment and flags. Exit codes: 0 all is well; 2 something is wrong
    Check {
        /// A directory with the files, or one file; the same as --config
        path: Option<PathBuf>,
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Print every value in force and where it came from, secrets hidden. It takes the flags of `serve`
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },
}

/// Runs the subcommand.
pub fn run(args: Args, mut global: Global) -> Result<Exit, Failed> {
    match args.command {
        Command::Check { path, overrides } => {
            global.config.extend(path);
            let loaded = settings::load(&global, overrides.flags())?;
            settings::warn(&loaded);
            for warning in server::check_tls(&loaded.config).map_err(Failed::usage)? {
                terminal::note!("warning: {warning}");
            }
            let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
            let read = if files.is_empty() { "no files, the defaults".to_owned() } else { files.join(", ") };
            terminal::print(&format!("ok: {read}\n")).map_err(Failed::runtime)?;
        }
        Command::Show { json, overrides } => {
            let loaded = settings::load(&global, overrides.flags())?;
            settings::warn(&loaded);
            match json {
                true => terminal::print_json(&as_json(&loaded)),
                false => terminal::print(&table(&loaded)).map_err(Into::into),
            }
            .map_err(Failed::runtime)?;
        }
    }
    Ok(Exit::Completed)
}

fn table(loaded: &Loaded) -> String {
    let rows: Vec<[String; 3]> = loaded
        .settings
        .iter()
        .map(|setting| [setting.key.path.clone(), setting.shown(), setting.origin.to_string()])
        .collect();
    let width = |column: fn(&[String; 3]) -> usize| rows.iter().map(column).max().unwrap_or_default();
    let (keys, values) = (width(|[key, ..]| key.len()), width(|[_, value, _]| value.chars().count().min(40)));
    let line = |[key, value, from]: &[String; 3]| format!("{key:<keys$}  {value:<values$}  {from}\n");
    let head = ["key", "value", "from"].map(str::to_owned);
    std::iter::once(&head).chain(&rows).map(line).collect()
}

fn as_json(loaded: &Loaded) -> serde_json::Value {
    let row = |Setting { key, value, origin }: &Setting| match key.secret {
        true => json!({"key": key.path, "value": null, "set": origin.is_set(), "from": origin.to_string()}),
        false => json!({"key": key.path, "value": value.to_json(), "from": origin.to_string()}),
    };
    loaded.settings.iter().map(row).collect()
}
