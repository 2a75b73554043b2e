//! What is to be said of every request, wherever it was answered: its route, its status, how long it took.
//!
//! A route is found by the path alone, before anything else is looked at, so what the gate refuses has one too. What
//! only those who answer know, they note on the way: it is kept beside the request, and nothing is allocated for it.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;

use super::{App, gate};
use crate::metrics::{self, Metrics, Open, UNMATCHED};

/// Templates of routes by path: the matcher is the router's own.
#[derive(Default)]
pub struct Routes(matchit::Router<&'static str>);

impl Routes {
    /// Paths like `path` are of `route`.
    pub fn add(&mut self, path: &str, route: &'static str) {
        // The router has taken the same path, so there is no conflict.
        let _ = self.0.insert(path, route);
    }

    /// The template that `path` is of.
    fn of(&self, path: &str) -> &'static str {
        self.0.at(path).map_or(UNMATCHED, |found| *found.value)
    }
}

/// What is noted while a request is answered.
#[derive(Clone, Copy, Default)]
struct Noted {
    code: Option<&'static str>,
    waited: Option<Duration>,
}

tokio::task_local! {
    static NOTED: Cell<Noted>;
}

fn note(change: impl FnOnce(&mut Noted)) {
    // Elsewhere, in tests, nobody wants to know.
    let _ = NOTED.try_with(|cell| {
        let mut noted = cell.get();
        change(&mut noted);
        cell.set(noted);
    });
}

/// Notes the code of the problem that is answered.
pub fn note_code(code: &'static str) {
    note(|noted| noted.code = Some(code));
}

/// Waits for `end`, because the client asked to: that is no part of the time that its answer takes.
pub async fn waiting<T>(end: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let ended = end.await;
    note(|noted| noted.waited = Some(noted.waited.unwrap_or_default() + begun.elapsed()));
    ended
}

/// Answers one request from `address`, and tells what there is to be told of it.
pub async fn answer(
    app: Arc<App>,
    router: Router,
    routes: &Routes,
    address: IpAddr,
    request: Request<Body>,
) -> Response<Body> {
    let answering = Answering::begin(&app.metrics);
    let route = routes.of(request.uri().path());
    let method = method(request.method());
    let answered = async {
        let response = gate::answer(app.clone(), router, route, address, request).await;
        (response, NOTED.try_with(Cell::get).unwrap_or_default())
    };
    let (response, noted) = NOTED.scope(Cell::default(), answered).await;
    let status = response.status();
    // A method that its route does not have is one of many that nobody needs apart.
    let method = if status == StatusCode::METHOD_NOT_ALLOWED { "other" } else { method };
    let took = answering.end().saturating_sub(noted.waited.unwrap_or_default());
    let Noted { code, waited } = noted;
    app.metrics.answered(&metrics::Request { route, method, status: status.as_u16(), code, took, waited });
    counted(&app.metrics, response)
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A request that is being answered, or whose client went.
struct Answering {
    begun: Instant,
    metrics: Metrics,
    answered: bool,
    _open: Open,
}

impl Answering {
    fn begin(metrics: &Metrics) -> Answering {
        let metrics = metrics.clone();
        Answering { begun: Instant::now(), _open: metrics.in_flight(), metrics, answered: false }
    }

    /// It is answered; how long that took.
    fn end(mut self) -> Duration {
        self.answered = true;
        self.begun.elapsed()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.answered {
            self.metrics.abandoned();
        }
    }
}

/// An answer without end is counted for as long as it goes on.
fn counted(metrics: &Metrics, response: Response<Body>) -> Response<Body> {
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|content| content.as_bytes() == b"text/event-stream");
    match is_stream {
        true => {
            let open = metrics.stream();
            // It goes with the body.
            let counted = move |piece| {
                let _ = &open;
                piece
            };
            response.map(|body| Body::new(body.map_frame(counted)))
        }
        false => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_most_literal_template_that_it_fits() {
        let mut routes = Routes::default();
        for route in ["/", "/a", "/a/summary", "/a/{id}", "/a/{id}/b"] {
            routes.add(route, route);
        }
        for (path, route) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/summary", "/a/summary"),
            ("/a/%00%ff", "/a/{id}"),
            ("/a/summary/b", "/a/{id}/b"),
            ("/a/x/c", UNMATCHED),
            // As the router itself has it: the handler finds that nothing names nothing.
            ("/a//b", "/a/{id}/b"),
            ("", UNMATCHED),
            ("*", UNMATCHED),
        ] {
            assert_eq!(routes.of(path), route, "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_noted_is_of_one_request() {
        let one = NOTED.scope(Cell::default(), async {
            waiting(tokio::time::sleep(Duration::from_millis(20))).await;
            waiting(tokio::time::sleep(Duration::from_millis(20))).await;
            NOTED.with(Cell::get)
        });
        let other = NOTED.scope(Cell::default(), async {
            note_code("not_found");
            tokio::time::sleep(Duration::from_millis(30)).await;
            NOTED.with(Cell::get)
        });
        let (one, other) = tokio::join!(one, other);
        assert!(one.waited.is_some_and(|waited| waited >= Duration::from_millis(40)));
        assert_eq!((one.code, other.code, other.waited), (None, Some("not_found"), None));
        note_code("nobody_asks");
    }

    #[test]
    fn who_goes_before_the_answer_is_counted() {
        let metrics = Metrics::new().unwrap();
        let figure = |name: &str| metrics.requests()[name].as_u64();
        let (gone, answered) = (Answering::begin(&metrics), Answering::begin(&metrics));
        assert_eq!((figure("in_flight"), figure("abandoned")), (Some(2), Some(0)));
        drop(gone);
        answered.end();
        assert_eq!((figure("in_flight"), figure("abandoned")), (Some(0), Some(1)));
    }
}
