//! `/ws`: channels, tickets, the server's end, readers that are slow.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use omnimind_tests::server::{Server, eventually};
use omnimind_tests::web_socket::{BINARY, CLOSE, Frame, PING, TEXT, UPGRADE, WebSocket};
use omnimind_tests::wire::{Events, assert_healthy, assert_idle, assert_no_rust, head, memory_kib, shared};
use omnimind_tests::{block_on, pause};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, http::HeaderValue};

fn ends(message: &Value, id: &str) -> bool {
    let update = &message["data"];
    update["task_id"] == id && ["completed", "failed", "cancelled"].iter().any(|end| update["status"] == *end)
}

/// With a ticket, and no credentials.
fn with_ticket(server: &Server, query: &str) -> String {
    format!("GET /ws?{query} HTTP/1.1\r\nHost: {}\r\n{UPGRADE}", server.address)
}

fn ticket(server: &Server) -> String {
    let reply = server.request("POST", "/api/ws-ticket").send();
    assert_eq!((reply.status, &reply.json()["expires_in"]), (201, &json!(30)), "{reply:?}");
    reply.json()["ticket"].as_str().expect("a ticket").to_owned()
}

#[test]
fn a_library_hears_a_task_from_its_submission_to_its_end() {
    let server = Server::start();
    let progress = server.push("hostile/progress");
    block_on(async {
        let mut request = format!("ws://{}/ws", server.address).into_client_request().expect("a request");
        let authorization = HeaderValue::from_str(server.authorization()).expect("text");
        request.headers_mut().insert("authorization", authorization);
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("an upgrade");
        let subscribe = json!({"type": "subscribe", "channels": ["tasks"]}).to_string();
        socket.send(Message::text(subscribe)).await.expect("it takes it");
        let mut heard = Vec::new();
        let mut id = String::new();
        while !heard.last().is_some_and(|message| ends(message, &id)) {
            let message = socket.next().await.expect("more").expect("a message");
            let message: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
            if message["type"] == "subscribed" {
                id = server.submit(&json!({"component": progress, "input": 50}));
            }
            heard.push(message);
        }
        for message in &heard {
            let mut keys: Vec<&String> = message.as_object().expect("an object").keys().collect();
            keys.sort();
            assert_eq!(keys, ["channel", "data", "seq", "timestamp", "type"]);
        }
        let types: Vec<&Value> = heard.iter().map(|message| &message["type"]).take(3).collect();
        assert_eq!(types, ["connected", "subscribed", "task_update"]);
        let mut statuses: Vec<&Value> = heard[2..].iter().map(|message| &message["data"]["status"]).collect();
        statuses.dedup();
        assert!(statuses == ["running", "completed"] || statuses == ["pending", "running", "completed"]);
        let numbers: Vec<u64> = heard.iter().map(|message| message["seq"].as_u64().expect("one")).collect();
        assert!(numbers[1..].windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
        socket.close(None).await.expect("it closes");
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))), "it is answered");
    });
    assert_idle(&server);
}

#[test]
fn channels_come_and_go() {
    let server = Server::with(&["--max-concurrent-tasks", "1"]);
    let [sleep, echo] = ["hostile/sleep", "hostile/echo"].map(|name| server.push(name));
    let id = server.submit(&json!({"component": sleep, "input": 3_600_000}));
    let mut socket = WebSocket::open(&server);
    let channel = format!("task:{id}");
    let said = socket.subscribe(&["protection", &channel, "protection"]);
    assert_eq!((&said["type"], &said["channel"]), (&json!("subscribed"), &Value::Null));
    assert_eq!(said["data"]["channels"], json!(["protection", channel]), "each once");
    // What is no channel is told, and nothing is left then; what is one, and was not listened to, is left.
    let said = socket.say(&json!({"type": "unsubscribe", "channels": ["protection", "taks"]}));
    assert_eq!(
        (&said["data"]["code"], &said["data"]["field"]),
        (&json!("invalid_request"), &json!("channels"))
    );
    assert!(
        said["data"]["detail"].as_str().is_some_and(|text| text.contains("`taks` is no channel")),
        "{said}"
    );
    let said = socket.say(&json!({"type": "unsubscribe", "channels": ["protection", "metrics"]}));
    assert_eq!(said["data"]["channels"], json!([channel]));
    // Another one's updates are not heard, and the switch of the mode is on a channel that was left.
    let other = server.submit(&json!({"component": echo, "input": 1, "priority": "critical"}));
    server.delete(&format!("/api/tasks/{id}"));
    let heard = socket.until(|message| ends(message, &id));
    assert!(heard.iter().all(|message| message["channel"] == json!(channel)), "{heard:?}");
    let said = socket.say(&json!({"type": "ping"}));
    assert_eq!(said["type"], "pong");
    server.wait_for_status(&other, "completed");
    let said = socket.say(&json!({"type": "unsubscribe", "channels": [channel]}));
    assert_eq!(said["data"]["channels"], json!([]), "nothing of the other in between");
}

