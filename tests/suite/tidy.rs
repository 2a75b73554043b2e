//! Holds the architecture: a module imports only from lower tiers (ARCHITECTURE.md).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use omnimind_tests::checkout;

/// The tiers, lowest first. A module may name those before its own line.
const TIERS: [&[&str]; 12] = [
    &["limits", "private", "task"],
    &["events", "metrics", "protection", "tenants"],
    &["config"],
    &["cache", "task_store", "telemetry"],
    &["backend"],
    &["bindings", "engine"],
    &["host"],
    &["executor"],
    &["components", "scheduler"],
    &["guard"],
    &["server"],
    &["app", "cli", "main"],
];

/// Modules that must not name wasmtime: they would run without it.
const WITHOUT_WASMTIME: [&str; 12] = [
    "task",
    "backend",
    "cache",
    "config",
    "events",
    "metrics",
    "protection",
    "task_store",
    "components",
    "scheduler",
    "guard",
    "server",
];

/// Lines of code in a file, above which it should be two.
const MAX_LINES: usize = 500;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn runtime_sources() -> Vec<(String, PathBuf, String)> {
    let root = checkout().join("runtime/src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).expect("below the root");
            let module = relative.components().next().expect("a name").as_os_str();
            let module = module.to_str().expect("UTF-8").trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("text");
            (module, path, text)
        })
        .filter(|(module, ..)| module != "lib")
        .collect()
}

fn tier(module: &str) -> usize {
    TIERS
        .iter()
        .position(|tier| tier.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no tier: give it one here and in ARCHITECTURE.md"))
}

/// The modules that `text` names as `crate::…`, in whatever form.
fn imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in text.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split('}').next().unwrap_or_default();
            names.extend(
                group.split(',').filter_map(|item| item.trim().split("::").next()).map(str::to_owned),
            );
        } else {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(name);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn modules_import_only_from_lower_tiers() {
    let mut wrong = Vec::new();
    for (module, path, text) in runtime_sources() {
        for import in imports(&text) {
            if import != module && module != "main" && tier(&import) >= tier(&module) {
                // One tier may share its own ground: the command line starts the log and the server.
                if !matches!((module.as_str(), import.as_str()), ("cli", "app")) {
                    wrong.push(format!("{}: `{module}` names `{import}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn some_modules_do_without_wasmtime() {
    for (module, path, text) in runtime_sources() {
        if WITHOUT_WASMTIME.contains(&module.as_str()) {
            assert!(!text.contains("wasmtime::"), "{} names wasmtime", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_where_it_is_known_to_be() {
    let mut places = Vec::new();
    for (_, path, text) in runtime_sources() {
        places.extend(text.lines().filter(|line| line.contains("unsafe {")).map(|_| path.clone()));
    }
    places.sort();
    let known = ["backend/gemm.rs", "engine/mod.rs"];
    assert_eq!(places, known.map(|place| checkout().join("runtime/src").join(place)));
}

#[test]
fn the_environment_is_read_in_one_place() {
    let reads = |text: &str| text.contains("env::var") || text.contains("env = \"");
    let sources = runtime_sources().into_iter().filter(|(.., text)| reads(text));
    let places: Vec<PathBuf> = sources.map(|(_, path, _)| path).collect();
    assert_eq!(places, [checkout().join("runtime/src/cli/settings.rs")]);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long: BTreeMap<_, _> = runtime_sources()
        .into_iter()
        .map(|(_, path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_tier_is_in_the_architecture() {
    let text = fs::read_to_string(checkout().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for module in TIERS.iter().copied().flatten() {
        assert!(text.contains(&format!("`{module}`")), "ARCHITECTURE.md does not name `{module}`");
    }
}

#[test]
fn the_table_of_limits_is_what_the_code_says() {
    use omnimind::limits::{Budget, Mode};
    let text = fs::read_to_string(checkout().join("docs/limits.md")).expect("docs/limits.md");
    for budget in Budget::ALL {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", budget.name())))
            .unwrap_or_else(|| panic!("docs/limits.md has no row for {}", budget.name()));
        let cells = Mode::ALL.map(|mode| {
            let bounds = budget.bounds(mode);
            format!(" {} / {} ", budget.display(bounds.default), budget.display(bounds.max))
        });
        let cells = format!("|{}|", cells.join("|"));
        assert!(row.contains(&cells), "docs/limits.md, {}: {cells} is not in {row}", budget.name());
    }
}

#[test]
fn the_table_of_caps_is_what_the_code_says() {
    let text = fs::read_to_string(checkout().join("docs/limits.md")).expect("docs/limits.md");
    let caps = omnimind::engine::prescan::Caps::default();
    let grouped = |number: u64| match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands} {rest:03}"),
    };
    for (what, cap) in [
        ("components within components", caps.nesting as u64),
        ("core modules", caps.modules),
        ("instances, after flattening", caps.instances),
        ("functions", caps.functions),
        ("locals of one function", caps.locals),
        ("targets of one `br_table`", caps.br_table.into()),
        ("blocks within blocks", caps.block_nesting.into()),
        ("data segments of one module", caps.data_segments.into()),
        ("entries of any other section", caps.entries.into()),
        ("sections", caps.sections),
    ] {
        let row = format!("| {what} | {} |", grouped(cap));
        assert!(text.contains(&row), "docs/limits.md has no row {row}");
    }
    assert!(text.contains("| bytes | 64 MiB |") && caps.bytes == 64 << 20);
    assert!(text.contains("| bytes of one function | 1 MiB |") && caps.body_bytes == 1 << 20);
}

#[test]
fn the_tuning_guide_names_the_keys_that_there_are() {
    let text = fs::read_to_string(checkout().join("docs/tuning.md")).expect("docs/tuning.md");
    let is_path = |word: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
        word.contains('.')
            && word.chars().all(plain)
            && !word.ends_with(".json")
            && !word.ends_with(".collect")
    };
    let mut rows = 0;
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| the seed")) {
        // What the seed has, and the commands, name other things too.
        let Some(here) = row.split(" | ").nth(1) else { continue };
        let keys = here.split('`').skip(1).step_by(2).filter(|word| is_path(word));
        for key in keys {
            rows += 1;
            let is_there = omnimind::config::keys().iter().any(|known| known.path == key);
            assert_eq!(is_there, !row.contains("**not there yet**"), "{key}, in {row}");
        }
    }
    assert!(rows > 40, "{rows}");
}

#[test]
fn receipts_name_the_engine_that_is_linked() {
    let lock = fs::read_to_string(checkout().join("Cargo.lock")).expect("Cargo.lock");
    let (_, rest) = lock.split_once("name = \"wasmtime\"\nversion = \"").expect("wasmtime is linked");
    let version = rest.split('"').next().expect("a version");
    assert_eq!(omnimind::engine::ENGINE_VERSION, format!("wasmtime {version}"));
}

#[test]
fn cargo_run_is_omnimind() {
    // The README's first command names no package.
    let manifest = fs::read_to_string(checkout().join("Cargo.toml")).expect("Cargo.toml");
    assert!(
        manifest.contains("\ndefault-members = [\"runtime\"]\n"),
        "`cargo run` has to choose among binaries"
    );
}
