//! The server.

use std::path::PathBuf;
use std::time::Duration;

use super::super::value::{Kind, Value};
use super::{File, Key};
use crate::limits::Mode;

pub(super) fn keys() -> Vec<Key> {
    use File::Omnimind;
    vec![
        // Read before all others (`load::mode`): the other defaults depend on it.
        Key::new(
            Omnimind,
            "mode",
            Kind::Choice(&["dev", "test", "prod"]),
            "dev",
            "Which defaults and maxima apply",
            |_, _| {},
        ),
        Key::new(Omnimind, "server.host", Kind::Address, "127.0.0.1", "The address to listen on", |c, v| {
            if let Value::Address(host) = v {
                c.server.host = *host;
            }
        }),
        Key::new(
            Omnimind,
            "server.port",
            Kind::Number { min: 0, max: u16::MAX.into() },
            "8000",
            "The port to listen on; 0 is any free one",
            |c, v| c.server.port = v.small(),
        ),
        Key::new(
            Omnimind,
            "server.workers",
            Kind::AutoOr { min: 2, max: 1024 },
            "auto",
            "Threads that serve HTTP; guests have their own; auto is one for each core",
            |c, v| c.server.workers = v.unless_auto(),
        ),
        Key::new(
            Omnimind,
            "server.timeout_keep_alive",
            Kind::Number { min: 1, max: 60 },
            "5",
            "Seconds that an HTTP/1.1 connection has for the head of a request, from its first bytes or the last answer",
            |c, v| c.server.keep_alive = Duration::from_secs(v.number()),
        ),
        Key::new(Omnimind, "server.http2", Kind::Bool, "true", "Whether HTTP/2 is spoken too", |c, v| {
            c.server.http2 = v.truth();
        }),
        Key::new(
            Omnimind,
            "server.limit_concurrency",
            Kind::Number { min: 1, max: 1_000_000 },
            "10000",
            "Requests that are worked on at one time; those that wait for a task or stream its events are not counted",
            |c, v| c.server.limit_concurrency = v.small(),
        ),
        Key::new(
            Omnimind,
            "server.trusted_proxies",
            Kind::Networks,
            "[]",
            "Proxies whose X-Forwarded-For says who asks",
            |c, v| {
                if let Value::Networks(networks) = v {
                    c.server.trusted_proxies.clone_from(networks);
                }
            },
        ),
        Key::new(
            Omnimind,
            "server.tls_proxy",
            Kind::Bool,
            "false",
            "Whether a proxy before it speaks TLS with clients: then mode prod may listen beyond loopback without",
            |c, v| c.server.tls_proxy = v.truth(),
        ),
        Key::new(
            Omnimind,
            "server.tls.cert",
            Kind::Path,
            "null",
            "The certificate for TLS, those of its issuers behind it, in PEM; with server.tls.key, or null: no TLS",
            |c, v| c.server.tls.cert = v.path(),
        ),
        Key::new(
            Omnimind,
            "server.tls.key",
            Kind::Path,
            "null",
            "The certificate's private key, in PEM, unencrypted; others must not be able to read it",
            |c, v| c.server.tls.key = v.path(),
        ),
        Key::new(
            Omnimind,
            "data_dir",
            Kind::Path,
            "null",
            "Where everything is kept; null is omnimind in the user's data directory",
            |c, v| {
                if let Value::Text(dir) = v {
                    c.data_dir = PathBuf::from(dir);
                }
            },
        ),
        Key::new(
            Omnimind,
            "interpreters",
            Kind::Path,
            "null",
            "Where python-run.wasm and js-run.wasm are; null is beside the binary",
            |c, v| c.interpreters = v.path(),
        ),
        Key::new(
            Omnimind,
            "authentication.enabled",
            Kind::Bool,
            "true",
            "Whether credentials are asked for; false only on loopback, and not in mode prod",
            |c, v| c.authentication.enabled = v.truth(),
        ),
        Key::new(
            Omnimind,
            "authentication.tokens",
            Kind::Tokens,
            "[]",
            "Tokens besides those that `omnimind token create` keeps in the data directory",
            |c, v| {
                if let Value::Tokens(tokens) = v {
                    c.authentication.tokens.clone_from(tokens);
                }
            },
        ),
        Key::new(
            Omnimind,
            "rate_limiting.enabled",
            Kind::Bool,
            "",
            "Whether the requests of each tenant and of each address are counted and limited",
            |c, v| c.rate_limiting.enabled = v.truth(),
        )
        .by_mode(|mode| (mode == Mode::Prod).to_string()),
        Key::new(
            Omnimind,
            "rate_limiting.requests_per_minute",
            Kind::Number { min: 1, max: 100_000_000 },
            "60000",
            "Requests in a minute, in the long run",
            |c, v| c.rate_limiting.requests_per_minute = v.small(),
        ),
        Key::new(
            Omnimind,
            "rate_limiting.burst_limit",
            Kind::Number { min: 1, max: 1_000_000 },
            "2000",
            "Requests at once, after a rest",
            |c, v| c.rate_limiting.burst_limit = v.small(),
        ),
    ]
}