#[test]
fn what_is_wrong_is_told_and_the_connection_stays() {
    let server = shared();
    let nobody = "task:01890f3e-7c4a-7cc1-98c5-4f6f0a2b1c3d";
    let mut socket = WebSocket::open(&server);
    for (text, code) in [
        ("{\"type\":\"subscribe\",\"channels\":[]}", "invalid_request"),
        ("{\"type\":\"unsubscribe\",\"channels\":[]}", "invalid_request"),
        ("{\"type\":\"unsubscribe\"}", "invalid_request"),
        ("{\"type\":\"ping\",\"channels\":[\"tasks\"]}", "invalid_request"),
        ("[\"ping\", null]", "invalid_request"),
        ("\"ping\"", "invalid_request"),
        ("{\"type\":5}", "invalid_request"),
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("{\"type\":\"ping\",\"type\":\"ping\"}", "invalid_json"),
        ("[]", "invalid_request"),
        ("{}", "invalid_request"),
        ("{\"type\":\"Ping\"}", "invalid_request"),
        ("{\"type\":\"ping\",\"id\":1}", "invalid_request"),
        ("{\"type\":\"subscribe\"}", "invalid_request"),
        ("{\"type\":\"subscribe\",\"channels\":\"tasks\"}", "invalid_request"),
        ("{\"type\":\"subscribe\",\"channels\":[1]}", "invalid_request"),
        ("{\"type\":\"subscribe\",\"channels\":[\"tasks\"],\"since\":0}", "invalid_request"),
        ("{\"type\":\"subscribe\",\"channels\":[\"tasks\"],\"since\":-1}", "invalid_request"),
        ("{\"type\":\"subscribe\",\"channels\":[\"*\"]}", "invalid_request"),
        ("{\"type\":\"subscribe\",\"channels\":[\"tasks\",\"task:*\"]}", "not_found"),
        (&format!("{{\"type\":\"subscribe\",\"channels\":[\"tasks\",\"{nobody}\"]}}"), "not_found"),
        (
            "{\"type\":\"subscribe\",\"channels\":[\"plan:01890f3e-7c4a-7cc1-98c5-4f6f0a2b1c3d\"]}",
            "not_found",
        ),
    ] {
        assert!(socket.frame(TEXT, text.as_bytes()));
        let said = socket.message();
        assert_eq!((&said["type"], &said["data"]["code"]), (&json!("error"), &json!(code)), "{text}: {said}");
        let detail = said["data"]["detail"].as_str().expect("text");
        assert!(!detail.is_empty());
        assert_no_rust(detail);
    }
    let mut detail = |text: &str| {
        assert!(socket.frame(TEXT, text.as_bytes()));
        socket.message()["data"]["detail"].as_str().expect("text").to_owned()
    };
    assert_eq!(detail("[]"), "(the message): an object is expected, not an array");
    assert_eq!(
        detail("{\"type\":\"subscribe\",\"channels\":[1]}"),
        "channels[0]: a string is expected, not 1"
    );
    assert!(
        detail("{\"type\":\"subscribe\",\"channels\":[]}").starts_with("channels: an array of at least one")
    );
    assert!(socket.frame(BINARY, b"{\"type\":\"ping\"}"), "a binary one");
    assert_eq!(socket.message()["data"]["code"], "invalid_request");
    // Of a subscription that is wrong in part there is nothing.
    let said = socket.say(&json!({"type": "unsubscribe", "channels": ["metrics"]}));
    assert_eq!(said["data"]["channels"], json!([]));
}

