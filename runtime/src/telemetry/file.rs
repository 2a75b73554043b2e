//! A log file that becomes no larger than it may: FILE, and the older FILE.1, FILE.2 and so on.
//!
//! Files are renamed, oldest first, each to a name that is free: a kill in the middle loses none. The file is
//! looked for under its name once a second: one that was moved or removed is made anew. While files cannot be
//! renamed it grows beyond what it may: a line is worth more than a limit. What cannot be written now (the disk
//! is full, the directory is gone) is the caller's to count; the next line is tried again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Time between two looks whether the file still has its name.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Time between two tries to rotate, where one failed.
const ROTATE_AGAIN: Duration = Duration::from_secs(10);

/// A file that is written to, line by line.
pub(super) struct LogFile {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    current: Option<Current>,
    looked: Instant,
    /// When it could not be rotated; none where it could.
    unrotated: Option<Instant>,
    complaint: Option<io::Error>,
}

struct Current {
    file: File,
    size: u64,
    /// Which file it is, whatever it is called now.
    identity: (u64, u64),
}

impl LogFile {
    /// Goes on where `path` ends, or makes it, readable by this user only. Above `max_size` bytes it becomes one
    /// of `max_files` older ones.
    ///
    /// # Errors
    /// It cannot be written to, or another process does.
    pub(super) fn open(path: PathBuf, max_size: u64, max_files: u32) -> anyhow::Result<LogFile> {
        let shown = path.display();
        // To open a pipe is to wait for somebody who reads it.
        let is_usual = fs::metadata(&path).map_or(true, |found| found.is_file());
        ensure!(is_usual, "logging.file: {shown} is not a file");
        let current = open(&path).with_context(|| format!("logging.file: {shown} cannot be written to"))?;
        Ok(LogFile::of(path, max_size, max_files, current))
    }

    fn of(path: PathBuf, max_size: u64, max_files: u32, current: Current) -> LogFile {
        let (current, looked) = (Some(current), Instant::now());
        LogFile { path, max_size, max_files, current, looked, unrotated: None, complaint: None }
    }

    /// Why it cannot be rotated, if nobody was told yet.
    pub(super) fn complaint(&mut self) -> Option<io::Error> {
        self.complaint.take()
    }

    /// Appends a line, whole or not at all.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.looked = Instant::now();
            let there = fs::metadata(&self.path).ok().map(|found| (found.dev(), found.ino()));
            self.current.take_if(|current| there != Some(current.identity));
        }
        let full = |current: &Current| current.size > 0 && current.size + line.len() as u64 > self.max_size;
        let may_try = self.unrotated.is_none_or(|failed| failed.elapsed() >= ROTATE_AGAIN);
        if may_try && self.current.as_ref().is_some_and(full) {
            match self.rotate() {
                Ok(()) => self.unrotated = None,
                Err(error) => {
                    self.complaint = Some(error).filter(|_| self.unrotated.is_none());
                    self.unrotated = Some(Instant::now());
                }
            }
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => none.insert(open(&self.path)?),
        };
        match current.file.write_all(line) {
            Ok(()) => current.size += line.len() as u64,
            Err(error) => {
                // Half a line would be the beginning of the next.
                let _ = current.file.set_len(current.size);
                return Err(error);
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_files == 0 {
            fs::remove_file(&self.path)?;
        }
        for number in (0..self.max_files).rev() {
            match fs::rename(older(&self.path, number), older(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.current = None;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Current> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes its log there"));
        }
        // There are file systems without locks.
        Err(TryLockError::Error(_)) => {}
    }
    let found = file.metadata()?;
    Ok(Current { file, size: found.len(), identity: (found.dev(), found.ino()) })
}

/// The name of the older file of that number; 0 is the file itself.
fn older(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("omnimind-log-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }

        fn text(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.0.join(name)).ok()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn line(number: u32) -> Vec<u8> {
        format!("line {number:02}\n").into_bytes()
    }

    #[test]
    fn a_full_file_is_the_newest_of_the_older_ones() {
        let dir = Dir::new("rotate");
        let mut log = LogFile::open(dir.0.join("log"), 16, 2).unwrap();
        for number in 0..7 {
            log.write(&line(number)).unwrap();
        }
        assert_eq!(dir.text("log").unwrap(), "line 06\n");
        assert_eq!(dir.text("log.1").unwrap(), "line 04\nline 05\n");
        assert_eq!(dir.text("log.2").unwrap(), "line 02\nline 03\n");
        assert_eq!(dir.text("log.3"), None);
        for name in ["log", "log.1"] {
            let mode = fs::metadata(dir.0.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(LogFile::open(dir.0.join("log"), 16, 2).is_err(), "one process at a time");
        drop(log);
        let mut log = LogFile::open(dir.0.join("log"), 16, 0).unwrap();
        log.write(&line(7)).unwrap();
        assert_eq!(dir.text("log").unwrap(), "line 06\nline 07\n", "it goes on where it was");
        log.write(&line(8)).unwrap();
        assert_eq!(dir.text("log").unwrap(), "line 08\n", "none is kept");
        assert_eq!(dir.text("log.1").unwrap(), "line 04\nline 05\n");
    }

    #[test]
    fn a_directory_that_goes_and_comes_back_costs_the_lines_between() {
        let dir = Dir::new("gone");
        let mut log = LogFile::open(dir.0.join("log"), 1 << 20, 2).unwrap();
        log.write(&line(0)).unwrap();
        fs::remove_dir_all(&dir.0).unwrap();
        log.looked -= LOOK_AGAIN;
        assert!(log.write(&line(1)).is_err());
        fs::create_dir_all(&dir.0).unwrap();
        log.write(&line(2)).unwrap();
        assert_eq!(dir.text("log").unwrap(), "line 02\n");
        // Moved away, as others' rotation does.
        fs::rename(dir.0.join("log"), dir.0.join("moved")).unwrap();
        log.looked -= LOOK_AGAIN;
        log.write(&line(3)).unwrap();
        assert_eq!(
            (dir.text("moved").unwrap(), dir.text("log").unwrap()),
            ("line 02\n".into(), "line 03\n".into())
        );
    }

    #[test]
    fn what_cannot_be_rotated_grows_and_says_so_once() {
        let dir = Dir::new("stuck");
        let mut log = LogFile::open(dir.0.join("log"), 16, 1).unwrap();
        fs::create_dir(dir.0.join("log.1")).unwrap();
        let mut complaints = 0;
        for number in 0..5 {
            log.write(&line(number)).unwrap();
            complaints += usize::from(log.complaint().is_some());
            // Tried again, and not told again.
            log.unrotated = log.unrotated.and_then(|failed| failed.checked_sub(ROTATE_AGAIN));
        }
        assert_eq!(dir.text("log").unwrap(), (0..5).map(|n| format!("line {n:02}\n")).collect::<String>());
        assert_eq!(complaints, 1);
        fs::remove_dir(dir.0.join("log.1")).unwrap();
        log.write(&line(5)).unwrap();
        assert_eq!(dir.text("log").unwrap(), "line 05\n");
        assert_eq!(dir.text("log.1").unwrap().lines().count(), 5);
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        // What is written to it never fits.
        let full = open(Path::new("/dev/full")).unwrap();
        let mut log = LogFile::of("/dev/full".into(), 1 << 20, 1, full);
        assert!(log.write(&line(0)).is_err());
        assert!(LogFile::open("/dev/full".into(), 1 << 20, 1).is_err());
        assert!(LogFile::open("/missing/log".into(), 1 << 20, 1).is_err());
    }
}
