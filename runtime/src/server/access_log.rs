//! A line for each request: who asked for what, and what the answer was.
//!
//! It is written when the head of the answer is there, so that streams and WebSockets have theirs at their
//! begin, or when the client has gone before. Queries are left out: they may hold tickets and inputs.

use std::net::IpAddr;
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response};
use hyper::body::Body as _;
use tracing::Level;

use super::caller::Caller;
use crate::telemetry::ACCESS;
use crate::tenants::without_secrets;

/// Characters of a path that are shown.
const MAX_PATH: usize = 256;

/// A request whose line is still to be written; dropped, it says that the client has gone.
pub struct Asked(Option<Seen>);

struct Seen {
    method: Method,
    path: String,
    route: &'static str,
    address: IpAddr,
    since: Instant,
    tenant: Option<Caller>,
}

impl Asked {
    /// Notes a request, where the log wants it.
    pub fn note(request: &Parts, route: &'static str, address: IpAddr) -> Asked {
        Asked(tracing::enabled!(target: ACCESS, Level::INFO).then(|| Seen {
            method: request.method.clone(),
            path: without_secrets(request.uri.path()).chars().take(MAX_PATH).collect(),
            route,
            address,
            since: Instant::now(),
            tenant: None,
        }))
    }

    /// Notes who asks.
    pub fn by(&mut self, caller: Option<&Caller>) {
        if let Some(seen) = &mut self.0 {
            seen.tenant = caller.cloned();
        }
    }

    /// Writes the line.
    pub fn answered(mut self, response: &Response<Body>) {
        if let Some(seen) = self.0.take() {
            seen.write(Some(response.status().as_u16()), response.body().size_hint().exact());
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(seen) = self.0.take() {
            seen.write(None, None);
        }
    }
}

impl Seen {
    fn write(self, status: Option<u16>, bytes: Option<u64>) {
        let Seen { method, path, route, address, since, tenant } = self;
        let (method, tenant) = (method.as_str(), tenant.as_ref().map(Caller::tenant));
        let duration_ms = since.elapsed().as_micros() as f64 / 1000.0;
        tracing::info!(target: ACCESS, method, path, route, status, bytes, duration_ms, %address, tenant);
    }
}
