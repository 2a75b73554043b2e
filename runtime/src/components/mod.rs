//! The components that people uploaded: found by name or digest, made ready to run.
//!
//! What is known of them is in memory, read from the store at the start; their bytes are in the store, their
//! compiled code in the engine's cache. A name belongs to one tenant and leads to one component at a time;
//! tasks hold the digest and never notice when it moves.

mod interpreters;
mod run;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use serde::{Deserialize, Serialize};

pub use interpreters::{INTERPRETERS, Interpreter};

use crate::engine::{Adapted, Component, Engines, Metadata, Refusal};
use crate::executor::{Executor, Interface, Kind, Prepared};
use crate::limits::Modes;
use crate::task::{Capability, Digest};
use crate::task_store::{self, SqliteStore, StoredComponent};

/// Components that may wait to be compiled: each is held in memory meanwhile.
const MAX_COMPILING: usize = 64;

/// Uploads without a client of which the result is remembered.
const MAX_COMPILATIONS: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// What there is to know of a component. A part of the HTTP contract.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// sha256 of its bytes as they were uploaded.
    pub digest: Digest,
    /// The name it was last uploaded under, if any leads to it.
    pub name: Option<String>,
    /// Every name that leads to it.
    pub names: Vec<String>,
    /// When it was first uploaded: RFC 3339, UTC, milliseconds.
    pub created_at: String,
    /// The rest, which never changes.
    #[serde(flatten)]
    pub about: Arc<About>,
}

/// What was found in a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Bytes as they were uploaded.
    pub size: u64,
    /// How it is called.
    pub kind: Kind,
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// What of its imports needs a grant.
    pub capabilities: Vec<Capability>,
    /// How long compiling took, when it was compiled.
    pub compiled_ms: u64,
    /// Whether it came with omnimind: a later release's takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shipped: bool,
    /// What it was made from, where what was uploaded is no component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted: Option<Adapted>,
    /// What it says of itself.
    #[serde(flatten)]
    pub metadata: Metadata,
}

impl About {
    /// What a task has to be granted. Interpreters import whatever there is, for scripts that may need it: these are
    /// refused at the call.
    pub fn needed(&self) -> Vec<Capability> {
        if self.shipped { Vec::new() } else { self.capabilities.clone() }
    }
}

/// Why an upload was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a component to run here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored or read.
    #[error(transparent)]
    Store(#[from] task_store::Error),
    /// As many wait to be compiled as may.
    #[error("{MAX_COMPILING} components wait to be compiled already: try again later")]
    Overloaded,
    /// It is not to be removed now.
    #[error("{0} is in use by a task that has not ended: wait for it, or cancel it")]
    InUse(Digest),
}

#[derive(Debug, Default)]
struct Registry {
    by_digest: HashMap<String, BTreeMap<Digest, Entry>>,
    by_name: HashMap<String, HashMap<String, Digest>>,
}

#[derive(Clone, Debug)]
struct Entry {
    created_ms: i64,
    about: Arc<About>,
    names: BTreeSet<String>,
}

/// How a component comes.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A tenant sent it.
    Upload,
    /// With omnimind. Its name is taken only where that leads nowhere, or still to what it is to replace.
    Shipped { instead_of: Option<Digest> },
}

/// Every component of every tenant.
pub struct Components {
    store: Arc<SqliteStore>,
    engines: Arc<Engines>,
    executor: Executor,
    modes: Modes,
    registry: RwLock<Registry>,
    /// Held over every change of the store that the registry is to follow.
    changing: tokio::sync::Mutex<()>,
    compiling: Semaphore,
    /// Uploads that nobody waits for: still compiling, or why not.
    compilations: Mutex<LruCache<(String, Digest), Option<Refusal>>>,
    /// Where interpreters are, if that was configured.
    interpreters: Option<PathBuf>,
    shipped: interpreters::Shipped,
}

