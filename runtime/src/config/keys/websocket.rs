//! WebSockets.

use super::super::value::Kind;
use super::{File, Key};

pub(super) fn keys() -> Vec<Key> {
    use File::Omnimind;
    vec![
        Key::new(
            Omnimind,
            "websocket.max_connections",
            Kind::Number { min: 1, max: 1_000_000 },
            "10000",
            "WebSockets open at one time, as far as there are descriptors; one tenant or address has half of them",
            |c, v| c.websocket.max_connections = v.small(),
        ),
        Key::new(
            Omnimind,
            "websocket.max_subscriptions_per_client",
            Kind::Number { min: 1, max: 1000 },
            "10",
            "Channels that one WebSocket listens to",
            |c, v| c.websocket.max_subscriptions_per_client = v.small(),
        ),
    ]
}
