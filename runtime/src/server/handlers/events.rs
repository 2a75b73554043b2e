//! `GET /api/events`: what happens, as server-sent events.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel as BodyChannel, Sender};
use serde_json::json;
use tokio::sync::Mutex;

use crate::server::App;
use crate::server::caller::{Address, Caller};
use crate::server::feed::{Channel, Heard};
use crate::server::problem::{Problem, Result};
use crate::server::query::Query;

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
    pub fn event(name: &str, data: &impl Display) -> Line {
        Line(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
    }

    fn numbered(seq: u64, name: &str, data: &str) -> Line {
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

/// A response of server-sent events for `caller` that `write` sends, until it returns, they go, may not come in any
/// more, or the server ends. Streams and WebSockets have the same places.
///
/// # Errors
/// `503` where all are taken, or too many by the client's address or tenant.
pub fn stream<F>(
    app: Arc<App>,
    caller: Caller,
    address: Address,
    write: impl FnOnce(Out) -> F,
) -> Result<Response<Body>>
where
    F: Future<Output = std::result::Result<(), Gone>> + Send + 'static,
{
    let place = app.web_sockets.place(address.0, caller.tenant())?;
    let (sender, channel) = BodyChannel::<Bytes>::new(BUFFER);
    let out = Out(Arc::new(Mutex::new(sender)));
    let writing = write(out.clone());
    tokio::spawn(async move {
        let mut ending = app.ending.clone();
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
            () = caller.gone(&app.auth.tokens) => {}
        }
        drop(place);
    });
    let mut response = Response::new(Body::new(channel));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// `GET /api/events?channels=tasks,task:ID,protection`
pub async fn events(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(address): Extension<Address>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut query = Query::of(request.uri(), &[])?;
    let channels = query.take("channels").unwrap_or_else(|| "tasks".to_owned());
    query.end("channels")?;
    let names: Vec<&str> = channels.split(',').map(str::trim).collect();
    if names.len() > MAX_CHANNELS {
        return Err(Problem::invalid("channels", format!("up to {MAX_CHANNELS}, with commas between")));
    }
    // From before the answer begins: what happens once the client has it is not missed.
    let mut listener = app.feed.listen(caller.tenant());
    for name in names {
        listener.subscribe(Channel::open(name, &app.scheduler, &caller).await?);
    }
    let feed = app.feed.clone();
    stream(app.clone(), caller.clone(), address, move |out| async move {
        out.send(Line::event("connected", &feed.note("connected", &json!({})))).await?;
        loop {
            match listener.next().await {
                Heard::Event(event) => {
                    let Some(message) = listener.message(&event) else { continue };
                    out.send(Line::numbered(event.seq, event.name(), &message)).await?;
                }
                Heard::Missed(missed) => {
                    let lagged = feed.note("lagged", &json!({"missed": missed}));
                    out.send(Line::event("lagged", &lagged)).await?;
                }
            }
        }
    })
}
