//! The table of keys: each once, with all that is to be said of it.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::value::{Kind, Value};
use super::{Config, Credentials, Format, Protection};
use crate::limits::{Bounds, Budget, MB, Mode, Thresholds};
use crate::task::Retry;

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

type Amount = fn(&Thresholds) -> u64;
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
        let mut keys = server();
        keys.extend(protection());
        keys.extend(limits());
        keys.extend(store_and_logging());
        keys.extend(performance());
        keys.extend(environment());
        keys
    });
    &KEYS
}

/// The key of that path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.path == path)
}

fn server() -> Vec<Key> {
    use File::Omnimind;
    vec![
        // Read before all others (`load::mode`): the other defaults depend on it.
        Key::new(
            Omnimind,
            "mode",
            Kind::Choice(&["dev", "test", "prod"]),
            "dev",
            "Which defaults and maxima apply",
            |_, _| {},
        ),
        Key::new(Omnimind, "server.host", Kind::Address, "127.0.0.1", "The address to listen on", |c, v| {
            if let Value::Address(host) = v {
                c.server.host = *host;
            }
        }),
        Key::new(
            Omnimind,
            "server.port",
            Kind::Number { min: 0, max: u16::MAX.into() },
            "8000",
            "The port to listen on; 0 is any free one",
            |c, v| c.server.port = v.small(),
        ),
        Key::new(
            Omnimind,
            "server.workers",
            Kind::AutoOr { min: 2, max: 1024 },
            "auto",
            "Threads that serve HTTP; guests have their own; auto is one for each core",
            |c, v| c.server.workers = v.unless_auto(),
        ),
        Key::new(
            Omnimind,
            "server.timeout_keep_alive",
            Kind::Number { min: 1, max: 60 },
            "5",
            "Seconds that an HTTP/1.1 connection has for the head of a request, from its start or the last answer",
            |c, v| c.server.keep_alive = Duration::from_secs(v.number()),
        ),
        Key::new(Omnimind, "server.http2", Kind::Bool, "true", "Whether HTTP/2 is spoken too", |c, v| {
            c.server.http2 = v.truth();
        }),
        Key::new(
            Omnimind,
            "data_dir",
            Kind::Path,
            "null",
            "Where everything is kept; null is omnimind in the user's data directory",
            |c, v| {
                if let Value::Text(dir) = v {
                    c.data_dir = PathBuf::from(dir);
                }
            },
        ),
        Key::new(
            Omnimind,
            "interpreters",
            Kind::Path,
            "null",
            "Where python-run.wasm and js-run.wasm are; null is beside the binary",
            |c, v| {
                c.interpreters = match v {
                    Value::Text(dir) => Some(PathBuf::from(dir)),
                    _ => None,
                };
            },
        ),
        Key::new(
            Omnimind,
            "authentication.enabled",
            Kind::Bool,
            "true",
            "Whether credentials are asked for; false only on loopback, and not in mode prod",
            |c, v| c.authentication.enabled = v.truth(),
        ),
    ]
}

fn protection() -> Vec<Key> {
    use File::Omnimind;
    let milliseconds = |path: &str, default: &str, about: &str, set: fn(&mut Protection, Duration)| {
        Key::new(Omnimind, path, Kind::Number { min: 50, max: 60_000 }, default, about, move |c, v| {
            set(&mut c.protection, Duration::from_millis(v.number()));
        })
    };
    let limit =
        |name: &str, (min, max): (u64, u64), about: &str, amount: Amount, set: fn(&mut Thresholds, u64)| {
            let path = format!("protection.limits.{name}");
            let key = Key::new(Omnimind, path, Kind::Number { min, max }, "", about, move |c, v| {
                set(&mut c.protection.thresholds, v.number());
            });
            key.by_mode(|mode| amount(&mode.into()).to_string())
        };
    let percent = (1, 100);
    vec![
        milliseconds(
            "protection.interval_ms",
            "2000",
            "Milliseconds between two looks at the machine",
            |p, time| {
                p.interval = time;
            },
        ),
        milliseconds(
            "protection.pressed_interval_ms",
            "250",
            "The same, while something is short, if that is less",
            |p, time| p.pressed_interval = time,
        ),
        Key::new(
            Omnimind,
            "protection.cpu_cap",
            Kind::Choice(&["shared", "strict"]),
            "shared",
            "Whether guests are held to cpu_percent while others want the processors, or always",
            |c, v| c.protection.strict_cpu_cap = v.word().eq_ignore_ascii_case("strict"),
        ),
        limit(
            "cpu_percent",
            percent,
            "Percent of all cores that guests together may take while others want the rest",
            |t| t.cpu_percent as u64,
            |t, n| t.cpu_percent = n as f64,
        ),
        limit(
            "ram_percent",
            percent,
            "Percent of the machine's memory, or of the container's, above which it is short",
            |t| t.ram_percent as u64,
            |t, n| t.ram_percent = n as f64,
        ),
        limit(
            "process_ram_mb",
            (16, 100_000_000),
            "Megabytes of memory that this process may take before it is short",
            |t| t.process_ram_bytes / MB,
            |t, n| t.process_ram_bytes = n * MB,
        ),
        limit(
            "disk_percent",
            percent,
            "Percent of the data directory's file system above which nothing new is written",
            |t| t.disk_percent as u64,
            |t, n| t.disk_percent = n as f64,
        ),
        limit(
            "instances",
            (1, 1000),
            "Tasks that run at one time",
            |t| t.instances.into(),
            |t, n| t.instances = u32::try_from(n).unwrap_or(u32::MAX),
        ),
        limit(
            "startup_grace",
            (0, 3600),
            "Seconds after the start in which nothing is called critical",
            |t| t.grace.as_secs(),
            |t, n| t.grace = Duration::from_secs(n),
        ),
    ]
}

