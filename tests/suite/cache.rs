//! The cache of artefacts: found again, authenticated, private.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use omnimind::cache::Cache;
use omnimind_tests::{Lab, OutcomeExt, Run, block_on, guest};

fn run_once(root: &Path) -> Vec<u8> {
    let lab = Lab::new(root.to_owned(), 1);
    let job = Run::hostile("echo").input("x").job(&lab).expect("a task");
    block_on(lab.executor.execute(job)).output().to_vec()
}

fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn an_artefact_is_found_again_by_another_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    run_once(&root);
    let artefact = files(&root, "cwasm").pop().expect("an artefact");
    let inode = || fs::metadata(&artefact).expect("an artefact").ino();
    let written = inode();
    run_once(&root);
    assert_eq!(inode(), written, "compiled twice");
}

#[test]
fn a_changed_artefact_is_not_loaded() {
    for position in [0.1, 0.5, 0.9] {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("artefacts");
        run_once(&root);
        let artefact = files(&root, "cwasm").pop().expect("an artefact");
        let good = fs::read(&artefact).expect("readable");
        let mut bad = good.clone();
        let at = (bad.len() as f64 * position) as usize;
        bad[at] ^= 1;
        fs::write(&artefact, &bad).expect("writable");
        assert_eq!(run_once(&root), b"x");
        assert_eq!(fs::read(&artefact).expect("readable"), good, "compiled anew");
    }
}

#[test]
fn an_artefact_of_another_component_is_not_loaded() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    run_once(&root);
    let artefact = files(&root, "cwasm").pop().expect("an artefact");
    let lab = Lab::new(root.clone(), 1);
    block_on(lab.engines.component(guest("hostile/describe"))).expect("a component");
    let other = files(&root, "cwasm").into_iter().find(|path| *path != artefact).expect("another artefact");
    // Both the artefact and its seal, exchanged.
    fs::copy(&other, &artefact).expect("writable");
    fs::copy(other.with_extension("json"), artefact.with_extension("json")).expect("writable");
    assert_eq!(run_once(&root), b"x", "the other would have returned its task's id");
}

#[test]
fn a_lost_seal_or_key_means_compiling_again() {
    for lost in ["json", "key"] {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("artefacts");
        run_once(&root);
        match lost {
            "key" => fs::remove_file(root.join("key")).expect("a key"),
            _ => files(&root, lost).into_iter().for_each(|path| fs::remove_file(path).expect("a seal")),
        }
        assert_eq!(run_once(&root), b"x");
    }
}

#[test]
fn the_directory_is_private_and_one_that_is_not_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    run_once(&root);
    assert_eq!(fs::metadata(&root).expect("a directory").permissions().mode() & 0o777, 0o700);
    let key = fs::metadata(root.join("key")).expect("a key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("ours");
    let settings = omnimind::engine::Settings {
        instances: 1,
        artefacts: root,
        worker: omnimind_tests::binary().to_owned(),
    };
    let error = omnimind::engine::Engines::new(settings).err().expect("readable by others").to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn nothing_is_left_of_a_refused_component() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    let lab = Lab::new(root.clone(), 1);
    let begun = Instant::now();
    block_on(lab.engines.component(guest("hostile/gc"))).expect_err("a feature that is off");
    assert!(files(&root, "tmp").is_empty() && files(&root, "cwasm").is_empty());
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn what_a_killed_process_left_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    run_once(&root);
    let scratch = |number: u8| root.join(format!("00000000-0000-0000-0000-{number:012}.tmp"));
    // A young one may be somebody's who has not locked it yet.
    let (old, new) = (scratch(1), scratch(2));
    for path in [&old, &new] {
        fs::write(path, b"half an artefact").expect("writable");
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let file = fs::File::options().write(true).open(&old).expect("a file");
    file.set_modified(long_ago).expect("ours");
    run_once(&root);
    assert!(!old.exists() && new.exists());
}

#[test]
fn a_link_or_a_pipe_in_the_cache_is_not_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    run_once(&root);
    let key = root.join("key");
    fs::rename(&key, dir.path().join("elsewhere")).expect("ours");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &key).expect("a link");
    let settings = omnimind::engine::Settings {
        instances: 1,
        artefacts: root,
        worker: omnimind_tests::binary().to_owned(),
    };
    assert!(omnimind::engine::Engines::new(settings).is_err(), "the key is somebody else's");
}

#[test]
fn artefacts_go_but_for_those_of_loaded_components() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("artefacts");
    let lab = Lab::new(root.clone(), 1);
    let load = |name: &str| block_on(lab.engines.component(guest(name))).expect("a component");
    let (held, loaded) = (load("hostile/echo"), load("hostile/describe"));
    let still_loaded = std::sync::Arc::downgrade(&loaded);
    drop(loaded);
    assert_eq!(lab.engines.prune_artefacts(0).expect("ours"), 0, "both are kept loaded");
    assert_eq!(lab.engines.clear(), 2);
    assert!(still_loaded.upgrade().is_none(), "nobody has it");
    assert!(lab.engines.prune_artefacts(0).expect("ours") > 0);
    let left = files(&root, "cwasm");
    assert_eq!(left.len(), 1);
    assert!(left[0].ends_with(format!("{}.cwasm", held.digest.hex())));
    drop(held);
    assert!(lab.engines.prune_artefacts(0).expect("ours") > 0);
    assert!(files(&root, "cwasm").is_empty() && files(&root, "json").is_empty());
    load("hostile/describe");
}
