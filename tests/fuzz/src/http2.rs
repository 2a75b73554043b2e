//! The count of HTTP/2 frames that are for nothing: it is the same however the bytes are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| omnimind::server::fuzz::http2_frames(bytes));
