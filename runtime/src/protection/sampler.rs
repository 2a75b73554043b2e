//! One look at the machine. Shares of time are differences from the look before.
//!
//! It only reads: what follows from it is the policy's. It may block, on a file system that hangs, say, so it
//! does not belong on a thread that serves.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::cgroup::{self, Cgroups};
use super::cpu::{self, Cpu, Ticks};
use super::disk::Disk;
use super::handles::{self, Handles};
use super::io::{self, Io, Moved};
use super::level::Resource;
use super::memory::{self, Ram, Swap};
use super::process::{self, Process};
use super::reading::{Missing, Reading, Roots};
use super::stall::{self, Stall, Stalled};

/// What the kernel measures pressure of.
const PRESSURES: [&str; 3] = ["cpu", "memory", "io"];

/// One look.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, since the sampler's clock began.
    pub at: Duration,
    /// Load of the processors.
    pub cpu: Reading<Cpu>,
    /// Cores' worth of time that the container may have; absent where there is no limit.
    pub cpu_quota_cores: Reading<f64>,
    /// Memory.
    pub ram: Reading<Ram>,
    /// Swap space; absent where there is none.
    pub swap: Reading<Swap>,
    /// This process and its children.
    pub process: Reading<Process>,
    /// Threads and descriptors of this process.
    pub handles: Reading<Handles>,
    /// The file system of the data directory.
    pub disk: Reading<Disk>,
    /// What its device moves.
    pub io: Reading<Io>,
    /// Stall on the machine: `/proc/pressure`.
    pub stall: Stalls<Stall>,
    /// Stall in our own cgroup of version 2.
    pub cgroup_stall: Stalls<Stall>,
    /// How much later than it asked a thread of the server was woken.
    pub wake_delay_ms: Reading<f64>,
}

/// Stall in waiting for each of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Stalls<T> {
    /// A processor.
    pub cpu: Reading<T>,
    /// Memory that had to be got back first.
    pub memory: Reading<T>,
    /// A disk.
    pub io: Reading<T>,
}

impl<T> Stalls<T> {
    fn each(look: impl Fn(&str) -> Reading<T>) -> Stalls<T> {
        let [cpu, memory, io] = PRESSURES.map(look);
        Stalls { cpu, memory, io }
    }
}

/// Looks again and again.
#[derive(Debug)]
pub struct Sampler {
    roots: Roots,
    data_dir: PathBuf,
    before: Option<Counters>,
}

/// What only ever counts up.
#[derive(Debug)]
struct Counters {
    at: Duration,
    machine: Reading<Ticks>,
    process: Reading<Process>,
    moved: Reading<Moved>,
    stall: Stalls<Stalled>,
    cgroup_stall: Stalls<Stalled>,
}

impl Sampler {
    /// Will look at the machine that `roots` show, and at the file system of `data_dir`.
    pub fn new(roots: Roots, data_dir: PathBuf) -> Sampler {
        Sampler { roots, data_dir, before: None }
    }

    /// Looks. `at` is the time of a clock that only goes forward, `wake_delay_ms` what the caller measured.
    pub fn sample(&mut self, at: Duration, wake_delay_ms: Reading<f64>) -> Sample {
        let cgroups = cgroup::find(&self.roots);
        let now = Counters {
            at,
            machine: cpu::machine(&self.roots),
            process: process::look(&self.roots),
            moved: io::look(&self.roots, &self.data_dir),
            stall: Stalls::each(|what| stall::look(&self.roots.proc.join("pressure").join(what))),
            cgroup_stall: Stalls::each(|what| {
                let cgroups = cgroups.as_ref().map_err(Missing::clone)?;
                stall::look(&cgroups.pressure(what).ok_or(Missing::Absent)?)
            }),
        };
        let sample = Sample {
            at,
            cpu: load(self.before.as_ref(), &now),
            cpu_quota_cores: cgroups.as_ref().map_err(Missing::clone).and_then(Cgroups::cpu_quota_cores),
            ram: ram(&cgroups),
            swap: memory::swap(),
            process: now.process.clone(),
            handles: handles::look(&self.roots),
            disk: Disk::of(&self.data_dir),
            io: moved(self.before.as_ref(), &now),
            stall: stalls(self.before.as_ref(), &now, |counters| &counters.stall),
            cgroup_stall: stalls(self.before.as_ref(), &now, |counters| &counters.cgroup_stall),
            wake_delay_ms,
        };
        self.before = Some(now);
        sample
    }
}

