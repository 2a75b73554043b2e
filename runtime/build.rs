//! Puts the hostile guests of `omnimind attest` into the binary: assembled here, so that none is kept as bytes.
//! And the templates of `omnimind new`, with the WIT that they import.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Those that `cli/client/attest/pairs.rs` names.
const GUESTS: [&str; 25] = [
    "bulk-fill",
    "checkpoint",
    "echo",
    "embed-tokens",
    "grow",
    "grow-once",
    "handles",
    "host-calls",
    "instance-count",
    "llm-tokens",
    "log",
    "log-unchecked",
    "memories",
    "memory-count",
    "output",
    "pollables",
    "random-bytes",
    "recurse",
    "recurse-fat",
    "sleep",
    "spin",
    "table-count",
    "table-grow",
    "tensor-hoard",
    "tensor-products",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = env::var("CARGO_MANIFEST_DIR")?;
    let texts = Path::new(&root).join("../guest-tasks/hostile");
    let out = Path::new(&env::var("OUT_DIR")?).join("hostile");
    fs::create_dir_all(&out)?;
    println!("cargo::rerun-if-changed=build.rs");
    let read = |name: String| {
        let path = texts.join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    // On one line, so that errors name the right lines of the guest.
    let included = |name: &str| read(format!("{name}.inc")).map(|text| text.replace('\n', " "));
    let mut includes = Vec::new();
    for name in ["skeleton", "types", "inference"] {
        includes.push((format!(";; include {name}"), included(name)?));
    }
    for name in GUESTS {
        let text = read(format!("{name}.wat"))?;
        let text = includes.iter().fold(text, |text, (line, with)| text.replace(line, with));
        // A name of its own makes a digest of its own: what attest removes is never what somebody uploaded.
        let named = text.replacen("(component", &format!("(component $attest-{name}"), 1);
        let wasm = wat::parse_str(&named).map_err(|error| format!("{name}.wat: {error}"))?;
        fs::write(out.join(format!("{name}.wasm")), wasm)?;
    }
    templates(Path::new(&root))
}

/// Writes templates.rs: `TEMPLATES`, by language, and `WIT`, each file by its path and text.
fn templates(root: &Path) -> Result<(), Box<dyn Error>> {
    let mut templates = String::new();
    let directory = root.join("../guest-tasks/templates");
    for language in ["rust", "python", "javascript", "go", "c"] {
        for (path, file) in files(&directory.join(language))? {
            templates.push_str(&format!("({language:?}, {path:?}, include_str!({file:?})),\n"));
        }
    }
    let mut wit = String::new();
    for (at, package) in [
        ("wit", "omnimind-runtime"),
        ("guest-tasks/wasi/cli", "wasi-cli"),
        ("guest-tasks/wasi/io", "wasi-io"),
        ("guest-tasks/wasi/random", "wasi-random"),
    ] {
        for (path, file) in files(&root.join("..").join(at))? {
            wit.push_str(&format!("(\"{package}/{path}\", include_str!({file:?})),\n"));
        }
    }
    let text = format!(
        "const TEMPLATES: &[(&str, &str, &str)] = &[\n{templates}];\nconst WIT: &[(&str, &str)] = &[\n{wit}];\n"
    );
    Ok(fs::write(Path::new(&env::var("OUT_DIR")?).join("templates.rs"), text)?)
}

/// Every file below `directory`: its path from there, and where it is.
fn files(directory: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", directory.display());
    let (mut found, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(|error| format!("{}: {error}", next.display()))? {
            let path = entry?.path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push((path.strip_prefix(directory)?.to_string_lossy().into_owned(), path)),
            }
        }
    }
    found.sort();
    Ok(found)
}
