//! Which variables are keys, and what to make of the others.
//!
//! Variables are given, not read: `cli` hands over the process's, tests what they like.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::keys::{Key, keys};
use super::mistake::{Mistakes, Origin, escape};
use super::value::shorten;

const PREFIX: &str = "OMNIMIND_";

/// Where the files are, if no flag says so.
pub const CONFIG: &str = "OMNIMIND_CONFIG";

/// Variables that are no keys: of the loader, of the clients, of the build, of benches.
const RESERVED: [&str; 7] = [
    CONFIG,
    "OMNIMIND_URL",
    "OMNIMIND_TOKEN",
    "OMNIMIND_WASM_TOOLCHAIN",
    "OMNIMIND_GUEST_TOOLS",
    "OMNIMIND_TOOLCHAINS",
    "OMNIMIND_LARGE_COMPONENT",
];

/// What variables of the tests begin with.
const OF_TESTS: &str = "OMNIMIND_TEST_";

/// The variables of a process.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(variables: T) -> Environment {
        // A name that is not UTF-8 is not ours.
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Environment(variables.into_iter().filter_map(named).collect())
    }
}

/// A key's value in a variable.
pub(super) struct Given {
    pub key: &'static Key,
    pub variable: String,
    pub value: String,
}

impl Environment {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// The value as a path.
    pub fn path(&self, name: &str) -> Option<OsString> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The keys that are set, the second names first, so that a key's own name wins. Empty counts as not set, as
    /// in compose files. What looks like a key and is none is a mistake; what has one level and is none may
    /// belong to something else, or to a later release: a warning.
    pub(super) fn keys(&self, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> Vec<Given> {
        let mut given = Vec::new();
        for key in keys() {
            for variable in key.second_variable().map(str::to_owned).into_iter().chain(key.variable()) {
                let Some(value) = self.0.get(&variable).filter(|value| !value.is_empty()) else { continue };
                match value.to_str() {
                    Some(value) => given.push(Given { key, variable, value: value.to_owned() }),
                    None => mistakes.add(&Origin::Environment(variable), &key.path, "its value is not UTF-8"),
                }
            }
        }
        for name in self.0.keys().filter(|name| name.starts_with(PREFIX)) {
            if RESERVED.contains(&name.as_str()) || name.starts_with(OF_TESTS) || is_key(name) {
                continue;
            }
            match name.contains("__") {
                true => {
                    let message = format!("no such key{}", nearest(name));
                    mistakes.add(&Origin::Environment(name.clone()), "", message);
                }
                false => warnings.push(format!(
                    "the variable {} is set, and this release does not read it{}",
                    escape(&shorten(name)),
                    nearest(name)
                )),
            }
        }
        given
    }
}

fn is_key(name: &str) -> bool {
    keys().iter().any(|key| key.second_variable() == Some(name) || key.variable().as_deref() == Some(name))
}

/// The key that was probably meant; what looks like a key always has one, the rest only if it is very near.
fn nearest(name: &str) -> String {
    let variables = keys().iter().filter_map(Key::variable);
    let distances = variables.map(|variable| (strsim::damerau_levenshtein(name, &variable), variable));
    match distances.min() {
        Some((distance, variable)) if distance <= 2 || name.contains("__") => {
            format!("; did you mean {variable}?")
        }
        _ => String::new(),
    }
}
