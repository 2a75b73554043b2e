//! Files and directories that only this user can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a directory, and those above it, where there is none. What was made is on the disk.
pub fn dir(path: &Path) -> io::Result<()> {
    let new: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for parent in new.iter().filter_map(|path| path.parent()) {
        // The first of a path without a root is in the directory that this process works in.
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match File::open(parent) {
            // Written to, but not read: nothing can be done for it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            parent => parent?.sync_all()?,
        }
    }
    Ok(())
}

/// Makes a file, to be written and read again; there must be nothing of that name, not even a link.
pub fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// The bytes of a file that is one, and not too long for what it is: a pipe would never end.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= most {
        true => Ok(bytes),
        false => Err(io::Error::other(format!("it is longer than {most} bytes, which none of its kind is"))),
    }
}

/// Takes from others what they could do with a file; whether they could do anything.
pub fn restrict(path: &Path) -> io::Result<bool> {
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(false);
    }
    permissions.set_mode(0o600);
    fs::set_permissions(path, permissions).map(|()| true)
}

/// Replaces a file in one step; nobody else can read it at any moment.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let scratch = path.with_extension("tmp");
    let _ = fs::remove_file(&scratch);
    let mut file = file(&scratch)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&scratch, path)
}
