//! `omnimind model pull`: the files of a model, from where Hugging Face has them or from a mirror of it.
//!
//! Files are fetched into a folder beside the model's own, which it becomes once all of them are there and the model
//! loads: there is a whole model or none. A file with a sum is gone on with where an earlier try ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::super::client::{block_on, progress::Progress};
use super::super::terminal::note;
use super::super::{Exit, Failed};
use super::download::{Download, Source};
use crate::backend::embedding::{EmbeddingBackend, Local};
use crate::config::Config;

/// Where models are, where nobody says another place.
const HUGGING_FACE: &str = "https://huggingface.co";

/// What a model is made of; whether it can do without.
const FILES: [(&str, bool); 7] = [
    ("config.json", false),
    ("tokenizer.json", false),
    ("tokenizer_config.json", true),
    ("sentence_bert_config.json", true),
    ("modules.json", true),
    ("1_Pooling/config.json", true),
    ("model.safetensors", false),
];

const AFTER_HELP: &str = "\
The files come from URL/NAME/resolve/REVISION/FILE and go to DATA_DIR/models/NAME, where `embedding.provider: auto`
finds the model of embedding.model. They are there together or not at all; interrupted, the next pull goes on.

What is checked: the length of each file; the SHA-256 of those that the server tells one of (Hugging Face does of
large files: X-Linked-Etag), or --sums does (lines as sha256sum writes them); and that the model loads.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Which [default: embedding.model]
    name: Option<String>,

    /// Where from: a mirror with the layout of Hugging Face
    #[arg(long, value_name = "URL", default_value = HUGGING_FACE)]
    from: String,

    /// Which version: a branch, a tag or a commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,

    /// SHA-256 of files, as sha256sum writes them
    #[arg(long, value_name = "FILE")]
    sums: Option<PathBuf>,

    /// Certificates in PEM to know an https server by [default: the system's]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args, config: &Config) -> Result<Exit, Failed> {
    let name = args.name.as_deref().unwrap_or(&config.embedding.model);
    let folder = super::folder(&config.data_dir, name).map_err(Failed::usage)?;
    if folder.join("model.safetensors").is_file() {
        note!("{name} is there already: {}", folder.display());
        return Ok(Exit::Completed);
    }
    let sums = match &args.sums {
        Some(file) => read_sums(file).map_err(Failed::usage)?,
        None => BTreeMap::new(),
    };
    let source =
        Source::new(&args.from, name, &args.revision, args.cacert.as_deref()).map_err(Failed::usage)?;
    block_on(async {
        let pulled = pull(&source, &folder, &sums).await;
        let model = pulled.map_err(|error| Failed { exit: Exit::Unreachable, error })?;
        note!("{name} is there: {model}, in {}", folder.display());
        Ok(Exit::Completed)
    })
}

/// Gets everything; says what the model is.
async fn pull(source: &Source, folder: &Path, sums: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    fs::create_dir_all(partial.join("1_Pooling")).with_context(|| partial.display().to_string())?;
    let lock = File::create(partial.join(".lock"))?;
    lock.try_lock()
        .map_err(|_| anyhow!("another `omnimind model pull` is at work in {}", partial.display()))?;

    let mut progress = Progress::new();
    for (file, may_lack) in FILES {
        let download = Download { source, file, to: &partial.join(file), sum: sums.get(file) };
        let there = download.run(&mut progress).await.with_context(|| file.to_owned())?;
        if !there && !may_lack {
            bail!(
                "{file}: the server has no such file: is that the model's name, and has it model.safetensors?"
            );
        }
    }
    progress.clear();
    let (dir, name) =
        (partial.clone(), folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let loaded =
        tokio::task::spawn_blocking(move || Local::load(&dir, &name, 1).map(|local| local.describe()));
    let model = match loaded.await? {
        Ok(model) => model,
        Err(error) => {
            // The same again would not load either.
            fs::remove_dir_all(&partial)?;
            return Err(anyhow!(error).context("the model cannot be used here"));
        }
    };
    fs::remove_file(partial.join(".lock"))?;
    // Of a model that came without it.
    let _ = fs::remove_dir(partial.join("1_Pooling"));
    fs::rename(&partial, folder).with_context(|| folder.display().to_string())?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(format!("{} dimensions, {} tokens", model.dimensions, model.max_tokens))
}

/// Sums by the names of files: `SUM  NAME` or `SUM *NAME` in each line.
fn read_sums(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let line = |(number, line): (usize, &str)| {
        let (sum, name) = line.split_once([' ', '\t']).unwrap_or_default();
        let name = name.trim_start().trim_start_matches(['*', '.', '/']);
        match sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) && !name.is_empty() {
            true => Ok((name.to_owned(), sum.to_ascii_lowercase())),
            false => Err(anyhow!("{}:{}: not a line as sha256sum writes it", file.display(), number + 1)),
        }
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}
