//! What happens, by channel, for the many who listen: behind server-sent events and WebSockets.
//!
//! One task hears everything that the bus tells, keeps the last of it in a ring, and wakes those whose channel
//! it is on. So telling costs a task the same however many listen, an event wakes nobody whom it does not
//! concern, and one who is slow holds no more than numbers of places in the ring: who is too far behind loses
//! the oldest and is told how many.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};

use super::caller::Caller;
use super::problem::{Problem, Result};
use crate::events::{Bus, Event, Update};
use crate::scheduler::Scheduler;
use crate::task::{TaskId, timestamp};

/// Events that are kept for those who are behind.
const RING: usize = 4096;

/// Events that one listener may be behind.
const BEHIND: usize = 1024;

/// What can be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Every task of the tenant's.
    Tasks,
    /// This one.
    Task(TaskId),
    /// The machine's figures.
    Metrics,
    /// What is decided to protect the machine.
    Protection,
    /// What happens to credentials and rights.
    Security,
}

impl Channel {
    /// The channel that `caller` calls `name`.
    ///
    /// # Errors
    /// `422` for what is no channel, `404` for a task or plan that the caller does not have, `403` for what is
    /// the machine's.
    pub async fn open(name: &str, scheduler: &Scheduler, caller: &Caller) -> Result<Channel> {
        let channel = Channel::named(name, caller)?;
        if let Channel::Task(id) = channel {
            let task = scheduler.task(caller.tenant(), id).await?;
            task.ok_or_else(|| missing("task", &id.to_string()))?;
        }
        Ok(channel)
    }

    /// The same before anybody has looked whether the task is there.
    fn named(name: &str, caller: &Caller) -> Result<Channel> {
        let channel = Channel::called(name)?;
        match channel {
            Channel::Tasks | Channel::Task(_) => {}
            Channel::Metrics | Channel::Protection | Channel::Security => caller.operates()?,
        }
        Ok(channel)
    }

    /// The channel of this name, whoever may listen to it.
    ///
    /// # Errors
    /// `422` for what is no channel, `404` for a task or plan that nobody can have.
    pub fn called(name: &str) -> Result<Channel> {
        match name.split_once(':') {
            None => match name {
                "tasks" => Ok(Channel::Tasks),
                "metrics" => Ok(Channel::Metrics),
                "protection" => Ok(Channel::Protection),
                "security" => Ok(Channel::Security),
                _ => Err(unknown(name)),
            },
            Some(("task", id)) => id.parse().map(Channel::Task).map_err(|_| missing("task", id)),
            Some(("plan", id)) => Err(missing("plan", id)),
            Some(_) => Err(unknown(name)),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Tasks => f.write_str("tasks"),
            Channel::Task(id) => write!(f, "task:{id}"),
            Channel::Metrics => f.write_str("metrics"),
            Channel::Protection => f.write_str("protection"),
            Channel::Security => f.write_str("security"),
        }
    }
}

fn unknown(name: &str) -> Problem {
    let known = "one of tasks, task:ID, plan:ID, metrics, protection and security";
    Problem::invalid("channels", format!("`{}` is no channel; it is {known}", shown(name)))
}

fn missing(what: &str, id: &str) -> Problem {
    Problem::not_found(format!("there is no {what} `{}`", shown(id)))
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

/// A message as clients see it; `data` is JSON.
pub fn message(name: &str, channel: Option<&Channel>, data: &str, timestamp: &str, seq: u64) -> String {
    let rest = format!("\"data\":{data},\"timestamp\":\"{timestamp}\",\"seq\":{seq}}}");
    match channel {
        Some(channel) => format!("{{\"type\":\"{name}\",\"channel\":\"{channel}\",{rest}"),
        None => format!("{{\"type\":\"{name}\",\"channel\":null,{rest}"),
    }
}

/// Where those listen who are served; clones are the same one.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    bus: Bus,
    ring: Mutex<Ring>,
    listening: Mutex<Listening>,
}

