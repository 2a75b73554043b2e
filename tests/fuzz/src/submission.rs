//! The JSON of a task: it is taken or refused, and what is taken can be told again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| omnimind::server::fuzz::submission(bytes));
