//! What a process has taken of the machine, as /proc tells.

use std::fs;

/// Bytes that a process has resident.
pub fn resident(pid: u32) -> u64 {
    kibibytes(pid, "VmRSS:") << 10
}

/// The most that it had since [`forget_peak`].
pub fn peak(pid: u32) -> u64 {
    kibibytes(pid, "VmHWM:") << 10
}

/// From now on the peak is that of what comes.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a process of ours");
}

/// Its threads.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).expect("a process").count()
}

/// Its open descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").count()
}

fn kibibytes(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
