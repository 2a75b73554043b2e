//! The components that people uploaded: found by name or digest, made ready to run.
//!
//! What is known of them is in memory, read from the store at the start; their bytes are in the store, their
//! compiled code in the engine's cache. A name belongs to one tenant and leads to one component at a time;
//! tasks hold the digest and never notice when it moves.

mod run;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lru::LruCache;

use serde::{Deserialize, Serialize};

use crate::engine::{Component, Engines, Metadata, Refusal};
use crate::executor::{Executor, Interface, Kind, Prepared};
use crate::limits::Policy;
use crate::task::{Capability, Digest};
use crate::task_store::{self, SqliteStore, StoredComponent};

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
    /// What it says of itself.
    #[serde(flatten)]
    pub metadata: Metadata,
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
}

/// Every component of every tenant.
pub struct Components {
    store: Arc<SqliteStore>,
    engines: Arc<Engines>,
    executor: Executor,
    limits: Policy,
    registry: RwLock<Registry>,
    /// Uploads that nobody waits for: still compiling, or why not.
    compilations: Mutex<LruCache<(String, Digest), Option<Refusal>>>,
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
        limits: Policy,
    ) -> Result<Components, Error> {
        let mut registry = Registry::default();
        for component in store.components().await? {
            let StoredComponent { tenant, digest, created_ms, names, about } = component;
            let about = serde_json::from_str(&about)
                .map_err(|error| task_store::Error::Unreadable(format!("component {digest}: {error}")))?;
            let entry = Entry { created_ms, about: Arc::new(about) };
            for name in names {
                registry.by_name.entry(tenant.clone()).or_default().insert(name, digest);
            }
            registry.by_digest.entry(tenant).or_default().insert(digest, entry);
        }
        let compilations = Mutex::new(LruCache::new(MAX_COMPILATIONS));
        Ok(Components { store, engines, executor, limits, registry: RwLock::new(registry), compilations })
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
        if let Some(info) = self.by_digest(tenant, digest)
            && metadata.is_none()
            && name.as_ref().is_none_or(|name| info.names.contains(name))
        {
            return Ok((info, false));
        }
        let (component, interface) = self.inspect(bytes.clone()).await?;
        let about = Arc::new(describe(&component, interface, &bytes, metadata)?);
        let created = jiff::Timestamp::now().as_millisecond();
        let stored = StoredComponent {
            tenant: tenant.to_owned(),
            digest,
            created_ms: created,
            names: name.iter().cloned().collect(),
            about: serde_json::to_string(&*about).unwrap_or_default(),
        };
        let new = self.store.keep_component(stored, bytes).await?;
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let known = registry.by_digest.entry(tenant.to_owned()).or_default();
        let created_ms = known.get(&digest).map_or(created, |entry| entry.created_ms);
        known.insert(digest, Entry { created_ms, about });
        if let Some(name) = &name {
            registry.by_name.entry(tenant.to_owned()).or_default().insert(name.clone(), digest);
        }
        let mut info = registry.info(tenant, digest);
        if let (Some(info), Some(name)) = (&mut info, name) {
            info.name = Some(name);
        }
        info.map(|info| (info, new)).ok_or_else(|| task_store::Error::Closed.into())
    }

    /// Compiles `bytes` and sees that they can run here, but for capabilities. Keeps nothing.
    ///
    /// # Errors
    /// A [`Refusal`] of the bytes.
    pub async fn inspect(&self, bytes: Arc<[u8]>) -> Result<(Arc<Component>, Interface), Refusal> {
        let component = self.engines.component(bytes).await?;
        let interface = Interface::of(&component)?;
        if interface.capabilities.is_empty() {
            // Its interfaces are known; whether their functions are, and of what type, linking tells.
            self.executor.prepare(component.clone())?;
        }
        Ok((component, interface))
    }

    /// The component that `reference`, a name or a digest, leads `tenant` to.
    pub fn find(&self, tenant: &str, reference: &str) -> Option<Info> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let (digest, name) = registry.follow(tenant, reference)?;
        let info = registry.info(tenant, digest)?;
        Some(Info { name: name.or(info.name), ..info })
    }

    /// The same as [`Components::find`] for whoever wants to run it.
    pub fn resolve(&self, tenant: &str, reference: &str) -> Option<(Digest, Arc<About>)> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let (digest, _) = registry.follow(tenant, reference)?;
        let entry = registry.by_digest.get(tenant)?.get(&digest)?;
        Some((digest, entry.about.clone()))
    }

    /// All of `tenant`'s, by digest.
    pub fn list(&self, tenant: &str) -> Vec<Info> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let digests = registry.by_digest.get(tenant).map(|known| known.keys());
        digests.into_iter().flatten().filter_map(|digest| registry.info(tenant, *digest)).collect()
    }

    /// `digest` is being compiled, and nobody waits for it.
    pub fn compiling(&self, tenant: &str, digest: Digest) {
        self.compilations().put((tenant.to_owned(), digest), None);
    }

    /// The compilation of `digest` is over.
    pub fn compiled(&self, tenant: &str, digest: Digest, error: Option<&Error>) {
        let key = (tenant.to_owned(), digest);
        let mut compilations = self.compilations();
        match error {
            None => drop(compilations.pop(&key)),
            Some(error) if compilations.contains(&key) => {
                let refusal = match error {
                    Error::Refused(refusal) => refusal.clone(),
                    Error::Store(error) => Refusal::internal("storing", error),
                };
                compilations.put(key, Some(refusal));
            }
            Some(_) => {}
        }
    }

    /// An upload that nobody waited for: still compiling, or why it was refused.
    pub fn compilation(&self, tenant: &str, reference: &str) -> Option<Result<Digest, Refusal>> {
        let digest: Digest = reference.parse().ok()?;
        let found = self.compilations().get(&(tenant.to_owned(), digest)).cloned()?;
        Some(found.map_or(Ok(digest), Err))
    }

    fn compilations(&self) -> MutexGuard<'_, LruCache<(String, Digest), Option<Refusal>>> {
        self.compilations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets one, and the names that lead to it.
    pub async fn remove(&self, tenant: &str, digest: Digest) -> Result<(), Error> {
        self.store.remove_component(tenant, digest).await?;
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registry.by_digest.get_mut(tenant) {
            known.remove(&digest);
        }
        if let Some(names) = registry.by_name.get_mut(tenant) {
            names.retain(|_, named| *named != digest);
        }
        Ok(())
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
        self.registry.read().unwrap_or_else(PoisonError::into_inner).info(tenant, digest)
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

    fn info(&self, tenant: &str, digest: Digest) -> Option<Info> {
        let Entry { created_ms, about } = self.by_digest.get(tenant)?.get(&digest)?.clone();
        let names = self.by_name.get(tenant).into_iter().flatten();
        let mut names: Vec<String> =
            names.filter(|(_, named)| **named == digest).map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
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
        metadata,
    })
}
