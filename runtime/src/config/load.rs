//! The layers, one over the other: defaults, mode, files, environment, flags.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::environment::{CONFIG, Environment, Given};
use super::keys::{File, Key, find, keys};
use super::list::List;
use super::mistake::{Mistakes, Origin};
use super::value::{Scalar, Value};
use super::yaml::{self, Entry, Node, Unreadable};
use super::{Config, check, expand};
use crate::limits::{InMode, Mode};

/// Where the files are if nobody says so, and they are there.
const DEFAULT_DIR: &str = "config";

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Directories with the two files, or single files, later ones over earlier ones. If there are none:
    /// `$OMNIMIND_CONFIG`, or `./config` where it is.
    pub paths: Vec<PathBuf>,
    /// Variables.
    pub environment: Environment,
    /// Flags.
    pub flags: Vec<Flag>,
    /// The data directory where nobody says another; none where there is no home.
    pub data_dir: Option<PathBuf>,
}

/// A key that was given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key's path.
    pub key: &'static str,
    /// The flag's name.
    pub name: &'static str,
    /// Its value.
    pub value: OsString,
}

/// What came of it.
#[derive(Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// The same, key by key.
    pub settings: Vec<Setting>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What is odd, and does not stop the start.
    pub warnings: Vec<String>,
}

/// The value of one key.
#[derive(Clone)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// The value in force.
    pub value: Value,
    /// Who said so.
    pub origin: Origin,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.key.path, self.shown(), self.origin)
    }
}

impl Setting {
    /// The value for people; a secret is only known to be there.
    pub fn shown(&self) -> String {
        match (self.key.secret, &self.value) {
            (true, Value::Text(_)) => "set, hidden".to_owned(),
            (_, value) => self.key.kind.write(value),
        }
    }
}

impl Loaded {
    /// Whether somebody set the key of this path.
    pub fn is_set(&self, path: &str) -> bool {
        self.settings.iter().any(|setting| setting.key.path == path && setting.origin.is_set())
    }
}

/// A value that one layer gives to a key.
pub(super) struct Layered {
    pub key: &'static Key,
    pub scalar: Scalar,
    pub origin: Origin,
}

/// Reads and checks everything.
///
/// # Errors
/// Everything that is wrong.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let (mut mistakes, mut warnings, mut files) = (Mistakes::default(), Vec::new(), Vec::new());
    let mut layers = Vec::new();
    let (named, paths) = paths(sources);
    for path in &paths {
        if named {
            check_directory(path, &mut mistakes);
        }
        read_path(path, &sources.environment, &mut layers, &mut files, &mut mistakes);
    }
    for Given { key, variable, value } in sources.environment.keys(&mut mistakes, &mut warnings) {
        layers.push(Layered { key, scalar: Scalar::plain(&value), origin: Origin::Environment(variable) });
    }
    for Flag { key, name, value } in &sources.flags {
        let origin = Origin::Flag(name);
        match (find(key), value.to_str()) {
            (Some(key), Some(value)) => layers.push(Layered { key, scalar: Scalar::plain(value), origin }),
            (_, None) => mistakes.add(&origin, key, "its value is not UTF-8"),
            (None, _) => mistakes.add(&origin, key, "no such key"),
        }
    }
    let mut set = Vec::new();
    for Layered { key, scalar, origin } in layers {
        match key.kind.read(&scalar) {
            Ok(value) => set.push(Setting { key, value, origin }),
            Err(message) => mistakes.add(&origin, &key.path, message),
        }
    }
    let mode = mode(&set);
    let (mut config, settings, unfit) = build(mode, &set, sources, mistakes.0.is_empty());
    mistakes.0.extend(unfit.0);
    if !mistakes.0.is_empty() {
        return Err(mistakes);
    }
    // What the same sources come to in the other modes, should somebody switch.
    config.modes = Mode::ALL.map(|other| {
        let (config, _, unfit) = build(other, &set, sources, true);
        let unfit = unfit.0.first().map(ToString::to_string);
        InMode { limits: config.limits, thresholds: config.protection.thresholds, unfit }
    });
    Ok(Loaded { config, settings, files, warnings })
}

