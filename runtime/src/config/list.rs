//! A key whose value is a list: its items become the JSON that the same key has in a variable.

use serde_json::{Map, Value as Json};

use super::keys::Key;
use super::load::Layered;
use super::mistake::Origin;
use super::value::Scalar;
use super::yaml::Node;

/// A list that is being read.
pub(super) struct List {
    pub key: &'static Key,
    origin: Origin,
    items: Json,
}

impl List {
    pub fn new(key: &'static Key, origin: Origin) -> List {
        List { key, origin, items: Json::Array(Vec::new()) }
    }

    /// Adds what stands at `path`, which begins with the key's.
    ///
    /// # Errors
    /// It cannot be expanded.
    pub fn add(
        &mut self,
        path: &str,
        node: Node,
        expand: impl Fn(&mut Scalar) -> Result<(), String>,
    ) -> Result<(), String> {
        let value = match node {
            Node::Mapping => Json::Object(Map::new()),
            Node::List => Json::Array(Vec::new()),
            Node::Scalar(mut scalar) => {
                expand(&mut scalar)?;
                json(&scalar)
            }
        };
        let below = path.strip_prefix(&self.key.path).unwrap_or_default();
        // `[1].d[0]`: the file's order makes each step one that is there, but for the last.
        let mut place = &mut self.items;
        for step in below.split(['.', '[']).filter(|step| !step.is_empty()) {
            let Some(next) = step_into(place, step) else { return Ok(()) };
            place = next;
        }
        *place = value;
        Ok(())
    }

    /// The whole list, as one value.
    pub fn whole(self) -> Layered {
        let List { key, origin, items } = self;
        let text = items.to_string();
        Layered { key, scalar: Scalar { written: "the list".to_owned(), text, quoted: false }, origin }
    }
}

fn step_into<'a>(place: &'a mut Json, step: &str) -> Option<&'a mut Json> {
    match place {
        Json::Array(items) => {
            let index: usize = step.trim_end_matches(']').parse().ok()?;
            if index == items.len() {
                items.push(Json::Null);
            }
            items.get_mut(index)
        }
        Json::Object(members) => Some(members.entry(step.to_owned()).or_insert(Json::Null)),
        _ => None,
    }
}

/// What YAML reads it as.
fn json(scalar: &Scalar) -> Json {
    if scalar.is_null() {
        return Json::Null;
    }
    let text = scalar.text.as_str();
    let plain = (!scalar.quoted).then(|| match text {
        "true" => Some(Json::Bool(true)),
        "false" => Some(Json::Bool(false)),
        _ => text.parse::<u64>().ok().map(Json::from),
    });
    plain.flatten().unwrap_or_else(|| Json::String(text.to_owned()))
}
