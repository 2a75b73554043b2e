//! What this process holds of the kernel besides memory. Nothing is decided by it: it is shown.

use serde::Serialize;

use super::reading::{Missing, Reading, Roots, malformed, read};

/// Threads and descriptors of this process, without its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Handles {
    /// Threads: `/proc/self/status`.
    pub threads: u64,
    /// Descriptors that are open: `/proc/self/fd`.
    pub open_descriptors: u64,
    /// As many as may be; null where there is no limit.
    pub max_descriptors: Option<u64>,
}

/// Looks now.
pub fn look(roots: &Roots) -> Reading<Handles> {
    let status = roots.proc.join("self/status");
    let text = read(&status).map_err(|missing| missing.required("/proc/self/status"))?;
    let threads = text.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    let descriptors = roots.proc.join("self/fd");
    let open = std::fs::read_dir(&descriptors)
        .map_err(|error| Missing::Failed(format!("{}: {error}", descriptors.display())))?;
    Ok(Handles {
        threads: threads.ok_or_else(|| malformed(&status))?,
        // Without the one that this look has open.
        open_descriptors: (open.count() as u64).saturating_sub(1),
        max_descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reading::tree::Tree;
    use super::*;

    #[test]
    fn threads_and_descriptors_are_counted() {
        let tree = Tree::new(&[("proc/self/status", "VmRSS: 8 kB\nThreads:\t7\n")]);
        assert!(look(&tree.roots()).unwrap_err().failure().is_some(), "there is no list of descriptors");
        for number in 0..4 {
            tree.write(&format!("proc/self/fd/{number}"), "");
        }
        let found = look(&tree.roots()).unwrap();
        assert_eq!((found.threads, found.open_descriptors), (7, 3));
        tree.write("proc/self/status", "Threads: many\n");
        assert!(look(&tree.roots()).unwrap_err().failure().is_some());
    }

    #[test]
    fn this_process_has_some() {
        let before = look(&Roots::default()).unwrap();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let now = look(&Roots::default()).unwrap();
        assert!(now.threads > 0 && now.open_descriptors >= before.open_descriptors.min(3) + 40, "{now:?}");
        drop(files);
    }
}
