//! Who asks a model next.
//!
//! A server of models answers a few at a time and keeps all others waiting in the order in which they came, whoever
//! they are. So they wait here: those first whose model is loaded, because loading another one makes everybody wait;
//! then fairly between tenants; and by priority among the tasks of one, for a tenant may call all of its own urgent. Nobody is overtaken for ever: after [`MAX_FOR_LOADED`] times it does not
//! matter any more which model is loaded, after [`MAX_OVERTAKEN`] nothing does but that tenants take turns.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::task::Priority;

/// How often one is overtaken before its model counts as loaded.
const MAX_FOR_LOADED: u32 = 8;

/// How often one is overtaken at all.
const MAX_OVERTAKEN: u32 = 100;

/// What is asked at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Of all models together.
    pub in_all: usize,
    /// Of one model.
    pub of_model: usize,
}

/// Those who wait, and those who are being answered; clones are the same queue.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    most: Most,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    of_models: HashMap<Arc<str>, usize>,
    of_tenants: HashMap<Arc<str>, Tenant>,
    /// The model that was asked last: it is loaded, if any is.
    last: Option<Arc<str>>,
    /// Turns given so far.
    turns: u64,
    waiting: Vec<Waiting>,
}

#[derive(Default)]
struct Tenant {
    in_flight: usize,
    waiting: usize,
    /// Which turn was its last.
    last_turn: u64,
}

struct Waiting {
    model: Arc<str>,
    tenant: Arc<str>,
    priority: Priority,
    overtaken: u32,
    /// Given away when it is its turn.
    turn: oneshot::Sender<Place>,
}

/// A turn; the next one has it when this is dropped.
pub struct Place {
    queue: Queue,
    model: Arc<str>,
    tenant: Arc<str>,
}

impl Queue {
    /// A queue before which nobody waits.
    pub fn new(most: Most) -> Queue {
        Queue(Arc::new(Shared { most, state: Mutex::default() }))
    }

    /// Waits for a turn at `model`. Dropped before, it waits no more.
    pub async fn turn(&self, model: &str, tenant: &str, priority: Priority) -> Place {
        let (turn, given) = oneshot::channel();
        let (model, tenant): (Arc<str>, Arc<str>) = (model.into(), tenant.into());
        self.wait(Waiting { model: model.clone(), tenant: tenant.clone(), priority, overtaken: 0, turn });
        self.serve();
        match given.await {
            Ok(place) => place,
            // The queue lives as long as its places do, so this does not happen.
            Err(_) => Place { queue: Queue::new(self.0.most), model, tenant },
        }
    }

    fn wait(&self, waiting: Waiting) {
        let mut state = self.0.state.lock();
        state.of_tenants.entry(waiting.tenant.clone()).or_default().waiting += 1;
        state.waiting.push(waiting);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.state.lock().waiting.iter().filter(|waiting| !waiting.turn.is_closed()).count()
    }

    /// How many are being answered.
    pub fn in_flight(&self) -> usize {
        self.0.state.lock().in_flight
    }

    /// Gives turns while there are any.
    fn serve(&self) {
        loop {
            let next = self.0.state.lock().next(self.0.most);
            let Some(Waiting { model, tenant, turn, .. }) = next else { return };
            // One that has gone meanwhile drops it, and the next one has it.
            let _ = turn.send(Place { queue: self.clone(), model, tenant });
        }
    }
}

impl State {
    /// Takes out whose turn it is, if there is one.
    fn next(&mut self, most: Most) -> Option<Waiting> {
        let mut gone = Vec::new();
        self.waiting.retain(|waiting| {
            let is_there = !waiting.turn.is_closed();
            if !is_there {
                gone.push(waiting.tenant.clone());
            }
            is_there
        });
        gone.iter().for_each(|tenant| self.leave(tenant, |tenant| tenant.waiting -= 1));
        if self.in_flight >= most.in_all {
            return None;
        }
        let at =
            (0..self.waiting.len()).filter(|at| self.is_free(*at, most)).min_by_key(|at| self.rank(*at))?;
        let chosen = self.waiting.remove(at);
        self.waiting.iter_mut().take(at).for_each(|before| before.overtaken += 1);
        self.turns += 1;
        self.in_flight += 1;
        *self.of_models.entry(chosen.model.clone()).or_default() += 1;
        let tenant = self.of_tenants.entry(chosen.tenant.clone()).or_default();
        tenant.in_flight += 1;
        tenant.waiting = tenant.waiting.saturating_sub(1);
        tenant.last_turn = self.turns;
        self.last = Some(chosen.model.clone());
        Some(chosen)
    }