fn load(before: Option<&Counters>, now: &Counters) -> Reading<Cpu> {
    // A failure now is told as one, whatever was before.
    let (machine, process) = (now.machine.clone()?, now.process.clone()?);
    let before =
        before.and_then(|before| Some((before.machine.as_ref().ok()?, before.process.as_ref().ok()?)));
    let (machine_before, process_before) = before.ok_or(Missing::NotYet)?;
    cpu::load(*machine_before, machine, process::ticks_between(process_before, &process))
}

fn moved(before: Option<&Counters>, now: &Counters) -> Reading<Io> {
    let moved = now.moved.as_ref().map_err(Missing::clone)?;
    let before = before.and_then(|before| Some((before.at, before.moved.as_ref().ok()?)));
    let (at, before) = before.ok_or(Missing::NotYet)?;
    io::between(before, moved, now.at.saturating_sub(at))
}

/// A group whose limit cannot be read may be the tightest: then nothing is known.
fn ram(cgroups: &Reading<Cgroups>) -> Reading<Ram> {
    let machine = memory::machine()?;
    match cgroups {
        Ok(cgroups) => Ok(memory::tightest(machine, &cgroups.memory()?)),
        Err(Missing::Absent) => Ok(machine),
        Err(missing) => Err(missing.clone()),
    }
}

fn stalls(
    before: Option<&Counters>,
    now: &Counters,
    of: impl Fn(&Counters) -> &Stalls<Stalled>,
) -> Stalls<Stall> {
    let one = |pick: fn(&Stalls<Stalled>) -> &Reading<Stalled>| {
        let current = pick(of(now)).clone()?;
        let before = before.and_then(|before| Some((before.at, *pick(of(before)).as_ref().ok()?)));
        let (at, before) = before.ok_or(Missing::NotYet)?;
        stall::between(before, current, now.at.saturating_sub(at))
    };
    Stalls {
        cpu: one(|stalls| &stalls.cpu),
        memory: one(|stalls| &stalls.memory),
        io: one(|stalls| &stalls.io),
    }
}

impl Sample {
    /// Every figure by its name, `null` where there is none, and `missing` says why for each of those.
    pub fn to_json(&self) -> Value {
        let Sample { cpu, cpu_quota_cores, ram, swap, process, handles, disk, io, wake_delay_ms, .. } = self;
        let (mut figures, mut missing) = (Map::new(), Map::new());
        let mut put = |name: &str, figure: Reading<Value>| {
            if let Err(why) = &figure {
                missing.insert(name.to_owned(), json!(why.to_string()));
            }
            figures.insert(name.to_owned(), figure.unwrap_or_default());
        };
        put("cpu", to_json(cpu));
        put("cpu_quota_cores", to_json(cpu_quota_cores));
        put("ram", to_json(ram));
        put("swap", to_json(swap));
        put("process", to_json(process));
        put("handles", to_json(handles));
        put("disk", to_json(disk));
        put("io", to_json(io));
        put("wake_delay_ms", to_json(wake_delay_ms));
        for (of, stalls) in [("stall", &self.stall), ("cgroup_stall", &self.cgroup_stall)] {
            let Stalls { cpu, memory, io } = stalls;
            for (what, stall) in PRESSURES.iter().zip([cpu, memory, io]) {
                put(&format!("{of}_{what}"), to_json(stall));
            }
        }
        figures.insert("missing".to_owned(), Value::Object(missing));
        Value::Object(figures)
    }

    /// What is said of one resource; null where that cannot be read.
    pub fn figures(&self, resource: Resource) -> Value {
        let figures = match resource {
            Resource::Cpu => to_json(&self.cpu),
            Resource::Ram => to_json(&self.ram),
            Resource::ProcessRam => to_json(&self.process),
            Resource::Disk => to_json(&self.disk),
        };
        figures.unwrap_or_default()
    }
}