/// The last events, each with its place: a number that counts up by one.
#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    next: u64,
}

#[derive(Default)]
struct Listening {
    /// Whether somebody hears the bus for them.
    attended: bool,
    last: u64,
    everybody: HashMap<u64, Arc<Queue>>,
    by_topic: HashMap<Topic, HashMap<u64, Arc<Queue>>>,
}

/// Whom an event may concern.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Topic {
    Tasks(String),
    Task(String, TaskId),
    Metrics,
    Protection,
    Security,
}

/// What one listener has not heard yet.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    places: VecDeque<u64>,
    missed: u64,
}

impl Feed {
    /// Of what `bus` tells.
    pub fn new(bus: Bus) -> Feed {
        Feed(Arc::new(Shared { bus, ring: Mutex::default(), listening: Mutex::default() }))
    }

    /// Somebody who listens for `tenant`, to nothing yet.
    pub fn listen(&self, tenant: &str) -> Listener {
        let queue = Arc::new(Queue::default());
        let mut listening = self.0.listening.lock();
        listening.last += 1;
        let id = listening.last;
        listening.everybody.insert(id, queue.clone());
        if !listening.attended {
            listening.attended = true;
            tokio::spawn(attend(self.0.clone(), self.0.bus.listen()));
        }
        Listener { feed: self.clone(), id, tenant: tenant.to_owned(), channels: Vec::new(), queue }
    }

    /// A message of the stream's own, about no event. Its `seq` is that of the last event.
    pub fn note(&self, name: &str, data: &Value) -> String {
        let now = timestamp(jiff::Timestamp::now());
        message(name, None, &data.to_string(), &now, self.0.bus.seq())
    }
}

/// Hears the bus for everybody who listens, until nobody does.
async fn attend(shared: Arc<Shared>, mut bus: broadcast::Receiver<Arc<Event>>) {
    loop {
        match bus.recv().await {
            Ok(event) => shared.tell(event),
            Err(RecvError::Lagged(missed)) => shared.miss(missed),
            Err(RecvError::Closed) => return,
        }
        let mut listening = shared.listening.lock();
        if listening.everybody.is_empty() {
            listening.attended = false;
            shared.ring.lock().events.clear();
            return;
        }
    }
}

impl Shared {
    fn tell(&self, event: Arc<Event>) {
        let topics = Topic::of(&event);
        let place = self.ring.lock().push(event);
        let listening = self.listening.lock();
        for topic in topics.iter().flatten() {
            for queue in listening.by_topic.get(topic).into_iter().flat_map(HashMap::values) {
                queue.push(place);
            }
        }
    }

    /// Nobody knows whose they were.
    fn miss(&self, missed: u64) {
        for queue in self.listening.lock().everybody.values() {
            queue.waiting.lock().missed += missed;
            queue.more.notify_one();
        }
    }
}

impl Topic {
    /// Those of an event: one task is on two.
    fn of(event: &Event) -> [Option<Topic>; 2] {
        match (&event.update, &event.tenant) {
            (Update::Task(update), Some(tenant)) => {
                [Some(Topic::Tasks(tenant.clone())), Some(Topic::Task(tenant.clone(), update.task_id))]
            }
            (Update::Task(_), None) => [None, None],
            (Update::Metrics(_), _) => [Some(Topic::Metrics), None],
            (Update::Protection(_), _) => [Some(Topic::Protection), None],
            (Update::Security(_), _) => [Some(Topic::Security), None],
        }
    }
}

