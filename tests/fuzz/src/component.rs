//! The look at a component before it is compiled: whatever the bytes are, it ends with what it saw or with a refusal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use omnimind::engine::prescan::{Caps, scan};

fuzz_target!(|bytes: &[u8]| {
    let caps = Caps::default();
    if let Ok(seen) = scan(bytes, &caps) {
        assert!(seen.core_instances <= caps.instances, "{seen:?}");
        // It keeps nothing between two looks.
        assert_eq!(scan(bytes, &caps), Ok(seen));
    }
});