fn to_json<T: serde::Serialize>(reading: &Reading<T>) -> Reading<Value> {
    reading.as_ref().map(|figure| json!(figure)).map_err(Missing::clone)
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    const STATUS: &str = "VmRSS: 8 kB\n";

    fn machine() -> Tree {
        Tree::new(&[
            ("proc/stat", "cpu  0 0 0 1000\n"),
            ("proc/self/stat", "1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1 1 1\n"),
            ("proc/self/status", STATUS),
            ("proc/self/cgroup", "0::/\n"),
            ("proc/pressure/cpu", "some total=0\n"),
        ])
    }

    fn sampler(tree: &Tree) -> Sampler {
        Sampler::new(tree.roots(), tree.0.clone())
    }

    #[test]
    fn the_first_sample_says_what_it_cannot_know_yet() {
        let tree = machine();
        let mut sampler = sampler(&tree);
        let first = sampler.sample(Duration::ZERO, Err(Missing::NotYet));
        assert_eq!((&first.cpu, &first.stall.cpu), (&Err(Missing::NotYet), &Err(Missing::NotYet)));
        assert_eq!(first.stall.memory, Err(Missing::Absent));
        assert!(first.ram.is_ok() && first.disk.is_ok() && first.process.is_ok());
        tree.write("proc/stat", "cpu  60 0 0 1040\n");
        tree.write("proc/self/stat", "1 (x) S 1 1 1 0 -1 0 0 0 0 0 20 0 0 0 20 0 1 0 1 1 1\n");
        tree.write("proc/pressure/cpu", "some total=300000\n");
        let second = sampler.sample(Duration::from_secs(1), Ok(1.5));
        let cpu = second.cpu.as_ref().unwrap();
        assert_eq!((cpu.own_percent, cpu.outside_percent), (20.0, 40.0));
        assert_eq!(second.stall.cpu.as_ref().unwrap().some_percent, 30.0);
        let shown = second.to_json();
        assert_eq!(shown["cpu"]["outside_percent"], 40.0);
        assert_eq!(shown["stall_cpu"]["some_percent"], 30.0);
        assert_eq!(shown["cpu_quota_cores"], Value::Null);
        assert_eq!(shown["missing"]["cpu_quota_cores"], "this machine does not have it");
    }

    #[test]
    fn a_file_that_vanishes_takes_only_its_own_figure() {
        let tree = machine();
        let mut sampler = sampler(&tree);
        sampler.sample(Duration::ZERO, Ok(0.0));
        tree.remove("proc/stat");
        let blind = sampler.sample(Duration::from_secs(1), Ok(0.0));
        assert!(blind.cpu.as_ref().unwrap_err().failure().is_some());
        assert!(blind.ram.is_ok() && blind.process.is_ok() && blind.stall.cpu.is_ok());
        tree.write("proc/stat", "cpu  0 0 0 3000\n");
        let back = sampler.sample(Duration::from_secs(2), Ok(0.0));
        assert_eq!(back.cpu, Err(Missing::NotYet), "there is nothing to compare it with");
        tree.write("proc/stat", "cpu  0 0 0 4000\n");
        assert!(sampler.sample(Duration::from_secs(3), Ok(0.0)).cpu.is_ok());
    }

    #[test]
    fn a_cgroup_that_cannot_be_read_hides_the_memory() {
        let tree = machine();
        tree.write("sys/fs/cgroup/memory.max", "1048576\n");
        tree.write("sys/fs/cgroup/memory.current", "524288\n");
        let mut sampler = sampler(&tree);
        let ram = sampler.sample(Duration::ZERO, Ok(0.0)).ram.unwrap();
        assert_eq!(ram.available_bytes, 524_288);
        tree.write("sys/fs/cgroup/memory.current", "half\n");
        assert!(sampler.sample(Duration::ZERO, Ok(0.0)).ram.unwrap_err().failure().is_some());
    }

    #[test]
    fn this_machine_can_be_sampled() {
        let mut sampler = Sampler::new(Roots::default(), std::env::temp_dir());
        sampler.sample(Duration::ZERO, Ok(0.0));
        std::thread::sleep(Duration::from_millis(300));
        let sample = sampler.sample(Duration::from_millis(300), Ok(0.0));
        let cpu = sample.cpu.unwrap();
        assert!(cpu.machine_percent <= 100.0 && cpu.own_percent <= cpu.machine_percent, "{cpu:?}");
    }
}
