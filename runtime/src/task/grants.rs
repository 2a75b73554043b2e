//! What a task may use besides its own sandbox. Nothing is implied by anything else.

use serde::{Deserialize, Serialize};

use super::named;
use super::{AtMost, Object};

/// Names in one list.
const MAX_NAMES: usize = 100;

/// Bytes of a name.
const MAX_NAME: usize = 256;

/// Characters of the name of a collection.
const MAX_COLLECTION: usize = 63;

/// What a submission asks for, and what a task is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Tensors on the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tensor: bool,
    /// Embeddings of texts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub embedding: bool,
    /// Names of models.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "AtMost::<_, MAX_NAMES>::required")]
    pub inference: Vec<String>,
    /// Collections of vectors.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "Object::optional")]
    pub vector_memory: Option<VectorMemory>,
    /// Origins, as in `https://api.example.com`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "AtMost::<_, MAX_NAMES>::required")]
    pub http: Vec<String>,
    /// Names of buckets.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "AtMost::<_, MAX_NAMES>::required")]
    pub keyvalue: Vec<String>,
    /// Names of configuration values.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "AtMost::<_, MAX_NAMES>::required")]
    pub config: Vec<String>,
}

/// Collections, and whether they may be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VectorMemory {
    /// Their names.
    #[serde(deserialize_with = "AtMost::<_, MAX_NAMES>::required")]
    pub collections: Vec<String>,
    /// Whether points may be added and removed.
    pub write: bool,
}

/// A grant of what nothing is called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct NotAGrant {
    /// Its path in whatever has `grants`.
    pub field: &'static str,
    /// What is allowed.
    pub rule: String,
}

named! {
    /// An interface on offer that needs a grant.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum Capability {
        /// `omnimind:runtime/tensor`
        Tensor = "tensor",
        /// `omnimind:runtime/embedding`
        Embedding = "embedding",
        /// `omnimind:runtime/inference`
        Inference = "inference",
        /// `omnimind:runtime/vector-memory`
        VectorMemory = "vector_memory",
        /// `wasi:http`
        Http = "http",
        /// `wasi:keyvalue`
        Keyvalue = "keyvalue",
        /// `wasi:config`
        Config = "config",
    }
}

impl Capability {
    /// Whether this runtime has it.
    pub fn is_offered(self) -> bool {
        matches!(self, Capability::Tensor | Capability::Embedding | Capability::Inference)
    }

    /// The capability that `interface`, without its version, belongs to.
    pub fn of_interface(interface: &str) -> Option<Capability> {
        match interface {
            "omnimind:runtime/tensor" => Some(Capability::Tensor),
            "omnimind:runtime/embedding" => Some(Capability::Embedding),
            "omnimind:runtime/inference" => Some(Capability::Inference),
            "omnimind:runtime/vector-memory" => Some(Capability::VectorMemory),
            _ if interface.starts_with("wasi:http/") => Some(Capability::Http),
            _ if interface.starts_with("wasi:keyvalue/") => Some(Capability::Keyvalue),
            _ if interface.starts_with("wasi:config/") => Some(Capability::Config),
            _ => None,
        }
    }

    /// Whether using it changes something that outlives the task, or tells somebody of it: nothing of the kind may
    /// happen before the task is stored.
    pub fn reaches_outside(self) -> bool {
        !matches!(self, Capability::Tensor | Capability::Embedding | Capability::Inference)
    }

    /// The JSON that grants it, with example names to replace.
    pub fn example(self) -> &'static str {
        match self {
            Capability::Tensor => r#"{"tensor": true}"#,
            Capability::Embedding => r#"{"embedding": true}"#,
            Capability::Inference => r#"{"inference": ["MODEL"]}"#,
            Capability::VectorMemory => r#"{"vector_memory": {"collections": ["NAME"], "write": true}}"#,
            Capability::Http => r#"{"http": ["https://HOST"]}"#,
            Capability::Keyvalue => r#"{"keyvalue": ["BUCKET"]}"#,
            Capability::Config => r#"{"config": ["NAME"]}"#,
        }
    }
}

impl Grants {
    /// Whether it lets a task reach outside ([`Capability::reaches_outside`]).
    pub fn reach_outside(&self) -> bool {
        Capability::ALL.into_iter().any(|capability| capability.reaches_outside() && self.allow(capability))
    }

    /// What both grant. What is granted of a list are the names in both.
    pub fn within(self, most: &Grants) -> Grants {
        let both = |asked: Vec<String>, most: &[String]| -> Vec<String> {
            asked.into_iter().filter(|name| most.contains(name)).collect()
        };
        let memory = self.vector_memory.zip(most.vector_memory.as_ref());
        Grants {
            tensor: self.tensor && most.tensor,
            embedding: self.embedding && most.embedding,
            inference: self
                .inference
                .into_iter()
                .filter(|name| most.inference.iter().any(|most| is_same_model(most, name)))
                .collect(),
            vector_memory: memory.map(|(asked, most)| VectorMemory {
                collections: both(asked.collections, &most.collections),
                write: asked.write && most.write,
            }),
            http: both(self.http, &most.http),
            keyvalue: both(self.keyvalue, &most.keyvalue),
            config: both(self.config, &most.config),
        }
    }

