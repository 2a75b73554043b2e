//! Everything that needs a runtime, one module for each feature.
//!
//! Guests come from `cargo xtask guests`. A test whose name has `slow_` in it is left out by
//! `cargo xtask test --fast`; an ignored one runs with `--defense`.

mod boundary;
mod broken_disk;
mod cache;
mod commands;
mod compile;
mod control;
mod crash_storm;
mod deterministic;
mod ends;
mod full_disk;
mod guests;
mod http;
mod interruptions;
mod isolation;
mod limits;
mod refusals;
mod retention;
mod run_command;
mod samples;
mod shutdown;
mod store_commands;
mod store_files;
mod task_context;
mod tidy;
