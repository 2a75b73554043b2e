//! What a container may have: limits of the cgroups that this process is in, version 1, 2 or both.
//!
//! Every ancestor limits too, and the tightest counts. Inside of a container the path that
//! `/proc/self/cgroup` names may be the host's, which is not there: then the mount's root is the
//! container's own group, and it is read in any case.

use std::path::{Component, Path, PathBuf};

use super::reading::{Missing, Reading, Roots, malformed, read};

/// A limit of version 1 as large as this is none: it is written as the largest number of pages.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Memory of one group that has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The limit.
    pub limit_bytes: u64,
    /// What is used and could not be taken back at once: without inactive pages of files.
    pub used_bytes: u64,
}

/// Which files a controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups of this process, as directories.
#[derive(Clone, Debug)]
pub struct Cgroups {
    memory: Option<(Version, Vec<PathBuf>)>,
    cpu: Option<(Version, Vec<PathBuf>)>,
    /// The group's own directory in version 2: it has the files of pressure.
    own: Option<PathBuf>,
}

/// Finds them anew: a process can be moved.
///
/// # Errors
/// [`Missing::Absent`] on a machine without cgroups.
pub fn find(roots: &Roots) -> Reading<Cgroups> {
    let list = roots.proc.join("self/cgroup");
    let text = read(&list)?;
    let mount = roots.sys.join("fs/cgroup");
    let mut found = Cgroups { memory: None, cpu: None, own: None };
    let mut unified = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { return Err(malformed(&list)) };
        let has = |controller: &str| names.split(',').any(|name| name == controller);
        let groups = |controller: &str| {
            // `cpu` is often a link to `cpu,cpuacct`, and not always there.
            let joined = mount.join(names);
            let mount = if joined.is_dir() { joined } else { mount.join(controller) };
            Some((Version::One, lineage(&mount, path)))
        };
        if names.is_empty() {
            unified = Some(path);
        } else if has("memory") {
            found.memory = groups("memory");
        }
        if has("cpu") {
            found.cpu = groups("cpu");
        }
    }
    if let Some(path) = unified {
        // Both versions at once: version 2 is below, and has the controllers that version 1 has not.
        let hybrid = mount.join("unified");
        let groups = lineage(if hybrid.is_dir() { &hybrid } else { &mount }, path);
        found.own = groups.last().cloned();
        found.memory.get_or_insert_with(|| (Version::Two, groups.clone()));
        found.cpu.get_or_insert((Version::Two, groups));
    }
    Ok(found)
}

/// The mount's root and every directory on the way to `path` that is there.
fn lineage(mount: &Path, path: &str) -> Vec<PathBuf> {
    let mut groups = vec![mount.to_owned()];
    let mut dir = mount.to_owned();
    // A path that leads out of the container's namespace has `..` in it, and is not to be seen from here.
    for part in Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))) {
        dir.push(part);
        if dir.is_dir() {
            groups.push(dir.clone());
        }
    }
    groups
}

impl Cgroups {
    /// Memory of every group that has a limit, the outermost first.
    ///
    /// # Errors
    /// One of them cannot be read: it may be the tightest.
    pub fn memory(&self) -> Reading<Vec<Memory>> {
        let Some((version, groups)) = &self.memory else { return Ok(Vec::new()) };
        let each = groups.iter().map(|dir| match version {
            Version::One => memory_1(dir),
            Version::Two => memory_2(dir),
        });
        each.filter_map(Result::transpose).collect()
    }

