//! The components that come with omnimind: they run source code that is given as input.
//!
//! They are files beside the binary, too large to be in it. The first task of a tenant that names one makes it
//! one of that tenant's components, compiled like any other; what a later release brings takes its place then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Components, Error, Source};
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

/// Where they are, seen from the binary's directory: a release archive, an installation.
const PLACES: [&str; 3] = ["interpreters", ".", "../share/omnimind/interpreters"];

/// And from where cargo puts a binary.
const BUILT: [(&str, &str); 2] = [("release", "../guests"), ("debug", "../guests")];

impl Interpreter {
    /// The one that is called `name`.
    pub fn named(name: &str) -> Option<&'static Interpreter> {
        INTERPRETERS.iter().find(|interpreter| interpreter.name == name)
    }

    /// The one that runs `script`.
    pub fn of(script: &Path) -> Option<&'static Interpreter> {
        let extension = script.extension()?;
        INTERPRETERS.iter().find(|interpreter| extension.eq_ignore_ascii_case(interpreter.extension))
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
                let built = BUILT.iter().filter(|(profile, _)| beside.ends_with(profile));
                PLACES.iter().chain(built.map(|(_, place)| place)).map(|place| beside.join(place)).collect()
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

/// What this process knows of the files.
#[derive(Debug, Default)]
pub(super) struct Shipped {
    /// The digests of those that were read, by name.
    digests: Mutex<Vec<(&'static str, Digest)>>,
    /// Held while one is made ready: whoever else asks for it meanwhile waits, and holds nothing but that.
    providing: tokio::sync::Mutex<()>,
}

impl Components {
    /// The interpreter that `reference` names, where it is not yet what the name leads `tenant` to.
    pub fn to_provide(&self, tenant: &str, reference: &str) -> Option<&'static Interpreter> {
        Interpreter::named(reference).filter(|interpreter| !self.has(tenant, interpreter))
    }

    /// Makes `interpreter` one of `tenant`'s components: this release's, unless they uploaded one of their own
    /// under its name.
    ///
    /// # Errors
    /// Its file is missing, or it cannot be kept.
    pub async fn provide(&self, tenant: &str, interpreter: &'static Interpreter) -> Result<(), Error> {
        let _providing = self.shipped.providing.lock().await;
        if self.has(tenant, interpreter) {
            return Ok(());
        }
        let theirs = self.resolve(tenant, interpreter.name).map(|(digest, _)| digest);
        let file = match interpreter.file(self.interpreters.as_deref()) {
            Ok(file) => file,
            // An older release's does, where this one's is gone.
            Err(_) if theirs.is_some() => return Ok(()),
            Err(refusal) => return Err(refusal.into()),
        };
        let reading = |error| Refusal::internal("reading an interpreter", error);
        let read = tokio::task::spawn_blocking(move || {
            std::fs::read(file).map(|bytes| (Digest::of(&bytes), Arc::<[u8]>::from(bytes)))
        });
        let (digest, bytes) = read.await.map_err(|error| reading(error.into()))?.map_err(reading)?;
        if theirs != Some(digest) {
            let (name, source) = (Some(interpreter.name.to_owned()), Source::Shipped { instead_of: theirs });
            self.keep(tenant, digest, bytes, name, None, source).await?;
        }
        let mut digests = self.shipped.digests.lock();
        digests.retain(|(name, _)| *name != interpreter.name);
        digests.push((interpreter.name, digest));
        Ok(())
    }

    /// Whether the name leads `tenant` to what it ought to: this release's, or one of their own.
    fn has(&self, tenant: &str, interpreter: &Interpreter) -> bool {
        self.resolve(tenant, interpreter.name).is_some_and(|(digest, about)| {
            !about.shipped || self.shipped.digests.lock().contains(&(interpreter.name, digest))
        })
    }
}

impl Shipped {}
