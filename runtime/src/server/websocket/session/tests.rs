//! One end of a pipe is served, the other is the client.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::events::Bus;

const LONG: Duration = Duration::from_secs(60);

struct Served {
    bus: Bus,
    client: DuplexStream,
    ending: watch::Sender<bool>,
    running: JoinHandle<()>,
}

async fn serve(rules: Rules) -> Served {
    let (server, client) = duplex(4096);
    let (ending, ended) = watch::channel(false);
    let bus = Bus::default();
    let open = |_| async { Ok(Channel::Metrics) };
    let session = Session::new(server, Feed::new(bus.clone()), "default", open, rules, ended).await;
    Served { bus, client, ending, running: tokio::spawn(session.run()) }
}

fn quick() -> Rules {
    Rules {
        channels: 10,
        ping: Duration::from_millis(40),
        silence: Duration::from_millis(400),
        closing: Duration::from_millis(100),
    }
}

async fn client_of(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

#[tokio::test]
async fn who_says_nothing_is_asked_and_then_closed() {
    let Served { mut client, running, ending: _ending, .. } = serve(quick()).await;
    let mut bytes = Vec::new();
    timeout(LONG, client.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.matches("\"type\":\"ping\"").count() >= 2, "{text}");
    assert!(bytes.windows(2).any(|two| two == [0x89, 0]), "and by a frame of its kind");
    // 1008 and why, and nothing after it.
    assert!(bytes.ends_with(b"\x88\x1a\x03\xf0nothing was said for 0 s"), "{text}");
    drop(client);
    timeout(LONG, running).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_answers_pings_may_stay() {
    let rules = Rules { silence: Duration::from_secs(2), ..quick() };
    let Served { client, running, ending: _ending, .. } = serve(rules).await;
    let mut client = client_of(client).await;
    let begun = Instant::now();
    // Reading answers them.
    while begun.elapsed() < Duration::from_secs(5) {
        let message = timeout(LONG, client.next()).await.unwrap().unwrap().unwrap();
        assert!(!message.is_close(), "{message}");
    }
    assert!(!running.is_finished());
}

#[tokio::test]
async fn one_that_takes_nothing_holds_no_end_up() {
    let rules = Rules { ping: LONG, silence: LONG, ..quick() };
    let Served { bus, client, ending, running } = serve(rules).await;
    let mut client = client_of(client).await;
    client.send(Message::text(r#"{"type":"subscribe","channels":["metrics"]}"#)).await.unwrap();
    let mut next = async || -> Value {
        let message = timeout(LONG, client.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    };
    assert_eq!(next().await["type"], "connected");
    assert_eq!(next().await["data"]["channels"], json!(["metrics"]));
    // More than the pipe and the buffers take, and it reads no more.
    for number in 0..3000 {
        bus.metrics(|| json!({"number": number, "text": "x".repeat(1000)}));
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!running.is_finished());
    ending.send_replace(true);
    timeout(Duration::from_secs(20), running).await.expect("soon").unwrap();
}