/// What `set` comes to over the defaults of `mode`, and what does not fit together then: what is no value has no
/// say in that.
fn build(mode: Mode, set: &[Setting], sources: &Sources, sound: bool) -> (Config, Vec<Setting>, Mistakes) {
    let mut mistakes = Mistakes::default();
    let mut settings: Vec<Setting> = keys().iter().map(|key| default(key, mode)).collect();
    for over in set {
        if let Some(setting) = settings.iter_mut().find(|setting| setting.key.path == over.key.path) {
            *setting = over.clone();
        }
    }
    reconcile(&mut settings, &mut mistakes);
    resolve_data_dir(&mut settings, sources, &mut mistakes);
    let mut config = Config::blank(mode);
    for setting in &settings {
        setting.key.set(&mut config, &setting.value);
    }
    if sound && mistakes.0.is_empty() {
        check::check(&config, &settings, &mut mistakes);
    }
    (config, settings, mistakes)
}

/// Where to look, and whether somebody said so.
fn paths(sources: &Sources) -> (bool, Vec<PathBuf>) {
    if !sources.paths.is_empty() {
        return (true, sources.paths.clone());
    }
    match sources.environment.path(CONFIG) {
        Some(path) => (true, vec![path.into()]),
        None => (false, Some(PathBuf::from(DEFAULT_DIR)).filter(|dir| dir.is_dir()).into_iter().collect()),
    }
}

/// Whoever names a directory means the files in it: that there are none of ours, or one that is called a little
/// differently, is a mistake.
fn check_directory(dir: &Path, mistakes: &mut Mistakes) {
    // What is no directory, or cannot be listed, is told where it is read.
    let Ok(entries) = fs::read_dir(dir) else { return };
    let before = mistakes.0.len();
    let mut is_there = false;
    for path in entries.flatten().map(|entry| entry.path()) {
        is_there |= File::ALL.iter().any(|file| path.ends_with(file.name()));
        if let Some(file) = File::ALL.into_iter().find(|file| is_nearly(&path, file.name())) {
            let message = format!("nothing reads a file of this name; call it {}", file.name());
            mistakes.add(&Origin::File(path, 0), "", message);
        }
    }
    if !is_there && mistakes.0.len() == before {
        let message = "neither omnimind.yaml nor agent_config.yaml is in it";
        mistakes.add(&Origin::File(dir.to_owned(), 0), "", message);
    }
}

/// Whether a file is called `name` but for case, or for an extension of another language for configurations.
fn is_nearly(path: &Path, name: &str) -> bool {
    let same = |part: Option<&OsStr>, other: &str| part.is_some_and(|part| part.eq_ignore_ascii_case(other));
    let stem = name.split('.').next().unwrap_or(name);
    let languages = ["yaml", "yml", "json", "toml"];
    !path.ends_with(name)
        && same(path.file_stem(), stem)
        && languages.iter().any(|language| same(path.extension(), language))
}

