//! `GET /api/events`: what happens, as server-sent events.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, watch};

use crate::events::{Event, TaskUpdate, Update};
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;
use crate::task::{TaskId, timestamp};

/// A comment this often shows both sides that the connection is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Lines that wait for a slow client.
const BUFFER: usize = 16;

/// Channels in one subscription.
const MAX_CHANNELS: usize = 10;

/// One event, as it goes over the wire.
pub struct Line(Bytes);

impl Line {
    /// An event without a number.
    pub fn event(name: &str, data: &serde_json::Value) -> Line {
        Line(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
    }

    fn numbered(seq: u64, name: &str, data: &serde_json::Value) -> Line {
        Line(Bytes::from(format!("id: {seq}\nevent: {name}\ndata: {data}\n\n")))
    }
}

/// Where a stream's lines go.
#[derive(Clone)]
pub struct Out(Arc<Mutex<Sender<Bytes>>>);

/// The client is gone.
#[derive(Debug)]
pub struct Gone;

impl Out {
    /// Sends a line, waiting while the client is slow.
    pub async fn send(&self, line: Line) -> std::result::Result<(), Gone> {
        self.0.lock().await.send_data(line.0).await.map_err(|_| Gone)
    }
}

/// A response of server-sent events that `write` sends, until it returns, the client goes, or the server
/// ends.
pub fn stream<F>(mut ending: watch::Receiver<bool>, write: impl FnOnce(Out) -> F) -> Response<Body>
where
    F: Future<Output = std::result::Result<(), Gone>> + Send + 'static,
{
    let (sender, channel) = Channel::<Bytes>::new(BUFFER);
    let out = Out(Arc::new(Mutex::new(sender)));
    let writing = write(out.clone());
    tokio::spawn(async move {
        let keep_alive = async {
            loop {
                tokio::time::sleep(KEEP_ALIVE).await;
                if out.send(Line(Bytes::from_static(b": alive\n\n"))).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            _ = writing => {}
            () = keep_alive => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
    });
    let mut response = Response::new(Body::new(channel));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// What a client wants to hear of.
struct Channels {
    /// Every task of the client's.
    tasks: bool,
    /// These.
    some: Vec<TaskId>,
    /// What is decided to protect the machine.
    protection: bool,
}

impl Channels {
    fn parse(text: Option<&str>) -> Result<Channels> {
        let wrong = || {
            Problem::invalid(
                "channels",
                format!("up to {MAX_CHANNELS} of `tasks`, `task:ID` and `protection`, with commas between"),
            )
        };
        let mut channels = Channels { tasks: false, some: Vec::new(), protection: false };
        let names = text.unwrap_or("tasks").split(',').map(str::trim);
        for (count, name) in names.enumerate() {
            match (name, name.strip_prefix("task:").map(str::parse)) {
                _ if count >= MAX_CHANNELS => return Err(wrong()),
                ("tasks", _) => channels.tasks = true,
                ("protection", _) => channels.protection = true,
                (_, Some(Ok(id))) => channels.some.push(id),
                _ => return Err(wrong()),
            }
        }
        Ok(channels)
    }

    /// How `event` is called and through which channel it is heard, with its data; none if it is not.
    fn of<'a>(&self, event: &'a Event, tenant: &str) -> Option<(&'static str, String, Data<'a>)> {
        match &event.update {
            Update::Task(update) if event.tenant.as_deref() == Some(tenant) => {
                let id = update.task_id;
                let channel = match self.tasks {
                    true => "tasks".to_owned(),
                    false if self.some.contains(&id) => format!("task:{id}"),
                    false => return None,
                };
                Some(("task_update", channel, Data::Task(update)))
            }
            Update::Protection(row) if self.protection => {
                Some(("protection_event", "protection".to_owned(), Data::Protection(row)))
            }
            _ => None,
        }
    }
}

/// The `data` of an event.
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Task(&'a TaskUpdate),
    Protection(&'a serde_json::Value),
}

/// `GET /api/events?channels=tasks,task:ID,protection`
pub async fn events(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let channels = Channels::parse(query.take("channels").as_deref())?;
    query.end("channels")?;
    // From before the answer begins: what happens once the client has it is not missed.
    let mut listener = app.bus.listen();
    Ok(stream(app.ending.clone(), move |out| async move {
        let now = || timestamp(jiff::Timestamp::now());
        out.send(Line::event("connected", &json!({"type": "connected", "timestamp": now()}))).await?;
        loop {
            match listener.recv().await {
                Ok(event) => {
                    let Some((name, channel, data)) = channels.of(&event, caller.tenant()) else { continue };
                    let data = json!({
                        "type": name, "channel": channel, "data": data,
                        "timestamp": event.timestamp, "seq": event.seq,
                    });
                    out.send(Line::numbered(event.seq, name, &data)).await?;
                }
                Err(RecvError::Lagged(missed)) => {
                    let data = json!({"type": "lagged", "data": {"missed": missed}, "timestamp": now()});
                    out.send(Line::event("lagged", &data)).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }))
}
