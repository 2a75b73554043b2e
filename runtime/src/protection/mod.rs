//! Keeps the machine responsive: looks at it, and decides what tasks have to do without.
//!
//! ```text
//! machine, cgroup, process, stall, disk ─▶ sampler ─ Sample ─▶ policy ─ decisions as data ─▶ levers
//! ```
//!
//! The sampler only reads and the policy only computes: time, thresholds and figures are parameters, and what
//! follows is a list. Whoever runs tasks acts on the list. Nothing here ends a process that we did not start
//! or removes a file that we did not write, and nothing here knows what a task is but for its priority.

mod action;
mod cgroup;
mod cpu;
mod disk;
mod handles;
mod io;
mod level;
mod memory;
mod policy;
mod pressure;
mod process;
mod reading;
mod sampler;
mod stall;

pub use action::{Action, Admission, Decision, RESERVE_PERCENT, Shares, Stance};
pub use cpu::Cpu;
pub use disk::Disk;
pub use handles::Handles;
pub use io::{Io, IoScope};
pub use level::{CALM, DWELL, Level, Resource};
pub use memory::{Ram, Scope, Swap};
pub use policy::{ENDING_AFTER, PRUNING_EVERY, Rules, State, decide};
pub use pressure::{Evidence, STALL_PERCENT, WAKE_DELAY_MS};
pub use process::Process;
pub use reading::{Missing, Reading, Roots};
pub use sampler::{Sample, Sampler, Stalls};
pub use stall::Stall;