/// Reads a directory's two files, or one file, which may have the keys of both.
fn read_path(
    path: &Path,
    environment: &Environment,
    layers: &mut Vec<Layered>,
    files: &mut Vec<PathBuf>,
    mistakes: &mut Mistakes,
) {
    let found: Vec<(PathBuf, Vec<File>)> = match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            File::ALL.iter().map(|file| (path.join(file.name()), vec![*file])).collect()
        }
        Ok(_) => vec![(path.to_owned(), File::ALL.to_vec())],
        Err(error) => {
            let message =
                format!("{error}; it is a directory with omnimind.yaml and agent_config.yaml, or a file");
            return mistakes.add(&Origin::File(path.to_owned(), 0), "", message);
        }
    };
    let in_directory = found.len() > 1;
    for (path, allowed) in found {
        let whole = Origin::File(path.clone(), 0);
        match read_file(&path) {
            Ok(bytes) => {
                files.push(path.clone());
                match yaml::parse(&bytes) {
                    Ok(entries) => take_entries(entries, &path, &allowed, environment, layers, mistakes),
                    Err(Unreadable { line, key, message }) => {
                        mistakes.add(&Origin::File(path, line), &key, message);
                    }
                }
            }
            Err(error) if in_directory && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => mistakes.add(&whole, "", format!("it cannot be read: {error}")),
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write.
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    // One byte more shows that there is too much.
    fs::File::open(path)?.take(yaml::MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn take_entries(
    entries: Vec<Entry>,
    path: &Path,
    allowed: &[File],
    environment: &Environment,
    layers: &mut Vec<Layered>,
    mistakes: &mut Mistakes,
) {
    // Below a key that there is not, everything else is wrong too.
    let mut unknown: Option<String> = None;
    let mut list: Option<List> = None;
    for Entry { path: key_path, line, node } in entries {
        let below =
            |above: &String| key_path.strip_prefix(above).is_some_and(|rest| rest.starts_with(['.', '[']));
        if unknown.as_ref().is_some_and(below) {
            continue;
        }
        let origin = Origin::File(path.to_owned(), line);
        let expanded = |scalar: &mut Scalar| {
            scalar.text = expand::expand(&scalar.text, |name| environment.get(name))?;
            Ok(())
        };
        if let Some(open) = list.as_mut().filter(|list| below(&list.key.path)) {
            match open.add(&key_path, node, expanded) {
                Ok(()) => {}
                Err(message) => mistakes.add(&origin, &key_path, message),
            }
            continue;
        }
        layers.extend(list.take().map(List::whole));
        let here = |key: &&Key| key.file.is_some_and(|file| allowed.contains(&file));
        let key = find(&key_path).filter(here);
        let section = format!("{key_path}.");
        let is_section = keys().iter().filter(here).any(|key| key.path.starts_with(&section));
        match (key, node) {
            (Some(key), Node::List) if key.kind.is_list() => list = Some(List::new(key, origin)),
            (Some(key), Node::Scalar(mut scalar)) => match expanded(&mut scalar) {
                Ok(()) => layers.push(Layered { key, scalar, origin }),
                Err(message) => mistakes.add(&origin, &key_path, message),
            },
            (Some(key), node) => {
                let what = if node == Node::List { "a list" } else { "a mapping" };
                mistakes.add(&origin, &key_path, format!("{what} is not allowed; it is {}", key.kind));
                unknown = Some(key_path);
            }
            (None, Node::Mapping) if is_section => {}
            // `server:` with every line below it commented out.
            (None, Node::Scalar(scalar)) if is_section && scalar.is_null() => {}
            (None, _) if is_section => {
                let message = format!("it is a mapping; {}", members(&key_path, allowed));
                mistakes.add(&origin, &key_path, message);
                unknown = Some(key_path);
            }
            (None, _) => {
                mistakes.add(&origin, &key_path, no_such_key(&key_path, allowed));
                unknown = Some(key_path);
            }
        }
    }
    layers.extend(list.take().map(List::whole));
}

fn no_such_key(path: &str, allowed: &[File]) -> String {
    let section = format!("{path}.");
    let other =
        keys().iter().find(|key| key.file.is_some() && (key.path == path || key.path.starts_with(&section)));
    if let Some(file) = other.and_then(|key| key.file).filter(|file| !allowed.contains(file)) {
        return format!("it belongs in {}", file.name());
    }
    let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
    let names = names(above, allowed);
    let near = names.iter().map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    let hint = match near {
        Some((distance, other)) if distance <= 2 => format!(" (did you mean {other}?)"),
        _ => String::new(),
    };
    format!("no such key in this release{hint}; {}", members(above, allowed))
}

/// What there is below `above`.
fn members(above: &str, allowed: &[File]) -> String {
    let whole = || allowed.iter().map(|file| file.name()).collect::<Vec<_>>().join(" and ");
    let have = if above.is_empty() && allowed.len() > 1 { "have" } else { "has" };
    let above_shown = if above.is_empty() { whole() } else { above.to_owned() };
    format!("{above_shown} {have} {}", names(above, allowed).join(", "))
}

fn names(above: &str, allowed: &[File]) -> Vec<String> {
    let prefix = if above.is_empty() { String::new() } else { format!("{above}.") };
    let mut names: Vec<String> = Vec::new();
    for key in keys().iter().filter(|key| key.file.is_some_and(|file| allowed.contains(&file))) {
        if let Some(name) = key.path.strip_prefix(&prefix).and_then(|rest| rest.split('.').next())
            && names.last().is_none_or(|last| last != name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The mode: the last layer that says one.
fn mode(set: &[Setting]) -> Mode {
    let said = set.iter().rev().find(|setting| setting.key.path == "mode");
    let mode = said.and_then(|setting| match &setting.value {
        Value::Text(name) => name.parse().ok(),
        _ => None,
    });
    mode.unwrap_or_default()
}

fn default(key: &'static Key, mode: Mode) -> Setting {
    let text = key.default(mode);
    // Whatever the environment alone says has no default.
    let value = match key.file {
        None => Value::Null,
        Some(_) => key.kind.read(&Scalar::plain(text)).unwrap_or(Value::Null),
    };
    let origin = if key.depends_on_mode() { Origin::Mode(mode) } else { Origin::Default };
    Setting { key, value, origin }
}

/// `performance.task_timeout` is the default `wall_ms` in seconds: what is said of one holds for the other.
fn reconcile(settings: &mut [Setting], mistakes: &mut Mistakes) {
    let at = |path: &str, settings: &[Setting]| settings.iter().position(|setting| setting.key.path == path);
    let (Some(seconds), Some(millis)) =
        (at("performance.task_timeout", settings), at("limits.default.wall_ms", settings))
    else {
        return;
    };
    let Ok([seconds, millis]) = settings.get_disjoint_mut([seconds, millis]) else { return };
    let (Value::Number(s), Value::Number(ms)) = (&seconds.value, &millis.value) else { return };
    let (s, ms) = (*s, *ms);
    match (seconds.origin.is_set(), millis.origin.is_set()) {
        (true, true) if s.checked_mul(1000) != Some(ms) => {
            let message = format!(
                "{s} s is not the {ms} ms of limits.default.wall_ms ({}), and both are a task's default time; set one",
                millis.origin
            );
            mistakes.add(&seconds.origin, &seconds.key.path, message);
        }
        (true, false) => {
            millis.value = Value::Number(s.saturating_mul(1000));
            millis.origin = seconds.origin.clone();
        }
        (false, true) => {
            seconds.value = match ms % 1000 {
                0 => Value::Number(ms / 1000),
                rest => Value::Text(format!("{}.{rest:03}", ms / 1000)),
            };
            seconds.origin = millis.origin.clone();
        }
        _ => {}
    }
}

fn resolve_data_dir(settings: &mut [Setting], sources: &Sources, mistakes: &mut Mistakes) {
    let Some(setting) = settings.iter_mut().find(|setting| setting.key.path == "data_dir") else { return };
    if setting.value != Value::Null {
        return;
    }
    match sources.data_dir.as_ref().and_then(|dir| dir.to_str()) {
        Some(dir) => setting.value = Value::Text(dir.to_owned()),
        None => {
            let message = "there is no home directory to keep anything in: give --data-dir DIR";
            mistakes.add(&setting.origin, "data_dir", message);
        }
    }
}
