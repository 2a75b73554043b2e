//! What this process and its children use: the compile workers are ours too.
//!
//! Children are found in `/proc/PID/task/TID/children`; a kernel without that file shows their time when they
//! are waited for, and not before.

use std::path::Path;

use serde::Serialize;

use super::reading::{Reading, Roots, malformed, read};

/// Processes that are looked at; we never have this many.
const MOST_PROCESSES: usize = 256;

/// This process and its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Resident memory of this process: `VmRSS` of `/proc/self/status`.
    pub rss_bytes: u64,
    /// Resident memory of its children.
    pub children_rss_bytes: u64,
    /// CPU time since the start, of the process and of children running or waited for; in `USER_HZ`.
    #[serde(skip)]
    pub ticks: u64,
}

/// What one line of `/proc/PID/stat` says: CPU time of the process, and of children that it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    own: u64,
    waited: u64,
}

/// Looks now.
pub fn look(roots: &Roots) -> Reading<Process> {
    let dir = roots.proc.join("self");
    let what = "/proc/self";
    let rss_bytes = rss(&dir)?.ok_or_else(|| malformed(&dir.join("status")))?;
    let mut stat = stat(&dir).map_err(|missing| missing.required(what))?;
    let mut children = Vec::new();
    // A child that ends while we look would be counted twice, or not at all: a compile worker's half minute.
    for _ in 0..3 {
        children = descendants(roots, &dir);
        let again = self::stat(&dir).map_err(|missing| missing.required(what))?;
        let unchanged = again.waited == stat.waited;
        stat = again;
        if unchanged {
            break;
        }
    }
    let children_rss_bytes = children.iter().map(|(_, bytes)| bytes).sum();
    let ticks = children.iter().map(|(stat, _)| stat.own + stat.waited).sum::<u64>();
    Ok(Process { rss_bytes, children_rss_bytes, ticks: ticks + stat.own + stat.waited })
}

/// Every process below `dir`'s, with its memory. One that is gone by the time it is read is left out: its
/// parent has its time.
fn descendants(roots: &Roots, dir: &Path) -> Vec<(Stat, u64)> {
    let mut found = Vec::new();
    let mut pids = children(dir);
    while let Some(pid) = pids.pop() {
        let dir = roots.proc.join(pid.to_string());
        if let Ok(stat) = stat(&dir) {
            // What waits to be waited for has no memory any more.
            found.push((stat, rss(&dir).ok().flatten().unwrap_or(0)));
            pids.extend(children(&dir));
        }
        if found.len() >= MOST_PROCESSES {
            break;
        }
    }
    found
}

/// The children that any of its threads started.
fn children(dir: &Path) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(dir.join("task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| read(&thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<_>>()).collect()
}

fn stat(dir: &Path) -> Reading<Stat> {
    let path = dir.join("stat");
    let text = read(&path)?;
    // The second field is the name, in parentheses, and may hold whatever its author liked.
    let (_, fields) = text.rsplit_once(')').ok_or_else(|| malformed(&path))?;
    // After it come fields 3 and up; utime, stime, cutime and cstime are 14 to 17.
    let times: Vec<u64> = fields.split_ascii_whitespace().skip(11).take(4).flat_map(str::parse).collect();
    match times[..] {
        [user, system, waited_user, waited_system] => {
            Ok(Stat { own: user.saturating_add(system), waited: waited_user.saturating_add(waited_system) })
        }
        _ => Err(malformed(&path)),
    }
}

/// Resident bytes; none where the process has no memory.
fn rss(dir: &Path) -> Reading<Option<u64>> {
    let path = dir.join("status");
    let text = read(&path).map_err(|missing| missing.required("/proc/PID/status"))?;
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmRSS:")) else { return Ok(None) };
    let number = line.trim().strip_suffix(" kB").and_then(|number| number.trim().parse::<u64>().ok());
    let bytes = number.and_then(|kib| kib.checked_mul(1024));
    bytes.map(Some).ok_or_else(|| malformed(&path))
}

/// Ticks from one look to the next. A child that nobody waited for takes its time with it: then it is none.
pub fn ticks_between(before: &Process, now: &Process) -> u64 {
    now.ticks.saturating_sub(before.ticks)
}

impl Process {
    /// All of it.
    pub fn tree_rss_bytes(&self) -> u64 {
        self.rss_bytes.saturating_add(self.children_rss_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    fn line(name: &str, times: [u64; 4]) -> String {
        let [a, b, c, d] = times;
        format!("42 ({name}) S 1 42 42 0 -1 4194560 1 2 3 4 {a} {b} {c} {d} 30 10 5 0 100 1000 250\n")
    }

    #[test]
    fn children_and_their_children_count() {
        let tree = Tree::new(&[
            ("proc/self/stat", &line("a) b (c", [10, 5, 3, 2])),
            ("proc/self/status", "Name:\tx\nVmRSS:\t    1024 kB\nThreads:\t2\n"),
            ("proc/self/task/42/children", "50 "),
            ("proc/self/task/43/children", "51 99 "),
            ("proc/50/stat", &line("worker", [100, 0, 0, 0])),
            ("proc/50/status", "VmRSS:\t 2 kB\n"),
            ("proc/50/task/50/children", "52 "),
            ("proc/51/stat", &line("zombie", [7, 0, 0, 0])),
            ("proc/51/status", "State:\tZ\n"),
            ("proc/52/stat", &line("below", [1000, 0, 0, 0])),
            ("proc/52/status", "VmRSS:\t 1 kB\n"),
        ]);
        let found = look(&tree.roots()).unwrap();
        assert_eq!(found.ticks, 20 + 100 + 7 + 1000, "99 was gone");
        assert_eq!((found.rss_bytes, found.children_rss_bytes), (1 << 20, 3 << 10));
        assert_eq!(found.tree_rss_bytes(), (1 << 20) + (3 << 10));
    }

    #[test]
    fn a_kernel_without_lists_of_children_has_those_that_were_waited_for() {
        let tree =
            Tree::new(&[("proc/self/stat", &line("x", [1, 2, 3, 4])), ("proc/self/status", "VmRSS: 8 kB\n")]);
        assert_eq!(look(&tree.roots()).unwrap().ticks, 10);
    }

    #[test]
    fn what_is_not_known_is_a_failure() {
        let stat = line("x", [1, 2, 3, 4]);
        for (stat, status) in [
            ("", "VmRSS: 8 kB\n"),
            ("1 x S 1", "VmRSS: 8 kB\n"),
            ("1 (x) S 1 2 3", "VmRSS: 8 kB\n"),
            (&stat, ""),
            (&stat, "VmRSS: 8 pages\n"),
            (&stat, "VmRSS: -8 kB\n"),
        ] {
            let tree = Tree::new(&[("proc/self/stat", stat), ("proc/self/status", status)]);
            assert!(look(&tree.roots()).unwrap_err().failure().is_some(), "{stat:?} {status:?}");
        }
        assert!(look(&Tree::new(&[]).roots()).unwrap_err().failure().is_some());
    }

    #[test]
    fn this_process_is_found() {
        let found = look(&Roots::default()).unwrap();
        assert!(found.rss_bytes > 1 << 20, "{found:?}");
    }
}
