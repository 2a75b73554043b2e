//! The composition root: from a configuration to a server that runs.

mod reload;

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use reload::{Read, Reload};

use crate::backend::Backends;
use crate::cache::{Answers, Cache};
use crate::components::Components;
use crate::config::Config;
use crate::engine::{Engines, Settings};
use crate::events::{Bus, Changes};
use crate::executor::{Executor, GuestThreads};
use crate::guard::{Guard, Levers};
use crate::limits::Modes;
use crate::metrics::Metrics;
use crate::scheduler::{self, Scheduler};
use crate::server::{
    self, Active, App, Attestation, Auth, Bodies, Compressors, Feed, Health, RateLimit, Tls, WebSockets,
};
use crate::task_store::{DataDir, DataDirError, MemoryStore, Retention, SqliteStore};
use crate::tenants::Tokens;

/// Tasks that may wait, and bytes that they may take.
const MAX_PENDING: usize = 100_000;
const MAX_PENDING_BYTES: usize = 512 << 20;

/// Time between two looks at what is to be kept.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Time between two looks at the certificate's files.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(60);

/// A server that has everything it needs, and listens.
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it keeps everything: the directory's real name.
    pub data_dir: PathBuf,
    /// The name to sign in with.
    pub user: String,
    /// Tasks that run at one time.
    pub places: usize,
    /// Where this machine finds it.
    pub url: String,
    /// The file with its certificate, where it speaks TLS.
    pub certificate: Option<PathBuf>,
    runtime: Runtime,
    app: Arc<App>,
    store: Arc<SqliteStore>,
    backends: Backends,
    listener: tokio::net::TcpListener,
    ending: watch::Sender<bool>,
    stop: Stop,
    hangup: Option<Signal>,
    // Dropped last: guests may still be ending.
    _guests: GuestThreads,
}

/// Starts everything: the store is open and recovered, the address taken.
///
/// # Errors
/// What the configuration asks for cannot be had. Nothing is left running.
pub fn start(config: Config) -> anyhow::Result<Serving> {
    raise_descriptor_limit();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server.workers.unwrap_or(cores).max(2))
        .thread_name("server")
        .enable_all()
        .build()?;
    // From here on a signal is one to end in order, however far the start is.
    let (stop, hangup) = {
        let _runtime = runtime.enter();
        Stop::of_server()?
    };
    let tls = Tls::open(&config)?;
    let guests = GuestThreads::start(cores)?;
    let handle = guests.handle().ok_or_else(|| anyhow!("the guests' threads are gone"))?;
    // The address first: it is what is most often taken.
    let address = SocketAddr::new(config.server.host, config.server.port);
    let listener = runtime
        .block_on(async { server::listen(address) })
        .with_context(|| format!("cannot listen on {address}: choose another with --host and --port"))?;
    let address = listener.local_addr()?;

    let dir = DataDir::open(&config.data_dir)?;
    let data_dir = dir.path().to_owned();
    let credentials = server::credentials(&data_dir, config.authentication.credentials.clone())?;
    let store = Arc::new(SqliteStore::open(dir)?);
    let modes = Modes::new(config.modes.clone(), config.mode);
    // The mode can be switched, the pool cannot grow.
    let instances = modes.most_instances();
    let settings =
        Settings { instances, artefacts: data_dir.join("artefacts"), worker: "/proc/self/exe".into() };
    let engines = Arc::new(Engines::new(settings)?);
    let metrics = Metrics::new()?;
    let backends = Backends::new(&config, runtime.handle().clone(), Some(metrics.inference()));
    let executor = Executor::new(engines.clone(), handle).with(backends.clone());
    let (levers, linked) = (executor.levers(), executor.cache());
    let interpreters = config.interpreters.clone();
    let components = Components::load(store.clone(), engines.clone(), executor, modes.clone(), interpreters);
    let components = Arc::new(runtime.block_on(components)?);

    let bus = Bus::default();
    let most_places = config.performance.max_concurrent_tasks.unwrap_or(usize::MAX);
    let places = modes.places(most_places);
    let settings =
        scheduler::Settings { places, max_pending: MAX_PENDING, max_pending_bytes: MAX_PENDING_BYTES };
    let memory = Arc::new(MemoryStore::default());
    let (told, counted) = (bus.clone(), metrics.clone());
    let scheduler = Scheduler::new(store.clone(), memory, components.clone(), told, counted, settings);
    let expire = config.cache.enabled.then_some(config.cache.expire);
    let task_list = Arc::new(Answers::new("task_list", expire, bus.changes().clone()));
    // What is linked is loaded.
    let caches: Arc<[Arc<dyn Cache>]> = Arc::new([
        task_list.clone(),
        backends.embedding.cache(),
        backends.inference.cache(),
        linked,
        engines.clone(),
    ]);
    let levers = Levers {
        scheduler: scheduler.clone(),
        executor: levers,
        store: store.clone(),
        engines,
        caches: caches.clone(),
        changes: bus.changes().clone(),
    };
    let (watch, dir) = (config.protection.clone(), data_dir.clone());
    let guard = Arc::new(Guard::new(modes.clone(), watch, most_places, levers, bus.clone(), dir));
    if let Some(newest) = runtime.block_on(store.newest())? {
        newest.precede_all();
    }
    runtime.block_on(async { scheduler.start(store.unfinished().await?).await })?;

    let is_secure = tls.is_some() || config.server.tls_proxy;
    let tokens = Tokens::open(&data_dir, &config.authentication.tokens)?;
    scheduler.set_shares(tokens.shares());
    let auth = Auth::new(&credentials, tokens, address.port(), is_secure, bus.clone())?;
    let user = auth.user().to_owned();
    let (ending, ended) = watch::channel(false);
    let attestation = Arc::new(Attestation::open(&data_dir, modes.clone()));
    let health = Health::new(store.clone(), scheduler.clone(), guard.clone(), attestation, &backends);
    let health = Arc::new(runtime.block_on(health));
    let (rate, active) =
        (RateLimit::new(config.rate_limiting.clone()), Active::new(config.server.limit_concurrency));
    let web_sockets = WebSockets::new(config.websocket.max_connections);
    let certificate = tls.as_ref().map(|tls| tls.certificate());
    let app = Arc::new(App {
        config,
        modes,
        auth,
        scheduler,
        components,
        feed: Feed::new(bus.clone()),
        bus,
        web_sockets,
        metrics,
        guard,
        health,
        inference: backends.inference.clone(),
        bodies: Bodies::default(),
        compressors: Compressors::default(),
        task_list,
        caches,
        rate,
        active,
        tls,
        ending: ended,
    });
    let url = format!("{}://{}", app.scheme(), reachable(address));
    Ok(Serving {
        address,
        data_dir,
        user,
        places,
        url,
        certificate,
        runtime,
        app,
        store,
        backends,
        listener,
        ending,
        stop,
        hangup,
        _guests: guests,
    })
}

