//! HTTP: hyper serves connections, axum finds the handler, everything else is ours.
//!
//! ```text
//! listener ─ tls ─ connection (caps, timeouts) ─ observe (figures) ─ gate (origin, credentials, rates, log) ─ etag ─
//!   encoding ─ router ─ handlers/<group>.rs
//!                bus ─ feed (channels) ─ events, websocket ┘
//! ```

mod access_log;
mod attestation;
mod auth;
mod body;
mod caller;
mod connection;
mod encoding;
mod etag;
mod feed;
mod figures;
mod frames;
#[cfg(fuzzing)]
pub mod fuzz;
mod gate;
mod handlers;
mod health;
mod heavy;
mod json;
mod machine;
mod observe;
mod overload;
mod places;
mod problem;
mod proxies;
mod query;
mod rate_limit;
mod reply;
mod router;
mod secrets;
mod sessions;
mod streams;
mod submission;
mod tls;
mod trend;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

pub use attestation::{Attestation, Proof, Report, Verdict};
pub use auth::{Auth, credentials};
pub use body::Bodies;
pub use encoding::Compressors;
pub use feed::Feed;
pub use figures::tell;
pub use handlers::TaskList;
pub use health::Health;
pub use overload::Active;
pub use problem::Problem;
pub use query::duration as parse_duration;
pub use rate_limit::RateLimit;
pub use submission::is_name;
pub use tls::{Tls, check as check_tls, refused as certificate_refused};
pub use websocket::WebSockets;

use crate::backend::inference::Inference;
use crate::cache::{Answers, Cache, Figures};
use crate::components::Components;
use crate::config::Config;
use crate::events::Bus;
use crate::guard::Guard;
use crate::limits::Modes;
use crate::metrics::Metrics;
use crate::scheduler::Scheduler;
use crate::task_store::Query;

/// What handlers work with.
pub struct App {
    /// What the server was told.
    pub config: Config,
    /// The mode in force.
    pub modes: Modes,
    /// Who may come in.
    pub auth: Auth,
    /// What runs tasks.
    pub scheduler: Scheduler,
    /// What tasks are made of.
    pub components: Arc<Components>,
    /// What happens.
    pub bus: Bus,
    /// Where clients listen to that.
    pub feed: Feed,
    /// Those that are open, and tickets for more.
    pub web_sockets: WebSockets,
    /// What is counted.
    pub metrics: Metrics,
    /// What keeps the machine responsive.
    pub guard: Arc<Guard>,
    /// How everything is.
    pub health: Arc<Health>,
    /// Language models.
    pub inference: Arc<Inference>,
    /// Memory for bodies.
    pub bodies: Bodies,
    /// How often somebody may ask.
    pub rate: RateLimit,
    /// How many may ask at one time.
    pub active: Active,
    /// The answers of `GET /tasks`.
    pub task_list: Arc<Answers<Query, TaskList>>,
    /// Everything that is kept in memory and could be made again.
    pub caches: Arc<[Arc<dyn Cache>]>,
    /// Room for what compresses answers.
    pub compressors: Compressors,
    /// What TLS is spoken with, if it is.
    pub tls: Option<Arc<Tls>>,
    /// True once the server is ending: streams end, new connections are not taken.
    pub ending: watch::Receiver<bool>,
}

impl App {
    /// How the caches do.
    pub fn cache_figures(&self) -> Vec<Figures> {
        self.caches.iter().map(|cache| cache.figures()).collect()
    }

    /// How URLs of this server begin.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Connections that the kernel keeps until they are accepted: as many come at once when a server comes back.
const BACKLOG: u32 = 2048;

/// A listener on the configured address.
///
/// # Errors
/// The address is not free, or not ours.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of an earlier process that the kernel still winds up keep nobody from listening.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `app`'s end has come and every connection is done, `drain` at most after that.
pub async fn serve(app: Arc<App>, listener: TcpListener, drain: Duration) {
    connection::accept(app, listener, drain).await;
}
