//! Connections: how many, for how long, and what of each.
//!
//! hyper has caps for heads and streams; the rest is here. A connection that sends no request head in time,
//! takes no bytes of an answer for too long, sends frames for nothing, or does nothing at all, is closed. What
//! is read of a body is bounded where it is read.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
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
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::body::MIN_RATE;
use super::frames::{Frames, PREFACE};
use super::observe::Routes;
use super::places::{Counts, Shares, half};
use super::streams::{Over, Streams};
use super::{App, observe, proxies, router};
use crate::config;
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
    let ((router, routes), builder) = (router::router(app.clone()), builder(&app.config.server));
    let server = Arc::new(Server { app: app.clone(), router, routes, builder });
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
        // One address cannot keep all others out; but a proxy of ours comes for many.
        let of_proxy = proxies::is_trusted(&app.config.server.trusted_proxies, address);
        let client = proxies::network(address);
        let Some(counted) = addresses.count(client, if of_proxy { most } else { half(most) }) else {
            continue;
        };
        let open = app.metrics.connection();
        // Small answers go at once; a socket that does not take the option works too.
        let _ = stream.set_nodelay(true);
        let server = server.clone();
        tokio::spawn(async move {
            match &server.app.tls {
                None => server.serve(stream, address).await,
                Some(tls) => {
                    let mut ending = server.app.ending.clone();
                    let accepted = tokio::select! {
                        accepted = tls.accept(stream) => Some(accepted),
                        // Nothing was asked yet.
                        _ = ending.wait_for(|ending| *ending) => None,
                    };
                    match accepted {
                        Some(Ok(stream)) => server.serve(stream, address).await,
                        // A client that speaks plain HTTP, often: its URL begins with http://.
                        Some(Err(error)) => {
                            tracing::debug!(%error, %address, "no TLS with this client; the server is https://")
                        }
                        None => {}
                    }
                }
            }
            // Or it is no connection of HTTP any more, and has a place of another kind.
            drop((counted, place, open));
        });
    }
    drop(listener);
    // Each connection has one.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let done = async { tokio::join!(places.acquire_many(all), app.web_sockets.gone()) };
    if tokio::time::timeout(drain, done).await.is_err() {
        tracing::warn!("connections were still open after {} s: closed", drain.as_secs());
    }
}

/// What every connection is served with.
struct Server {
    app: Arc<App>,
    router: axum::Router,
    routes: Routes,
    builder: Builder<TokioExecutor>,
}

impl Server {
    /// Serves one connection until its end.
    async fn serve<S>(self: &Arc<Server>, stream: S, address: IpAddr)
    where
        S: Socket,
    {
        let (streams, upgraded) = (Streams::new(), Upgraded::default());
        let service = {
            let (server, streams, upgraded) = (self.clone(), streams.clone(), upgraded.clone());
            service_fn(move |mut request: Request<Incoming>| {
                let (server, stream) = (server.clone(), streams.begin(request.version()));
                request.extensions_mut().insert(upgraded.clone());
                async move {
                    let (app, router) = (server.app.clone(), server.router.clone());
                    let request = request.map(Body::new);
                    let answer = observe::answer(app, router, &server.routes, address, request).await;
                    Ok::<_, std::convert::Infallible>(stream.watch(answer))
                }
            })
        };
        let stream = TokioIo::new(Guarded::new(stream, STALLED, upgraded, self.app.config.server.http2));
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(stream, service));
        let mut ending = self.app.ending.clone();
        let over = tokio::select! {
            ended = connection.as_mut() => Err(ended),
            over = streams.over() => Ok(Some(over)),
            _ = ending.wait_for(|ending| *ending) => Ok(None),
        };
        let ended = match over {
            Err(ended) => ended,
            Ok(Some(Over::Untaken)) => {
                tracing::debug!(%address, "a connection was closed: the client does not take an answer");
                return;
            }
            Ok(over) => {
                connection.as_mut().graceful_shutdown();
                match over {
                    // What is left has been handed over, and is not taken.
                    Some(_) => tokio::time::timeout(STALLED, connection).await.unwrap_or(Ok(())),
                    None => connection.await,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %address, "a connection ended early");
        }
    }
}

fn builder(config: &config::Server) -> Builder<TokioExecutor> {
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
    builder
}

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

/// What bytes go over, with TLS or without.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What is below.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A stream whose writes fail when the other side takes them so slowly that it is [`STALLED`] behind, and
/// whose reads fail when it does not say within [`HEAD`] which protocol it speaks, for which hyper waits
/// without end, or sends too many [`Frames`] for nothing.
struct Guarded<S> {
    stream: S,
    patience: Duration,
    /// The wait for the other side, and since when.
    stalled: Option<(Pin<Box<Sleep>>, Instant)>,
    /// What was waited in all, less what the bytes that were taken were worth.
    behind: Duration,
    /// Until then it is to begin, and how much of that was read.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
    frames: Frames,
    /// Whether HTTP/2 is spoken: where connections can be upgraded, hyper speaks it without being asked.
    http2: bool,
    upgraded: Upgraded,
    /// Whether that is known here.
    was_upgraded: bool,
}

impl<S: Socket> Guarded<S> {
    fn new(stream: S, patience: Duration, upgraded: Upgraded, http2: bool) -> Guarded<S> {
        Guarded {
            stream,
            patience,
            stalled: None,
            behind: Duration::ZERO,
            opening: Some((Box::pin(sleep(HEAD)), 0)),
            frames: Frames::new(),
            http2,
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
                let _ = SockRef::from(self.stream.tcp()).set_send_buffer_size(UPGRADED_SEND_BUFFER);
            }
            if self.was_upgraded {
                self.behind = Duration::ZERO;
            }
            let bytes = *result.as_ref().unwrap_or(&0);
            self.frames.wrote(bytes);
            if !self.behind.is_zero() {
                let worth = bytes as f64 / MIN_RATE as f64;
                self.behind = self.behind.saturating_sub(Duration::from_secs_f64(worth));
            }
            // What is answered has begun.
            if bytes > 0 {
                self.opening = None;
            }
            return written;
        }
        let patience = self.patience.saturating_sub(self.behind);
        let (stalled, _) = self.stalled.get_or_insert_with(|| (Box::pin(sleep(patience)), Instant::now()));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl<S: Socket> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.frames.read(buf.filled().get(before..).unwrap_or_default()) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too many frames for nothing",
            )));
        }
        if self.frames.is_http2() && !self.http2 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP/2 is turned off")));
        }
        if let Some((due, seen)) = &mut self.opening {
            if read.is_pending() {
                ready!(due.as_mut().poll(cx));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")));
            }
            *seen += buf.filled().len() - before;
            if *seen >= PREFACE.len() {
                self.opening = None;
            }
        }
        read
    }
}

impl<S: Socket> AsyncWrite for Guarded<S> {
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
        // TLS has a buffer: what is taken into it waits here for the other side.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed.map_ok(|()| 0)).map_ok(|_| ())
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
        let mut guarded = Guarded::new(ours.unwrap(), Duration::from_millis(600), state, true);
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
