//! Who is next: four priorities with ageing, and tasks that wait for their time.
//!
//! Pure: time is a parameter. A task's place is fixed when it begins to wait: each step of priority is worth
//! [`HEAD_START_MS`] of waiting. So an urgent task overtakes what came within that time, and never more:
//! whatever waits long enough is first, and nothing has to be reordered.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use crate::task::{Priority, TaskId};

/// How much later a task may come than one of the next lower priority and still go first.
const HEAD_START_MS: i64 = 30_000;

/// Place in a line: a time, and an id that makes it unique.
type Place = (i64, TaskId);

/// Tasks that wait, each with a `T`.
#[derive(Debug)]
pub struct Queue<T> {
    /// By priority, lowest first: some may be held back.
    ready: [BTreeMap<Place, T>; 4],
    /// By the time they are ready.
    later: BTreeMap<Place, (Priority, T)>,
    places: HashMap<TaskId, (Priority, Place)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { ready: Default::default(), later: BTreeMap::new(), places: HashMap::new() }
    }
}

impl<T> Queue<T> {
    /// `id` has been waiting since `since_ms`, in milliseconds of whatever clock the caller has.
    fn push(&mut self, id: TaskId, priority: Priority, since_ms: i64, task: T) {
        let steps = match priority {
            Priority::Low => 3,
            Priority::Medium => 2,
            Priority::High => 1,
            Priority::Critical => 0,
        };
        let place = (since_ms.saturating_add(steps * HEAD_START_MS), id);
        self.class(priority).insert(place, task);
        self.places.insert(id, (priority, place));
    }

    /// `id` begins to wait at `due_ms`.
    pub fn push_later(&mut self, id: TaskId, priority: Priority, due_ms: i64, task: T) {
        let place = (due_ms, id);
        self.later.insert(place, (priority, task));
        self.places.insert(id, (priority, place));
    }

    /// Takes the first one at `now_ms`, of those that are at least as urgent as `least`, that `look` wants: it is
    /// asked in their order until it wants one or says that nobody goes.
    pub fn pop(
        &mut self,
        now_ms: i64,
        least: Priority,
        mut look: impl FnMut(&T) -> ControlFlow<(), bool>,
    ) -> Option<T> {
        self.promote(now_ms);
        let mut lines: Vec<_> =
            self.ready.iter().skip(least as usize).map(|line| line.iter().peekable()).collect();
        let id = loop {
            let first = lines
                .iter_mut()
                .filter_map(|line| Some((*line.peek()?.0, line)))
                .min_by_key(|(place, _)| *place);
            let ((_, id), task) = first.and_then(|(_, line)| line.next())?;
            match look(task) {
                ControlFlow::Continue(false) => {}
                ControlFlow::Continue(true) => break *id,
                ControlFlow::Break(()) => return None,
            }
        };
        self.remove(id)
    }

    /// Takes `id` out.
    pub fn remove(&mut self, id: TaskId) -> Option<T> {
        let (priority, place) = self.places.remove(&id)?;
        self.class(priority).remove(&place).or_else(|| self.later.remove(&place).map(|(_, task)| task))
    }

    /// Whether one could be taken at `now_ms`.
    pub fn is_ready(&mut self, now_ms: i64) -> bool {
        self.promote(now_ms);
        self.ready.iter().any(|line| !line.is_empty())
    }

    /// When the next of those that are not ready yet will be.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.later.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    fn class(&mut self, priority: Priority) -> &mut BTreeMap<Place, T> {
        let [low, medium, high, critical] = &mut self.ready;
        match priority {
            Priority::Low => low,
            Priority::Medium => medium,
            Priority::High => high,
            Priority::Critical => critical,
        }
    }

    fn promote(&mut self, now_ms: i64) {
        while let Some(entry) = self.later.first_entry() {
            let (due_ms, id) = *entry.key();
            if due_ms > now_ms {
                break;
            }
            let (priority, task) = entry.remove();
            self.push(id, priority, due_ms, task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(tasks: &[(Priority, i64, &'static str)]) -> Queue<&'static str> {
        let mut queue = Queue::default();
        for (priority, since_ms, name) in tasks {
            queue.push(TaskId::generate(), *priority, *since_ms, *name);
        }
        queue
    }

    fn pop(queue: &mut Queue<&'static str>, now_ms: i64) -> Option<&'static str> {
        queue.pop(now_ms, Priority::Low, |_| ControlFlow::Continue(true))
    }

    fn order(mut queue: Queue<&'static str>, now_ms: i64) -> Vec<&'static str> {
        std::iter::from_fn(|| pop(&mut queue, now_ms)).collect()
    }

    #[test]
    fn some_are_passed_over_and_keep_their_place() {
        use Priority::{High, Low, Medium};
        let mut queue = queue(&[(Low, 0, "a"), (Medium, 0, "b"), (High, 0, "c"), (High, 1, "d")]);
        let unless = |no: &'static str| move |task: &&'static str| ControlFlow::Continue(*task != no);
        assert_eq!(queue.pop(2, Low, unless("c")), Some("d"));
        assert_eq!(queue.pop(2, High, unless("c")), None, "the others are below");
        assert_eq!(queue.pop(2, Low, |_| ControlFlow::Break(())), None);
        assert_eq!(queue.pop(2, Medium, unless("")), Some("c"));
        assert_eq!((pop(&mut queue, 2), pop(&mut queue, 2)), (Some("b"), Some("a")));
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_the_order_they_came() {
        use Priority::{Critical, High, Low, Medium};
        let tasks = [(Low, 0, "a"), (Medium, 1, "b"), (High, 2, "c"), (Critical, 3, "d"), (Critical, 4, "e")];
        assert_eq!(order(queue(&tasks), 5), ["d", "e", "c", "b", "a"]);
    }

    #[test]
    fn nothing_starves() {
        let mut tasks = vec![(Priority::Low, 0, "old")];
        // An urgent task each second, for ever: the old one is first after three head starts.
        tasks.extend((0..200).map(|second| (Priority::Critical, second * 1000, "new")));
        let order = order(queue(&tasks), 200_000);
        assert_eq!(order.iter().position(|name| *name == "old"), Some(90));
    }

    #[test]
    fn what_is_due_later_waits_until_then() {
        let mut queue = Queue::default();
        let id = TaskId::generate();
        queue.push_later(id, Priority::Critical, 100, "later");
        queue.push(TaskId::generate(), Priority::Low, 0, "now");
        assert_eq!(queue.next_due_ms(), Some(100));
        assert_eq!(pop(&mut queue, 99), Some("now"));
        assert_eq!(pop(&mut queue, 99), None);
        assert!(queue.is_ready(100));
        assert_eq!(pop(&mut queue, 100), Some("later"));
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn what_is_taken_out_does_not_come() {
        let mut queue = Queue::default();
        let [now, later] = [TaskId::generate(), TaskId::generate()];
        queue.push(now, Priority::Low, 0, "now");
        queue.push_later(later, Priority::Low, 1, "later");
        assert_eq!(queue.remove(later), Some("later"));
        assert_eq!(queue.remove(now), Some("now"));
        assert_eq!((queue.remove(now), pop(&mut queue, 2), queue.waiting()), (None, None, 0));
    }
}
