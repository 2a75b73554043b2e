//! What is fuzzed of the server and seen by nobody else (tests/fuzz): each takes the bytes of a client and panics where
//! something does not hold.

#![allow(clippy::expect_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::sync::watch;
use tokio::time::timeout;

use super::feed::{Channel, Feed};
use super::frames::Frames;
use super::json;
use super::submission::TaskJson;
use super::websocket::{Rules, Session};
use crate::events::Bus;
use crate::task::Object;

/// The JSON of a task: it is refused, or can be told again.
pub fn submission(bytes: &[u8]) {
    let Ok(Object(mut task)) = json::parse::<Object<TaskJson>>(bytes) else { return };
    if task.check().is_ok() {
        let told = serde_json::to_string(&task).expect("what was checked can be told");
        serde_json::from_str::<TaskJson>(&told).expect("and read again");
        let retry = task.retry(3);
        assert!(retry.max_attempts > 0);
        let _ = task.take_input();
    }
}

/// What a client says after the upgrade: it is heard, and the connection ends when the client has.
pub fn websocket(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (served, mut client) = duplex(1 << 10);
        let (_ending, ended) = watch::channel(false);
        let open = |name: String| async move { Channel::called(&name).map(|_| Channel::Metrics) };
        let rules = Rules { closing: Duration::from_millis(100), ..Rules::new(10) };
        let session = Session::new(served, Feed::new(Bus::default()), "default", open, rules, ended).await;
        let running = tokio::spawn(session.run());
        let (mut answers, mut questions) = tokio::io::split(&mut client);
        let mut heard = Vec::new();
        let ask = async {
            // It may hang up in the middle.
            let _ = questions.write_all(bytes).await;
            let _ = questions.shutdown().await;
        };
        let (_, read) = tokio::join!(ask, answers.read_to_end(&mut heard));
        read.expect("an end");
        assert!(heard.starts_with(&[0x81]), "it greets");
        timeout(Duration::from_secs(10), running).await.expect("it ends").expect("it does not panic");
    });
}

/// The count of HTTP/2 frames is the same however the bytes are cut.
pub fn http2_frames(bytes: &[u8]) {
    let (Some((size, bytes)), mut whole, mut cut) = (bytes.split_first(), Frames::new(), Frames::new())
    else {
        return;
    };
    let at_once = whole.read(bytes);
    let in_pieces = bytes.chunks(usize::from(*size).max(1)).all(|piece| cut.read(piece));
    assert_eq!((at_once, whole.is_http2()), (in_pieces, cut.is_http2()));
}
