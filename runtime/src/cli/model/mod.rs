//! `omnimind model`: models for embeddings, which are run here, in DATA_DIR/models, and language models, which Ollama has.

mod download;
mod language;
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
    /// List the models that are there: for embeddings, and those that Ollama has
    List,
    /// Show what one is and takes, and which tasks may use it
    Show {
        /// Which
        name: String,
    },
    /// Remove one for embeddings; `ollama rm` removes others
    Remove {
        /// Which
        name: String,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args, config: &Config) -> Result<Exit, Failed> {
    match &args.command {
        Command::Pull(args) => pull::run(args, config),
        Command::List => list(config).map_err(Failed::usage),
        Command::Show { name } => show(config, name),
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

fn list(config: &Config) -> anyhow::Result<Exit> {
    let mut rows: Vec<Vec<String>> = local(&config.data_dir)
        .into_iter()
        .map(|(name, folder)| {
            let usable = "granted embedding".to_owned();
            vec![name, "embedding".to_owned(), table::size(bytes(&folder)), String::new(), usable]
        })
        .collect();
    match language::models(config) {
        Ok(models) => rows.extend(models.iter().map(|model| language::row(model, config))),
        Err(why) => note!("no language models: {why}"),
    }
    table::print(&["NAME", "KIND", "SIZE", "LOADED", "TASKS"], &rows, 0)?;
    Ok(Exit::Completed)
}

fn show(config: &Config, name: &str) -> Result<Exit, Failed> {
    if let Some((name, folder)) = local(&config.data_dir).into_iter().find(|(local, _)| local == name) {
        let lines = [
            ("name", name),
            ("kind", "embedding".to_owned()),
            ("size", table::size(bytes(&folder))),
            ("folder", folder.display().to_string()),
            ("tasks", "those granted embedding, where embedding.model is this one".to_owned()),
        ];
        return table::print_lines(&lines).map(|()| Exit::Completed).map_err(Failed::runtime);
    }
    let lines = language::lines(name, config)?;
    table::print_lines(&lines).map(|()| Exit::Completed).map_err(Failed::runtime)
}

/// Models for embeddings, and their folders.
fn local(data_dir: &Path) -> Vec<(String, PathBuf)> {
    let mut names: Vec<String> = Vec::new();
    for owner in entries(&folder_of(data_dir, "")) {
        names.push(owner.clone());
        let within = entries(&folder_of(data_dir, &owner));
        names.extend(within.into_iter().map(|name| format!("{owner}/{name}")));
    }
    let placed = |name: String| (folder_of(data_dir, &name), name);
    let there = names.into_iter().filter(|name| is_model_name(name)).map(placed);
    let mut models: Vec<_> = there
        .filter(|(folder, _)| folder.join("config.json").is_file())
        .map(|(folder, name)| (name, folder))
        .collect();
    models.sort();
    models
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
