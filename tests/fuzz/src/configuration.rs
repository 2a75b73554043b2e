//! A configuration file: it is taken, or each mistake in it is told.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use omnimind::config::{Environment, Sources, load};
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a directory"));

fuzz_target!(|input: (bool, &[u8])| {
    let (agent, text) = input;
    let path = DIRECTORY.path().join(if agent { "agent_config.yaml" } else { "omnimind.yaml" });
    std::fs::write(&path, text).expect("a file");
    let sources = Sources {
        paths: vec![path],
        environment: Environment::default(),
        flags: Vec::new(),
        data_dir: Some(DIRECTORY.path().join("data")),
    };
    if let Err(mistakes) = load(&sources) {
        assert!(!mistakes.to_string().is_empty());
    }
});
