//! The `omnimind` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    omnimind::cli::main()
}
