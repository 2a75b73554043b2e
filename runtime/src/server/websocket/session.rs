//! One WebSocket, from its first message to its end.
//!
//! One task reads, answers and passes events on, so that nothing is sent while the client takes nothing: what
//! it misses meanwhile is lost in the feed, not kept here.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::server::feed::{Channel, Feed, Heard, Listener};
use crate::server::json;
use crate::server::problem::{Problem, Result};
use crate::task::Object;

/// What a message is called where no field of it is wrong.
const MESSAGE: &str = "(the message)";

/// Bytes of a message, and of one frame of it.
const MAX_MESSAGE: usize = 64 << 10;
const MAX_FRAME: usize = 16 << 10;

/// Bytes that a message may take with everything around it: it may come in many frames, not in very many.
const MAX_WIRE: usize = 2 * MAX_MESSAGE;

/// Bytes that are read after a close, and thrown away.
const MAX_UNREAD: usize = 16 << 20;

/// Each connection has a buffer of this size.
const READ_BUFFER: usize = 2 << 10;

/// Messages that a client may send: at once, and each second after that. Pings and pongs are some.
const MESSAGES: NonZeroU32 = NonZeroU32::new(100).unwrap();
const MESSAGES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// What holds for a connection.
pub struct Rules {
    /// Channels at one time.
    pub channels: usize,
    /// How often the client is asked whether it is there.
    pub ping: Duration,
    /// How long it may say nothing at all.
    pub silence: Duration,
    /// How long it is waited for, once the end was said.
    pub closing: Duration,
}

impl Rules {
    /// Those of the server, with so many channels.
    pub fn new(channels: usize) -> Rules {
        Rules {
            channels,
            ping: Duration::from_secs(30),
            silence: Duration::from_secs(90),
            closing: Duration::from_secs(2),
        }
    }
}

/// What a client may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    r#type: Kind,
    channels: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Subscribe,
    Unsubscribe,
    Ping,
    Pong,
}

/// How it ends.
enum End {
    /// The client has closed it, or is gone.
    Gone,
    /// The server closes it, and says why.
    Closed(CloseCode, String),
}

/// A connection after the upgrade. `open` finds the channel of a name, as far as the client may hear it.
pub struct Session<S, F> {
    socket: WebSocketStream<Metered<S>>,
    feed: Feed,
    listener: Listener,
    open: F,
    rules: Rules,
    ending: watch::Receiver<bool>,
    /// The client may not come in any more.
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    messages: DefaultDirectRateLimiter,
}

