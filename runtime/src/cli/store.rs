//! `omnimind store`: look after the task store.

use std::path::{Path, PathBuf};

use super::terminal::note;
use super::{Exit, Failed};
use crate::task_store::maintenance::{self, Report};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check the whole store: the database, its indexes, and every file that it names. A server may be running
    Check,
    /// Copy the store to a directory that is not there yet. A server may be running
    Backup {
        /// Where to
        directory: PathBuf,
    },
    /// Save what can be read of a damaged store into a new one; the damaged file is kept. No server may be running
    Repair,
}

/// Runs the subcommand. Damage is exit code 1.
pub fn run(args: &Args, data_dir: &Path) -> Result<Exit, Failed> {
    let report = match &args.command {
        Command::Check => maintenance::check(data_dir).map_err(Failed::usage)?,
        Command::Backup { directory } => {
            let report = maintenance::backup(data_dir, directory).map_err(Failed::usage)?;
            note!("copied to {}; to use it: omnimind serve --data-dir {0}", directory.display());
            report
        }
        Command::Repair => {
            let repaired = maintenance::repair(data_dir).map_err(Failed::usage)?;
            for (table, rows) in &repaired.saved {
                note!("saved {rows} of {table}");
            }
            note!("the damaged file is {}", repaired.kept.display());
            repaired.report
        }
    };
    Ok(show(&report))
}

fn show(report: &Report) -> Exit {
    let Report { tasks, components, blobs, orphans, problems } = report;
    note!(
        "{tasks} tasks, {components} components, {blobs} files that they name, {orphans} files that nothing names"
    );
    for problem in problems {
        note!("damaged: {problem}");
    }
    match problems.is_empty() {
        true => {
            note!("the store is sound");
            Exit::Completed
        }
        false => {
            note!("stop the server and run `omnimind store repair`, or put a backup in its place");
            Exit::TaskFailed
        }
    }
}
