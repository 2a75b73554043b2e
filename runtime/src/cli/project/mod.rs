//! A guest's project: a directory with source, and `component.yaml`, which says how a component is made of it.

pub mod build;
pub mod new;
mod tools;
pub mod watch;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Failed;
use super::input::parse_limit;
use crate::engine::Metadata;
use crate::server::is_name;
use crate::task::{Grants, Misfit, Object};
use tools::Language;

/// The file that makes a directory a project.
const MANIFEST: &str = "component.yaml";

/// Most bytes of it that are read.
const MAX_BYTES: u64 = 1 << 20;

/// What `component.yaml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    language: Option<Language>,
    build: Vec<String>,
    artifact: PathBuf,
    input: Option<PathBuf>,
    description: Option<String>,
    input_schema: Option<Map<String, Value>>,
    output_schema: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "Object::optional")]
    grants: Option<Grants>,
    limits: Option<Map<String, Value>>,
}

/// A project, as its manifest describes it.
#[derive(Debug)]
pub struct Project {
    /// Where it lies.
    dir: PathBuf,
    /// What the component is called.
    name: String,
    /// Whose tools it needs.
    language: Option<Language>,
    /// Shell commands that make the artifact.
    build: Vec<String>,
    /// What they make.
    artifact: PathBuf,
    /// What to try it on.
    input: Option<PathBuf>,
    /// What the component says of itself: JSON.
    metadata: Vec<u8>,
}

impl Project {
    /// Reads the manifest of `dir`.
    ///
    /// # Errors
    /// There is none, or something in it is wrong: which key, and what it may be.
    fn load(dir: &Path) -> Result<Project, Failed> {
        let file = dir.join(MANIFEST);
        let read = std::fs::metadata(&file).and_then(|about| match about.len() {
            0..=MAX_BYTES => std::fs::read_to_string(&file),
            _ => Err(std::io::Error::other("larger than 1 MiB")),
        });
        let text = read.map_err(|error| {
            Failed::usage(anyhow!(
                "{}: {error}; a project has one: omnimind new NAME --lang LANGUAGE writes a project",
                file.display()
            ))
        })?;
        let project = Project::parse(dir, &text).with_context(|| file.display().to_string());
        project.map_err(Failed::usage)
    }

    fn parse(dir: &Path, text: &str) -> anyhow::Result<Project> {
        let value = yaml::parse(text).map_err(anyhow::Error::msg)?;
        if value.is_null() {
            bail!("it is empty; omnimind new NAME --lang LANGUAGE writes one to begin with");
        }
        let manifest: Manifest = Misfit::fit(value)?;
        let Manifest { name, language, build, artifact, input, .. } = &manifest;
        if !is_name(name) {
            bail!("name: `{name}` is no name for a component: letters, digits, `-`, `_` and `.`");
        }
        if build.is_empty() {
            bail!("build: at least one command, e.g. `- make`");
        }
        if artifact.file_name().is_some_and(|file| *file == *format!("{name}.wasm"))
            && dir.join(artifact).parent() == Some(dir)
        {
            bail!(
                "artifact: `{name}.wasm` is what omnimind writes; let the build make another file, e.g. build/{name}.wasm"
            );
        }
        let metadata = manifest.metadata()?.to_text().map_err(anyhow::Error::msg)?;
        Ok(Project {
            dir: dir.to_owned(),
            name: name.clone(),
            language: *language,
            build: build.clone(),
            artifact: dir.join(artifact),
            input: input.as_ref().map(|input| dir.join(input)),
            metadata,
        })
    }

    /// Where the finished component lies.
    fn output(&self) -> PathBuf {
        self.dir.join(format!("{}.wasm", self.name))
    }
}

impl Manifest {
    /// What the component is to say of itself.
    fn metadata(&self) -> anyhow::Result<Metadata> {
        let mut limits = BTreeMap::new();
        for (name, amount) in self.limits.iter().flatten() {
            // As on the command line: 256MiB, 1_000_000.
            let amount = match amount {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let (_, amount) =
                parse_limit(&format!("{name}={amount}")).with_context(|| format!("limits.{name}"))?;
            limits.insert(name.clone(), amount);
        }
        Ok(Metadata {
            description: self.description.as_ref().map(|text| text.trim().to_owned()),
            input_schema: self.input_schema.clone(),
            output_schema: self.output_schema.clone(),
            grants: self.grants.clone().filter(|grants| *grants != Grants::default()),
            limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GOOD: &str = "name: a\nlanguage: c\nbuild: [make]\nartifact: b.wasm\n";

    fn wrong(text: &str) -> String {
        format!("{:#}", Project::parse(Path::new("."), text).expect_err(text))
    }

    #[test]
    fn what_is_said_becomes_the_section() {
        let text = format!(
            "{GOOD}input: in.json\ndescription: >\n  Adds.\ninput_schema: {{type: array}}\ngrants: {{}}\nlimits:\n  memory_bytes: 64MiB\n  fuel: 1_000_000\n"
        );
        let project = Project::parse(Path::new("d"), &text).expect("a project");
        assert_eq!(project.output(), Path::new("d/a.wasm"));
        let said: Value = serde_json::from_slice(&project.metadata).expect("JSON");
        let expected = json!({
            "description": "Adds.",
            "input_schema": {"type": "array"},
            "limits": {"memory_bytes": 64 << 20, "fuel": 1_000_000},
        });
        assert_eq!(said, expected);
    }

    #[test]
    fn mistakes_name_their_key() {
        for (text, said) in [
            ("", "it is empty"),
            (&GOOD.replace("b.wasm", "a.wasm"), "artifact: `a.wasm` is what omnimind writes"),
            ("name: a\n", "missing field `build`"),
            (&format!("{GOOD}buidl: x\n"), "unknown field `buidl`"),
            (&GOOD.replace("[make]", "make"), "build: an array is expected, not \"make\""),
            (&GOOD.replace("[make]", "[]"), "build: at least one command"),
            (&GOOD.replace("name: a", "name: ../a"), "name: `../a` is no name"),
            (&GOOD.replace("language: c", "language: cobol"), "language: unknown value `cobol`"),
            (&format!("{GOOD}limits: {{fule: 1}}\n"), "fule"),
            (&format!("{GOOD}limits: {{fuel: 1MiB}}\n"), "limits.fuel"),
            (&format!("{GOOD}grants: {{root: true}}\n"), "root"),
        ] {
            let why = wrong(text);
            assert!(why.contains(said), "{text:?}: {why}");
        }
    }
}
