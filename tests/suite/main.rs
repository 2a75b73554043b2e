//! Everything that needs a runtime, one module for each feature.
//!
//! Guests come from `cargo xtask guests`. A test whose name has `slow_` in it is left out by
//! `cargo xtask test --fast`; an ignored one runs with `--defense`.

mod boundary;
mod cache;
mod commands;
mod compile;
mod control;
mod deterministic;
mod ends;
mod guests;
mod http;
mod isolation;
mod limits;
mod refusals;
mod run_command;
mod samples;
mod task_context;
mod tidy;
