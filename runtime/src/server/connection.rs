//! Connections: how many, for how long, and what of each.
//!
//! hyper has caps for heads and streams; the rest is here. A connection that sends no request head in time,
//! takes no bytes of an answer for too long, or does nothing at all, is closed. What is read of a body is
//! bounded where it is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

use super::body::MIN_RATE;
use super::places::{Counts, Shares, half};
use super::{App, observe, proxies, router};
use crate::config::Server;
use crate::telemetry::Seldom;

/// A connection says within this time which protocol it speaks; its heads have `server.timeout_keep_alive`.
const HEAD: Duration = Duration::from_secs(10);

/// How far a client may be behind that takes an answer more slowly than [`MIN_RATE`].
const STALLED: Duration = Duration::from_secs(30);

/// Bytes of a head, and headers in it.
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 100;

/// What the kernel keeps for a client after an upgrade, about twice of it: else it is megabytes of what a slow one
/// is better told that it missed.
const UPGRADED_SEND_BUFFER: usize = 64 << 10;

/// Wait after an accept that failed for lack of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts until the end, then lets connections finish, for `drain` at most.
pub async fn accept(app: Arc<App>, listener: TcpListener, drain: Duration) {
    let (router, routes) = router::router(app.clone());
    let routes = Arc::new(routes);
    let builder = builder(&app.config.server);
    let graceful = GracefulShutdown::new();
    let most = Shares::new(app.config.websocket.max_connections).http;
    let places = Arc::new(Semaphore::new(most));
    let addresses = Counts::default();
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
                    static SAID: Seldom = Seldom::new();
                    if let Some(left_out) = SAID.left_out() {
                        tracing::warn!(%error, left_out, "a connection could not be accepted");
                    }
                    sleep(BACK_OFF).await;
                }
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        // One address cannot keep all others out.
        // A proxy of ours comes for many.
        let of_proxy = proxies::is_trusted(&app.config.server.trusted_proxies, address);
        let Some(counted) = addresses.count(address, if of_proxy { most } else { half(most) }) else {
            continue;
        };
        let open = app.metrics.connection();
        // Small answers go at once; a socket that does not take the option works too.
        let _ = stream.set_nodelay(true);
        let (app, router, routes, upgraded) =
            (app.clone(), router.clone(), routes.clone(), Upgraded::default());
        let stream = TokioIo::new(Guarded::new(stream, STALLED, upgraded.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (app, router, routes) = (app.clone(), router.clone(), routes.clone());
            request.extensions_mut().insert(upgraded.clone());
            async move {
                let request = request.map(Body::new);
                let answer = observe::answer(app, router, &routes, address, request);
                Ok::<_, std::convert::Infallible>(answer.await)
            }
        });
        let connection = builder.serve_connection_with_upgrades(stream, service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %address, "a connection ended early");
            }
            // Or it is no connection of HTTP any more, and has a place of another kind.
            drop((counted, place, open));
        });
    }
    drop(listener);
    let done = async { tokio::join!(graceful.shutdown(), app.web_sockets.gone()) };
    if tokio::time::timeout(drain, done).await.is_err() {
        tracing::warn!("connections were still open after {} s: closed", drain.as_secs());
    }
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

/// Bytes by which a connection has shown which protocol it speaks: the preface of HTTP/2.
const PREFACE: usize = 24;

/// Whether what a connection carries is to be something else than HTTP; clones are the same connection's. It
/// is in the extensions of each request.
#[derive(Clone, Default)]
pub struct Upgraded(Arc<AtomicBool>);

impl Upgraded {
    /// From now on whoever takes bytes slowly is not given up for it, only who takes none.
    pub fn is_to_be(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

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
    upgraded: Upgraded,
    /// Whether that is known here.
    was_upgraded: bool,
}

impl Guarded {
    fn new(stream: TcpStream, patience: Duration, upgraded: Upgraded) -> Guarded {
        Guarded {
            stream,
            patience,
            stalled: None,
            behind: Duration::ZERO,
            opening: Some((Box::pin(sleep(HEAD)), 0)),
            upgraded,
            was_upgraded: false,
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            if let Some((_, since)) = self.stalled.take() {
                self.behind += since.elapsed();
            }
            if !self.was_upgraded && self.upgraded.0.load(Ordering::Relaxed) {
                self.was_upgraded = true;
                // Where it does not take the option, it is only more patient than it should be.
                let _ = SockRef::from(&self.stream).set_send_buffer_size(UPGRADED_SEND_BUFFER);
            }
            if self.was_upgraded {
                self.behind = Duration::ZERO;
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
    use tokio::net::TcpSocket;

    /// Writes until that fails, or two seconds are over; the other side has a buffer of a few KiB and reads
    /// `piece` bytes of it every 20 ms.
    async fn write_to_one_that_takes(piece: usize, upgraded: bool) -> Option<io::ErrorKind> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut theirs, _) = theirs.unwrap();
        let reading = tokio::spawn(async move {
            let mut bytes = vec![0; piece];
            while theirs.read_exact(&mut bytes).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let state = Upgraded::default();
        if upgraded {
            state.is_to_be();
        }
        let mut guarded = Guarded::new(ours.unwrap(), Duration::from_millis(600), state);
        guarded.write_all(b"it begins").await.unwrap();
        // So that it is seen soon that something was taken.
        SockRef::from(&guarded.stream).set_send_buffer_size(4096).unwrap();
        let writing = async {
            loop {
                if let Err(error) = guarded.write(&[0; 1 << 16]).await {
                    return error.kind();
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(3), writing).await.ok();
        reading.abort();
        ended
    }

    #[tokio::test]
    async fn a_client_that_takes_too_little_is_given_up_even_if_it_takes_something_now_and_then() {
        let slow = write_to_one_that_takes(500, false).await;
        let fast = write_to_one_that_takes(1 << 20, false).await;
        assert_eq!((slow, fast), (Some(io::ErrorKind::TimedOut), None));
    }

    #[tokio::test]
    async fn after_an_upgrade_only_a_client_that_takes_nothing_is_given_up() {
        let slow = write_to_one_that_takes(500, true).await;
        let never = write_to_one_that_takes(0, true).await;
        assert_eq!((slow, never), (None, Some(io::ErrorKind::TimedOut)));
    }
}