    /// Cores' worth of time that the tightest group may have.
    ///
    /// # Errors
    /// [`Missing::Absent`] where there is no limit.
    pub fn cpu_quota_cores(&self) -> Reading<f64> {
        let Some((version, groups)) = &self.cpu else { return Err(Missing::Absent) };
        let mut tightest = None;
        for dir in groups {
            let cores = match version {
                Version::One => quota_1(dir)?,
                Version::Two => quota_2(dir)?,
            };
            tightest = match (tightest, cores) {
                (Some(a), Some(b)) => Some(f64::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        tightest.ok_or(Missing::Absent)
    }

    /// The file of the group's pressure: `cpu`, `memory` or `io`.
    pub fn pressure(&self, what: &str) -> Option<PathBuf> {
        self.own.as_ref().map(|dir| dir.join(format!("{what}.pressure")))
    }
}

fn memory_1(dir: &Path) -> Reading<Option<Memory>> {
    let limit_bytes = match number(&dir.join("memory.limit_in_bytes"))? {
        Some(bytes) if bytes < NO_LIMIT_BYTES => bytes,
        _ => return Ok(None),
    };
    used(dir, "memory.usage_in_bytes", "total_inactive_file", limit_bytes).map(Some)
}

fn memory_2(dir: &Path) -> Reading<Option<Memory>> {
    // Above `high` processes are slowed until they have given memory back: it is a limit for us.
    let limits = [number(&dir.join("memory.max"))?, number(&dir.join("memory.high"))?];
    match limits.into_iter().flatten().min() {
        Some(limit_bytes) => used(dir, "memory.current", "inactive_file", limit_bytes).map(Some),
        None => Ok(None),
    }
}

fn used(dir: &Path, usage: &str, reclaimable: &str, limit_bytes: u64) -> Reading<Memory> {
    let path = dir.join(usage);
    let used = number(&path)?.ok_or_else(|| {
        Missing::Failed(format!("{}: there is a limit, and nothing that says what is used", path.display()))
    })?;
    let path = dir.join("memory.stat");
    let inactive = match read(&path) {
        Ok(text) => {
            let mut fields = text.lines().filter_map(|line| line.split_once(' '));
            let value = fields.find(|(name, _)| *name == reclaimable).map(|(_, value)| value.trim());
            value.and_then(|value| value.parse::<u64>().ok()).ok_or_else(|| malformed(&path))?
        }
        // Without it, what is used is an upper bound.
        Err(Missing::Absent) => 0,
        Err(missing) => return Err(missing),
    };
    Ok(Memory { limit_bytes, used_bytes: used.saturating_sub(inactive) })
}

/// A file with a number; none where it is not there, or says `max`.
fn number(path: &Path) -> Reading<Option<u64>> {
    let text = match read(path) {
        Ok(text) => text,
        Err(Missing::Absent) => return Ok(None),
        Err(missing) => return Err(missing),
    };
    match text.trim() {
        "max" => Ok(None),
        number => number.parse().map(Some).map_err(|_| malformed(path)),
    }
}

fn quota_1(dir: &Path) -> Reading<Option<f64>> {
    let path = dir.join("cpu.cfs_quota_us");
    let quota = match read(&path) {
        // -1 is none.
        Ok(text) => text.trim().parse::<i64>().map_err(|_| malformed(&path))?,
        Err(Missing::Absent) => return Ok(None),
        Err(missing) => return Err(missing),
    };
    let path = dir.join("cpu.cfs_period_us");
    match (u64::try_from(quota), number(&path)?) {
        (Err(_), _) => Ok(None),
        (Ok(quota), Some(period)) if period > 0 => Ok(Some(quota as f64 / period as f64)),
        _ => Err(malformed(&path)),
    }
}

fn quota_2(dir: &Path) -> Reading<Option<f64>> {
    let path = dir.join("cpu.max");
    let text = match read(&path) {
        Ok(text) => text,
        Err(Missing::Absent) => return Ok(None),
        Err(missing) => return Err(missing),
    };
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    match fields[..] {
        ["max", ..] => Ok(None),
        [quota, period] => match (quota.parse::<u64>(), period.parse::<u64>()) {
            (Ok(quota), Ok(period)) if period > 0 => Ok(Some(quota as f64 / period as f64)),
            _ => Err(malformed(&path)),
        },
        _ => Err(malformed(&path)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn found(files: &[(&str, &str)]) -> (Tree, Cgroups) {
        let tree = Tree::new(files);
        let cgroups = find(&tree.roots()).unwrap();
        (tree, cgroups)
    }

    #[test]
    fn version_2_with_a_limit_on_the_way() {
        let (_tree, cgroups) = found(&[
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/outer/memory.max", "104857600\n"),
            ("sys/fs/cgroup/outer/memory.high", "max\n"),
            ("sys/fs/cgroup/outer/memory.current", "83886080\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 5\nfile 6\ninactive_file 10485760\nactive_file 1\n"),
            ("sys/fs/cgroup/outer/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.high", "209715200\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "10485760\n"),
            ("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(
            cgroups.memory().unwrap(),
            [
                Memory { limit_bytes: 100 * MIB, used_bytes: 70 * MIB },
                Memory { limit_bytes: 200 * MIB, used_bytes: 10 * MIB },
            ]
        );
        assert_eq!(cgroups.cpu_quota_cores(), Ok(1.5));
        assert!(cgroups.pressure("cpu").unwrap().ends_with("outer/inner/cpu.pressure"));
    }

    #[test]
    fn version_1_and_the_number_that_means_none() {
        let (tree, cgroups) = found(&[
            ("proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "52428800\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.stat", "cache 5\ntotal_inactive_file 20971520\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(cgroups.memory().unwrap(), [Memory { limit_bytes: 100 * MIB, used_bytes: 30 * MIB }]);
        assert_eq!(cgroups.cpu_quota_cores(), Ok(0.5));
        assert_eq!(cgroups.pressure("cpu"), None);
        tree.remove("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us");
        assert!(cgroups.cpu_quota_cores().unwrap_err().failure().is_some());
    }

    #[test]
    fn inside_of_a_container_the_mount_is_the_group() {
        for path in ["/docker/abc", "/../..", "/"] {
            let (_tree, cgroups) = found(&[
                ("proc/self/cgroup", &format!("7:memory:{path}\n0::{path}\n")),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n"),
            ]);
            let memory = cgroups.memory().unwrap();
            assert_eq!(memory, [Memory { limit_bytes: MIB, used_bytes: 1000 }], "{path}");
        }
    }

    #[test]
    fn both_versions_at_once() {
        let (_tree, cgroups) = found(&[
            ("proc/self/cgroup", "4:memory:/a\n0::/b\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "7\n"),
            ("sys/fs/cgroup/unified/b/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/unified/b/memory.max", "5\n"),
        ]);
        assert_eq!(cgroups.memory().unwrap(), [Memory { limit_bytes: MIB, used_bytes: 7 }]);
        assert_eq!(cgroups.cpu_quota_cores(), Ok(1.0));
        assert!(cgroups.pressure("io").unwrap().ends_with("unified/b/io.pressure"));
    }

    #[test]
    fn no_cgroups_and_no_limits_are_no_failure() {
        assert_eq!(find(&Tree::new(&[]).roots()).unwrap_err(), Missing::Absent);
        let (_tree, cgroups) = found(&[("proc/self/cgroup", "0::/\n")]);
        assert_eq!(cgroups.memory(), Ok(vec![]));
        assert_eq!(cgroups.cpu_quota_cores(), Err(Missing::Absent));
    }

    #[test]
    fn what_is_not_known_and_what_vanishes_is_a_failure() {
        let files = [
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "1048576\n"),
            ("sys/fs/cgroup/a/memory.current", "1000\n"),
            ("sys/fs/cgroup/a/memory.stat", "inactive_file 10\n"),
            ("sys/fs/cgroup/a/cpu.max", "100 100\n"),
        ];
        for (file, text) in [
            ("memory.max", "-1\n"),
            ("memory.max", ""),
            ("memory.high", "lots\n"),
            ("memory.current", "max\n"),
            ("memory.current", "1e3\n"),
            ("memory.stat", "anon 10\n"),
            ("memory.stat", "inactive_file ten\n"),
        ] {
            let (tree, cgroups) = found(&files);
            tree.write(&format!("sys/fs/cgroup/a/{file}"), text);
            assert!(cgroups.memory().unwrap_err().failure().is_some(), "{file}: {text:?}");
        }
        for text in ["", "100", "100 0", "x 100", "1 2 3"] {
            let (tree, cgroups) = found(&files);
            tree.write("sys/fs/cgroup/a/cpu.max", text);
            assert!(cgroups.cpu_quota_cores().unwrap_err().failure().is_some(), "{text:?}");
        }
        let (tree, cgroups) = found(&files);
        tree.remove("sys/fs/cgroup/a/memory.current");
        assert!(cgroups.memory().unwrap_err().failure().is_some());
        let tree = Tree::new(&[("proc/self/cgroup", "nonsense\n")]);
        assert!(find(&tree.roots()).unwrap_err().failure().is_some());
    }
}