impl<S, F, O> Session<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(String) -> O,
    O: Future<Output = Result<Channel>>,
{
    /// Over `stream`, which has been upgraded, for `tenant`.
    pub async fn new(
        stream: S,
        feed: Feed,
        tenant: &str,
        open: F,
        rules: Rules,
        ending: watch::Receiver<bool>,
    ) -> Session<S, F> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_FRAME))
            .read_buffer_size(READ_BUFFER)
            // Each message goes out before the next one is made.
            .write_buffer_size(0);
        let stream = Metered { stream, left: MAX_WIRE };
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        let messages = RateLimiter::direct(Quota::per_second(MESSAGES_PER_SECOND).allow_burst(MESSAGES));
        let listener = feed.listen(tenant);
        let gone = Box::pin(std::future::pending());
        Session { socket, feed, listener, open, rules, ending, gone, messages }
    }

    /// The same, until `gone`: then the client's credentials are not good any more.
    pub fn until(self, gone: Pin<Box<dyn Future<Output = ()> + Send>>) -> Session<S, F> {
        Session { gone, ..self }
    }

    /// Serves it until its end.
    pub async fn run(mut self) {
        let Err(end) = self.serve().await;
        self.close(end).await;
    }

    async fn serve(&mut self) -> std::result::Result<Infallible, End> {
        let Rules { channels, ping, silence, .. } = self.rules;
        let known = json!({
            "max_subscriptions": channels,
            "ping_ms": ping.as_millis() as u64,
            "silence_ms": silence.as_millis() as u64,
        });
        self.send(Message::text(self.feed.note("connected", &known))).await?;
        let mut heard = Instant::now();
        let mut next_ping = heard + ping;
        // Both are kept over many turns: to wait anew costs as much as a message.
        let mut ending = pin!(ended(self.ending.clone()));
        let mut alarm = pin!(sleep_until(next_ping));
        loop {
            tokio::select! {
                biased;
                () = &mut ending => return Err(End::going()),
                () = &mut self.gone => {
                    let why = "the token is not good any more".to_owned();
                    return Err(End::Closed(CloseCode::Policy, why));
                }
                message = self.socket.next() => {
                    let message = message.ok_or(End::Gone)?.map_err(End::of)?;
                    heard = Instant::now();
                    self.socket.get_mut().left = MAX_WIRE;
                    if self.messages.check().is_err() {
                        let most = format!("more than {MESSAGES_PER_SECOND} messages a second");
                        return Err(End::Closed(CloseCode::Policy, most));
                    }
                    if let Some(answer) = self.answer(message).await? {
                        self.send(Message::text(answer)).await?;
                    }
                }
                () = &mut alarm => {
                    let now = Instant::now();
                    if now >= heard + silence {
                        let rule = format!("nothing was said for {} s", silence.as_secs());
                        return Err(End::Closed(CloseCode::Policy, rule));
                    }
                    if now >= next_ping {
                        next_ping = now + ping;
                        // A browser answers this one by itself.
                        self.send(Message::Ping(Bytes::new())).await?;
                        self.send(Message::text(self.feed.note("ping", &json!({})))).await?;
                    }
                    alarm.as_mut().reset(next_ping.min(heard + silence));
                }
                told = self.listener.next() => {
                    let message = match told {
                        Heard::Event(event) => self.listener.message(&event),
                        Heard::Missed(missed) => Some(self.feed.note("lagged", &json!({"missed": missed}))),
                    };
                    if let Some(message) = message {
                        self.send(Message::text(message)).await?;
                    }
                }
            }
        }
    }

    /// Sends a message, waiting while the client is slow, but not beyond the server's end.
    async fn send(&mut self, message: Message) -> std::result::Result<(), End> {
        tokio::select! {
            biased;
            sent = self.socket.send(message) => sent.map_err(|_| End::Gone),
            () = ended(self.ending.clone()) => Err(End::going()),
        }
    }

    /// The answer to what a client said, if there is one.
    async fn answer(&mut self, message: Message) -> std::result::Result<Option<String>, End> {
        let said = match message {
            Message::Text(text) => json::parse_as(MESSAGE, text.as_bytes()),
            Message::Binary(_) => Err(Problem::invalid(MESSAGE, "it is JSON in a text frame")),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(None),
            Message::Close(_) => return Err(End::Gone),
        };
        let answer = match said {
            Ok(Object(said)) => self.obey(said).await,
            Err(problem) => Err(problem),
        };
        Ok(answer.unwrap_or_else(|problem| Some(self.feed.note("error", &problem.told()))))
    }

    async fn obey(&mut self, Said { r#type, channels }: Said) -> Result<Option<String>> {
        let named = |channels: Option<Vec<String>>| {
            let rule = "an array of at least one channel's name, like [\"tasks\"]";
            channels.filter(|names| !names.is_empty()).ok_or_else(|| Problem::invalid("channels", rule))
        };
        let unnamed = |channels: Option<Vec<String>>| match channels {
            None => Ok(()),
            Some(_) => Err(Problem::invalid("channels", "only subscribe and unsubscribe have them")),
        };
        match r#type {
            Kind::Ping => {
                unnamed(channels)?;
                return Ok(Some(self.feed.note("pong", &json!({}))));
            }
            Kind::Pong => return unnamed(channels).map(|()| None),
            Kind::Subscribe => self.subscribe(named(channels)?).await?,
            Kind::Unsubscribe => self.unsubscribe(&named(channels)?)?,
        }
        let channels: Vec<String> = self.listener.channels().iter().map(Channel::to_string).collect();
        Ok(Some(self.feed.note("subscribed", &json!({"channels": channels}))))
    }

    /// To all of them or, where one is wrong, to none.
    async fn subscribe(&mut self, names: Vec<String>) -> Result<()> {
        let most = self.rules.channels;
        let mut wanted: Vec<String> = self.listener.channels().iter().map(Channel::to_string).collect();
        let had = wanted.len();
        for name in names {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
            if wanted.len() > most {
                return Err(Problem::too_many_subscriptions(most));
            }
        }
        let mut channels = Vec::new();
        for name in wanted.split_off(had) {
            channels.push((self.open)(name).await?);
        }
        channels.into_iter().for_each(|channel| self.listener.subscribe(channel));
        Ok(())
    }

    /// From all of them or, where one is no channel, from none; one that was not listened to is one less to leave.
    fn unsubscribe(&mut self, names: &[String]) -> Result<()> {
        if names.len() > self.rules.channels {
            return Err(Problem::too_many_subscriptions(self.rules.channels));
        }
        names.iter().try_for_each(|name| Channel::called(name).map(drop))?;
        names.iter().for_each(|name| self.listener.unsubscribe(name));
        Ok(())
    }

    /// Says the end, and takes what is still on its way: a reset would overtake what was said.
    async fn close(mut self, end: End) {
        let closing = async {
            // Nothing follows a close, not even the answer to a ping.
            let _ = self.socket.flush().await;
            let said = match end {
                // The answer to the client's own.
                End::Gone => self.socket.flush().await,
                End::Closed(code, reason) => {
                    self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await
                }
            };
            let stream = self.socket.get_mut();
            // What is not read makes the kernel take back what was said.
            stream.left = MAX_UNREAD;
            if said.is_ok() && stream.shutdown().await.is_ok() {
                let mut rest = [0; 1 << 10];
                while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            }
        };
        let _ = timeout(self.rules.closing, closing).await;
    }
}

/// The server's end.
async fn ended(mut ending: watch::Receiver<bool>) {
    // Where nobody can tell it any more, it has come.
    let _ = ending.wait_for(|ending| *ending).await;
}

impl End {
    fn going() -> End {
        End::Closed(CloseCode::Away, "the server ends".to_owned())
    }

    /// What a client did that cannot be read on.
    fn of(error: Error) -> End {
        match error {
            Error::Capacity(_) => End::Closed(
                CloseCode::Size,
                format!("a message has up to {} KiB, a frame {} KiB", MAX_MESSAGE >> 10, MAX_FRAME >> 10),
            ),
            Error::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                End::Closed(CloseCode::Size, "a message in too many frames".to_owned())
            }
            Error::Utf8(_) => End::Closed(CloseCode::Invalid, "text is UTF-8".to_owned()),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
            // A reason has 123 bytes.
            Error::Protocol(error) => {
                End::Closed(CloseCode::Protocol, error.to_string().chars().take(80).collect())
            }
            _ => End::Gone,
        }
    }
}

/// A stream of which a client is read no further than this, until it has completed a message.
struct Metered<S> {
    stream: S,
    left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.left = self.left.saturating_sub(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
