//! `omnimind model`: the models that are run here, in DATA_DIR/models.

mod download;
mod pull;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::client::table;
use super::terminal::note;
use super::{Exit, Failed};
use crate::backend::embedding::folder_of;
use crate::config::{Config, is_model_name};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Download a model for embeddings; what an earlier try has got is gone on with
    Pull(pull::Args),
    /// List the models that are there
    List,
    /// Remove one
    Remove {
        /// Which
        name: String,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args, config: &Config) -> Result<Exit, Failed> {
    match &args.command {
        Command::Pull(args) => pull::run(args, config),
        Command::List => list(&config.data_dir).map_err(Failed::usage),
        Command::Remove { name } => {
            let folder = folder(&config.data_dir, name).map_err(Failed::usage)?;
            if !folder.is_dir() {
                let error = anyhow!("there is no model {name}: `omnimind model list`");
                return Err(Failed { exit: Exit::NotFound, error });
            }
            fs::remove_dir_all(&folder)
                .with_context(|| folder.display().to_string())
                .map_err(Failed::usage)?;
            note!("removed; a server that has it in memory keeps it until it ends");
            Ok(Exit::Completed)
        }
    }
}

/// Where the model of that name is, or would be.
fn folder(data_dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    match is_model_name(name) {
        true => Ok(folder_of(data_dir, name)),
        false => Err(anyhow!("`{name}` is no model's name: it is like OWNER/NAME")),
    }
}

fn list(data_dir: &Path) -> anyhow::Result<Exit> {
    let mut rows = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for owner in entries(&folder_of(data_dir, "")) {
        names.push(owner.clone());
        let within = entries(&folder_of(data_dir, &owner));
        names.extend(within.into_iter().map(|name| format!("{owner}/{name}")));
    }
    for name in names.into_iter().filter(|name| is_model_name(name)) {
        let folder = folder_of(data_dir, &name);
        if folder.join("config.json").is_file() {
            rows.push(vec![name, table::size(bytes(&folder)), folder.display().to_string()]);
        }
    }
    rows.sort();
    table::print(&["NAME", "SIZE", "FOLDER"], &rows, 0)?;
    Ok(Exit::Completed)
}

/// The folders in a folder.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}
