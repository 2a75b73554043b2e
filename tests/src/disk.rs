//! Disks that are full or fail, below a server's data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{self, Server, scratch};
use crate::{binary, checkout};

/// A directory whose disk does what a test says. It goes with the test.
pub struct Disk {
    dir: PathBuf,
    mounted: bool,
}

impl Disk {
    /// A small file system of its own where this process may mount one, else a pretended one.
    pub fn small(mebibytes: u32) -> Disk {
        let mut disk = Disk::pretended();
        fs::create_dir_all(disk.data_dir()).expect("a directory");
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.data_dir());
        let wanted = std::env::var_os("OMNIMIND_TEST_NO_MOUNT").is_none();
        disk.mounted = wanted && mount.output().is_ok_and(|mount| mount.status.success());
        disk
    }

    /// One that fails by a library that is preloaded into the server.
    pub fn pretended() -> Disk {
        let dir = scratch("disk");
        fs::create_dir_all(&dir).expect("a directory");
        let dir = fs::canonicalize(dir).expect("a directory");
        Disk { dir, mounted: false }
    }

    /// Whether it is a file system of its own. One that is pretended is so for a server only.
    pub fn is_real(&self) -> bool {
        self.mounted
    }

    /// Where a server's data goes.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts a server on it.
    pub fn serve(&self, arguments: &[&str]) -> Result<Server, String> {
        let mut command = server::command(&self.data_dir());
        command.args(arguments);
        // A disk that is full on purpose is not to be tidied.
        command.env("OMNIMIND_PROTECTION__INTERVAL_MS", "60000");
        if !self.mounted {
            let library = self.dir.join("bad-disk.so");
            if !library.exists() {
                make_shim("bad_disk.c", &library);
            }
            command.env("LD_PRELOAD", library).env("BAD_DISK", &self.dir);
        }
        Server::launch(command, &self.data_dir())
    }

    /// Takes all the room there is, or gives it back.
    pub fn fill(&self, full: bool) {
        let filler = self.data_dir().join("filler");
        match (self.mounted, full) {
            (false, _) => self.tell("full", full),
            (true, false) => fs::remove_file(filler).expect("it is there"),
            (true, true) => {
                let mut filler = OpenOptions::new().create(true).append(true).open(filler).expect("a file");
                for piece in [1 << 20, 1 << 10, 1] {
                    let piece = vec![0; piece];
                    let error = loop {
                        if let Err(error) = filler.write_all(&piece) {
                            break error;
                        }
                    };
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                }
            }
        }
    }

    /// Lets fsync fail, or no longer.
    pub fn fail_syncs(&self, fail: bool) {
        self.tell("no-sync", fail);
    }

    /// The same for the files beside the database alone.
    pub fn fail_syncs_of_blobs(&self, fail: bool) {
        self.tell("no-sync-of-blobs", fail);
    }

    /// Lets fsync take three seconds, or no longer.
    pub fn slow_syncs(&self, slow: bool) {
        self.tell("slow-sync", slow);
    }

    /// Lets writes fail, or no longer.
    pub fn fail_writes(&self, fail: bool) {
        self.tell("no-write", fail);
    }

    /// Counts the calls to the disk of the servers that are started from now on, and lets all of them fail from
    /// the one of this number on; none if it is 0.
    pub fn fail_from(&self, call: u64) {
        assert!(!self.mounted, "a real disk does not fail when it is told to");
        // Another file: a server that runs keeps its own.
        let path = self.dir.join("calls");
        let _ = fs::remove_file(&path);
        fs::write(path, [0_u64.to_le_bytes(), call.to_le_bytes()].concat()).expect("a file");
    }

    /// How many there were since.
    pub fn calls(&self) -> u64 {
        let calls = fs::read(self.dir.join("calls")).expect("a file");
        u64::from_le_bytes(calls[..8].try_into().expect("eight bytes"))
    }

    fn tell(&self, what: &str, on: bool) {
        assert!(!self.mounted, "a real disk does not fail when it is told to");
        let path = self.dir.join(what);
        match on {
            true => drop(File::create(path).expect("a file")),
            false => fs::remove_file(path).expect("it is there"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.data_dir()).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Makes a library to be preloaded from a source beside this one.
pub(crate) fn make_shim(source: &str, library: &Path) {
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(library)
        .arg(checkout().join("tests/src").join(source))
        .arg("-ldl")
        .output()
        .expect("this test needs a C compiler called cc: apt-get install gcc");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Asserts that `omnimind store check` finds nothing wrong.
#[track_caller]
pub fn assert_sound(data_dir: &Path) {
    let mut check = Command::new(binary());
    let check = check.args(["store", "check", "--data-dir"]).arg(data_dir).output().expect("omnimind starts");
    let words = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success() && words.contains("the store is sound"), "{words}");
}
