//! From submitted bytes to something that can be instantiated.
//!
//! ```text
//! bytes -> digest -> loaded? -> refused before? -> artefact on disk? -> pre-scan -> compile worker
//! ```
//!
//! Two wasmtime engines share one way of configuring them: [`Flavour::Plain`] runs nearly everything,
//! [`Flavour::Concurrent`] the components that need the async component model. Neither compiles in
//! this process.

mod adapt;
mod artefacts;
mod asynchronous;
mod compiler;
mod metadata;
pub mod prescan;
mod refusal;
mod settings;
mod ticker;
pub mod worker;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use adapt::Adapted;
pub use asynchronous::{WASI_0_3, is_wasi_0_3};
pub use compiler::Allowance;
pub use metadata::Metadata;
pub use refusal::{Code, Refusal};
pub use settings::{Flavour, runner as runner_settings};
pub use ticker::TICK;

use crate::cache::{Cache, Figures, Hits};
use crate::task::Digest;

use artefacts::{About, Artefacts, Found};
use compiler::{Compiler, Verdict};
use worker::Compiled;

/// The version that prices fuel; it stands in every receipt.
pub const ENGINE_VERSION: &str = "wasmtime 48.0.8";

/// Components kept loaded. Each is a mapped file: what is not used costs little.
const MAX_LOADED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// wasmtime's words for a component that no slot of the pool could hold.
const POOL_TOO_SMALL: &str = "pooling allocator requirements";

/// How the engines are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tasks that may be live at once.
    pub instances: u32,
    /// Where artefacts are kept.
    pub artefacts: PathBuf,
    /// The `omnimind` binary, which is also the compile worker.
    pub worker: PathBuf,
}

/// The engines could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// wasmtime refused, mostly for lack of address space.
    #[error("starting the engine: {0:#}")]
    Engine(wasmtime::Error),
    /// The directory of artefacts is unusable.
    #[error("artefact directory {path}: {why}")]
    Artefacts {
        /// Which directory.
        path: PathBuf,
        /// What is wrong with it. Not called `source`: it would be told twice.
        why: std::io::Error,
    },
    /// No thread for the epochs.
    #[error("starting the epoch thread: {0}")]
    Ticker(std::io::Error),
}

/// A component that can be instantiated.
#[derive(Debug)]
pub struct Component {
    /// sha256 of the bytes as they were submitted.
    pub digest: Digest,
    /// Which engine it runs on.
    pub flavour: Flavour,
    /// The compiled code.
    pub code: wasmtime::component::Component,
    /// Core instances that instantiating it makes.
    pub core_instances: u64,
    /// How long compiling took, when it was compiled.
    pub compiled_ms: u64,
    /// Bytes as they were submitted.
    pub size: u64,
    /// What it was made from, where what was submitted is no component.
    pub adapted: Option<Adapted>,
}

/// One wasmtime engine and what belongs to it.
struct Slot {
    engine: wasmtime::Engine,
    name: String,
}

/// The engines, the cache of artefacts and the compiler.
pub struct Engines {
    settings: Settings,
    plain: Slot,
    concurrent: OnceLock<Slot>,
    permits: Arc<Semaphore>,
    artefacts: Artefacts,
    compiler: Compiler,
    loaded: Mutex<LruCache<Digest, Arc<Component>>>,
    hits: Hits,
    /// Those that somebody has, in `loaded` or elsewhere.
    alive: Mutex<HashMap<Digest, Weak<Component>>>,
    /// One compilation at a time: each may use all cores and gigabytes.
    compiling: Arc<tokio::sync::Mutex<()>>,
}

impl Engines {
    /// Starts the plain engine; the concurrent one starts when a component needs it.
    pub fn new(settings: Settings) -> Result<Engines, Error> {
        let artefacts = Artefacts::open(settings.artefacts.clone())
            .map_err(|why| Error::Artefacts { path: settings.artefacts.clone(), why })?;
        Ok(Engines {
            plain: Slot::start(Flavour::Plain, settings.instances)?,
            concurrent: OnceLock::new(),
            permits: Arc::new(Semaphore::new(settings.instances as usize)),
            artefacts,
            compiler: Compiler::new(settings.worker.clone()),
            loaded: Mutex::new(LruCache::new(MAX_LOADED)),
            hits: Hits::default(),
            alive: Mutex::default(),
            compiling: Arc::default(),
            settings,
        })
    }

