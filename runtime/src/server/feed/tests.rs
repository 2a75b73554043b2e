//! Who hears what, with a bus of the test's own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;

use super::*;
use crate::task::{Digest, Grants, Priority, Retry, Spec, State, Task};

fn task(tenant: &str) -> Task {
    let spec = Spec {
        component: "it".into(),
        digest: Digest::of(b""),
        description: None,
        metadata: serde_json::value::RawValue::NULL.to_owned(),
        priority: Priority::Medium,
        mode: "dev".into(),
        limits: BTreeMap::new(),
        args: Vec::new(),
        env: BTreeMap::new(),
        retry: Retry { max_attempts: 1, on: Vec::new(), backoff_ms: 0 },
        grants: Grants::default(),
        deterministic: false,
        durable: true,
    };
    let created = jiff::Timestamp::now();
    let (id, state) = (TaskId::generate(), State::submitted(created));
    Task { id, tenant: tenant.into(), created, spec: Arc::new(spec), state }
}

async fn next(listener: &Listener) -> Value {
    let heard = tokio::time::timeout(Duration::from_secs(20), listener.next()).await.expect("something");
    match heard {
        Heard::Event(event) => serde_json::from_str(&listener.message(&event).unwrap()).unwrap(),
        Heard::Missed(missed) => json!({"missed": missed}),
    }
}

/// Waits until everything that was told has been passed on.
async fn settle(bus: &Bus, operator: &Listener) {
    bus.security(|| json!("settled"));
    while next(operator).await["data"] != "settled" {}
}

#[tokio::test]
async fn a_tenant_never_hears_of_anothers_tasks() {
    let bus = Bus::default();
    let feed = Feed::new(bus.clone());
    let [ours, theirs] = ["ours", "theirs"].map(task);
    let mut listener = feed.listen("ours");
    let mut operator = feed.listen("default");
    operator.subscribe(Channel::Security);
    listener.subscribe(Channel::Tasks);
    // Whatever let it through: the other's tasks are not on a channel of this name.
    listener.subscribe(Channel::Task(theirs.id));
    bus.task_changed(|| theirs.clone());
    bus.protection(|| json!({}));
    bus.metrics(|| json!({}));
    bus.task_changed(|| ours.clone());
    settle(&bus, &operator).await;
    let heard = next(&listener).await;
    assert_eq!(heard["data"]["task_id"], json!(ours.id));
    assert_eq!((&heard["type"], &heard["channel"]), (&json!("task_update"), &json!("tasks")));
    assert_eq!(heard["seq"], 4);
    assert!(heard["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(listener.next().now_or_never().is_none());
}

#[tokio::test]
async fn an_event_is_heard_once_and_only_on_channels_that_are_subscribed() {
    let bus = Bus::default();
    let feed = Feed::new(bus.clone());
    let [one, other] = [(); 2].map(|()| task("ours"));
    let mut listener = feed.listen("ours");
    let mut operator = feed.listen("default");
    operator.subscribe(Channel::Security);
    let channel = Channel::Task(one.id);
    listener.subscribe(channel.clone());
    bus.task_changed(|| other.clone());
    bus.task_changed(|| one.clone());
    settle(&bus, &operator).await;
    assert_eq!(next(&listener).await["channel"], json!(format!("task:{}", one.id)));
    assert!(listener.next().now_or_never().is_none(), "not the other");
    listener.subscribe(Channel::Tasks);
    bus.task_changed(|| one.clone());
    settle(&bus, &operator).await;
    next(&listener).await;
    assert!(listener.next().now_or_never().is_none(), "once");
    listener.unsubscribe("tasks");
    listener.unsubscribe(&channel.to_string());
    bus.task_changed(|| one.clone());
    settle(&bus, &operator).await;
    assert!(listener.next().now_or_never().is_none(), "no more");
}

#[tokio::test]
async fn who_is_slow_loses_the_oldest_and_nobody_else_does() {
    let bus = Bus::default();
    let feed = Feed::new(bus.clone());
    let mut slow = feed.listen("default");
    let mut quiet = feed.listen("default");
    let mut operator = feed.listen("default");
    slow.subscribe(Channel::Metrics);
    quiet.subscribe(Channel::Protection);
    operator.subscribe(Channel::Security);
    bus.protection(|| json!("before"));
    for number in 0..BEHIND + 10 {
        bus.metrics(|| json!(number));
        if number % 100 == 0 {
            settle(&bus, &operator).await;
        }
    }
    settle(&bus, &operator).await;
    assert_eq!(next(&slow).await, json!({"missed": 10}));
    assert_eq!(next(&slow).await["data"], 10, "and then in order");
    assert_eq!(next(&slow).await["data"], 11);
    assert_eq!(next(&quiet).await["data"], "before");
    // What has left the ring is lost to whoever had not heard it.
    bus.protection(|| json!("lost"));
    for number in 0..RING {
        bus.metrics(|| json!(number));
        if number % 100 == 0 {
            settle(&bus, &operator).await;
        }
    }
    settle(&bus, &operator).await;
    assert_eq!(next(&quiet).await, json!({"missed": 1}));
    assert!(feed.0.ring.lock().events.len() <= RING);
    assert!(slow.queue.waiting.lock().places.len() <= BEHIND);
}

#[tokio::test]
async fn nothing_is_left_of_listeners_that_have_gone() {
    let bus = Bus::default();
    let feed = Feed::new(bus.clone());
    for _ in 0..3 {
        let mut listener = feed.listen("ours");
        listener.subscribe(Channel::Tasks);
        bus.task_changed(|| task("ours"));
        next(&listener).await;
        drop(listener);
        bus.task_changed(|| task("ours"));
        while feed.0.listening.lock().attended {
            tokio::task::yield_now().await;
        }
        let listening = feed.0.listening.lock();
        assert!(listening.everybody.is_empty() && listening.by_topic.is_empty());
        assert!(feed.0.ring.lock().events.is_empty());
    }
}

#[test]
fn what_is_the_machines_is_for_the_operator() {
    let [operator, other] = ["default", "other"].map(Caller::of);
    let code = |name: &str, caller| Channel::named(name, caller).map_or_else(|no| no.code(), |_| "");
    for name in ["metrics", "protection", "security"] {
        assert_eq!((code(name, &operator), code(name, &other)), ("", "forbidden"), "{name}");
    }
    let task = format!("task:{}", TaskId::generate());
    for name in ["tasks", &task] {
        assert_eq!((code(name, &operator), code(name, &other)), ("", ""), "{name}");
    }
    for name in ["task:", "task:*", "plan:", "plan:1"] {
        assert_eq!(code(name, &operator), "not_found", "{name}");
    }
    for name in ["", "*", "Tasks", "tasks ", "task", "plans", "other:1", ":"] {
        assert_eq!(code(name, &operator), "invalid_request", "{name}");
    }
}
