//! Built beside what is fuzzed, so that cargo chooses features of dependencies as it does for tests.

fn main() {}