    /// The wasmtime engine of `flavour`.
    pub fn engine(&self, flavour: Flavour) -> Result<&wasmtime::Engine, Error> {
        self.slot(flavour).map(|slot| &slot.engine)
    }

    /// Places for tasks, on both engines together. Hold one permit for each store: each pool has as many
    /// places, so an exhausted pool is never what a task meets.
    pub fn permits(&self) -> Arc<Semaphore> {
        self.permits.clone()
    }

    /// The component of these bytes: loaded, from the cache, or compiled now.
    pub async fn component(self: &Arc<Self>, bytes: Arc<[u8]>) -> Result<Arc<Component>, Refusal> {
        let engines = self.clone();
        let digest = blocking(move || (Digest::of(&bytes), bytes)).await;
        let (digest, bytes) = digest?;
        if let Some(component) = self.cached(digest).await? {
            return Ok(component);
        }
        // Garbage is refused without waiting for anybody's compilation.
        let bytes =
            blocking(move || prescan::scan(&bytes, &prescan::Caps::default()).map(|_| bytes)).await??;
        let turn = self.compiling.clone().lock_owned().await;
        // Someone may have compiled the same bytes while this call waited.
        if let Some(component) = self.cached(digest).await? {
            return Ok(component);
        }
        blocking(move || {
            // Held by the work, not by whoever waits for it: a caller that goes away ends nothing.
            let _turn = turn;
            engines.compile(digest, &bytes)
        })
        .await?
    }

    /// The component of that digest, if it was compiled before; its refusal, if it was refused.
    pub async fn cached(self: &Arc<Self>, digest: Digest) -> Result<Option<Arc<Component>>, Refusal> {
        let loaded = self.loaded.lock().get(&digest).cloned();
        self.hits.count(loaded.is_some());
        if loaded.is_some() {
            return Ok(loaded);
        }
        let engines = self.clone();
        blocking(move || engines.find_on_disk(digest)).await?
    }

    fn find_on_disk(&self, digest: Digest) -> Result<Option<Arc<Component>>, Refusal> {
        let reading = |error| Refusal::internal("reading the artefact cache", error);
        if let Some(refusal) = self.artefacts.recall(&self.plain.name, &digest).map_err(reading)? {
            return Err(refusal);
        }
        for flavour in [Flavour::Plain, Flavour::Concurrent] {
            if let Some(found) = self.artefacts.find(&self.folder(flavour), &digest).map_err(reading)? {
                return self.load(digest, flavour, &found).map(Some);
            }
        }
        Ok(None)
    }

    fn compile(&self, digest: Digest, bytes: &[u8]) -> Result<Arc<Component>, Refusal> {
        let storing = |error: std::io::Error| Refusal::unwritten("writing the artefact cache", &error);
        let begun = Instant::now();
        let scratch = self.artefacts.scratch().map_err(storing)?;
        let verdict = self
            .compiler
            .compile(bytes, scratch.file())
            .map_err(|error| Refusal::internal("running the compile worker", error))?;
        let Compiled { concurrent, core_instances, adapted } = match verdict {
            Verdict::Compiled(compiled) => compiled,
            Verdict::Failed(refusal) => return Err(refusal),
            Verdict::Refused(refusal) => {
                self.artefacts.remember(&self.plain.name, &digest, &refusal).map_err(storing)?;
                return Err(refusal);
            }
        };
        let flavour = if concurrent { Flavour::Concurrent } else { Flavour::Plain };
        let name = self.folder(flavour);
        let compiled_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let about = About { core_instances, compiled_ms, size: bytes.len() as u64, adapted };
        let found = self.artefacts.keep(&name, &digest, about, scratch, || self.in_use()).map_err(storing)?;
        self.load(digest, flavour, &found).inspect_err(|refusal| {
            if refusal.code == Code::Internal {
                return;
            }
            let forgotten = self.artefacts.remove(&name, &digest);
            let remembered = self.artefacts.remember(&self.plain.name, &digest, refusal);
            if let Err(error) = forgotten.and(remembered) {
                tracing::warn!(%digest, %error, "a component that cannot be loaded will be compiled again");
            }
        })
    }

