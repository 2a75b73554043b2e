//! `omnimind new`: a small project that builds and runs as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::super::terminal::note;
use super::super::{Exit, Failed};
use super::tools::Language;
use crate::server::is_name;

// TEMPLATES: (language, path, text); WIT: (path, text). Made by build.rs of guest-tasks/templates, guest-tasks/wasi and wit.
include!(concat!(env!("OUT_DIR"), "/templates.rs"));

const AFTER_HELP: &str = "\
Examples:
  omnimind new shout --lang python
  cd shout && omnimind build && omnimind run shout.wasm --input @input.txt

rust, python and javascript write a task: it exports `run`, and may call the host. go and c write a command: a program
that reads standard input and writes standard output. docs/guests.md has more.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// What the component is to be called; the directory is called so too
    name: String,

    /// What it is to be written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
}

/// Writes the project into a directory of its own.
pub fn run(args: &Args) -> Result<Exit, Failed> {
    let Args { name, lang } = args;
    // Names of packages in each of the languages, too.
    if !is_name(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.contains('.') {
        return Err(Failed::usage(anyhow!(
            "`{name}` is no name for a project: a small letter, then letters, digits, `-` and `_`"
        )));
    }
    let dir = Path::new(name);
    std::fs::create_dir(dir)
        .with_context(|| format!("{name}: a project is written to a directory that is not there yet"))
        .map_err(Failed::usage)?;
    let files = files(name, *lang);
    for (path, text) in &files {
        write(&dir.join(path), text).map_err(Failed::runtime)?;
    }
    note!("wrote {name}: {} files; begin with {name}/README.md", files.len());
    let mut steps = vec![format!("cd {name}")];
    steps.extend(lang.missing(dir).iter().map(|(tool, install)| format!("{install}    # {tool} is missing")));
    steps.extend(["omnimind build".to_owned(), format!("omnimind run {name}.wasm --input @input.txt")]);
    steps.push("omnimind watch    # builds and runs it again after each change".to_owned());
    steps.iter().for_each(|step| note!("  {step}"));
    Ok(Exit::Completed)
}

/// A project's files: paths from its directory, and texts.
fn files(name: &str, language: Language) -> Vec<(PathBuf, String)> {
    let snake = name.replace('-', "_");
    let fill = |text: &str| text.replace("{{name}}", name).replace("{{name_snake}}", &snake);
    let own = TEMPLATES.iter().filter(|(of, ..)| *of == language.name());
    let mut files: Vec<(PathBuf, String)> =
        own.map(|(_, path, text)| (fill(path).into(), fill(text))).collect();
    // Who has a world imports from it.
    if files.iter().any(|(path, _)| path.starts_with("wit")) {
        files.extend(WIT.iter().map(|(path, text)| (Path::new("wit/deps").join(path), (*text).to_owned())));
    }
    files
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
