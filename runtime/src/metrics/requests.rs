//! Requests: how many, how they were answered, how long that took.
//!
//! What a client chose to wait for (`?wait=`, a cancellation) is no part of the time that its answer took, and has a
//! histogram of its own; a stream's answer is its head.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use serde_json::{Map, Value, json};

use super::window::{Figures, Window};
use super::{BUCKETS, Error, gauge, register};

/// The route of a request that none was found for: there is no such path, or it was refused before.
pub const UNMATCHED: &str = "unmatched";

/// Classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The route's template, or [`UNMATCHED`].
    pub route: &'static str,
    /// The method, or `other`.
    pub method: &'static str,
    /// The status.
    pub status: u16,
    /// The `code` of the problem that was answered, if one was.
    pub code: Option<&'static str>,
    /// From its head to the head of its answer, without `waited`.
    pub took: Duration,
    /// What the client asked to wait for an end, if it did.
    pub waited: Option<Duration>,
}

/// Counted as open until it is dropped.
#[derive(Debug)]
pub struct Open(IntGauge);

impl Open {
    fn count(gauge: &IntGauge) -> Open {
        gauge.inc();
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(super) struct Requests {
    total: IntCounterVec,
    durations: HistogramVec,
    waits: Histogram,
    in_flight: IntGauge,
    connections: IntGauge,
    streams: IntGauge,
    abandoned: IntCounter,
    problems: IntCounterVec,
    /// By route and method. Both are words of this program, so there are not many.
    routes: RwLock<BTreeMap<(&'static str, &'static str), Arc<Route>>>,
    empty: Window,
}

/// One route's figures for one method.
struct Route {
    by_class: Vec<IntCounter>,
    duration: Histogram,
    recent: Mutex<Window>,
}

impl Route {
    fn recent(&self, at: Duration) -> Figures {
        self.recent.lock().figures(at)
    }

    /// How often a status of this class was answered.
    fn count(&self, class: usize) -> u64 {
        self.by_class.get(class.saturating_sub(1)).map_or(0, IntCounter::get)
    }
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Result<Requests, Error> {
        let buckets = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let total =
            Opts::new("omnimind_http_requests_total", "Requests that were answered, by class of status.");
        let durations = buckets(
            "omnimind_http_request_duration_seconds",
            "From the head of a request to the head of its answer, without the time that the client chose to wait.",
        );
        let waits = buckets(
            "omnimind_http_wait_seconds",
            "Time that clients chose to wait for the end of a task, in requests that ask for it.",
        );
        let problems =
            Opts::new("omnimind_http_problems_total", "Problems that were answered, by their code.");
        let abandoned = IntCounter::new(
            "omnimind_http_requests_abandoned_total",
            "Requests whose client went before it had an answer.",
        );
        Ok(Requests {
            total: register(registry, IntCounterVec::new(total, &["route", "method", "status"]))?,
            durations: register(registry, HistogramVec::new(durations, &["route", "method"]))?,
            waits: register(registry, Histogram::with_opts(waits))?,
            in_flight: gauge(
                registry,
                "omnimind_http_requests_in_flight",
                "Requests that are being answered: this one is.",
            )?,
            connections: gauge(registry, "omnimind_http_connections", "Connections that are open.")?,
            streams: gauge(registry, "omnimind_http_streams", "Answers without end that go on.")?,
            abandoned: register(registry, abandoned)?,
            problems: register(registry, IntCounterVec::new(problems, &["code"]))?,
            routes: RwLock::default(),
            empty: Window::new()?,
        })
    }

    pub(super) fn in_flight(&self) -> Open {
        Open::count(&self.in_flight)
    }

    pub(super) fn connection(&self) -> Open {
        Open::count(&self.connections)
    }

    pub(super) fn stream(&self) -> Open {
        Open::count(&self.streams)
    }

    pub(super) fn abandoned(&self) {
        self.abandoned.inc();
    }

    pub(super) fn answered(&self, request: &Request, at: Duration) {
        let Request { route, method, status, code, took, waited } = *request;
        if let Some(waited) = waited {
            self.waits.observe(waited.as_secs_f64());
        }
        if let Some(problem) = code.and_then(|code| self.problems.get_metric_with_label_values(&[code]).ok())
        {
            problem.inc();
        }
        let Some(route) = self.route(route, method) else { return };
        if let Some(class) = route.by_class.get(usize::from(status / 100).saturating_sub(1)) {
            class.inc();
        }
        route.duration.observe(took.as_secs_f64());
        let mut recent = route.recent.lock();
        recent.took(at, took);
        recent.came_out(
            at,
            match status {
                400..=499 => 1,
                500.. => 2,
                _ => 0,
            },
        );
    }

    fn route(&self, route: &'static str, method: &'static str) -> Option<Arc<Route>> {
        let key = (route, method);
        if let Some(known) = self.routes.read().get(&key) {
            return Some(known.clone());
        }
        let by_class = CLASSES.map(|class| self.total.get_metric_with_label_values(&[route, method, class]));
        let made = Route {
            by_class: by_class.into_iter().collect::<Result<_, _>>().ok()?,
            duration: self.durations.get_metric_with_label_values(&[route, method]).ok()?,
            recent: Mutex::new(self.empty.clone()),
        };
        let mut routes = self.routes.write();
        Some(routes.entry(key).or_insert_with(|| Arc::new(made)).clone())
    }

    /// Every route and method that was asked for so far.
    fn routes(&self) -> Vec<((&'static str, &'static str), Arc<Route>)> {
        let routes = self.routes.read();
        routes.iter().map(|(key, route)| (*key, route.clone())).collect()
    }

    fn all_recent(&self, at: Duration, routes: &[((&str, &str), Arc<Route>)]) -> Figures {
        let mut all = self.empty.clone();
        for (_, route) in routes {
            all.add(at, &mut route.recent.lock());
        }
        all.figures(at)
    }

    pub(super) fn to_json(&self, at: Duration) -> Value {
        let routes = self.routes();
        let sum = |class| routes.iter().map(|(_, route)| route.count(class)).sum::<u64>();
        let (count, client_errors, errors) = ((1..=5).map(sum).sum::<u64>(), sum(4), sum(5));
        let problems = self.problems();
        let all = self.all_recent(at, &routes);
        let routes: Vec<Value> =
            routes.iter().map(|(key, route)| shown(*key, route, &route.recent(at))).collect();
        json!({
            "count": count, "client_errors": client_errors, "errors": errors,
            "in_flight": self.in_flight.get(), "connections": self.connections.get(),
            "streams": self.streams.get(), "abandoned": self.abandoned.get(),
            "problems": problems, "recent": recent(&all), "routes": routes,
        })
    }

    pub(super) fn in_short(&self, at: Duration, slowest: usize) -> (Figures, Vec<Value>) {
        let routes = self.routes();
        let all = self.all_recent(at, &routes);
        let mut each: Vec<_> = routes
            .iter()
            .map(|(key, route)| (route.recent(at), key, route))
            .filter(|(recent, ..)| recent.samples > 0)
            .collect();
        each.sort_by(|(one, ..), (other, ..)| other.p95.unwrap_or(0.0).total_cmp(&one.p95.unwrap_or(0.0)));
        let slowest = each.iter().take(slowest).map(|(recent, key, route)| shown(**key, route, recent));
        (all, slowest.collect())
    }

    fn problems(&self) -> Map<String, Value> {
        use prometheus::core::Collector;
        let families = self.problems.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let counts = metrics.filter_map(|metric| {
            let code = metric.get_label().first()?.value();
            Some((code.to_owned(), json!(metric.get_counter().get_value() as u64)))
        });
        counts.collect()
    }
}

fn shown((route, method): (&str, &str), figures: &Route, window: &Figures) -> Value {
    json!({
        "route": route, "method": method,
        "count": (1..=5).map(|class| figures.count(class)).sum::<u64>(),
        "client_errors": figures.count(4), "errors": figures.count(5),
        "recent": recent(window),
    })
}

/// What a window of requests has.
fn recent(figures: &Figures) -> Value {
    let [fine, client_errors, errors] = figures.outcomes;
    json!({
        "count": fine + client_errors + errors, "client_errors": client_errors, "errors": errors,
        "average_ms": figures.average, "p50_ms": figures.p50, "p95_ms": figures.p95, "p99_ms": figures.p99,
        "max_ms": figures.max,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn the_slowest_routes_come_first() {
        let metrics = Metrics::new().unwrap();
        for (route, millis) in [("/a", 1), ("/b", 30), ("/c", 20), ("/d", 4)] {
            let took = Duration::from_millis(millis);
            let request = Request { route, method: "GET", status: 200, code: None, took, waited: None };
            metrics.answered(&request);
        }
        let (all, slowest) = metrics.requests_in_short(3);
        let routes: Vec<&Value> = slowest.iter().map(|route| &route["route"]).collect();
        assert_eq!((all.samples, routes), (4, vec![&json!("/b"), &json!("/c"), &json!("/d")]));
    }
}
