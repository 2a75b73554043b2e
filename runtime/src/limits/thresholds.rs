//! How much of the machine the runtime may take, by mode: the table of docs/limits.md.

use std::time::Duration;

use super::Mode;

/// What [`Mode`] and configuration come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Share of the processors that guests may take while others want the rest, in percent.
    pub cpu_percent: f64,
    /// Share of the machine's memory that may be used, by whomever.
    pub ram_percent: f64,
    /// Resident memory of this process.
    pub process_ram_bytes: u64,
    /// Share of the data directory's file system that may be used.
    pub disk_percent: f64,
    /// Tasks that run at one time, at most.
    pub instances: u32,
    /// After the start nothing is critical for this long: compiling and recovering are loads that pass.
    pub grace: Duration,
}

/// A megabyte, as the table of the modes has it.
pub const MB: u64 = 1_000_000;

impl From<Mode> for Thresholds {
    fn from(mode: Mode) -> Thresholds {
        let (cpu_percent, ram_percent, process_ram_mb, disk_percent, instances, grace_s) = match mode {
            Mode::Dev => (75.0, 80.0, 8_000, 90.0, 50, 60),
            Mode::Test => (85.0, 85.0, 10_000, 90.0, 100, 30),
            Mode::Prod => (95.0, 95.0, 12_000, 95.0, 200, 120),
        };
        Thresholds {
            cpu_percent,
            ram_percent,
            process_ram_bytes: process_ram_mb * MB,
            disk_percent,
            instances,
            grace: Duration::from_secs(grace_s),
        }
    }
}

impl Thresholds {
    /// What is left to others, in percent of the processors: never nothing.
    pub fn rest_percent(&self) -> f64 {
        (100.0 - self.cpu_percent).max(1.0)
    }
}