    /// Maps an artefact whose seal was checked.
    fn load(&self, digest: Digest, flavour: Flavour, found: &Found) -> Result<Arc<Component>, Refusal> {
        let engine = self.engine(flavour).map_err(|error| Refusal::internal("loading", error))?;
        // SAFETY: the file behind this descriptor was written by our compile worker and sealed by us,
        // the seal was checked over its bytes, and artefacts are never written again (module docs of
        // `artefacts`).
        #[allow(unsafe_code)]
        let code = unsafe { wasmtime::component::Component::deserialize_file(engine, found.path()) }
            .map_err(|error| {
                let text = format!("{error:#}");
                match text.contains(POOL_TOO_SMALL) {
                    true => Refusal::new(
                        Code::ComponentTooComplex,
                        format!("the component needs more than a task can have: {text}"),
                    ),
                    false => Refusal::internal("loading the compiled component", text),
                }
            })?;
        let About { core_instances, compiled_ms, size, adapted } = found.about;
        let component = Component { digest, flavour, code, core_instances, compiled_ms, size, adapted };
        let component = Arc::new(component);
        self.loaded.lock().put(digest, component.clone());
        let mut alive = self.alive.lock();
        alive.retain(|_, component| component.strong_count() > 0);
        alive.insert(digest, Arc::downgrade(&component));
        Ok(component)
    }

    /// Removes artefacts from the disk until they take no more than `keep` bytes, those first that were used
    /// longest ago, and none of a component that somebody has loaded. Returns the bytes that it freed. Blocks.
    ///
    /// # Errors
    /// The directory cannot be read, or not written to.
    pub fn prune_artefacts(&self, keep: u64) -> std::io::Result<u64> {
        self.artefacts.prune(keep, &self.in_use())
    }

    /// Components that are loaded.
    fn in_use(&self) -> HashSet<Digest> {
        let alive = self.alive.lock();
        alive
            .iter()
            .filter(|(_, component)| component.strong_count() > 0)
            .map(|(digest, _)| *digest)
            .collect()
    }

    /// The artefact folder of an engine. Both are of one version and one set of compiler settings, so the
    /// plain engine's hash stands for both, and the other is not started to look for what is mostly not
    /// there.
    fn folder(&self, flavour: Flavour) -> String {
        self.plain.name.replacen(Flavour::Plain.name(), flavour.name(), 1)
    }

    fn slot(&self, flavour: Flavour) -> Result<&Slot, Error> {
        if flavour == Flavour::Plain {
            return Ok(&self.plain);
        }
        if let Some(slot) = self.concurrent.get() {
            return Ok(slot);
        }
        // Two that start it at once: one is dropped again.
        let slot = Slot::start(Flavour::Concurrent, self.settings.instances)?;
        Ok(self.concurrent.get_or_init(|| slot))
    }
}

/// The components that are kept loaded in case that they are asked for. Who has one keeps it.
impl Cache for Engines {
    fn figures(&self) -> Figures {
        Figures::of_components("loaded_components", self.loaded.lock().len(), MAX_LOADED.get(), &self.hits)
    }

    fn clear(&self) -> usize {
        let mut loaded = self.loaded.lock();
        let count = loaded.len();
        loaded.clear();
        count
    }
}

impl Slot {
    fn start(flavour: Flavour, instances: u32) -> Result<Slot, Error> {
        let engine = wasmtime::Engine::new(&settings::runner(flavour, instances)).map_err(Error::Engine)?;
        ticker::start(&engine).map_err(Error::Ticker)?;
        let name = artefacts::engine_name(&engine, flavour.name());
        Ok(Slot { engine, name })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::internal("compiling", error))
}
