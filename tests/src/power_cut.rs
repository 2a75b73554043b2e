//! A machine whose power is cut: what a server wrote and did not fsync may be gone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::disk::make_shim;
use crate::random::Random;
use crate::server::{self, Server, scratch};

/// Bytes of a disk's sector: of a write that was under way, some were written and some were not.
const SECTOR: u64 = 512;

/// A machine with one data directory. It goes with the test.
pub struct Machine {
    dir: PathBuf,
}

/// One of `power_cut.c`, and where in the log it begins.
struct Record {
    offset: u64,
    kind: u8,
    inode: u64,
    at: u64,
    count: u64,
    size: u64,
    bytes: Vec<u8>,
}

impl Machine {
    pub fn new() -> Machine {
        let dir = scratch("machine");
        fs::create_dir_all(&dir).expect("a directory");
        let machine = Machine { dir: fs::canonicalize(dir).expect("a directory") };
        make_shim("power_cut.c", &machine.dir.join("power-cut.so"));
        machine
    }

    /// Where a server's data goes.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// How long every fsync takes.
    pub fn slow_syncs(&self, microseconds: u64) {
        fs::write(self.dir.join("delay"), microseconds.to_string()).expect("a file");
    }

    /// The command of a server on it, from the moment at which everything is on the disk.
    pub fn command(&self) -> std::process::Command {
        let undo = self.dir.join("undo");
        let _ = fs::remove_dir_all(&undo);
        fs::create_dir(&undo).expect("a directory");
        let mut command = server::command(&self.data_dir());
        command.env("LD_PRELOAD", self.dir.join("power-cut.so")).env("POWER_CUT", &self.dir);
        command
    }

    /// The same, started.
    pub fn serve(&self, arguments: &[&str]) -> Result<Server, String> {
        let mut command = self.command();
        command.args(arguments);
        Server::launch(command, &self.data_dir())
    }

    /// Cuts the power, after the server was killed: of each file's changes since its last fsync, and of each
    /// directory's, some of the first stay, or none; the next one may be torn. Says how many were undone.
    pub fn cut(&self, random: &mut Random) -> usize {
        let log = fs::read(self.dir.join("undo/log")).unwrap_or_default();
        // None if it was killed before it began.
        let (mut changes, mut names) = unsynced(&log);
        let mut undone = 0;
        // The worst is what a disk that is not asked does.
        let spared = |random: &mut Random, all: usize| match random.below(3) {
            0 => random.below(all as u64 + 1) as usize,
            _ => 0,
        };
        for (inode, changes) in &mut changes {
            let path = self.dir.join(format!("undo/{inode}"));
            let file = OpenOptions::new().read(true).write(true).open(path).expect("a file that was held");
            let kept = spared(random, changes.len());
            let torn = kept < changes.len() && random.below(2) == 0;
            while changes.len() > kept {
                let record = changes.pop().expect("more than that");
                match torn && changes.len() == kept {
                    true => tear(&file, &record, random),
                    false => take_back(&file, &record),
                }
                undone += 1;
            }
        }
        for names in names.values_mut() {
            let kept = spared(random, names.len());
            undone += names.len() - kept;
            names.drain(..kept);
        }
        // Across directories too, the last first: what is in one goes with it.
        let mut names: Vec<Record> = names.into_values().flatten().collect();
        names.sort_by_key(|record| std::cmp::Reverse(record.offset));
        for record in names {
            self.give_back(&record);
        }
        let _ = fs::remove_file(self.data_dir().join("tasks.db-shm"));
        undone
    }

    /// A name leads again to what it led to before.
    fn give_back(&self, record: &Record) {
        let path = Path::new(std::str::from_utf8(&record.bytes).expect("UTF-8"));
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
        if record.inode != 0 {
            // Its directory may be gone itself.
            let _ = fs::hard_link(self.dir.join(format!("undo/{}", record.inode)), path);
        }
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Changes by their file, and of names by their directory, that no fsync confirmed; in their order.
fn unsynced(log: &[u8]) -> (BTreeMap<u64, Vec<Record>>, BTreeMap<PathBuf, Vec<Record>>) {
    let mut changes: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, Vec<Record>> = BTreeMap::new();
    let mut offset = 0;
    while let Some(record) = record(log, offset) {
        offset += 48 + record.bytes.len();
        let path = || PathBuf::from(String::from_utf8(record.bytes.clone()).expect("UTF-8"));
        match record.kind {
            b'w' => changes.entry(record.inode).or_default().push(record),
            b'n' => {
                let directory = path().parent().expect("below another").to_owned();
                names.entry(directory).or_default().push(record);
            }
            b's' => {
                if let Some(changes) = changes.get_mut(&record.inode) {
                    changes.retain(|change| change.offset >= record.at);
                }
            }
            b'd' => names.entry(path()).or_default().retain(|name| name.offset >= record.at),
            other => panic!("a record of kind {other}"),
        }
    }
    (changes, names)
}

/// The record at `offset`, if it was noted whole: what it tells of has not begun before that.
fn record(log: &[u8], offset: usize) -> Option<Record> {
    let head = log.get(offset..offset + 48)?;
    let word = |at: usize| u64::from_le_bytes(head[at * 8..][..8].try_into().expect("eight"));
    let bytes = log.get(offset + 48..)?.get(..word(5) as usize)?.to_vec();
    Some(Record {
        offset: offset as u64,
        kind: word(0) as u8,
        inode: word(1),
        at: word(2),
        count: word(3),
        size: word(4),
        bytes,
    })
}

/// The file is what it was before.
fn take_back(file: &File, record: &Record) {
    file.write_all_at(&record.bytes, record.at).expect("room");
    file.set_len(record.size).expect("room");
}

/// Of a write only some sectors came to the disk; the file is as long as if all had.
fn tear(file: &File, record: &Record, random: &mut Random) {
    if record.count == 0 {
        return take_back(file, record);
    }
    let first = (random.below(record.count) / SECTOR * SECTOR).min(record.count);
    let mut before = record.bytes.clone();
    before.resize(record.count as usize, 0);
    file.write_all_at(&before[first as usize..], record.at + first).expect("room");
}