/// Whether what kept a server from starting may pass by itself: the one before it has not ended yet, say.
pub fn may_pass(error: &anyhow::Error) -> bool {
    let taken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(taken))
        || matches!(error.downcast_ref(), Some(DataDirError::InUse { .. }))
}

/// An address at which this machine finds `address`, which may be all of its own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

impl Serving {
    /// A link that signs a browser in, once.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign_in_link(&self) -> anyhow::Result<String> {
        Ok(format!("{}{}", self.url, self.app.auth.sessions.link()?))
    }

    /// How its URLs begin.
    pub fn scheme(&self) -> &'static str {
        self.app.scheme()
    }

    /// Serves until a SIGTERM or Ctrl-C, then lets what runs finish; a second one ends that at once. What can
    /// change meanwhile does at a SIGHUP, as `reload` says, or, on a terminal, that ends it too.
    pub fn run(self, reload: Reload) {
        let Serving { runtime, app, store, backends, listener, ending, mut stop, hangup, _guests, .. } = self;
        let Backends { embedding, inference, .. } = backends;
        let drain = app.config.server.drain;
        let asked = runtime.block_on(async {
            // What goes on beside serving, and ends with it.
            let mut beside = JoinSet::new();
            let health = app.health.clone();
            beside.spawn(async move { health.watch().await });
            beside.spawn(async move { embedding.watch().await });
            beside.spawn(async move { inference.watch().await });
            beside.spawn(app.guard.clone().watch());
            hangup.map(|hangup| beside.spawn(reload.watch(hangup, app.tls.clone())));
            app.tls.clone().map(|tls| beside.spawn(tls.watch(CERTIFICATE_INTERVAL)));
            beside.spawn(server::tell(app.clone()));
            beside.spawn(share_out(app.clone()));
            beside.spawn(retain(store.clone(), app.bus.changes().clone(), &app.config));
            let serving = tokio::spawn(server::serve(app.clone(), listener, drain));
            stop.asked().await;
            let asked = Instant::now();
            tracing::info!("ending: at most {} s for what runs", drain.as_secs());
            ending.send_replace(true);
            let in_order = async {
                app.scheduler.shut_down(drain).await;
                let _ = serving.await;
            };
            tokio::select! {
                () = in_order => {}
                () = stop.asked() => app.scheduler.shut_down(Duration::ZERO).await,
            }
            asked
        });
        store.close();
        // A thread that is caught in a guest's bulk operation does not hold the process up.
        runtime.shutdown_timeout(Duration::from_millis(100));
        tracing::info!(drain_ms = asked.elapsed().as_millis() as u64, "ended");
    }
}

/// The signals that ask for the end.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal was closed; none where there is none, and the signal means another thing.
    hangup: Option<Signal>,
}

impl Stop {
    /// From now on they do not end this process by themselves.
    ///
    /// # Errors
    /// They cannot be listened to.
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: Some(signal(SignalKind::hangup())?),
        })
    }

    /// The same for a server: where it hangs on no terminal, SIGHUP is not among them, and comes by itself.
    ///
    /// # Errors
    /// As [`Stop::new`].
    fn of_server() -> std::io::Result<(Stop, Option<Signal>)> {
        let mut stop = Stop::new()?;
        let terminal = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
        let hangup = if terminal { None } else { stop.hangup.take() };
        Ok((stop, hangup))
    }

    /// Waits for the next one.
    pub async fn asked(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Gives the scheduler the shares of tenants anew whenever a token is not good any more, or another one is.
async fn share_out(app: Arc<App>) {
    loop {
        app.auth.tokens.changed().await;
        app.scheduler.set_shares(app.auth.tokens.shares());
    }
}

fn retain(
    store: Arc<SqliteStore>,
    changes: Changes,
    config: &Config,
) -> impl Future<Output = ()> + Send + use<> {
    let crate::config::Store { retention, max_tasks, max_bytes, .. } = config.store;
    let retention = Retention { age: retention, tasks: max_tasks, bytes: max_bytes };
    async move {
        loop {
            let change = changes.begin();
            let pruned = store.prune(retention, jiff::Timestamp::now().as_millisecond()).await;
            drop(change);
            match pruned {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "tasks past their retention were removed"),
                Err(error) => tracing::warn!(%error, "retention"),
            }
            tokio::time::sleep(RETENTION_INTERVAL).await;
        }
    }
}

/// Every connection is a descriptor, and the usual soft limit is 1024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
