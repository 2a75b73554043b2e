//! Who is next: four priorities with ageing for each tenant, and tasks that wait for their time.
//!
//! Pure: time is a parameter, and so is the order of the tenants. A task's place is fixed when it begins to wait: each step of priority is worth
//! [`HEAD_START_MS`] of waiting. So an urgent task overtakes what came within that time, and never more:
//! whatever waits long enough is first, and nothing has to be reordered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::task::{Priority, TaskId};

/// How much later a task may come than one of the next lower priority and still go first.
const HEAD_START_MS: i64 = 30_000;

/// What becomes of a task that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It goes.
    Take,
    /// The next one behind it may.
    Pass,
    /// None of its tenant goes.
    NextTenant,
    /// Nobody goes.
    Stop,
}

/// Place in a line: a time, and an id that makes it unique.
type Place = (i64, TaskId);

/// Tasks that wait, each with a `T`.
#[derive(Debug)]
pub struct Queue<T> {
    /// Those of each tenant that has some, by priority, lowest first: some may be held back.
    ready: HashMap<Arc<str>, [BTreeMap<Place, T>; 4]>,
    /// By the time they are ready.
    later: BTreeMap<Place, (Arc<str>, Priority, T)>,
    places: HashMap<TaskId, (Arc<str>, Priority, Place)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { ready: HashMap::new(), later: BTreeMap::new(), places: HashMap::new() }
    }
}

impl<T> Queue<T> {
    /// `id` has been waiting since `since_ms`, in milliseconds of whatever clock the caller has.
    fn push(&mut self, id: TaskId, tenant: Arc<str>, priority: Priority, since_ms: i64, task: T) {
        let steps = match priority {
            Priority::Low => 3,
            Priority::Medium => 2,
            Priority::High => 1,
            Priority::Critical => 0,
        };
        let place = (since_ms.saturating_add(steps * HEAD_START_MS), id);
        if let Some(line) = self.ready.entry(tenant.clone()).or_default().get_mut(priority as usize) {
            line.insert(place, task);
        }
        self.places.insert(id, (tenant, priority, place));
    }

    /// `id` begins to wait at `due_ms`.
    pub fn push_later(&mut self, id: TaskId, tenant: Arc<str>, priority: Priority, due_ms: i64, task: T) {
        let place = (due_ms, id);
        self.later.insert(place, (tenant.clone(), priority, task));
        self.places.insert(id, (tenant, priority, place));
    }

    /// Takes the first one at `now_ms`, of those that are at least as urgent as `least`, that `look` takes, which
    /// is asked in their order. Tenants come in the order of their `rank`; one that has none is left out.
    pub fn pop<R: Ord>(
        &mut self,
        now_ms: i64,
        least: Priority,
        rank: impl Fn(&str) -> Option<R>,
        mut look: impl FnMut(&T) -> Look,
    ) -> Option<T> {
        self.promote(now_ms);
        let ranked = self.ready.iter().filter_map(|(tenant, lines)| Some((rank(tenant)?, tenant, lines)));
        let mut tenants: Vec<_> = ranked.collect();
        tenants.sort_by(|(rank, tenant, _), (other, another, _)| (rank, tenant).cmp(&(other, another)));
        for (_, _, lines) in tenants {
            let mut lines: Vec<_> =
                lines.iter().skip(least as usize).map(|line| line.iter().peekable()).collect();
            loop {
                let first = lines
                    .iter_mut()
                    .filter_map(|line| Some((*line.peek()?.0, line)))
                    .min_by_key(|(place, _)| *place);
                let Some(((_, id), task)) = first.and_then(|(_, line)| line.next()) else { break };
                match look(task) {
                    Look::Pass => {}
                    Look::Take => {
                        let id = *id;
                        return self.remove(id);
                    }
                    Look::NextTenant => break,
                    Look::Stop => return None,
                }
            }
        }
        None
    }

    /// Takes `id` out.
    pub fn remove(&mut self, id: TaskId) -> Option<T> {
        let (tenant, priority, place) = self.places.remove(&id)?;
        let Some(lines) = self.ready.get_mut(&tenant) else {
            return self.later.remove(&place).map(|(.., task)| task);
        };
        let ready = lines.get_mut(priority as usize).and_then(|line| line.remove(&place));
        if lines.iter().all(BTreeMap::is_empty) {
            self.ready.remove(&tenant);
        }
        ready.or_else(|| self.later.remove(&place).map(|(.., task)| task))
    }

    /// Whether one could be taken at `now_ms`.
    pub fn is_ready(&mut self, now_ms: i64) -> bool {
        self.promote(now_ms);
        !self.ready.is_empty()
    }

