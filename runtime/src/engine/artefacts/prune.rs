//! What goes from the directory of artefacts: leftovers, and what was used longest ago where there is too much.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File, Metadata, TryLockError};
use std::io::Result;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::{Artefacts, REMEMBER, absent};
use crate::task::Digest;

/// Longer than any writer takes from the making of its file to the lock on it.
const UNLOCKED: Duration = Duration::from_secs(10);

/// Bytes that a file takes on the disk.
pub fn taken(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// An artefact with its seal; or a note: a refusal, or the seal of an artefact that is not there.
struct Entry {
    path: PathBuf,
    digest: Digest,
    is_code: bool,
    bytes: u64,
    used: SystemTime,
}

impl Artefacts {
    /// Removes artefacts until they take no more than `keep` bytes: none that is `in_use`, and those first that
    /// were used longest ago. Returns the bytes that it freed. Whoever has one mapped keeps it.
    pub fn prune(&self, keep: u64, in_use: &HashSet<Digest>) -> Result<u64> {
        let mut entries = Vec::new();
        let mut freed = 0;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            // Of a link it is not asked where it leads.
            if entry.file_type()?.is_dir() {
                for entry in fs::read_dir(entry.path())? {
                    entries.extend(Entry::of(&entry?)?);
                }
            } else {
                freed += remove_left_over(&entry)?;
            }
        }
        entries.sort_unstable_by_key(|entry| entry.used);
        let mut bytes = entries.iter().map(|entry| entry.bytes).sum::<u64>();
        for entry in entries {
            let is_used = entry.is_code && in_use.contains(&entry.digest);
            if is_used {
                // What is loaded for long is not looked for again: it was used last now.
                let _ = File::open(&entry.path).and_then(|file| file.set_modified(SystemTime::now()));
            }
            if entry.is_forgotten() || (bytes > keep && !is_used) {
                entry.remove()?;
                bytes = bytes.saturating_sub(entry.bytes);
                freed += entry.bytes;
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(freed)
    }
}

impl Entry {
    /// None of what is not ours, and none of a seal that its artefact stands for.
    fn of(entry: &DirEntry) -> Result<Option<Entry>> {
        let path = entry.path();
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().splitn(2, '.');
        let (Some(hex), Some(ending)) = (parts.next(), parts.next()) else { return Ok(None) };
        let Ok(digest) = format!("{}{hex}", Digest::PREFIX).parse() else { return Ok(None) };
        let is_code = ending == "cwasm";
        let is_note =
            ending == "refused.json" || (ending == "json" && !path.with_extension("cwasm").exists());
        // It may be gone: other processes prune too.
        let metadata = absent(entry.metadata())?.filter(Metadata::is_file);
        let Some(metadata) = metadata.filter(|_| is_code || is_note) else { return Ok(None) };
        let mut bytes = taken(&metadata);
        if is_code {
            bytes += fs::symlink_metadata(path.with_extension("json")).map_or(0, |seal| taken(&seal));
        }
        Ok(Some(Entry { path, digest, is_code, bytes, used: metadata.modified()? }))
    }

    /// Whether it is a note that nobody goes by any more.
    fn is_forgotten(&self) -> bool {
        !self.is_code && age(self.used) > REMEMBER
    }

    fn remove(&self) -> Result<()> {
        absent(fs::remove_file(&self.path))?;
        if self.is_code {
            absent(fs::remove_file(self.path.with_extension("json")))?;
        }
        Ok(())
    }
}

/// Removes a file that was being written by a process that is gone.
fn remove_left_over(entry: &DirEntry) -> Result<u64> {
    let path = entry.path();
    let name = path.file_stem().and_then(|name| name.to_str());
    let is_ours = name.is_some_and(|name| uuid::Uuid::parse_str(name).is_ok())
        && path.extension().is_some_and(|extension| extension == "tmp");
    let metadata = absent(entry.metadata())?.filter(Metadata::is_file);
    let Some(metadata) = metadata.filter(|_| is_ours) else { return Ok(0) };
    if age(metadata.modified()?) < UNLOCKED {
        return Ok(0);
    }
    let Some(file) = absent(File::open(&path))? else { return Ok(0) };
    match file.try_lock() {
        Ok(()) => {
            absent(fs::remove_file(&path))?;
            Ok(taken(&metadata))
        }
        Err(TryLockError::WouldBlock) => Ok(0),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn age(since: SystemTime) -> Duration {
    since.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::super::About;
    use super::*;

    const SIZE: usize = 64 << 10;
    const ENGINE: &str = "plain-0";

    struct Cache {
        dir: PathBuf,
        artefacts: Artefacts,
    }

    /// A cache that keeps up to `max_bytes`.
    fn cache(max_bytes: u64) -> Cache {
        let dir = std::env::temp_dir().join(format!("omnimind-artefacts-{}", uuid::Uuid::now_v7()));
        Cache { artefacts: Artefacts::open_up_to(dir.clone(), max_bytes).unwrap(), dir }
    }

    impl Drop for Cache {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    impl Cache {
        fn keep(&self, number: u8, in_use: &[u8]) {
            let mut scratch = self.artefacts.scratch().unwrap();
            scratch.file.write_all(&vec![number; SIZE]).unwrap();
            let about = About { core_instances: 1, compiled_ms: 1, size: 1, adapted: None };
            let in_use = in_use.iter().map(|number| digest(*number)).collect();
            self.artefacts.keep(ENGINE, &digest(number), about, scratch, || in_use).unwrap();
        }

        /// Those that are found, which makes each of them one that was used now.
        fn found(&self, of: &[u8]) -> Vec<u8> {
            let found = |number: &u8| self.artefacts.find(ENGINE, &digest(*number)).unwrap().is_some();
            of.iter().copied().filter(found).collect()
        }

        fn age(&self, number: u8, age: Duration) {
            set_age(&self.artefacts.file(ENGINE, &digest(number), "cwasm"), age);
        }
    }

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn set_age(path: &Path, age: Duration) {
        File::open(path).and_then(|file| file.set_modified(SystemTime::now() - age)).unwrap();
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// Room for four, with their seals.
    const FOUR: u64 = 4 * (SIZE as u64 + 8192);

    #[test]
    fn what_was_used_longest_ago_makes_room_for_what_comes() {
        let cache = cache(FOUR);
        for number in 1..=4 {
            cache.keep(number, &[]);
            cache.age(number, HOUR * 24 / u32::from(number));
        }
        // The oldest of all is used again.
        assert_eq!(cache.found(&[1]), [1]);
        cache.keep(5, &[]);
        assert_eq!(cache.found(&[1, 2, 3, 4, 5]), [1, 3, 4, 5]);
        assert!(cache.artefacts.bytes.load(Ordering::Relaxed) <= FOUR);
    }

    #[test]
    fn what_is_in_use_stays() {
        let cache = cache(FOUR);
        for number in 1..=4 {
            cache.keep(number, &[]);
            cache.age(number, HOUR * 24 / u32::from(number));
        }
        cache.keep(5, &[1, 2]);
        let in_use = HashSet::from([digest(2)]);
        assert!(cache.artefacts.prune(0, &in_use).unwrap() >= 3 * SIZE as u64);
        assert_eq!(cache.found(&[1, 2, 3, 4, 5]), [2]);
        assert!(cache.artefacts.prune(0, &HashSet::new()).unwrap() >= SIZE as u64);
        assert!(cache.found(&[2]).is_empty());
        assert_eq!(fs::read_dir(cache.dir.join(ENGINE)).unwrap().count(), 0, "their seals go too");
    }

    #[test]
    fn an_artefact_in_use_was_used_now() {
        let cache = cache(u64::MAX);
        cache.keep(1, &[]);
        cache.age(1, HOUR);
        cache.keep(2, &[]);
        cache.age(2, HOUR / 2);
        cache.artefacts.prune(u64::MAX, &HashSet::from([digest(1)])).unwrap();
        cache.artefacts.prune(SIZE as u64 + 8192, &HashSet::new()).unwrap();
        assert_eq!(cache.found(&[1, 2]), [1]);
    }

    #[test]
    fn a_start_keeps_to_the_bytes() {
        let cache = cache(u64::MAX);
        for number in 1..=8 {
            cache.keep(number, &[]);
            cache.age(number, HOUR / u32::from(number));
        }
        Artefacts::open_up_to(cache.dir.clone(), FOUR).unwrap();
        assert_eq!(cache.found(&[1, 2, 3, 4, 5, 6, 7, 8]), [5, 6, 7, 8]);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let cache = cache(u64::MAX);
        cache.keep(1, &[]);
        let elsewhere = cache.dir.with_extension("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let theirs = elsewhere.join(format!("{}.cwasm", digest(2).hex()));
        let strange = cache.dir.join(ENGINE).join("notes.cwasm");
        let upper = cache.dir.join(ENGINE).join(format!("{}.cwasm", digest(3).hex().to_uppercase()));
        for path in [&theirs, &strange, &upper] {
            fs::write(path, b"not an artefact").unwrap();
        }
        std::os::unix::fs::symlink(&elsewhere, cache.dir.join("plain-1")).unwrap();
        let link = cache.dir.join(ENGINE).join(format!("{}.cwasm", digest(4).hex()));
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        let key = fs::read(cache.dir.join("key")).unwrap();
        cache.artefacts.prune(0, &HashSet::new()).unwrap();
        assert!(theirs.exists() && strange.exists() && upper.exists() && link.exists());
        assert_eq!(fs::read(cache.dir.join("key")).unwrap(), key);
        assert!(cache.found(&[1]).is_empty());
        fs::remove_dir_all(elsewhere).unwrap();
    }

    #[test]
    fn what_killed_writers_left_goes_and_what_is_being_written_stays() {
        let cache = cache(u64::MAX);
        let writing = cache.artefacts.scratch().unwrap();
        let left = cache.dir.join(format!("{}.tmp", uuid::Uuid::now_v7()));
        let theirs = cache.dir.join("theirs.tmp");
        fs::write(&left, vec![0; SIZE]).unwrap();
        fs::write(&theirs, b"").unwrap();
        for path in [&left, &theirs, &writing.path] {
            set_age(path, HOUR);
        }
        Artefacts::open_up_to(cache.dir.clone(), u64::MAX).unwrap();
        assert!(!left.exists() && theirs.exists() && writing.path.exists());
    }
}
