//! Which backend it is: what is configured, or the best that is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, Ollama};
use crate::backend::ollama::Server;
use crate::config::EmbeddingProvider as Provider;

/// The model that is configured where nobody says another.
const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// What Ollama calls that one.
const DEFAULT_OF_OLLAMA: [&str; 2] = ["all-minilm:22m", "all-minilm"];

/// What a checkpoint needs to have.
const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// What is to be used, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which backend.
    pub provider: Provider,
    /// Which model.
    pub model: String,
    /// Where its files are, if it is to be computed here.
    pub folder: PathBuf,
    /// Where Ollama is.
    pub base_url: String,
    /// Texts that are embedded together.
    pub batch: usize,
    /// Threads to compute on at most; how many are at work, compute slots say.
    pub threads: usize,
    /// Vectors that are kept.
    pub cache_size: usize,
    /// How long.
    pub cache_ttl: Duration,
}

impl Default for Settings {
    /// With nothing installed.
    fn default() -> Settings {
        Settings {
            provider: Provider::Hashing,
            model: DEFAULT_MODEL.to_owned(),
            folder: PathBuf::new(),
            base_url: String::new(),
            batch: 64,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            cache_size: 0,
            cache_ttl: Duration::ZERO,
        }
    }
}

/// Where `omnimind model pull` puts a model.
pub fn folder_of(data_dir: &Path, model: &str) -> PathBuf {
    data_dir.join("models").join(model)
}

/// Which backend it is, from then on: vectors of two models do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Computed here.
    Local,
    /// Ollama's.
    Ollama,
    /// No model.
    Hashing,
}

impl Choice {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Local => "local",
            Choice::Ollama => "ollama",
            Choice::Hashing => "hashing",
        }
    }
}

impl Settings {
    /// What is configured; of `auto` the first that is there: the model's files, Ollama with the model, hashing.
    pub(super) async fn choose(&self, server: Result<&Server, &Error>) -> Choice {
        match self.provider {
            Provider::Local => Choice::Local,
            Provider::Ollama => Choice::Ollama,
            Provider::Hashing => Choice::Hashing,
            Provider::Auto if self.missing_file().is_none() => Choice::Local,
            Provider::Auto => match server {
                Ok(server) if self.ask(server).await.is_ok() => Choice::Ollama,
                _ => Choice::Hashing,
            },
        }
    }

    /// The first file that the model lacks.
    pub(super) fn missing_file(&self) -> Option<PathBuf> {
        FILES.into_iter().map(|file| self.folder.join(file)).find(|path| !path.is_file())
    }

    /// The model at Ollama.
    ///
    /// # Errors
    /// Ollama does not answer, or has it not.
    pub(super) async fn ask(&self, server: &Server) -> Result<Ollama, Error> {
        let mut names = vec![self.model.as_str()];
        if self.model == DEFAULT_MODEL {
            names = DEFAULT_OF_OLLAMA.to_vec();
        }
        Ollama::find(server, &names).await
    }
}