    /// Refuses what nothing is called, whoever wrote it: a submission, a token, a component.
    ///
    /// # Errors
    /// Which grant, and what is allowed.
    pub fn check(&self) -> Result<(), NotAGrant> {
        let wrong = |field, rule: String| Err(NotAGrant { field, rule });
        let collections = self.vector_memory.as_ref().map(|memory| memory.collections.as_slice());
        let collections = ("grants.vector_memory.collections", collections.unwrap_or_default());
        let http = ("grants.http", self.http.as_slice());
        let lists = [
            ("grants.inference", self.inference.as_slice()),
            collections,
            http,
            ("grants.keyvalue", self.keyvalue.as_slice()),
            ("grants.config", self.config.as_slice()),
        ];
        let is_blank = |c: char| c.is_control() || c.is_whitespace();
        for (field, names) in lists {
            if names.len() > MAX_NAMES {
                return wrong(field, format!("at most {MAX_NAMES} names"));
            }
            if names.iter().any(|name| name.is_empty() || name.len() > MAX_NAME || name.contains(is_blank)) {
                let rule = format!("a name has 1 to {MAX_NAME} bytes and no blanks or control characters");
                return wrong(field, rule);
            }
        }
        if !collections.1.iter().all(|name| is_collection(name)) {
            let rule = format!(
                "a collection's name has 1 to {MAX_COLLECTION} characters from a-z 0-9 - _ and begins with a letter or digit"
            );
            return wrong(collections.0, rule);
        }
        if !http.1.iter().all(|origin| is_origin(origin)) {
            return wrong(http.0, "an origin like https://api.example.com, without a path".to_owned());
        }
        Ok(())
    }

    /// Whether anything of `capability` is granted.
    pub fn allow(&self, capability: Capability) -> bool {
        match capability {
            Capability::Tensor => self.tensor,
            Capability::Embedding => self.embedding,
            Capability::Inference => !self.inference.is_empty(),
            Capability::VectorMemory => {
                self.vector_memory.as_ref().is_some_and(|memory| !memory.collections.is_empty())
            }
            Capability::Http => !self.http.is_empty(),
            Capability::Keyvalue => !self.keyvalue.is_empty(),
            Capability::Config => !self.config.is_empty(),
        }
    }
}

/// Whether one of two names of a model is the other with the tag that goes without saying.
pub fn is_same_model(one: &str, other: &str) -> bool {
    fn bare(name: &str) -> &str {
        name.strip_suffix(":latest").unwrap_or(name)
    }
    bare(one) == bare(other)
}

fn is_collection(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= MAX_COLLECTION
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || matches!(c, '-' | '_'))
}

fn is_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_that_one_side_does_not_grant() {
        let of = |json: serde_json::Value| serde_json::from_value::<Grants>(json).unwrap();
        let asked = of(serde_json::json!({
            "tensor": true, "embedding": true, "inference": ["a", "b"], "http": ["https://x"],
            "vector_memory": {"collections": ["notes", "other"], "write": true},
        }));
        let most = of(serde_json::json!({
            "tensor": true, "inference": ["b", "c"], "keyvalue": ["k"], "config": ["c"],
            "vector_memory": {"collections": ["notes"], "write": false},
        }));
        let both = of(serde_json::json!({
            "tensor": true, "inference": ["b"], "vector_memory": {"collections": ["notes"], "write": false},
        }));
        assert_eq!(asked.clone().within(&most), both);
        assert_eq!(most.clone().within(&asked), both);
        assert_eq!(asked.clone().within(&Grants::default()), Grants::default());
        assert_eq!(asked.clone().within(&asked), asked);
        // A model has two names where its tag goes without saying.
        let model = |name: &str| of(serde_json::json!({"inference": [name]}));
        assert_eq!(model("m:latest").within(&model("m")), model("m:latest"));
        assert_eq!(model("m").within(&model("m:7b")), Grants::default());
    }

    #[test]
    fn a_grant_has_the_name_that_the_example_shows() {
        for capability in Capability::ALL {
            let grants: Grants = serde_json::from_str(capability.example()).unwrap();
            assert!(grants.allow(capability));
            assert_eq!(Capability::ALL.into_iter().filter(|other| grants.allow(*other)).count(), 1);
            assert_eq!(serde_json::to_value(capability).unwrap(), capability.name());
        }
    }
}
