//! Never ends by itself, whatever it is given: what a first look at the limits is for.

use std::hint::black_box;

omnimind_guest::task!(run);

fn run(_: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut coins: u64 = 0;
    loop {
        coins = black_box(coins).wrapping_add(1);
    }
}
