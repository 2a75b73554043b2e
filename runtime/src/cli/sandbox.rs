//! What `run`, `build` and `watch` run components in: the engines and the guests' threads, without a server.

use std::sync::Arc;

use anyhow::anyhow;
use tokio::runtime::Runtime;

use super::Failed;
use super::terminal::while_waiting;
use crate::backend::Backends;
use crate::config::Config;
use crate::engine::{self, Component, Engines, Refusal};
use crate::executor::{Executor, GuestThreads, Interface, Job, Prepared};
use crate::task::Outcome;

/// Runs one component at a time, here and now.
pub struct Sandbox {
    /// Where everything asynchronous happens.
    pub runtime: Runtime,
    executor: Executor,
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
        let backends = Backends::new(config, runtime.handle().clone(), None);
        let executor = Executor::new(engines.clone(), handle).with(backends);
        Ok(Sandbox { runtime, executor, engines, _guests: guests })
    }

    /// Runs `job` to its end, and tells a terminal that it still runs.
    pub async fn execute(&self, job: Job) -> Outcome {
        while_waiting(self.executor.execute(job), |seconds| {
            format!("still running after {seconds} s; Ctrl-C ends it")
        })
        .await
    }

    /// A component ready to run: from the cache, or compiled now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<Prepared>, Refusal> {
        let compiling = self.engines.component(bytes);
        let component = while_waiting(compiling, |seconds| {
            format!("compiling for {seconds} s, which is done once for these bytes")
        });
        self.executor.prepare(component.await?)
    }

    /// The same, but for the capabilities that it needs: these may be another server's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn inspect(&self, bytes: Arc<[u8]>) -> Result<(Arc<Component>, Interface), Refusal> {
        let compiling = self.engines.component(bytes);
        let component = while_waiting(compiling, |seconds| format!("compiling for {seconds} s")).await?;
        let interface = self.executor.inspect(component.clone())?;
        Ok((component, interface))
    }
}