impl Components {
    /// Those that `store` has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(
        store: Arc<SqliteStore>,
        engines: Arc<Engines>,
        executor: Executor,
        modes: Modes,
        interpreters: Option<PathBuf>,
    ) -> Result<Components, Error> {
        let mut registry = Registry::default();
        for component in store.components().await? {
            let StoredComponent { tenant, digest, created_ms, names, about } = component;
            let about = serde_json::from_str(&about)
                .map_err(|error| task_store::Error::Unreadable(format!("component {digest}: {error}")))?;
            registry.insert(&tenant, digest, created_ms, Arc::new(about));
            for name in names {
                registry.name(&tenant, name, digest);
            }
        }
        let compilations = Mutex::new(LruCache::new(MAX_COMPILATIONS));
        Ok(Components {
            store,
            engines,
            executor,
            modes,
            registry: RwLock::new(registry),
            changing: tokio::sync::Mutex::default(),
            compiling: Semaphore::new(MAX_COMPILING),
            compilations,
            interpreters,
            shipped: interpreters::Shipped::default(),
        })
    }

    /// Keeps the component `bytes`, which have this `digest`, for `tenant`, under `name` if there is one. True
    /// if it is new to them.
    ///
    /// # Errors
    /// A [`Refusal`] of the bytes, or the store's error. Nothing is kept then.
    pub async fn upload(
        &self,
        tenant: &str,
        digest: Digest,
        bytes: Arc<[u8]>,
        name: Option<String>,
        metadata: Option<Metadata>,
    ) -> Result<(Info, bool), Error> {
        self.keep(tenant, digest, bytes, name, metadata, Source::Upload).await
    }

    async fn keep(
        &self,
        tenant: &str,
        digest: Digest,
        bytes: Arc<[u8]>,
        name: Option<String>,
        metadata: Option<Metadata>,
        source: Source,
    ) -> Result<(Info, bool), Error> {
        if let Some(info) = self.by_digest(tenant, digest)
            && metadata.is_none()
            && name.as_ref().is_none_or(|name| info.names.contains(name))
        {
            return Ok((info, false));
        }
        let (component, interface) = self.inspect(bytes.clone()).await?;
        let mut about = describe(&component, interface, &bytes, metadata)?;
        let changing = self.changing.lock().await;
        let known = self.by_digest(tenant, digest);
        about.shipped = known.as_ref().is_some_and(|known| known.about.shipped);
        if let (Source::Shipped { instead_of }, Some(name)) = (source, &name) {
            // They may have uploaded one of their own while this one was compiled.
            if let Some(theirs) = self.find(tenant, name).filter(|theirs| Some(theirs.digest) != instead_of) {
                return Ok((theirs, false));
            }
            // What they said of the same bytes stays.
            about = known.map_or(about, |known| (*known.about).clone());
            about.shipped = true;
        }
        let about = Arc::new(about);
        let created = jiff::Timestamp::now().as_millisecond();
        let stored = StoredComponent {
            tenant: tenant.to_owned(),
            digest,
            created_ms: created,
            names: name.iter().cloned().collect(),
            about: serde_json::to_string(&*about).unwrap_or_default(),
        };
        let new = self.store.keep_component(stored, bytes).await?;
        let mut registry = self.registry.write();
        registry.insert(tenant, digest, created, about);
        if let Some(name) = &name {
            registry.name(tenant, name.clone(), digest);
        }
        drop(changing);
        let mut info = registry.info(tenant, digest);
        if let (Some(info), Some(name)) = (&mut info, name) {
            info.name = Some(name);
        }
        info.map(|info| (info, new)).ok_or_else(|| task_store::Error::Closed.into())
    }

    /// Compiles `bytes` and sees that they can run here, but for capabilities. Keeps nothing.
    ///
    /// # Errors
    /// A [`Refusal`] of the bytes, or too many wait already.
    pub async fn inspect(&self, bytes: Arc<[u8]>) -> Result<(Arc<Component>, Interface), Error> {
        // What is compiled is written too.
        self.store.admit_new()?;
        let _place = self.compiling.try_acquire().map_err(|_| Error::Overloaded)?;
        let component = self.engines.component(bytes).await?;
        let interface = self.executor.inspect(component.clone())?;
        Ok((component, interface))
    }

    /// The component that `reference`, a name or a digest, leads `tenant` to.
    pub fn find(&self, tenant: &str, reference: &str) -> Option<Info> {
        let registry = self.registry.read();
        let (digest, name) = registry.follow(tenant, reference)?;
        let info = registry.info(tenant, digest)?;
        Some(Info { name: name.or(info.name), ..info })
    }

    /// The same as [`Components::find`] for whoever wants to run it.
    pub fn resolve(&self, tenant: &str, reference: &str) -> Option<(Digest, Arc<About>)> {
        let registry = self.registry.read();
        let (digest, _) = registry.follow(tenant, reference)?;
        let entry = registry.by_digest.get(tenant)?.get(&digest)?;
        Some((digest, entry.about.clone()))
    }

    /// All of `tenant`'s, by digest.
    pub fn list(&self, tenant: &str) -> Vec<Info> {
        let registry = self.registry.read();
        let digests = registry.by_digest.get(tenant).map(|known| known.keys());
        digests.into_iter().flatten().filter_map(|digest| registry.info(tenant, *digest)).collect()
    }

    /// `digest` is being compiled, and nobody waits for it.
    pub fn compiling(&self, tenant: &str, digest: Digest) {
        self.compilations.lock().put((tenant.to_owned(), digest), None);
    }

    /// The compilation of `digest` is over.
    pub fn compiled(&self, tenant: &str, digest: Digest, error: Option<&Error>) {
        let key = (tenant.to_owned(), digest);
        let mut compilations = self.compilations.lock();
        match error {
            None => drop(compilations.pop(&key)),
            Some(error) if compilations.contains(&key) => {
                let refusal = match error {
                    Error::Refused(refusal) => refusal.clone(),
                    error => Refusal::internal("storing", error),
                };
                compilations.put(key, Some(refusal));
            }
            Some(_) => {}
        }
    }

    /// An upload that nobody waited for: still compiling, or why it was refused.
    pub fn compilation(&self, tenant: &str, reference: &str) -> Option<Result<Digest, Refusal>> {
        let digest: Digest = reference.parse().ok()?;
        let found = self.compilations.lock().get(&(tenant.to_owned(), digest)).cloned()?;
        Some(found.map_or(Ok(digest), Err))
    }

    /// Forgets one, and the names that lead to it, unless it `is_used`.
    ///
    /// # Errors
    /// It is used; or the store's error, and it is there as before.
    pub async fn remove(
        &self,
        tenant: &str,
        digest: Digest,
        is_used: impl FnOnce() -> bool + Send,
    ) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        // Asked and taken out in one step: a submission that is noted as one that uses it is seen here, or
        // does not find it there.
        let removed = {
            let mut registry = self.registry.write();
            if is_used() {
                return Err(Error::InUse(digest));
            }
            registry.remove(tenant, digest)
        };
        let stored = self.store.remove_component(tenant, digest).await;
        if let (Err(_), Some(entry)) = (&stored, removed) {
            let mut registry = self.registry.write();
            registry.insert(tenant, digest, entry.created_ms, entry.about);
            for name in entry.names {
                registry.name(tenant, name, digest);
            }
        }
        Ok(stored?)
    }

    /// A component ready to run: loaded, from the engine's cache, or compiled again.
    ///
    /// # Errors
    /// Its bytes are gone, or it is refused now.
    pub async fn prepared(&self, digest: Digest) -> Result<Arc<Prepared>, Refusal> {
        if let Some(prepared) = self.executor.linked(&digest) {
            return Ok(prepared);
        }
        if let Some(component) = self.engines.cached(digest).await? {
            return self.executor.prepare(component);
        }
        let bytes = self.store.component_bytes(digest).await;
        let bytes = bytes.map_err(|error| Refusal::internal("reading the component", error))?;
        let bytes = bytes.ok_or_else(|| Refusal::internal("reading the component", "it was deleted"))?;
        self.executor.prepare(self.engines.component(bytes.into()).await?)
    }

    fn by_digest(&self, tenant: &str, digest: Digest) -> Option<Info> {
        self.registry.read().info(tenant, digest)
    }
}