impl Ring {
    fn push(&mut self, event: Arc<Event>) -> u64 {
        if self.events.len() == RING {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.next += 1;
        self.next - 1
    }

    fn get(&self, place: u64) -> Option<Arc<Event>> {
        let first = self.next - self.events.len() as u64;
        let at = usize::try_from(place.checked_sub(first)?).ok()?;
        self.events.get(at).cloned()
    }
}

impl Queue {
    fn push(&self, place: u64) {
        let mut waiting = self.waiting.lock();
        // By another of its topics.
        if waiting.places.back() == Some(&place) {
            return;
        }
        if waiting.places.len() == BEHIND {
            waiting.places.pop_front();
            waiting.missed += 1;
        }
        waiting.places.push_back(place);
        drop(waiting);
        self.more.notify_one();
    }
}

/// What a listener is told.
pub enum Heard {
    /// Something happened.
    Event(Arc<Event>),
    /// So many events are lost, before the next one.
    Missed(u64),
}

/// One who listens, to up to so many channels.
pub struct Listener {
    feed: Feed,
    id: u64,
    tenant: String,
    channels: Vec<Channel>,
    queue: Arc<Queue>,
}

impl Listener {
    /// What it listens to, in the order of the subscriptions.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Listens to `channel` too, from now on.
    pub fn subscribe(&mut self, channel: Channel) {
        if !self.channels.contains(&channel) {
            let topic = self.topic(&channel);
            let mut listening = self.feed.0.listening.lock();
            listening.by_topic.entry(topic).or_default().insert(self.id, self.queue.clone());
            self.channels.push(channel);
        }
    }

    /// Listens to the channel called `name` no more.
    pub fn unsubscribe(&mut self, name: &str) {
        if let Some(at) = self.channels.iter().position(|channel| channel.to_string() == name) {
            let channel = self.channels.remove(at);
            self.feed.0.listening.lock().leave(&self.topic(&channel), self.id);
        }
    }

    /// Waits for the next thing to be told. Nothing is lost where this is given up.
    pub async fn next(&self) -> Heard {
        loop {
            if let Some(heard) = self.take() {
                return heard;
            }
            // What came in between has left its mark there.
            self.queue.more.notified().await;
        }
    }

    fn take(&self) -> Option<Heard> {
        let mut waiting = self.queue.waiting.lock();
        let ring = self.feed.0.ring.lock();
        while let Some(&place) = waiting.places.front() {
            match ring.get(place) {
                Some(event) if waiting.missed == 0 => {
                    waiting.places.pop_front();
                    return Some(Heard::Event(event));
                }
                Some(_) => break,
                None => {
                    waiting.places.pop_front();
                    waiting.missed += 1;
                }
            }
        }
        match std::mem::take(&mut waiting.missed) {
            0 => None,
            missed => Some(Heard::Missed(missed)),
        }
    }

    /// The message about an event that was heard; none if its channel has been left since.
    pub fn message(&self, event: &Event) -> Option<String> {
        let channel = self.channels.iter().find(|channel| match (channel, &event.update) {
            (Channel::Tasks, Update::Task(_)) => true,
            (Channel::Task(id), Update::Task(update)) => *id == update.task_id,
            (Channel::Metrics, Update::Metrics(_))
            | (Channel::Protection, Update::Protection(_))
            | (Channel::Security, Update::Security(_)) => true,
            _ => false,
        })?;
        Some(message(event.name(), Some(channel), event.data(), &event.timestamp, event.seq))
    }

    fn topic(&self, channel: &Channel) -> Topic {
        match channel {
            Channel::Tasks => Topic::Tasks(self.tenant.clone()),
            Channel::Task(id) => Topic::Task(self.tenant.clone(), *id),
            Channel::Metrics => Topic::Metrics,
            Channel::Protection => Topic::Protection,
            Channel::Security => Topic::Security,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let topics: Vec<Topic> = self.channels.iter().map(|channel| self.topic(channel)).collect();
        let mut listening = self.feed.0.listening.lock();
        listening.everybody.remove(&self.id);
        for topic in topics {
            listening.leave(&topic, self.id);
        }
    }
}

impl Listening {
    fn leave(&mut self, topic: &Topic, id: u64) {
        if let Some(queues) = self.by_topic.get_mut(topic) {
            queues.remove(&id);
            if queues.is_empty() {
                self.by_topic.remove(topic);
            }
        }
    }
}

#[cfg(test)]
mod tests;
