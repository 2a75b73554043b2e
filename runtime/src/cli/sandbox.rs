//! What `run`, `build` and `watch` run components in: the engines and the guests' threads, without a server.

use std::sync::Arc;

use anyhow::anyhow;
use tokio::runtime::Runtime;

use super::Failed;
use crate::config::Config;
use crate::engine::{self, Component, Engines, Refusal};
use crate::executor::{Executor, GuestThreads, Interface, Prepared};

/// Runs one component at a time, here and now.
pub struct Sandbox {
    /// Where everything asynchronous happens.
    pub runtime: Runtime,
    /// Runs what is prepared.
    pub executor: Executor,
    engines: Arc<Engines>,
    // Dropped last: a guest may still be ending.
    _guests: GuestThreads,
}

impl Sandbox {
    /// Artefacts are kept where the server of `config` keeps its own: what was compiled is compiled.
    ///
    /// # Errors
    /// The engine cannot be started, or the data directory not be written to.
    pub fn new(config: &Config) -> Result<Sandbox, Failed> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::runtime)?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let guests = GuestThreads::start(workers).map_err(Failed::runtime)?;
        let settings = engine::Settings {
            instances: 1,
            artefacts: config.data_dir.join("artefacts"),
            // Not its name: that may lead to another version by the time it is started.
            worker: "/proc/self/exe".into(),
        };
        let engines = Arc::new(Engines::new(settings).map_err(Failed::runtime)?);
        let handle =
            guests.handle().ok_or_else(|| Failed::runtime(anyhow!("the guests' threads are gone")))?;
        let executor = Executor::new(engines.clone(), handle);
        Ok(Sandbox { runtime, executor, engines, _guests: guests })
    }

    /// A component ready to run: from the cache, or compiled now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<Prepared>, Refusal> {
        self.executor.prepare(self.engines.component(bytes).await?)
    }

    /// The same, but for the capabilities that it needs: these may be another server's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn inspect(&self, bytes: Arc<[u8]>) -> Result<(Arc<Component>, Interface), Refusal> {
        let component = self.engines.component(bytes).await?;
        let interface = Interface::of(&component)?;
        if interface.capabilities.is_empty() {
            self.executor.prepare(component.clone())?;
        }
        Ok((component, interface))
    }
}