impl Registry {
    /// The digest that `reference` is or leads to; and the name, if it is one.
    fn follow(&self, tenant: &str, reference: &str) -> Option<(Digest, Option<String>)> {
        match reference.parse() {
            Ok(digest) => Some((digest, None)),
            Err(_) => Some((*self.by_name.get(tenant)?.get(reference)?, Some(reference.to_owned()))),
        }
    }

    fn has(&self, tenant: &str, digest: &Digest) -> bool {
        self.by_digest.get(tenant).is_some_and(|known| known.contains_key(digest))
    }

    /// A component that may be known already: then its names stay, and when it came.
    fn insert(&mut self, tenant: &str, digest: Digest, created_ms: i64, about: Arc<About>) {
        let known = self.by_digest.entry(tenant.to_owned()).or_default();
        match known.get_mut(&digest) {
            Some(entry) => entry.about = about,
            None => drop(known.insert(digest, Entry { created_ms, about, names: BTreeSet::new() })),
        }
    }

    /// From now on `name` leads to `digest`, which is known.
    fn name(&mut self, tenant: &str, name: String, digest: Digest) {
        let before = self.by_name.entry(tenant.to_owned()).or_default().insert(name.clone(), digest);
        let Some(known) = self.by_digest.get_mut(tenant) else { return };
        if let Some(before) = before.and_then(|before| known.get_mut(&before)) {
            before.names.remove(&name);
        }
        if let Some(entry) = known.get_mut(&digest) {
            entry.names.insert(name);
        }
    }

    fn remove(&mut self, tenant: &str, digest: Digest) -> Option<Entry> {
        let entry = self.by_digest.get_mut(tenant)?.remove(&digest)?;
        if let Some(names) = self.by_name.get_mut(tenant) {
            for name in &entry.names {
                names.remove(name);
            }
        }
        Some(entry)
    }

    fn info(&self, tenant: &str, digest: Digest) -> Option<Info> {
        let Entry { created_ms, about, names } = self.by_digest.get(tenant)?.get(&digest)?.clone();
        let names = Vec::from_iter(names);
        let created = jiff::Timestamp::from_millisecond(created_ms).unwrap_or_default();
        Some(Info {
            digest,
            name: names.first().cloned(),
            names,
            created_at: crate::task::timestamp(created),
            about,
        })
    }
}

fn describe(
    component: &Component,
    interface: Interface,
    bytes: &[u8],
    given: Option<Metadata>,
) -> Result<About, Refusal> {
    let Interface { kind, imports, exports, capabilities } = interface;
    let metadata = match given {
        Some(metadata) => metadata,
        None => Metadata::of(bytes)?.unwrap_or_default(),
    };
    Ok(About {
        size: bytes.len() as u64,
        kind,
        imports,
        exports,
        capabilities: capabilities.into_iter().collect(),
        compiled_ms: component.compiled_ms,
        shipped: false,
        adapted: component.adapted,
        metadata,
    })
}
