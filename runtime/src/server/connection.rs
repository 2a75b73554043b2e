//! Connections: how many, for how long, and what of each.
//!
//! hyper has caps for heads and streams; the rest is here. A connection that sends no request head in time,
//! takes no bytes of an answer for too long, or does nothing at all, is closed. What is read of a body is
//! bounded where it is read.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

use super::body::MIN_RATE;
use super::{App, observe, router};
use crate::config::Server;

/// Connections at one time, as far as there are descriptors for them.
const MAX_CONNECTIONS: usize = 8192;

/// Descriptors for everything else: blobs, artefacts, the database and its readers.
const OTHER_DESCRIPTORS: usize = 512;

/// A connection says within this time which protocol it speaks; its heads have `server.timeout_keep_alive`.
const HEAD: Duration = Duration::from_secs(10);

/// How far a client may be behind that takes an answer more slowly than [`MIN_RATE`].
const STALLED: Duration = Duration::from_secs(30);

/// Bytes of a head, and headers in it.
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 100;

/// Wait after an accept that failed for lack of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts until the end, then lets connections finish, for `drain` at most.
pub async fn accept(app: Arc<App>, listener: TcpListener, drain: Duration) {
    let (router, routes) = router::router(app.clone());
    let routes = Arc::new(routes);
    let builder = builder(&app.config.server);
    let graceful = GracefulShutdown::new();
    let most = max_connections();
    let places = Arc::new(Semaphore::new(most));
    let addresses = Addresses::default();
    let mut ending = app.ending.clone();
    loop {
        // Before the accept: who cannot be served waits in the kernel's queue.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(BACK_OFF).await;
                }
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        // One address cannot keep all others out.
        let Some(counted) = addresses.count(address, most / 2) else { continue };
        let open = app.metrics.connection();
        // Small answers go at once; a socket that does not take the option works too.
        let _ = stream.set_nodelay(true);
        let (app, router, routes) = (app.clone(), router.clone(), routes.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (app, router, routes) = (app.clone(), router.clone(), routes.clone());
            async move {
                let request = request.map(Body::new);
                let answer = observe::answer(app, router, &routes, address, request);
                Ok::<_, std::convert::Infallible>(answer.await)
            }
        });
        let stream = TokioIo::new(Guarded::new(stream, STALLED));
        let connection = builder.serve_connection(stream, service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %address, "a connection ended early");
            }
            drop((counted, place, open));
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open after {} s: closed", drain.as_secs());
    }
}

/// As many as there are descriptors for, half of them at the least.
fn max_connections() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 2).min(MAX_CONNECTIONS)
}

fn builder(config: &Server) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.keep_alive)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(16 << 10)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(20)
        .max_send_buf_size(256 << 10)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    match config.http2 {
        true => builder,
        false => builder.http1_only(),
    }
}

/// How many connections each address has; clones are the same count.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Counted {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// One more of `address`, if it has not as many as it may.
    fn count(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { addresses: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Bytes by which a connection has shown which protocol it speaks: the preface of HTTP/2.
const PREFACE: usize = 24;

/// A stream whose writes fail when the other side takes them so slowly that it is [`STALLED`] behind, and
/// whose reads fail when it does not say within [`HEAD`] which protocol it speaks: hyper waits for that
/// without end.
struct Guarded {
    stream: TcpStream,
    patience: Duration,
    /// The wait for the other side, and since when.
    stalled: Option<(Pin<Box<Sleep>>, Instant)>,
    /// What was waited in all, less what the bytes that were taken were worth.
    behind: Duration,
    /// Until then it is to begin, and how much of that was read.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Guarded {
    fn new(stream: TcpStream, patience: Duration) -> Guarded {
        Guarded {
            stream,
            patience,
            stalled: None,
            behind: Duration::ZERO,
            opening: Some((Box::pin(sleep(HEAD)), 0)),
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            if let Some((_, since)) = self.stalled.take() {
                self.behind += since.elapsed();
            }
            if !self.behind.is_zero() {
                let worth = *result.as_ref().unwrap_or(&0) as f64 / MIN_RATE as f64;
                self.behind = self.behind.saturating_sub(Duration::from_secs_f64(worth));
            }
            // What is answered has begun.
            self.opening = None;
            return written;
        }
        let patience = self.patience.saturating_sub(self.behind);
        let (stalled, _) = self.stalled.get_or_insert_with(|| (Box::pin(sleep(patience)), Instant::now()));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some((due, seen)) = &mut self.opening {
            if read.is_pending() {
                ready!(due.as_mut().poll(cx));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")));
            }
            *seen += buf.filled().len() - before;
            if *seen >= PREFACE {
                self.opening = None;
            }
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Writes until that fails, or two seconds are over; the other side reads `piece` bytes every 20 ms.
    async fn write_to_one_that_takes(piece: usize) -> Option<io::ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut theirs, _) = theirs.unwrap();
        let reading = tokio::spawn(async move {
            let mut bytes = vec![0; piece];
            while theirs.read_exact(&mut bytes).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let mut guarded = Guarded::new(ours.unwrap(), Duration::from_millis(400));
        let writing = async {
            loop {
                if let Err(error) = guarded.write(&[0; 1 << 16]).await {
                    return error.kind();
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(2), writing).await.ok();
        reading.abort();
        ended
    }

    #[tokio::test]
    async fn a_client_that_takes_too_little_is_given_up_even_if_it_takes_something_now_and_then() {
        let slow = write_to_one_that_takes(100).await;
        let fast = write_to_one_that_takes(1 << 20).await;
        assert_eq!((slow, fast), (Some(io::ErrorKind::TimedOut), None));
    }
}