/// Default and maximum of every budget but the stack, which the engine fixes.
fn limits() -> Vec<Key> {
    let budgets = || Budget::ALL.into_iter().filter(|budget| *budget != Budget::StackBytes);
    let kind = |budget: Budget| match (budget.least(), budget.ceiling()) {
        (min, max) if budget.is_bytes() => Kind::Size { min, max },
        (min, max) => Kind::Number { min, max },
    };
    let written = move |budget: Budget, amount| kind(budget).write(&Value::Number(amount));
    let default = budgets().map(move |budget| {
        let about = format!("The {} of a task that does not ask", budget.name());
        let path = format!("limits.default.{}", budget.name());
        Key::new(File::Omnimind, path, kind(budget), "", about, move |c, v| {
            c.limits.set(budget, Bounds { default: v.number(), ..c.limits.bounds(budget) });
        })
        .by_mode(|mode| written(budget, budget.bounds(mode).default))
    });
    let max = budgets().map(move |budget| {
        let about = format!("The most {} that a task may ask for", budget.name());
        let path = format!("limits.max.{}", budget.name());
        Key::new(File::Omnimind, path, kind(budget), "", about, move |c, v| {
            c.limits.set(budget, Bounds { max: v.number(), ..c.limits.bounds(budget) });
        })
        .by_mode(|mode| written(budget, budget.bounds(mode).max))
    });
    default.chain(max).collect()
}

fn store_and_logging() -> Vec<Key> {
    use File::Omnimind;
    vec![
        Key::new(
            Omnimind,
            "store.retention_days",
            Kind::Number { min: 0, max: 36_500 },
            "30",
            "Days that a finished task is kept",
            |c, v| c.store.retention = Duration::from_secs(v.number().saturating_mul(24 * 3600)),
        ),
        Key::new(
            Omnimind,
            "store.max_tasks",
            Kind::Number { min: 0, max: 1_000_000_000 },
            "1000000",
            "Tasks that are kept; the oldest finished ones go first",
            |c, v| c.store.max_tasks = v.number(),
        ),
        Key::new(
            Omnimind,
            "store.max_bytes",
            Kind::Size { min: 0, max: 1 << 60 },
            "20GiB",
            "Bytes of tasks that are kept; the oldest finished ones go first",
            |c, v| c.store.max_bytes = v.number(),
        ),
        Key::new(
            Omnimind,
            "store.allow_ephemeral",
            Kind::Bool,
            "false",
            "Whether a submission may ask for \"durable\": false: faster, and gone with the process",
            |c, v| c.store.allow_ephemeral = v.truth(),
        ),
        Key::new(
            Omnimind,
            "logging.level",
            Kind::Choice(&["ERROR", "WARNING", "INFO", "DEBUG", "TRACE"]),
            "",
            "What the log has, this and what is more important; `run`, `store` and `config` keep to WARNING unless it is set",
            |c, v| c.logging.level = v.level(),
        )
        .by_mode(|mode| if mode == Mode::Prod { "WARNING" } else { "INFO" }.to_owned())
        .also("LOG_LEVEL"),
        Key::new(
            Omnimind,
            "logging.format",
            Kind::Choice(&["auto", "text", "json"]),
            "auto",
            "How the log is written, on standard error; auto is text on a terminal, else JSON",
            |c, v| c.logging.format = v.format(),
        ),
    ]
}

fn performance() -> Vec<Key> {
    use File::AgentConfig;
    vec![
        Key::new(
            AgentConfig,
            "performance.max_concurrent_tasks",
            Kind::AutoOr { min: 1, max: 10_000 },
            "auto",
            "Tasks that run at one time, and never more than protection.limits.instances; auto is as many",
            |c, v| c.performance.max_concurrent_tasks = v.unless_auto(),
        ),
        // `load::reconcile` makes it the default of `wall_ms`, which is what is set.
        Key::new(
            AgentConfig,
            "performance.task_timeout",
            Kind::Number { min: 1, max: Budget::WallMs.ceiling() / 1000 },
            "",
            "Seconds that a task may take if it does not ask: limits.default.wall_ms; set one of the two",
            |_, _| {},
        )
        .by_mode(|mode| (Budget::WallMs.bounds(mode).default / 1000).to_string()),
        Key::new(
            AgentConfig,
            "performance.retry_attempts",
            Kind::Number { min: 1, max: Retry::MAX_ATTEMPTS.into() },
            "3",
            "Executions in all, of a task that does not ask and fails by no doing of its own",
            |c, v| c.performance.retry_attempts = v.small(),
        ),
    ]
}

/// What only the environment says.
fn environment() -> Vec<Key> {
    let user = |path: &str, about, secret, set: fn(&mut Credentials, String)| {
        let key = Key::new(None, path, Kind::Word, "", about, move |c, v| {
            if let Value::Text(text) = v {
                set(c.authentication.credentials.get_or_insert_default(), text.clone());
            }
        });
        Key { secret, ..key }
    };
    let own = "`serve` writes it to DATA_DIR/credentials.json in place of the one there, where it stays";
    vec![
        user("OMNIMIND_DASHBOARD_USER", format!("The user's name, without `:`; {own}"), false, |c, text| {
            c.user = text
        })
        .also("OMNIMIND_DASHBOARD_USER"),
        user("OMNIMIND_DASHBOARD_PASS", format!("The password; {own}"), true, |c, text| c.password = text)
            .also("OMNIMIND_DASHBOARD_PASS"),
    ]
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

    fn word(&self) -> &str {
        if let Value::Text(text) = self { text } else { "" }
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