#[test]
fn a_connection_has_so_many_channels() {
    let server = Server::set_up(&[], |serve| {
        serve.env("OMNIMIND_WEBSOCKET__MAX_SUBSCRIPTIONS_PER_CLIENT", "2");
    });
    let mut socket = WebSocket::open(&server);
    let said = socket.subscribe(&["tasks", "metrics", "protection"]);
    assert_eq!(said["data"]["code"], "too_many_subscriptions", "{said}");
    let said = socket.subscribe(&["tasks", "metrics", "tasks"]);
    assert_eq!(said["data"]["channels"], json!(["tasks", "metrics"]));
    assert_eq!(socket.subscribe(&["security"])["data"]["code"], "too_many_subscriptions");
    socket.say(&json!({"type": "unsubscribe", "channels": ["tasks"]}));
    assert_eq!(socket.subscribe(&["security"])["data"]["channels"], json!(["metrics", "security"]));
    let many: Vec<String> = (0..1000).map(|number| format!("task:{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(socket.subscribe(&many)["data"]["code"], "too_many_subscriptions");
    let said = socket.say(&json!({"type": "unsubscribe", "channels": many}));
    assert_eq!(said["data"]["code"], "too_many_subscriptions", "nor are so many looked for");
}

#[test]
fn places_are_limited_and_come_back() {
    let server = Server::set_up(&[], |serve| {
        serve.env("OMNIMIND_WEBSOCKET__MAX_CONNECTIONS", "6");
    });
    let [upgrade, events] = ["GET /ws", "GET /api/events"].map(|line| head(&server, line));
    let head = format!("{upgrade}{UPGRADE}");
    for round in 0..3 {
        // Half of them are for one address, and for one tenant.
        let open: Vec<WebSocket> =
            (0..3).map(|_| eventually(|| WebSocket::try_open(&server, &head).ok())).collect();
        let refused = WebSocket::try_open(&server, &head).err().expect("no place");
        refused.problem(503, "overloaded");
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        // Events that are sent by the server have the same places.
        let mut stream = server.connect();
        stream.write_all(format!("{events}\r\n").as_bytes()).expect("it is sent");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 503");
        if round == 2 {
            // Plain requests have places of their own.
            assert_healthy(&server);
        }
        drop(open);
    }
}

#[test]
fn a_ticket_lets_in_once() {
    let server = shared();
    let good = ticket(&server);
    let mut socket = WebSocket::try_open(&server, &with_ticket(&server, &format!("ticket={good}")))
        .unwrap_or_else(|reply| panic!("{reply:?}"));
    assert_eq!(socket.message()["type"], "connected");
    assert_eq!(socket.subscribe(&["security"])["type"], "subscribed", "as whoever asked for it");
    let refused = |query: &str| {
        WebSocket::try_open(&server, &with_ticket(&server, query)).err().unwrap_or_else(|| panic!("{query}"))
    };
    refused(&format!("ticket={good}")).problem(401, "unauthorized");
    for wrong in ["ticket=", "ticket=x", "ticket=%0d%0aX-A:%201", "ticket=%00", "ticket=%ff"] {
        let refused = refused(wrong);
        refused.problem(401, "unauthorized");
        assert!(!refused.headers.contains_key("x-a"), "{refused:?}");
    }
    let next = ticket(&server);
    // Elsewhere it is nothing, and it is not used up there.
    server
        .request("GET", &format!("/api/tasks/?ticket={next}"))
        .anonymous()
        .send()
        .problem(401, "unauthorized");
    refused(&format!("ticket={next}&since=1")).problem(422, "invalid_request");
    refused(&format!("ticket={next}")).problem(401, "unauthorized");
    refused(&format!("ticket={next}&ticket={next}")).problem(401, "unauthorized");
    // With a bad ticket good credentials do not help, and without one they are needed.
    let bad = format!("{}{UPGRADE}", head(&server, "GET /ws?ticket=x"));
    WebSocket::try_open(&server, &bad).err().expect("refused").problem(401, "unauthorized");
    refused("").problem(401, "unauthorized");
    server.request("POST", "/api/ws-ticket").anonymous().send().problem(401, "unauthorized");
    server.get("/api/ws-ticket").problem(405, "method_not_allowed");
    // What would not be heard is refused.
    for path in ["/api/ws-ticket", "/api/sign-in"] {
        let problem = server.post(path, &json!({"channels": ["tasks"]})).problem(422, "invalid_request");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("send no body")), "{problem}");
        let query = format!("{path}?expires_in=60");
        assert_eq!(
            server.request("POST", &query).send().problem(422, "invalid_request")["field"],
            "expires_in"
        );
    }
}

