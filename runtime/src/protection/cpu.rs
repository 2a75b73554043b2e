//! Whose load the processors carry: ours, or other people's.
//!
//! Both come in ticks of the same clock (`USER_HZ`), so a share is a quotient and nobody has to know how
//! long a tick is. Time that a hypervisor took (`steal`) is neither ours nor that of others here: it is told
//! by itself, because slowing our guests down would not give it back.

use serde::Serialize;

use super::reading::{Missing, Reading, Roots, malformed, read};

/// Fewer ticks than this between two samples say nothing: at 100 Hz, a tenth of a second of one core.
const LEAST_TICKS: u64 = 10;

/// Counters of the machine since it started: the first line of `/proc/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// Computing, in whatever mode, for whomever.
    pub busy: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
    /// Everything, idle time too.
    pub total: u64,
}

/// Shares of all the machine's cores together, in percent, between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Everybody's load: `/proc/stat`.
    pub machine_percent: f64,
    /// Load of this process and its children: `/proc/PID/stat`.
    pub own_percent: f64,
    /// Other people's load: the machine's without our own.
    pub outside_percent: f64,
    /// Time that the hypervisor took.
    pub steal_percent: f64,
}

/// The counters of the machine now.
pub fn machine(roots: &Roots) -> Reading<Ticks> {
    let path = roots.proc.join("stat");
    let text = read(&path).map_err(|missing| missing.required("/proc/stat"))?;
    parse(&text).ok_or_else(|| malformed(&path))
}

/// user nice system idle iowait irq softirq steal; guests are in user and nice already.
fn parse(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let (&[user, nice, system, idle], rest) = numbers.split_first_chunk()?;
    let rest = |at: usize| rest.get(at).copied().unwrap_or(0);
    let (iowait, irq, softirq, steal) = (rest(0), rest(1), rest(2), rest(3));
    let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
    let busy = sum(&[user, nice, system, irq, softirq])?;
    Some(Ticks { busy, steal, total: sum(&[busy, steal, idle, iowait])? })
}

/// What the counters of two samples, and our own ticks in between, come to.
///
/// # Errors
/// [`Missing::NotYet`] where too little time has passed.
pub fn load(before: Ticks, now: Ticks, own: u64) -> Reading<Cpu> {
    // Counters of idle time are known to go back a little.
    let total = now.total.saturating_sub(before.total);
    if total < LEAST_TICKS {
        return Err(Missing::NotYet);
    }
    let busy = now.busy.saturating_sub(before.busy).min(total);
    // The two are read one after the other, and the time of a child is told when it ends: never more than all.
    let own = own.min(busy);
    let percent = |ticks: u64| ticks as f64 * 100.0 / total as f64;
    Ok(Cpu {
        machine_percent: percent(busy),
        own_percent: percent(own),
        outside_percent: percent(busy - own),
        steal_percent: percent(now.steal.saturating_sub(before.steal).min(total)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    #[test]
    fn own_load_and_that_of_others_are_told_apart() {
        let before = parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4\n").unwrap();
        let now = parse("cpu  130 10 105 730 110 3 2 10 0 0\n").unwrap();
        assert_eq!((before.busy, before.total), (200, 1000));
        let cpu = load(before, now, 20).unwrap();
        assert_eq!((cpu.machine_percent, cpu.own_percent), (50.0, 20.0));
        assert_eq!((cpu.outside_percent, cpu.steal_percent), (30.0, 10.0));
    }

    #[test]
    fn a_difference_of_nothing_is_not_zero_load() {
        let ticks = Ticks { busy: 10, steal: 0, total: 100 };
        assert_eq!(load(ticks, ticks, 0), Err(Missing::NotYet));
        let back = Ticks { busy: 9, steal: 0, total: 99 };
        assert_eq!(load(ticks, back, 0), Err(Missing::NotYet));
    }

    #[test]
    fn own_load_is_never_more_than_all() {
        let (before, now) = (Ticks { busy: 0, steal: 0, total: 0 }, Ticks { busy: 50, steal: 0, total: 100 });
        let cpu = load(before, now, 5000).unwrap();
        assert_eq!((cpu.own_percent, cpu.outside_percent), (50.0, 0.0));
    }

    #[test]
    fn what_is_not_known_is_a_failure() {
        for text in ["", "cpu\n", "cpu  1 2 3\n", "cpu  1 2 3 x\n", "cpu  -1 2 3 4\n", "cpu0 1 2 3 4\n"] {
            let tree = Tree::new(&[("proc/stat", text)]);
            assert!(machine(&tree.roots()).unwrap_err().failure().is_some(), "{text:?}");
        }
        let none = Tree::new(&[]);
        assert!(machine(&none.roots()).unwrap_err().failure().is_some());
        let old_kernel = Tree::new(&[("proc/stat", "cpu 1 2 3 4\n")]);
        assert_eq!(machine(&old_kernel.roots()).unwrap().total, 10);
    }
}
