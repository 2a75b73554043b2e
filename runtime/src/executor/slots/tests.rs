use super::*;

fn turns(slots: &Slots, priority: Priority) -> Turns {
    slots.turns(priority, Tenant::default())
}

fn poll(turns: &mut Turns) -> bool {
    turns.poll_begin(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn holds(turns: &Turns) -> bool {
    matches!(turns.turn, Turn::Holding(_))
}

#[test]
fn there_are_as_many_turns_as_slots() {
    let slots = Slots::new(2);
    let [mut a, mut b, mut c] = [0; 3].map(|_| turns(&slots, Priority::Medium));
    assert!(poll(&mut a) && poll(&mut b) && !poll(&mut c));
    a.end();
    assert!(poll(&mut c), "the slot went to the one that waited");
    assert!(!poll(&mut a));
}

#[test]
fn the_urgent_go_first_and_the_others_are_not_forgotten() {
    let slots = Slots::new(1);
    let mut holder = turns(&slots, Priority::Medium);
    assert!(poll(&mut holder));
    let mut low = turns(&slots, Priority::Low);
    let mut high = turns(&slots, Priority::High);
    assert!(!poll(&mut low) && !poll(&mut high));
    holder.end();
    assert!(!poll(&mut low) && poll(&mut high));
    std::thread::sleep(patience(Priority::Low));
    // It came later: its turn is due later, however urgent it is.
    let mut critical = turns(&slots, Priority::Critical);
    assert!(!poll(&mut critical));
    high.end();
    assert!(poll(&mut low) && !poll(&mut critical));
}

#[test]
fn a_turn_that_nobody_wants_any_more_goes_on() {
    let slots = Slots::new(1);
    let [mut a, mut b, mut c] = [0; 3].map(|_| turns(&slots, Priority::Medium));
    assert!(poll(&mut a) && !poll(&mut b) && !poll(&mut c));
    a.end();
    drop(b); // granted, and never looked
    assert!(poll(&mut c));
    drop(c);
    let mut d = turns(&slots, Priority::Low);
    assert!(poll(&mut d), "nothing leaked");
}

#[test]
fn a_turn_is_over_only_when_somebody_waits() {
    let slots = Slots::new(1);
    let [mut a, mut b] = [0; 2].map(|_| turns(&slots, Priority::Medium));
    assert!(poll(&mut a));
    a.after_slice(QUANTUM * 9, true);
    assert!(holds(&a));
    assert!(!poll(&mut b));
    a.after_slice(TICK, true);
    assert!(!holds(&a) && poll(&mut b) && !poll(&mut a));
    b.after_slice(TICK, true);
    assert!(holds(&b), "half of its turn");
    b.after_slice(TICK, true);
    assert!(!holds(&b) && poll(&mut a));
    a.after_slice(TICK, false);
    assert!(!holds(&a), "it waits in a host call");
}

#[test]
fn turns_are_as_long_as_the_share_on_average() {
    let slots = Slots::new(1);
    slots.set_shares(Shares { low: 50, medium: 50, high: 100, critical: 200 });
    for (priority, share) in [(Priority::Low, 0.5), (Priority::High, 1.0), (Priority::Critical, 2.0)] {
        for slice in [1, 2, 3, 4, 5].map(Duration::from_millis) {
            let (rounds, mut had) = (60, Duration::ZERO);
            let mut guest = turns(&slots, priority);
            for _ in 0..rounds {
                let mut turn = Duration::ZERO;
                loop {
                    turn += slice;
                    let missing = guest.missing_ns(slots.0.state.lock().shares, turn);
                    if missing <= nanoseconds(TICK / 2) {
                        guest.carry_ns = missing;
                        break;
                    }
                }
                had += turn;
            }
            let average = had.as_secs_f64() / (QUANTUM * rounds).as_secs_f64();
            assert!((average - share).abs() < 0.02, "{priority:?}, slices of {slice:?}: {average}");
        }
    }
}

/// A cap that is far from having been paid for.
fn in_debt(slots: &Slots) {
    slots.set_cap(Some(50.0));
    slots.0.state.lock().bucket.as_mut().unwrap().charge(Duration::from_secs(3600));
}

#[test]
fn what_cannot_be_paid_for_stops_and_keeps_its_place() {
    let slots = Slots::new(1);
    let [mut a, mut b] = [0; 2].map(|_| turns(&slots, Priority::Medium));
    assert!(poll(&mut a) && !poll(&mut b));
    in_debt(&slots);
    a.after_slice(TICK, true);
    assert!(!holds(&a) && !poll(&mut a) && !poll(&mut b), "the slot is free, but there is no time");
    slots.set_cap(None);
    assert!(!poll(&mut b) && poll(&mut a), "its turn was not over");
    a.end();
    assert!(poll(&mut b));
}

#[test]
fn under_a_cap_a_guest_stops_although_nobody_waits() {
    let slots = Slots::new(2);
    let [mut a, mut b] = [0; 2].map(|_| turns(&slots, Priority::Medium));
    assert!(poll(&mut a));
    in_debt(&slots);
    a.after_slice(TICK, true);
    assert!(!holds(&a) && !poll(&mut b));
    assert!(!poll(&mut a));
    assert!(slots.hand_out() > Duration::from_secs(60), "nothing to hand out for long");
    drop(b);
    // In time it is paid for, and found by the pacer.
    slots.0.state.lock().bucket = Some(Bucket::new(50.0, 2, Instant::now()));
    std::thread::sleep(Duration::from_millis(5));
    assert!(!poll(&mut a), "only the pacer hands out");
    assert_eq!(slots.hand_out(), Duration::MAX, "nobody waits any more");
    assert!(poll(&mut a));
}

#[test]
fn the_pacer_runs_once_for_a_cap() {
    let slots = Slots::new(1);
    assert!(slots.set_cap(None).is_none() && slots.set_cap(Some(100.0)).is_none());
    let first = slots.set_cap(Some(75.0)).expect("a pacer");
    assert_eq!(slots.set_cap(Some(85.0)), None, "the same");
    assert_eq!(slots.set_cap(None), None);
    let second = slots.set_cap(Some(75.0)).expect("another pacer");
    assert_ne!(first, second);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        slots.clone().pace(first).await;
        let pacer = tokio::spawn(slots.clone().pace(second));
        tokio::task::yield_now().await;
        slots.set_cap(None);
        tokio::time::timeout(Duration::from_secs(10), pacer).await.expect("it ends").unwrap();
    });
}

