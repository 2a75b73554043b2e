//! A guest without a test does not pass.

use std::collections::BTreeSet;
use std::fs;

use omnimind_tests::checkout;

#[test]
fn every_hostile_guest_is_run_by_a_test() {
    let mut tests = String::new();
    for entry in fs::read_dir(checkout().join("tests/suite")).expect("the suite") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            tests.push_str(&fs::read_to_string(path).expect("text"));
        }
    }
    let mut unused = BTreeSet::new();
    for entry in fs::read_dir(checkout().join("guest-tasks/hostile")).expect("the guests") {
        let path = entry.expect("an entry").path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|extension| extension == "wat")
            && !tests.contains(&format!("\"{name}\""))
            && !tests.contains(&format!("\"hostile/{name}\""))
        {
            unused.insert(name.to_owned());
        }
    }
    assert!(unused.is_empty(), "hostile guests that no test runs: {unused:?}");
}