#[test]
fn slow_a_ticket_is_good_for_half_a_minute() {
    let server = shared();
    let [early, late] = [(); 2].map(|()| ticket(&server));
    pause(Duration::from_secs(20));
    assert!(WebSocket::try_open(&server, &with_ticket(&server, &format!("ticket={early}"))).is_ok());
    pause(Duration::from_secs(11));
    let reply = WebSocket::try_open(&server, &with_ticket(&server, &format!("ticket={late}"))).err();
    reply.expect("too late").problem(401, "unauthorized");
}

#[test]
fn the_servers_end_is_said_and_not_held_up() {
    let mut server = Server::with(&["--drain", "60"]);
    let mut sockets: Vec<WebSocket> = (0..50).map(|_| WebSocket::open(&server)).collect();
    let begun = Instant::now();
    server.signal("TERM");
    // Half of them do not answer, nor close.
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(socket.ending(), Frame::Close(1001, "the server ends".to_owned()));
        if number % 2 == 0 {
            socket.frame(CLOSE, &1001_u16.to_be_bytes());
            assert_eq!(socket.next_frame(), Frame::End);
        }
    }
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(sockets[1].next_frame(), Frame::End);
}

/// One whose kernel takes next to nothing for it.
fn narrow(server: &Server) -> WebSocket {
    let stream = block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        socket.connect(server.address).await.expect("it listens").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("an option");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
    let head = format!("{}{UPGRADE}", head(server, "GET /ws"));
    let mut socket = WebSocket::over(stream, &head).unwrap_or_else(|reply| panic!("{reply:?}"));
    assert_eq!(socket.message()["type"], "connected");
    assert_eq!(socket.subscribe(&["tasks"])["type"], "subscribed");
    socket
}

/// Runs so many tasks of which each is heard some forty times; the last one.
fn make_noise(server: &Server, component: &str, tasks: usize) -> String {
    let task =
        json!({"component": component, "retry": {"max_attempts": 20, "on": ["trap"], "backoff_ms": 0}});
    let ids: Vec<String> = (0..tasks).map(|_| server.submit(&task)).collect();
    for id in &ids {
        assert_eq!(server.wait_for_status(id, "failed")["attempts"], 20);
    }
    ids.last().expect("one").clone()
}

#[test]
fn a_slow_reader_loses_the_oldest_and_holds_nobody_up() {
    let server = Server::start();
    let trap = server.push("hostile/trap-unreachable");
    let mut slow: Vec<WebSocket> = (0..20).map(|_| narrow(&server)).collect();
    let mut quick = WebSocket::open(&server);
    assert_eq!(quick.subscribe(&["tasks"])["type"], "subscribed");
    let before = memory_kib(&server, "VmRSS");
    let mut last = String::new();
    for _ in 0..5 {
        last = make_noise(&server, &trap, 20);
        // One that reads misses nothing while the others do not.
        let heard = quick.until(|message| ends(message, &last));
        assert!(heard.iter().all(|message| message["type"] == "task_update"), "it keeps up");
    }
    // Four thousand events, and each of them is there once.
    let grown = memory_kib(&server, "VmRSS").saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB for 20 readers");
    for socket in &mut slow[..3] {
        let heard = socket.until(|message| message["type"] == "lagged");
        let missed = heard.last().and_then(|lagged| lagged["data"]["missed"].as_u64()).expect("a number");
        let before = heard.iter().rev().nth(1).and_then(|message| message["seq"].as_u64()).expect("one");
        let after = socket.message()["seq"].as_u64().expect("a number");
        assert_eq!(after - before - 1, missed, "exactly those");
        socket.until(|message| ends(message, &last));
    }
    drop(slow);
    assert_idle(&server);
}

#[test]
fn slow_one_that_takes_nothing_at_all_is_given_up() {
    let server = Server::start();
    let trap = server.push("hostile/trap-unreachable");
    let mut stuck = narrow(&server);
    make_noise(&server, &trap, 30);
    let begun = Instant::now();
    while stuck.frame(PING, b"") {
        pause(Duration::from_secs(1));
        assert!(begun.elapsed() < Duration::from_secs(80), "it is still open");
    }
    assert_idle(&server);
}

#[test]
fn server_sent_events_have_the_same_channels() {
    let server = shared();
    let mut events = Events::open(&server, "/api/events?channels=tasks,metrics,protection,security");
    let connected = events.next_event().expect("an event");
    assert_eq!((&connected.data["type"], &connected.data["channel"]), (&json!("connected"), &Value::Null));
}