/// Turns that each of these guests has when there are `all` of them, one after the other.
fn shared_out(slots: &Slots, guests: &mut [Turns], all: usize) -> Vec<usize> {
    let mut had = vec![0; guests.len()];
    for guest in &mut *guests {
        poll(guest);
    }
    for _ in 0..all {
        let holder = guests.iter().position(holds).expect("one of them");
        had[holder] += 1;
        // Time passes as it would.
        slots.0.state.lock().made -= QUANTUM;
        guests[holder].after_slice(QUANTUM, true);
        for guest in &mut *guests {
            poll(guest);
        }
    }
    had
}

#[test]
fn a_tenant_with_many_guests_computes_no_more_than_one_with_few() {
    let slots = Slots::new(1);
    let tenant = |name: &str, share| Tenant { name: name.into(), share };
    let many = (0..10).map(|_| slots.turns(Priority::Medium, tenant("many", 100)));
    let mut guests: Vec<Turns> = many.collect();
    guests.push(slots.turns(Priority::Medium, tenant("one", 100)));
    let had = shared_out(&slots, &mut guests, 1000);
    let (one, many) = (had[10], had[..10].iter().sum::<usize>());
    assert!((450..=550).contains(&one), "{one} and {many}");
    assert!(had[..10].iter().all(|had| (35..=65).contains(had)), "{had:?}");
    // With a quarter of the share, a fifth of the time.
    guests[10] = slots.turns(Priority::Medium, tenant("less", 25));
    let had = shared_out(&slots, &mut guests, 1000);
    assert!((160..=240).contains(&had[10]), "{had:?}");
    drop(guests);
    assert!(slots.0.state.lock().contention.is_empty());
}

#[test]
fn a_task_that_many_compute_for_gets_no_more_than_one_with_a_guest_alone() {
    let slots = Slots::new(1);
    let tenant = |name: &str| Tenant { name: name.into(), share: 100 };
    let part = |name| slots.turns_of_part(Priority::Medium, tenant(name), 8);
    let guest = |name| slots.turns(Priority::Medium, tenant(name));
    let mut guests: Vec<Turns> = (0..8).map(|_| part("a")).collect();
    guests.extend((0..3).map(|_| guest("a")));
    let had = shared_out(&slots, &mut guests, 1000);
    let parts: usize = had[..8].iter().sum();
    assert!((200..=300).contains(&parts) && had[8..].iter().all(|had| (200..=300).contains(had)), "{had:?}");
    assert!(had[..8].iter().all(|had| (15..=50).contains(had)), "{had:?}");
    // Beside another tenant they are still one of its guests.
    guests.push(guest("b"));
    let had = shared_out(&slots, &mut guests, 2000);
    let parts: usize = had[..8].iter().sum();
    assert!((900..=1100).contains(&had[11]) && (200..=300).contains(&parts), "{had:?}");
    drop(guests);
    assert!(slots.0.state.lock().contention.is_empty());
}

#[test]
fn work_of_many_tasks_takes_what_is_free_and_nobody_waits_for() {
    let slots = Slots::new(3);
    let [mut a, mut b] = [0; 2].map(|_| turns(&slots, Priority::Medium));
    assert!(poll(&mut a));
    assert_eq!([slots.take_free(1), slots.take_free(5), slots.take_free(1)], [1, 1, 0]);
    assert!(!poll(&mut b));
    slots.give_back(2, Duration::ZERO);
    assert!(poll(&mut b), "one went to who waited");
    let mut c = turns(&slots, Priority::Medium);
    assert!(poll(&mut c), "and one was free");
    c.end();
    // Under a cap its time is charged, and what cannot be paid for is not taken.
    slots.set_cap(Some(50.0));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(slots.take_free(1), 1);
    slots.give_back(1, Duration::from_secs(1000));
    assert_eq!(slots.take_free(1), 0);
    assert!(!poll(&mut c));
}