    fn is_free(&self, at: usize, most: Most) -> bool {
        let model = self.waiting.get(at).map(|waiting| &waiting.model);
        model.and_then(|model| self.of_models.get(model)).is_none_or(|in_flight| *in_flight < most.of_model)
    }

    fn is_loaded(&self, waiting: &Waiting) -> bool {
        self.of_models.contains_key(&waiting.model) || self.last.as_ref() == Some(&waiting.model)
    }

    /// What comes first is least; of equals the one that came first.
    fn rank(&self, at: usize) -> impl Ord + use<> {
        let waiting = self.waiting.get(at);
        let rank = waiting.map(|waiting| {
            let tenant = self.of_tenants.get(&waiting.tenant);
            (
                waiting.overtaken < MAX_FOR_LOADED && !self.is_loaded(waiting),
                tenant.map_or(0, |tenant| tenant.in_flight),
                tenant.map_or(0, |tenant| tenant.last_turn),
                waiting.overtaken < MAX_OVERTAKEN,
                Reverse(waiting.priority),
            )
        });
        (rank.is_none(), rank)
    }

    fn leave(&mut self, tenant: &Arc<str>, change: impl FnOnce(&mut Tenant)) {
        if let Some(of) = self.of_tenants.get_mut(tenant) {
            change(of);
            if of.in_flight == 0 && of.waiting == 0 {
                self.of_tenants.remove(tenant);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.queue.0.state.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(in_flight) = state.of_models.get_mut(&self.model) {
            *in_flight -= 1;
            if *in_flight == 0 {
                state.of_models.remove(&self.model);
            }
        }
        state.leave(&self.tenant, |tenant| tenant.in_flight = tenant.in_flight.saturating_sub(1));
        drop(state);
        self.queue.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    type Turn = std::pin::Pin<Box<dyn Future<Output = Place>>>;

    /// Asks for turns, one after the other: (model, tenant, priority).
    fn ask(queue: &Queue, wanted: &[(&'static str, &'static str, Priority)]) -> Vec<Option<Turn>> {
        let ask = |(model, tenant, priority): &(&'static str, &'static str, Priority)| {
            let (queue, model, tenant, priority) = (queue.clone(), *model, *tenant, *priority);
            let mut turn: Turn = Box::pin(async move { queue.turn(model, tenant, priority).await });
            assert!((&mut turn).now_or_never().is_none(), "somebody else has it");
            Some(turn)
        };
        wanted.iter().map(ask).collect()
    }

    /// In which order they have their turns, one at a time, once `first` is over.
    fn order(first: Place, turns: &mut [Option<Turn>]) -> Vec<usize> {
        let (mut order, mut place) = (Vec::new(), Some(first));
        while place.take().is_some() {
            for (at, turn) in turns.iter_mut().enumerate() {
                let given = turn.as_mut().and_then(FutureExt::now_or_never);
                if given.is_some() {
                    assert!(place.is_none(), "one at a time");
                    (place, *turn) = (given, None);
                    order.push(at);
                }
            }
        }
        order
    }

    fn busy(most: Most) -> (Queue, Place) {
        let queue = Queue::new(most);
        let first = queue.turn("a", "first", Priority::Medium).now_or_never().unwrap();
        (queue, first)
    }

    const ONE: Most = Most { in_all: 1, of_model: 1 };
    use Priority::{Critical, High, Low, Medium};

    #[test]
    fn the_urgent_come_first_and_of_equals_the_one_who_came_first() {
        let (queue, first) = busy(ONE);
        let wanted =
            [("a", "t", Low), ("a", "t", Medium), ("a", "t", Critical), ("a", "t", High), ("a", "t", Medium)];
        assert_eq!(order(first, &mut ask(&queue, &wanted)), [2, 3, 1, 4, 0]);
        assert_eq!((queue.waiting(), queue.in_flight()), (0, 0));
    }

    #[test]
    fn tenants_take_turns_however_many_each_sends() {
        let (queue, first) = busy(ONE);
        let mut wanted = vec![("a", "many", Medium); 5];
        wanted.extend([("a", "few", Medium), ("a", "few", Medium), ("a", "one", Medium)]);
        assert_eq!(order(first, &mut ask(&queue, &wanted)), [0, 5, 7, 1, 6, 2, 3, 4]);
        // Whatever they say of themselves.
        let (queue, first) = busy(ONE);
        let wanted = [("a", "many", Critical), ("a", "many", Critical), ("a", "few", Low)];
        assert_eq!(order(first, &mut ask(&queue, &wanted)), [0, 2, 1]);
    }

    #[test]
    fn those_whose_model_is_loaded_come_first_and_nobody_waits_for_ever() {
        let (queue, first) = busy(ONE);
        let mut wanted = vec![("b", "t", Medium)];
        wanted.extend([("a", "t", Medium); 20]);
        let order = order(first, &mut ask(&queue, &wanted));
        let at = order.iter().position(|one| *one == 0).unwrap();
        assert_eq!(at, MAX_FOR_LOADED as usize);
        let (queue, first) = busy(ONE);
        let mut wanted = vec![("a", "t", Low)];
        wanted.extend([("a", "t", Critical); MAX_OVERTAKEN as usize + 9]);
        let order = super::tests::order(first, &mut ask(&queue, &wanted));
        assert_eq!(order.iter().position(|one| *one == 0), Some(MAX_OVERTAKEN as usize));
    }

    #[test]
    fn many_that_wait_long_do_not_shut_out_another_tenant() {
        let (queue, first) = busy(ONE);
        let mut many = ask(&queue, &[("a", "many", Medium); 300]);
        let mut place = Some(first);
        for _ in 0..200 {
            let mut one = ask(&queue, &[("a", "one", Medium)]);
            let mut before = 0;
            while one[0].is_some() {
                drop(place.take());
                place = one[0].as_mut().and_then(FutureExt::now_or_never);
                match place.is_some() {
                    true => one[0] = None,
                    false => {
                        before += 1;
                        for turn in &mut many {
                            let given = turn.as_mut().and_then(FutureExt::now_or_never);
                            if given.is_some() {
                                (place, *turn) = (given, None);
                            }
                        }
                    }
                }
            }
            assert!(before <= 1, "{before} before it");
        }
    }

    #[test]
    fn a_model_has_its_own_limit_and_others_pass_by() {
        let (queue, first) = busy(Most { in_all: 3, of_model: 1 });
        let mut turns = ask(&queue, &[("a", "t", High)]);
        let other = queue.turn("b", "t", Low).now_or_never().expect("there is room for another model");
        let third = queue.turn("c", "t", Low).now_or_never().expect("and for a third");
        let mut fourth = ask(&queue, &[("d", "t", Low)]);
        drop(other);
        assert!(fourth[0].as_mut().and_then(FutureExt::now_or_never).is_some());
        assert!(turns[0].as_mut().and_then(FutureExt::now_or_never).is_none());
        drop(first);
        assert!(turns[0].as_mut().and_then(FutureExt::now_or_never).is_some());
        drop(third);
    }

    #[test]
    fn whoever_goes_waits_no_more() {
        let (queue, first) = busy(ONE);
        let mut turns = ask(&queue, &[("a", "t", High), ("a", "u", Low)]);
        turns[0] = None;
        assert_eq!(queue.waiting(), 1);
        assert_eq!(order(first, &mut turns), [1]);
        // One that has been given its turn and goes before it takes it.
        let first = queue.turn("a", "t", Low).now_or_never().unwrap();
        let turns = ask(&queue, &[("a", "t", High)]);
        drop(first);
        assert_eq!(queue.in_flight(), 1);
        drop(turns);
        assert_eq!(queue.in_flight(), 0);
        assert!(queue.0.state.lock().of_tenants.is_empty() && queue.0.state.lock().of_models.is_empty());
    }
}
