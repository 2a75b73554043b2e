//! `/api/tasks/{id}/output` and `/logs`: bytes as the guest wrote them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::Segment;
use super::events::{Gone, Line, Out, stream};
use super::tasks::{place, task};
use crate::limits::Budget;
use crate::server::App;
use crate::server::caller::{Address, Caller};
use crate::server::etag;
use crate::server::heavy::heavy;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;
use crate::server::reply;
use crate::task::{Log, Status, Task};

/// Bytes of a log in one event.
const PIECE: usize = 64 << 10;

/// Guest bytes never become a page that runs in this origin.
fn raw(bytes: Vec<u8>, media_type: &'static str, place: Option<OwnedSemaphorePermit>) -> Response<Body> {
    let mut response = Response::new(reply::body(bytes, place));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}

fn removed() -> Problem {
    Problem::removed("the task's output was removed, because the disk was nearly full")
}

/// `GET /api/tasks/{id}/output`
pub async fn output(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response<Body>> {
    let task = task(&app, caller.tenant(), &id).await?;
    if task.state.status != Status::Completed {
        let status = task.state.status.name();
        let problem = Problem::not_found(format!("the task has no output: it is {status}"));
        return Err(match &task.state.failure {
            Some(failure) => problem.with("failure", serde_json::to_value(failure).unwrap_or_default()),
            None => problem,
        });
    }
    if task.state.output_removed {
        return Err(removed());
    }
    // An output never changes: who has it is told before it is read.
    let tag = etag::named(task.id);
    if let Some(tag) = tag.as_ref().filter(|tag| etag::has(&headers, tag)) {
        return Ok(etag::not_modified(tag.clone()));
    }
    let place = place(&app, &task)?;
    // It may have gone this moment.
    let output = app.scheduler.store_of(&task).output(caller.tenant(), task.id).await?.ok_or_else(removed)?;
    Ok(heavy(output.len(), || {
        let media_type = match std::str::from_utf8(&output) {
            Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => "application/json",
            Ok(_) => "text/plain; charset=utf-8",
            Err(_) => "application/octet-stream",
        };
        let mut response = raw(output.to_vec(), media_type, place);
        response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
        response
    }))
}

/// `GET /api/tasks/{id}/logs?follow=true`
pub async fn logs(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(address): Extension<Address>,
    Segment(id): Segment,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let follow = query.take_flag("follow")?.unwrap_or(false);
    query.end("follow")?;
    let task = task(&app, caller.tenant(), &id).await?;
    if follow {
        return follow_log(app, caller, address, task);
    }
    // How long it is, is not known before it is read.
    let most = task.spec.limits.get(Budget::LogBytes.name()).copied();
    let most = most.unwrap_or(app.modes.current().limits.bounds(Budget::LogBytes).default);
    let place = app.bodies.answer(usize::try_from(most).unwrap_or(usize::MAX))?;
    let bytes = match app.scheduler.live(caller.tenant(), task.id) {
        Some(live) => live.log_from(0).1,
        None => whole(app.scheduler.store_of(&task).log(caller.tenant(), task.id).await?.unwrap_or_default()),
    };
    let place = app.bodies.answer_of(place, bytes.len());
    Ok(raw(bytes, "text/plain; charset=utf-8", place))
}

/// Head and tail, with what was dropped between them in words.
fn whole(log: Log) -> Vec<u8> {
    let Log { mut head, tail, dropped } = log;
    if dropped > 0 {
        head.extend_from_slice(format!("\n… {dropped} bytes dropped …\n").as_bytes());
    }
    head.extend_from_slice(&tail);
    head
}

/// Events `log`, each with some text, until `end`, which has the status.
fn follow_log(app: Arc<App>, caller: Caller, address: Address, task: Task) -> Result<Response<Body>> {
    stream(app.clone(), caller.clone(), address, move |out| async move {
        let mut sent = 0;
        if let Some(live) = app.scheduler.live(caller.tenant(), task.id) {
            let mut attempt = None;
            let mut logged = live.watch_log();
            loop {
                logged.borrow_and_update();
                let (now, mut bytes) = live.log_from(sent);
                if attempt.replace(now).is_some_and(|before| before != now) {
                    // A new attempt begins a new log.
                    sent = 0;
                    bytes = live.log_from(0).1;
                }
                sent += send(&out, bytes).await?;
                if live.has_ended() {
                    break;
                }
                let _ = logged.changed().await;
            }
        }
        let log = app
            .scheduler
            .store_of(&task)
            .log(caller.tenant(), task.id)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let rest = whole(log);
        send_pieces(&out, rest.get(sent..).unwrap_or_default()).await?;
        let status = app
            .scheduler
            .task(caller.tenant(), task.id)
            .await
            .ok()
            .flatten()
            .map(|(task, _)| task.state.status);
        out.send(Line::event("end", &json!({"status": status}))).await
    })
}

/// Sends what is whole of `bytes`; how much that was.
async fn send(out: &Out, bytes: Vec<u8>) -> std::result::Result<usize, Gone> {
    // A character may come in two pieces: its first bytes wait for the others.
    let whole = match std::str::from_utf8(&bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let bytes = Bytes::from(bytes).slice(..whole);
    send_pieces(out, &bytes).await?;
    Ok(whole)
}

/// Sends `bytes` in pieces, so that a client that takes them slowly has little of them in memory.
async fn send_pieces(out: &Out, mut bytes: &[u8]) -> std::result::Result<(), Gone> {
    while !bytes.is_empty() {
        let mut end = bytes.len().min(PIECE);
        // Not within a character: the bytes that go on with one begin with the bits 10.
        while end > PIECE - 4 && bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let (piece, rest) = bytes.split_at(end);
        out.send(Line::event("log", &text(piece))).await?;
        bytes = rest;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> serde_json::Value {
    json!({"text": String::from_utf8_lossy(bytes)})
}
