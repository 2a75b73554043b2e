//! Puts the hostile guests of `omnimind attest` into the binary: assembled here, so that none is kept as bytes.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Those that `cli/client/attest/pairs.rs` names.
const GUESTS: [&str; 21] = [
    "bulk-fill",
    "checkpoint",
    "echo",
    "grow",
    "grow-once",
    "handles",
    "host-calls",
    "instance-count",
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
    let skeleton = read("skeleton.inc".to_owned())?.replace('\n', " ");
    for name in GUESTS {
        let text = read(format!("{name}.wat"))?.replace(";; include skeleton", &skeleton);
        // A name of its own makes a digest of its own: what attest removes is never what somebody uploaded.
        let named = text.replacen("(component", &format!("(component $attest-{name}"), 1);
        let wasm = wat::parse_str(&named).map_err(|error| format!("{name}.wat: {error}"))?;
        fs::write(out.join(format!("{name}.wasm")), wasm)?;
    }
    Ok(())
}
