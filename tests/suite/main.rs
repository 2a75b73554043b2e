//! Everything that needs a runtime, one module for each feature.
//!
//! Guests come from `cargo xtask guests`. A test whose name has `slow_` in it is left out by
//! `cargo xtask test --fast`; an ignored one runs with `--defense`.

mod attest;
mod boundary;
mod broken_disk;
mod cache;
mod client;
mod clock_jumps;
mod commands;
mod compile;
mod concurrent;
mod configuration;
mod control;
mod crash_storm;
mod demo;
mod descriptors;
mod deterministic;
mod ends;
mod events;
mod full_disk;
mod go;
mod grants;
mod guests;
mod http;
mod http_browser;
mod http_components;
mod http_gone;
mod http_hostile;
mod http_lists;
mod http_wire;
mod interruptions;
mod io_failures;
mod isolation;
mod left_behind;
mod levers;
mod limits;
mod memory_bound;
mod power_cut;
mod projects;
mod protection;
mod python_client;
mod refusals;
mod retention;
mod run_command;
mod samples;
mod scheduling;
mod scripts;
mod serve_flags;
mod shutdown;
mod space;
mod store_commands;
mod store_files;
mod task_context;
mod tidy;
mod waiting;
