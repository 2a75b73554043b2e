//! What the disk moves: `/proc/diskstats`, of the device that the data directory is on.
//!
//! Where that is no device of its own (overlay, btrfs, a network), of all disks of the machine together; the figure
//! says which. Nothing is decided by it: it is shown.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::reading::{Missing, Reading, Roots, malformed, read};

/// `/proc/diskstats` counts in these, whatever the device has.
const SECTOR_BYTES: u64 = 512;

/// Devices that only pass on to others, or to memory: counted with those they would be counted twice.
const STACKED: [&str; 5] = ["loop", "ram", "zram", "dm-", "md"];

/// Whose figures they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IoScope {
    /// The device of the data directory.
    #[default]
    Device,
    /// All disks.
    Machine,
}

/// What was moved, by everybody, between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Io {
    /// Whose figures they are.
    pub scope: IoScope,
    /// Bytes read in a second.
    pub read_bytes_per_s: f64,
    /// Bytes written in a second.
    pub written_bytes_per_s: f64,
    /// Share of the time in which something was under way; of the busiest, where it is all disks.
    pub busy_percent: f64,
    /// Bytes read since the machine started.
    #[serde(skip)]
    pub read_bytes: u64,
    /// Bytes written since the machine started.
    #[serde(skip)]
    pub written_bytes: u64,
}

/// What only counts up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    scope: IoScope,
    read_bytes: u64,
    written_bytes: u64,
    /// Milliseconds in which something was under way, of each device.
    busy_ms: Vec<u64>,
}

/// Looks now; `data_dir` is where the data is.
pub fn look(roots: &Roots, data_dir: &Path) -> Reading<Moved> {
    let device = rustix::fs::stat(data_dir)
        .map_err(|error| Missing::Failed(format!("{}: {error}", data_dir.display())))?
        .st_dev;
    moved(roots, (rustix::fs::major(device), rustix::fs::minor(device)))
}

fn moved(roots: &Roots, device: (u32, u32)) -> Reading<Moved> {
    let path = roots.proc.join("diskstats");
    let text = read(&path)?;
    let lines: Vec<Line> =
        text.lines().map(Line::parse).collect::<Option<_>>().ok_or_else(|| malformed(&path))?;
    if let Some(line) = lines.iter().find(|line| line.device == device) {
        return Ok(sum(IoScope::Device, &[line]));
    }
    // Partitions are not there by themselves, and are part of their disk.
    let is_disk = |line: &&Line| {
        !STACKED.iter().any(|prefix| line.name.starts_with(prefix))
            && roots.sys.join("block").join(line.name).exists()
    };
    match lines.iter().filter(is_disk).collect::<Vec<_>>() {
        disks if disks.is_empty() => Err(Missing::Absent),
        disks => Ok(sum(IoScope::Machine, &disks)),
    }
}

fn sum(scope: IoScope, lines: &[&Line]) -> Moved {
    let bytes = |of: fn(&Line) -> u64| {
        lines.iter().map(|line| of(line)).fold(0, u64::saturating_add).saturating_mul(SECTOR_BYTES)
    };
    Moved {
        scope,
        read_bytes: bytes(|line| line.sectors_read),
        written_bytes: bytes(|line| line.sectors_written),
        busy_ms: lines.iter().map(|line| line.busy_ms).collect(),
    }
}

struct Line<'a> {
    device: (u32, u32),
    name: &'a str,
    sectors_read: u64,
    sectors_written: u64,
    busy_ms: u64,
}

impl Line<'_> {
    /// major minor name, then reads, merged, sectors, ms, writes, merged, sectors, ms, under way, ms with any.
    fn parse(line: &str) -> Option<Line<'_>> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let small = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(Line {
            device: (small(0)?, small(1)?),
            name: fields.get(2)?,
            sectors_read: number(5)?,
            sectors_written: number(9)?,
            busy_ms: number(12)?,
        })
    }
}

/// What two looks come to, `elapsed` apart.
pub fn between(before: &Moved, now: &Moved, elapsed: Duration) -> Reading<Io> {
    let seconds = elapsed.as_secs_f64();
    // A disk came or went: the sums are of different ones.
    if seconds <= 0.0 || before.scope != now.scope || before.busy_ms.len() != now.busy_ms.len() {
        return Err(Missing::NotYet);
    }
    let per_s = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
    let busy = before.busy_ms.iter().zip(&now.busy_ms).map(|(before, now)| per_s(*before, *now) / 10.0);
    Ok(Io {
        scope: now.scope,
        read_bytes_per_s: per_s(before.read_bytes, now.read_bytes),
        written_bytes_per_s: per_s(before.written_bytes, now.written_bytes),
        busy_percent: busy.fold(0.0, f64::max).min(100.0),
        read_bytes: now.read_bytes,
        written_bytes: now.written_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    const STATS: &str = "   7       0 loop0 9 0 9000 0 9 0 9000 0 0 9000 0 0 0 0 0 0 0\n \
                         254       0 vda 5 1 100 3 7 1 200 9 0 40 12 0 0 0 0 0 0\n \
                         254       1 vda1 5 1 90 3 7 1 190 9 0 30 12\n \
                         254      16 vdb 1 0 10 1 1 0 20 1 0 60 2\n";

    fn tree() -> Tree {
        let disks = [("sys/block/loop0/size", ""), ("sys/block/vda/size", ""), ("sys/block/vdb/size", "")];
        let tree = Tree::new(&disks);
        tree.write("proc/diskstats", STATS);
        tree
    }

    #[test]
    fn the_device_of_the_data_is_told_from_all_disks() {
        let tree = tree();
        let one = moved(&tree.roots(), (254, 1)).unwrap();
        assert_eq!((one.scope, one.read_bytes, one.written_bytes), (IoScope::Device, 90 * 512, 190 * 512));
        let all = moved(&tree.roots(), (0, 44)).unwrap();
        assert_eq!((all.scope, all.read_bytes, all.written_bytes), (IoScope::Machine, 110 * 512, 220 * 512));
        tree.write("proc/diskstats", "7 0 loop0 9 0 9 0 9 0 9 0 0 9 0\n");
        assert_eq!(moved(&tree.roots(), (0, 44)), Err(Missing::Absent));
        tree.write("proc/diskstats", "7 0 loop0 9 0\n");
        assert!(moved(&tree.roots(), (0, 44)).unwrap_err().failure().is_some());
        tree.remove("proc/diskstats");
        assert_eq!(moved(&tree.roots(), (0, 44)), Err(Missing::Absent));
    }

    #[test]
    fn rates_are_differences() {
        let tree = tree();
        let before = moved(&tree.roots(), (0, 44)).unwrap();
        let grown = STATS.replace("vda 5 1 100 3 7 1 200 9 0 40", "vda 5 1 300 3 7 1 1200 9 0 540");
        tree.write("proc/diskstats", &grown);
        let now = moved(&tree.roots(), (0, 44)).unwrap();
        let io = between(&before, &now, Duration::from_secs(2)).unwrap();
        assert_eq!((io.read_bytes_per_s, io.written_bytes_per_s), (200.0 * 256.0, 1000.0 * 256.0));
        assert_eq!((io.busy_percent, io.read_bytes), (25.0, 310 * 512), "of the busiest");
        assert_eq!(between(&before, &now, Duration::ZERO), Err(Missing::NotYet));
        let device = moved(&tree.roots(), (254, 0)).unwrap();
        assert_eq!(between(&before, &device, Duration::from_secs(1)), Err(Missing::NotYet));
    }
}
