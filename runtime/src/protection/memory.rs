//! Memory that there is: the machine's or the cgroup's, whichever is tighter.

use serde::Serialize;
use sysinfo::{MemoryRefreshKind, System};

use super::cgroup::Memory;
use super::reading::{Missing, Reading};

/// Whose limit is nearest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The machine's memory.
    #[default]
    Machine,
    /// A cgroup's limit.
    Cgroup,
}

/// Memory, of everybody who shares it with us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ram {
    /// Where most is used, of the machine and of each cgroup.
    pub used_percent: f64,
    /// What can be had before the first of them has no more.
    pub available_bytes: u64,
    /// All of it, there where most is used.
    pub total_bytes: u64,
    /// Where that is.
    pub scope: Scope,
}

/// The machine's swap space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Swap {
    /// What is in it.
    pub used_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// The machine's swap space, of sysinfo: `SwapTotal` and `SwapFree` of `/proc/meminfo`; [`Missing::Absent`] where
/// there is none.
pub fn swap() -> Reading<Swap> {
    let mut system = System::new().map_err(|error| Missing::Failed(format!("sysinfo: {error}")))?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_swap());
    match system.total_swap() {
        0 => Err(Missing::Absent),
        total_bytes => Ok(Swap { used_bytes: system.used_swap().min(total_bytes), total_bytes }),
    }
}

/// The machine's memory, of sysinfo: `MemTotal` and `MemAvailable` of `/proc/meminfo`.
///
/// A `System` keeps its old figures when it cannot read new ones, so each look has a new one.
pub fn machine() -> Reading<Ram> {
    let mut system = System::new().map_err(|error| Missing::Failed(format!("sysinfo: {error}")))?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    machine_of(system.total_memory(), system.available_memory())
}

/// sysinfo says 0 where it could not read.
fn machine_of(total_bytes: u64, available_bytes: u64) -> Reading<Ram> {
    if total_bytes == 0 {
        return Err(Missing::Failed("the machine does not say how much memory it has".to_owned()));
    }
    let available_bytes = available_bytes.min(total_bytes);
    let used_percent = (total_bytes - available_bytes) as f64 * 100.0 / total_bytes as f64;
    Ok(Ram { used_percent, available_bytes, total_bytes, scope: Scope::Machine })
}

/// The machine's memory under the limits of `groups`. The share that is used and the bytes that are left may
/// be those of different groups: a large one may be full and have more left than a small one has.
pub fn tightest(machine: Ram, groups: &[Memory]) -> Ram {
    groups.iter().fold(machine, |ram, group| {
        let total_bytes = group.limit_bytes;
        let left = total_bytes.saturating_sub(group.used_bytes);
        let used_percent = match total_bytes {
            0 => 100.0,
            total => (total - left) as f64 * 100.0 / total as f64,
        };
        let available_bytes = ram.available_bytes.min(left);
        match used_percent >= ram.used_percent {
            true => Ram { used_percent, available_bytes, total_bytes, scope: Scope::Cgroup },
            false => Ram { available_bytes, ..ram },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_counts_in_both_senses() {
        let machine = machine_of(1000, 400).unwrap();
        assert_eq!((machine.used_percent, machine.scope), (60.0, Scope::Machine));
        let large = Memory { limit_bytes: 2000, used_bytes: 1800 };
        let small = Memory { limit_bytes: 100, used_bytes: 50 };
        let ram = tightest(machine, &[large, small]);
        assert_eq!(
            ram,
            Ram { used_percent: 90.0, available_bytes: 50, total_bytes: 2000, scope: Scope::Cgroup }
        );
        assert_eq!(tightest(machine, &[small]).used_percent, 60.0);
        let over = tightest(machine, &[Memory { limit_bytes: 10, used_bytes: 11 }]);
        assert_eq!((over.used_percent, over.available_bytes), (100.0, 0));
        assert_eq!(tightest(machine, &[Memory { limit_bytes: 0, used_bytes: 0 }]).used_percent, 100.0);
    }

    #[test]
    fn nothing_is_not_zero_bytes_of_memory() {
        assert!(machine_of(0, 0).unwrap_err().failure().is_some());
        assert!(swap().is_ok_and(|swap| swap.total_bytes > 0) || swap() == Err(Missing::Absent));
        let found = super::machine().unwrap();
        assert!(found.total_bytes > 1 << 20 && found.available_bytes <= found.total_bytes);
    }
}