    /// When the next of those that are not ready yet will be.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.later.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// Whether `id` does.
    pub fn waits(&self, id: TaskId) -> bool {
        self.places.contains_key(&id)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    fn promote(&mut self, now_ms: i64) {
        while let Some(entry) = self.later.first_entry() {
            let (due_ms, id) = *entry.key();
            if due_ms > now_ms {
                break;
            }
            let (tenant, priority, task) = entry.remove();
            self.push(id, tenant, priority, due_ms, task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(tasks: &[(Priority, i64, &'static str)]) -> Queue<&'static str> {
        let mut queue = Queue::default();
        for (priority, since_ms, name) in tasks {
            queue.push(TaskId::generate(), "a".into(), *priority, *since_ms, *name);
        }
        queue
    }

    fn pop(queue: &mut Queue<&'static str>, now_ms: i64) -> Option<&'static str> {
        queue.pop(now_ms, Priority::Low, |_| Some(0), |_| Look::Take)
    }

    fn order(mut queue: Queue<&'static str>, now_ms: i64) -> Vec<&'static str> {
        std::iter::from_fn(|| pop(&mut queue, now_ms)).collect()
    }

    #[test]
    fn some_are_passed_over_and_keep_their_place() {
        use Priority::{High, Low, Medium};
        let mut queue = queue(&[(Low, 0, "a"), (Medium, 0, "b"), (High, 0, "c"), (High, 1, "d")]);
        let unless =
            |no: &'static str| move |task: &&'static str| if *task == no { Look::Pass } else { Look::Take };
        assert_eq!(queue.pop(2, Low, |_| Some(0), unless("c")), Some("d"));
        assert_eq!(queue.pop(2, High, |_| Some(0), unless("c")), None, "the others are below");
        assert_eq!(queue.pop(2, Low, |_| Some(0), |_| Look::Stop), None);
        assert_eq!(queue.pop(2, Medium, |_| Some(0), unless("")), Some("c"));
        assert_eq!((pop(&mut queue, 2), pop(&mut queue, 2)), (Some("b"), Some("a")));
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_the_order_they_came() {
        use Priority::{Critical, High, Low, Medium};
        let tasks = [(Low, 0, "a"), (Medium, 1, "b"), (High, 2, "c"), (Critical, 3, "d"), (Critical, 4, "e")];
        assert_eq!(order(queue(&tasks), 5), ["d", "e", "c", "b", "a"]);
    }

    #[test]
    fn tenants_come_in_their_order_and_within_each_the_urgent_first() {
        use Priority::{Critical, Low};
        let mut queue = Queue::default();
        for (tenant, priority, name) in [
            ("a", Critical, "a1"),
            ("a", Critical, "a2"),
            ("b", Low, "b1"),
            ("b", Critical, "b2"),
            ("c", Critical, "c1"),
        ] {
            queue.push(TaskId::generate(), tenant.into(), priority, 0, name);
        }
        let rank = |tenant: &str| match tenant {
            "a" => Some(2),
            "b" => Some(1),
            _ => None,
        };
        let mut next = || queue.pop(1, Low, rank, |_| Look::Take);
        let order: Vec<_> = std::iter::from_fn(&mut next).collect();
        assert_eq!(order, ["b2", "b1", "a1", "a2"], "one without a rank waits");
        assert_eq!(queue.pop(1, Low, |_| Some(0), |_| Look::Take), Some("c1"));
        assert!(queue.ready.is_empty() && queue.places.is_empty());
    }

    #[test]
    fn one_tenant_may_be_left_for_the_next() {
        let mut queue = Queue::default();
        for (tenant, name) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
            queue.push(TaskId::generate(), tenant.into(), Priority::Medium, 0, name);
        }
        let look = |task: &&'static str| if *task == "a1" { Look::NextTenant } else { Look::Take };
        assert_eq!(queue.pop(1, Priority::Low, |tenant| Some(tenant.to_owned()), look), Some("b1"));
        assert_eq!(queue.pop(1, Priority::Low, |tenant| Some(tenant.to_owned()), look), None);
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
        queue.push_later(id, "a".into(), Priority::Critical, 100, "later");
        queue.push(TaskId::generate(), "a".into(), Priority::Low, 0, "now");
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
        queue.push(now, "a".into(), Priority::Low, 0, "now");
        queue.push_later(later, "a".into(), Priority::Low, 1, "later");
        assert_eq!(queue.remove(later), Some("later"));
        assert_eq!(queue.remove(now), Some("now"));
        assert_eq!((queue.remove(now), pop(&mut queue, 2), queue.waiting()), (None, None, 0));
    }
}
