//! The language models that the configured Ollama has.

use anyhow::anyhow;
use tokio::runtime::{Builder, Handle};

use super::table;
use crate::backend::Backends;
use crate::backend::inference::{Error, Loaded, ModelInfo};
use crate::cli::{Exit, Failed};
use crate::config::Config;
use crate::limits::Mode;
use crate::task::is_same_model;

/// All of them.
///
/// # Errors
/// Ollama does not answer, or there is to be none.
pub fn models(config: &Config) -> Result<Vec<ModelInfo>, Error> {
    asked(async { Backends::new(config, Handle::current(), None).inference.models().await })
}

/// What is asked of Ollama, on a runtime of its own.
fn asked<T>(of: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::Internal(error.to_string()))?.block_on(of)
}

/// Its line in a list.
pub fn row(model: &ModelInfo, config: &Config) -> Vec<String> {
    let loaded = model.loaded.map(loaded).unwrap_or_default();
    let tasks = match usable_by_all(&model.name, config) {
        true => "all",
        false => "granted by name",
    };
    vec![table::shown(&model.name), "language".to_owned(), size(model), loaded, tasks.to_owned()]
}

/// All that is known of `name`.
///
/// # Errors
/// There is none of that name, or Ollama does not answer.
pub fn lines(name: &str, config: &Config) -> Result<Vec<(&'static str, String)>, Failed> {
    let failed = |error: Error| match error {
        Error::NoModel(_) => Failed { exit: Exit::NotFound, error: missing(name) },
        error => Failed { exit: Exit::Runtime, error: anyhow!("{error}") },
    };
    let (models, abilities) = asked(async {
        let inference = Backends::new(config, Handle::current(), None).inference;
        Ok((inference.models().await?, inference.abilities(name).await?))
    })
    .map_err(failed)?;
    let model = models.into_iter().find(|model| is_same_model(&model.name, name));
    let model = model.ok_or_else(|| Failed { exit: Exit::NotFound, error: missing(name) })?;
    let known = |text: &Option<String>| text.as_deref().map(table::shown).unwrap_or_default();
    let grant = format!("\"grants\": {{\"inference\": [\"{}\"]}}", table::shown(&model.name));
    let tasks = match usable_by_all(&model.name, config) {
        true => format!("all in mode {}; in prod those with {grant}", config.mode.name()),
        false => format!("those with {grant}"),
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let lines = vec![
        ("name", table::shown(&model.name)),
        ("kind", "language".to_owned()),
        ("size", size(&model)),
        ("loaded", model.loaded.map_or_else(|| "no".to_owned(), loaded)),
        ("family", known(&model.family)),
        ("parameters", known(&model.parameters)),
        ("quantization", known(&model.quantization)),
        ("context", number(abilities.context)),
        ("can", abilities.capabilities.iter().map(|can| table::shown(can)).collect::<Vec<_>>().join(", ")),
        ("tasks", tasks),
    ];
    Ok(lines.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

fn missing(name: &str) -> anyhow::Error {
    anyhow!("there is no model {name}: `omnimind model list`, or `ollama pull {name}`")
}

fn size(model: &ModelInfo) -> String {
    model.size_bytes.map(table::size).unwrap_or_default()
}

fn loaded(loaded: Loaded) -> String {
    match loaded.vram_bytes {
        0 => table::size(loaded.bytes),
        vram => format!("{}, {} of it on the GPU", table::size(loaded.bytes), table::size(vram)),
    }
}

/// Whether a task that says nothing of grants may use it.
fn usable_by_all(name: &str, config: &Config) -> bool {
    config.mode != Mode::Prod && config.model.names().any(|configured| is_same_model(configured, name))
}
