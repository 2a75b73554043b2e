//! The `omnimind` binary.

use std::process::ExitCode;

/// A task takes some hundred allocations on its way: they are a tenth of what an empty one costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    omnimind::cli::main()
}
