//! One figure, or why there is none; and the kernel's files that figures come from.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A figure, or why there is none. There is no zero that stands for "unknown".
pub type Reading<T> = Result<T, Missing>;

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// It is a difference, and there was one sample so far, or none long enough ago.
    #[error("it is a difference of two samples, and there are not yet two")]
    NotYet,
    /// This machine does not have it: no such controller, an older kernel. Nothing is wrong.
    #[error("this machine does not have it")]
    Absent,
    /// It should be there, and could not be read.
    #[error("{0}")]
    Failed(String),
}

impl Missing {
    /// What counts as a failure; the others are as they should be.
    pub fn failure(&self) -> Option<&str> {
        if let Missing::Failed(reason) = self { Some(reason) } else { None }
    }

    /// For what every machine has: that it is not there is a failure too.
    pub(super) fn required(self, what: &str) -> Missing {
        if self == Missing::Absent { Missing::Failed(format!("{what} is not there")) } else { self }
    }
}

/// Where the kernel tells of itself. Tests put trees of their own here.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots { proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// The text of a kernel's file. A file that is not there is [`Missing::Absent`]: who needs it says so.
pub(super) fn read(path: &Path) -> Reading<String> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        // ESRCH: the process of an open directory is gone. EOPNOTSUPP: pressure files of a kernel that
        // was started with psi=0.
        ErrorKind::NotFound | ErrorKind::NotADirectory => Missing::Absent,
        _ => match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::SRCH | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NODEV) => {
                Missing::Absent
            }
            _ => Missing::Failed(format!("{}: {error}", path.display())),
        },
    })
}

/// What a file says is not what the kernel's documentation says.
pub(super) fn malformed(path: &Path) -> Missing {
    Missing::Failed(format!("{}: not in the form that is known", path.display()))
}

#[cfg(test)]
pub(super) mod tree {
    //! Trees like /proc and /sys, for tests.
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory that goes with the test.
    pub struct Tree(pub PathBuf);

    impl Tree {
        /// `files` are paths, such as `proc/stat`, and texts.
        pub fn new(files: &[(&str, &str)]) -> Tree {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir =
                std::env::temp_dir().join(format!("omnimind-protection-{}-{count}", std::process::id()));
            let tree = Tree(dir);
            for (path, text) in files {
                tree.write(path, text);
            }
            tree
        }

        pub fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub fn remove(&self, path: &str) {
            fs::remove_file(self.0.join(path)).unwrap();
        }

        pub fn roots(&self) -> Roots {
            Roots { proc: self.0.join("proc"), sys: self.0.join("sys") }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
