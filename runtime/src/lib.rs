//! OmniMind runs untrusted WebAssembly components under limits that hold.
//!
//! ARCHITECTURE.md has the whole picture. In short: [`engine`] turns bytes into compiled components,
//! [`executor`] runs one task under its [`limits`], [`host`] is what guests can call, and [`task`] is
//! what clients see of it.

#![warn(missing_docs)]

pub mod app;
pub mod backend;
pub mod bindings;
pub mod cache;
pub mod cli;
pub mod components;
pub mod config;
pub mod engine;
pub mod events;
pub mod executor;
pub mod guard;
pub mod host;
pub mod limits;
pub mod metrics;
pub mod private;
pub mod protection;
pub mod scheduler;
pub mod server;
pub mod task;
pub mod task_store;
pub mod telemetry;
pub mod tenants;
