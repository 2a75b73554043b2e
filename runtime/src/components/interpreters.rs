//! The components that come with omnimind: they run source code that is given as input.
//!
//! They are files beside the binary, too large to be in it. The first task of a tenant that names one makes it
//! one of that tenant's components, compiled like any other; what a later release brings takes its place then.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Components, Error};
use crate::engine::{Code, Refusal};
use crate::task::Digest;

/// A component that runs scripts.
#[derive(Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// What submissions call it.
    pub name: &'static str,
    /// What its scripts' names end in.
    pub extension: &'static str,
}

/// All that come with omnimind.
pub const INTERPRETERS: [Interpreter; 2] =
    [Interpreter { name: "python-run", extension: "py" }, Interpreter { name: "js-run", extension: "js" }];

/// Where they are, seen from the binary's directory: a release archive, an installation, cargo's target directory.
const PLACES: [&str; 3] = ["interpreters", "../share/omnimind/interpreters", "../guests"];

impl Interpreter {
    /// The one that is called `name`.
    pub fn named(name: &str) -> Option<&'static Interpreter> {
        INTERPRETERS.iter().find(|interpreter| interpreter.name == name)
    }

    /// The one that runs `script`.
    pub fn of(script: &Path) -> Option<&'static Interpreter> {
        let extension = script.extension()?;
        INTERPRETERS.iter().find(|interpreter| extension == interpreter.extension)
    }

    /// Its file: in `configured` if that is set, else at the first place beside the binary where it is.
    ///
    /// # Errors
    /// It is at none of them: where they are looked for, and how they get there.
    pub fn file(&self, configured: Option<&Path>) -> Result<PathBuf, Refusal> {
        let file = format!("{}.wasm", self.name);
        let places: Vec<PathBuf> = match configured {
            Some(dir) => vec![dir.to_owned()],
            None => {
                let binary = std::env::current_exe().unwrap_or_default();
                let beside = binary.parent().unwrap_or(Path::new("."));
                PLACES.iter().map(|place| beside.join(place)).collect()
            }
        };
        let found = places.iter().map(|place| place.join(&file)).find(|path| path.is_file());
        found.ok_or_else(|| {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            let message = format!(
                "{file} is in none of {}: it comes with a release archive, `cargo xtask guests` builds it from the \
                 sources, and the key `interpreters` of omnimind.yaml may name its directory",
                places.join(", ")
            );
            Refusal::new(Code::CapabilityUnavailable, message)
        })
    }
}

/// The digests of those that were read, by name.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Vec<(&'static str, Digest)>>);

impl Components {
    /// Sees that `reference` is one of `tenant`'s components, if it is the name of an interpreter: this release's,
    /// unless they uploaded one of their own under that name.
    ///
    /// # Errors
    /// Its file is missing, or it cannot be kept.
    pub async fn provide(&self, tenant: &str, reference: &str) -> Result<(), Error> {
        let Some(interpreter) = Interpreter::named(reference) else { return Ok(()) };
        let theirs = self.resolve(tenant, reference);
        if theirs
            .as_ref()
            .is_some_and(|(digest, about)| !about.shipped || self.known.has(interpreter, *digest))
        {
            return Ok(());
        }
        let reading = |error| Refusal::internal("reading an interpreter", error);
        let file = match interpreter.file(self.interpreters.as_deref()) {
            Ok(file) => file,
            // An older release's does, where this one's is gone.
            Err(_) if theirs.is_some() => return Ok(()),
            Err(refusal) => return Err(refusal.into()),
        };
        let read = tokio::task::spawn_blocking(move || {
            std::fs::read(file).map(|bytes| (Digest::of(&bytes), Arc::<[u8]>::from(bytes)))
        });
        let (digest, bytes) = read.await.map_err(|error| reading(error.into()))?.map_err(reading)?;
        if theirs.is_none_or(|(theirs, _)| theirs != digest) {
            self.keep(tenant, digest, bytes, Some(interpreter.name.to_owned()), None, true).await?;
        }
        self.known.note(interpreter, digest);
        Ok(())
    }
}

impl Known {
    fn has(&self, interpreter: &Interpreter, digest: Digest) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&(interpreter.name, digest))
    }

    fn note(&self, interpreter: &'static Interpreter, digest: Digest) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(name, _)| *name != interpreter.name);
        known.push((interpreter.name, digest));
    }
}
