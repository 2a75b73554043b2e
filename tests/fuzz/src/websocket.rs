//! What a client sends on a WebSocket after the upgrade: it is answered, and the connection ends when the client does.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| omnimind::server::fuzz::websocket(bytes));
