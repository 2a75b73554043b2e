//! The table of keys: each once, with all that is to be said of it.

mod batch_limits;
mod cache;
mod embedding;
mod environment;
mod inference;
mod limits;
mod logging;
mod metrics;
mod performance;
mod protection;
mod server;
mod store;
mod websocket;

use std::path::PathBuf;
use std::sync::LazyLock;

use tracing::level_filters::LevelFilter;

use super::value::{Kind, Value};
use super::{Config, Format};
use crate::limits::Mode;

/// Where a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The server.
    Omnimind,
    /// What tasks may use.
    AgentConfig,
}

impl File {
    /// Both, in the order in which they are read.
    pub const ALL: [File; 2] = [File::Omnimind, File::AgentConfig];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            File::Omnimind => "omnimind.yaml",
            File::AgentConfig => "agent_config.yaml",
        }
    }
}

type Set = Box<dyn Fn(&mut Config, &Value) + Send + Sync>;

/// One key.
pub struct Key {
    /// Its place: `server.port`. For what only the environment says, the variable's name.
    pub path: String,
    /// The file that it may be in; none for what only the environment says.
    pub file: Option<File>,
    /// What it may be.
    pub kind: Kind,
    /// The default in each of [`Mode::ALL`], as it is written.
    pub defaults: [String; 3],
    /// What it is, in a line.
    pub about: String,
    /// Never shown.
    pub secret: bool,
    second_variable: Option<&'static str>,
    set: Set,
}

impl Key {
    /// Its variable: `OMNIMIND_SERVER__PORT`.
    pub fn variable(&self) -> Option<String> {
        self.file.map(|_| format!("OMNIMIND_{}", self.path.to_uppercase().replace('.', "__")))
    }

    /// The other name that it has in the environment.
    pub fn second_variable(&self) -> Option<&'static str> {
        self.second_variable
    }

    /// The default in `mode`.
    pub fn default(&self, mode: Mode) -> &str {
        let [dev, test, prod] = &self.defaults;
        match mode {
            Mode::Dev => dev,
            Mode::Test => test,
            Mode::Prod => prod,
        }
    }

    /// Whether the modes differ in it.
    pub fn depends_on_mode(&self) -> bool {
        let [dev, test, prod] = &self.defaults;
        dev != test || dev != prod
    }

    /// What it is and what it may be, in two sentences.
    pub(super) fn explained(&self) -> String {
        let allowed = self.kind.to_string();
        let mut letters = allowed.chars();
        let first = letters
            .next()
            .filter(|_| !matches!(self.kind, Kind::Choice(_) | Kind::Bool | Kind::AutoOr { .. }));
        match first {
            Some(first) => format!("{}. {}{}.", self.about, first.to_uppercase(), letters.as_str()),
            // Words that are to be written as they are.
            None => format!("{}: {allowed}.", self.about),
        }
    }

    /// Puts the value where it belongs.
    pub(super) fn set(&self, config: &mut Config, value: &Value) {
        (self.set)(config, value);
    }

    fn new(
        file: impl Into<Option<File>>,
        path: impl Into<String>,
        kind: Kind,
        default: &str,
        about: impl Into<String>,
        set: impl Fn(&mut Config, &Value) + Send + Sync + 'static,
    ) -> Key {
        Key {
            path: path.into(),
            file: file.into(),
            kind,
            defaults: [default, default, default].map(str::to_owned),
            about: about.into(),
            secret: false,
            second_variable: None,
            set: Box::new(set),
        }
    }

    fn by_mode(self, default: impl Fn(Mode) -> String) -> Key {
        Key { defaults: Mode::ALL.map(default), ..self }
    }

    fn also(self, variable: &'static str) -> Key {
        Key { second_variable: Some(variable), ..self }
    }
}

/// Every key, in the order of the files.
pub fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let groups = [
            server::keys(),
            websocket::keys(),
            protection::keys(),
            limits::keys(),
            store::keys(),
            logging::keys(),
            cache::keys(),
            metrics::keys(),
            performance::keys(),
            inference::keys(),
            embedding::keys(),
            batch_limits::keys(),
            environment::keys(),
        ];
        groups.into_iter().flatten().collect()
    });
    &KEYS
}

/// The key of that path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.path == path)
}

/// What a key's kind has made sure of; anything else never gets here.
impl Value {
    fn number(&self) -> u64 {
        if let Value::Number(number) = self { *number } else { 0 }
    }

    fn small<T: TryFrom<u64> + Default>(&self) -> T {
        T::try_from(self.number()).unwrap_or_default()
    }

    fn truth(&self) -> bool {
        *self == Value::Bool(true)
    }

    fn unless_auto(&self) -> Option<usize> {
        if let Value::Number(number) = self { usize::try_from(*number).ok() } else { None }
    }

    fn unless_minus_one(&self) -> Option<u64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    fn decimal(&self) -> f64 {
        if let Value::Decimal(number) = self { *number } else { 0.0 }
    }

    fn word_unless_null(&self) -> Option<String> {
        if let Value::Text(text) = self { Some(text.clone()) } else { None }
    }

    fn word(&self) -> &str {
        if let Value::Text(text) = self { text } else { "" }
    }

    fn path(&self) -> Option<PathBuf> {
        if let Value::Text(path) = self { Some(PathBuf::from(path)) } else { None }
    }

    fn level(&self) -> LevelFilter {
        match self.word() {
            "ERROR" => LevelFilter::ERROR,
            "INFO" => LevelFilter::INFO,
            "DEBUG" => LevelFilter::DEBUG,
            "TRACE" => LevelFilter::TRACE,
            _ => LevelFilter::WARN,
        }
    }

    fn format(&self) -> Format {
        match self.word() {
            "text" => Format::Text,
            "json" => Format::Json,
            _ => Format::Auto,
        }
    }
}
