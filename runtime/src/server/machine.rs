//! The machine that this runs on, in the words of its kernel.

use std::fs;

use serde::{Deserialize, Serialize};

/// What is worth knowing beside a figure that was measured here; null where the kernel does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's model.
    pub cpu: Option<String>,
    /// Memory in all.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
}

impl Machine {
    /// This one.
    pub fn look() -> Machine {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kib = memory.and_then(|text| text.strip_suffix(" kB")?.trim().parse::<u64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field("/proc/cpuinfo", "model name"),
            memory_bytes: kib.map(|kib| kib << 10),
            kernel: kernel.map(|kernel| kernel.trim().to_owned()),
        }
    }
}
