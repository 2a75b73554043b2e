//! What holds guests back when the machine is short: the cap of CPU time, shares, pauses, and memory.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use omnimind::cache::Cache;
use omnimind::executor::{Control, Executor, Job};
use omnimind::limits::{Limits, Mode};
use omnimind::protection::Shares;
use omnimind::task::{End, FailureKind, MemoryJournal, Outcome, Priority, TaskId};
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped, block_on, pause};

const PAGE: u64 = 64 << 10;
const MS: Duration = Duration::from_millis(1);
/// Generous, for a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(30);

/// A lab of one's own: its levers are nobody else's.
struct Own {
    lab: Lab,
    _dir: tempfile::TempDir,
}

impl Own {
    fn new(slots: usize) -> Own {
        let dir = tempfile::tempdir().expect("a directory");
        Own { lab: Lab::with_slots(dir.path().join("artefacts"), 20, slots), _dir: dir }
    }

    fn executor(&self) -> &Executor {
        &self.lab.executor
    }

    /// Runs all of them at once, with `meanwhile` beside them.
    fn with<T>(&self, runs: Vec<(Priority, Run)>, meanwhile: impl FnOnce() -> T) -> (Vec<Outcome>, T) {
        let jobs = runs.into_iter().map(|(priority, run)| {
            let mut job = run.job(&self.lab).expect("a task");
            job.priority = priority;
            job
        });
        let jobs: Vec<_> = jobs.collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                jobs.into_iter().map(|job| scope.spawn(|| block_on(self.executor().execute(job)))).collect();
            let value = meanwhile();
            (threads.into_iter().map(|thread| thread.join().expect("no panic")).collect(), value)
        })
    }

    fn one(&self, run: Run, meanwhile: impl FnOnce()) -> Outcome {
        self.with(vec![(Priority::Medium, run)], meanwhile).0.remove(0)
    }

    fn execute(&self, run: Run) -> Outcome {
        self.one(run, || ())
    }

    /// The directories in /proc of the guests' threads. No guest runs yet.
    fn threads(&self, count: usize) -> Vec<std::path::PathBuf> {
        let handle = self.lab.guests.handle().expect("guests' threads");
        let all = Arc::new(Barrier::new(count));
        let one = || {
            let all = all.clone();
            handle.spawn(async move {
                // Each waits for the others, so each is on a thread of its own.
                all.wait();
                std::fs::read_link("/proc/thread-self").expect("/proc")
            })
        };
        let all: Vec<_> = (0..count).map(|_| one()).collect();
        let path = |link: std::path::PathBuf| std::path::Path::new("/proc").join(link);
        block_on(async {
            let mut paths = Vec::new();
            for one in all {
                paths.push(path(one.await.expect("no panic")));
            }
            paths
        })
    }
}

/// CPU time of these threads so far, in seconds.
fn cpu(threads: &[std::path::PathBuf]) -> f64 {
    let of = |thread: &std::path::PathBuf| {
        let stat = std::fs::read_to_string(thread.join("schedstat")).expect("/proc");
        stat.split_whitespace().next().expect("a time").parse::<f64>().expect("nanoseconds") / 1e9
    };
    threads.iter().map(of).sum()
}

/// Shares of two cores that guests took in each half of a second of `time`.
fn shares_taken(threads: &[std::path::PathBuf], time: Duration) -> Vec<f64> {
    let end = Instant::now() + time;
    let mut taken = Vec::new();
    while Instant::now() < end {
        let (begun, before) = (Instant::now(), cpu(threads));
        pause(MS * 500);
        taken.push((cpu(threads) - before) / begun.elapsed().as_secs_f64() / 2.0);
    }
    taken
}

/// At most the cap. How far below it is depends on what else the machine has to do, and so does a single half of a
/// second above it: time that a hypervisor takes from a guest's thread is that thread's, and paid back in the next.
#[track_caller]
fn assert_capped(taken: &[f64], cap: f64) {
    println!("of {cap}: {taken:.3?}");
    let mut sorted = taken.to_vec();
    sorted.sort_by(f64::total_cmp);
    assert!(sorted[sorted.len() / 2] < cap + 0.03, "{taken:?}");
    assert!(taken.iter().all(|taken| *taken > 0.0), "{taken:?}");
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        pause(MS);
    }
}

fn spins(count: usize, wall_ms: u64) -> Vec<(Priority, Run)> {
    let spin = || {
        let mut run = Run::hostile("spin").limit("wall_ms", wall_ms);
        run.control = Control::default();
        (Priority::Medium, run)
    };
    (0..count).map(|_| spin()).collect()
}

#[test]
fn a_cap_of_cpu_time_holds_for_guests_that_spin() {
    for (percent, cap) in [(25.0, 0.25), (75.0, 0.75)] {
        for count in [2, 5] {
            let own = Own::new(2);
            let threads = own.threads(2);
            own.executor().levers().cap_cpu(Some(percent));
            let (_, taken) = own.with(spins(count, 3_500), || {
                pause(MS * 300);
                shares_taken(&threads, MS * 2_500)
            });
            assert_capped(&taken, cap);
        }
    }
}

#[test]
fn a_cap_of_cpu_time_holds_for_many_short_tasks() {
    let own = Own::new(2);
    let threads = own.threads(2);
    own.executor().levers().cap_cpu(Some(25.0));
    let prepared = own.lab.prepare(Run::hostile("spin").component).expect("a task");
    // About a tenth of a millisecond each: the guests, and not their client, are what is slow.
    let (limits, input) = (Limits::defaults(Mode::Dev), Arc::<[u8]>::from(*b"200000"));
    let end = Instant::now() + MS * 3_500;
    let flight = async || {
        while Instant::now() < end {
            let journal = Arc::new(MemoryJournal::default());
            let job = Job::new(TaskId::generate(), prepared.clone(), input.clone(), limits, journal);
            let outcome = own.executor().execute(job.expect("a job")).await;
            assert_eq!(outcome.output(), b"200000");
        }
    };
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async { tokio::join!(flight(), flight(), flight(), flight(), flight(), flight()) })
        });
        pause(MS * 300);
        shares_taken(&threads, MS * 2_500)
    });
    assert_capped(&taken, 0.25);
}

#[test]
fn a_guest_that_waits_for_the_cap_can_be_ended() {
    let own = Own::new(2);
    own.executor().levers().cap_cpu(Some(1.0));
    let begun = Instant::now();
    let runs = spins(6, 2_000);
    let cancelled = runs[0].1.control.clone();
    let ended = runs[1].1.control.clone();
    let (outcomes, ()) = own.with(runs, || {
        pause(MS * 500);
        cancelled.cancel(Duration::ZERO);
        ended.end_for_memory();
    });
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(outcomes[0].end, End::Cancelled);
    assert_eq!(outcomes[1].failure().kind, FailureKind::MachineMemory);
    for outcome in &outcomes[2..] {
        assert_stopped(outcome, FailureKind::DeadlineExceeded, "wall_ms");
    }
    let took: u64 = outcomes.iter().map(|outcome| outcome.receipt.cpu_ms).sum();
    assert!(took < 1_000, "{took} ms of CPU");
}

#[test]
fn when_the_cap_is_lifted_guests_go_on() {
    let own = Own::new(1);
    let levers = own.executor().levers();
    levers.cap_cpu(Some(1.0));
    // An operation that is not interrupted, and a debt of a hundred times its length.
    let fill = Run::hostile("bulk-fill").limit("wall_ms", 500);
    own.execute(fill);
    levers.cap_cpu(None);
    let begun = Instant::now();
    own.execute(Run::hostile("spin").units(100_000)).output();
    assert!(begun.elapsed() < LONG);
    levers.cap_cpu(Some(90.0));
    own.execute(Run::hostile("spin").units(1_000_000)).output();
}

/// Fuel of the first for each unit of the second, on one slot, after both have used much.
fn proportion(shares: Shares, priorities: [Priority; 2]) -> f64 {
    let own = Own::new(1);
    own.executor().levers().set_shares(shares);
    let mut runs = spins(2, 30_000);
    let controls: Vec<_> = runs.iter().map(|(_, run)| run.control.clone()).collect();
    for (run, priority) in runs.iter_mut().zip(priorities) {
        run.0 = priority;
    }
    let (_, proportion) = own.with(runs, || {
        let used = || [controls[0].fuel_used() as f64, controls[1].fuel_used() as f64];
        until("both have begun", || used().iter().all(|used| *used > 0.0));
        let before = used();
        until("they compute", || used()[0] - before[0] > 2e9);
        let after = used();
        controls.iter().for_each(|control| control.cancel(Duration::ZERO));
        (after[0] - before[0]) / (after[1] - before[1])
    });
    println!("{priorities:?} {shares:?}: {proportion:.2}");
    proportion
}

#[test]
fn shares_are_what_guests_of_different_priority_compute() {
    let critical = Shares { low: 50, medium: 50, high: 100, critical: 200 };
    let four = proportion(critical, [Priority::Critical, Priority::Low]);
    assert!((2.8..5.6).contains(&four), "{four}");
    let two = proportion(critical, [Priority::High, Priority::Low]);
    assert!((1.5..2.7).contains(&two), "{two}");
    let equal = proportion(Shares::FULL, [Priority::Critical, Priority::Low]);
    assert!((0.75..1.35).contains(&equal), "{equal}");
}

#[test]
fn equal_guests_compute_equally_much() {
    let own = Own::new(2);
    let runs = spins(6, 60_000);
    let controls: Vec<_> = runs.iter().map(|(_, run)| run.control.clone()).collect();
    let (_, had) = own.with(runs, || {
        let used = || controls.iter().map(Control::fuel_used).collect::<Vec<_>>();
        until("all have begun", || used().iter().all(|used| *used > 0));
        let before = used();
        let had = || used().iter().zip(&before).map(|(now, before)| now - before).collect::<Vec<_>>();
        // Some hundred milliseconds each: enough that a turn of ten does not count for much.
        until("all compute", || had().iter().all(|had| *had > 4_000_000_000));
        let had = had();
        controls.iter().for_each(|control| control.cancel(Duration::ZERO));
        had
    });
    println!("{had:?}");
    let (least, most) = (had.iter().min().expect("six"), had.iter().max().expect("six"));
    assert!(*most as f64 <= *least as f64 * 1.2, "{had:?}");
}

#[test]
fn guests_that_spin_do_not_keep_short_ones_waiting() {
    let own = Own::new(2);
    let mut runs = spins(6, 60_000);
    runs.iter_mut().for_each(|run| run.0 = Priority::Critical);
    let controls: Vec<_> = runs.iter().map(|(_, run)| run.control.clone()).collect();
    own.with(runs, || {
        until("all spin", || controls.iter().all(|control| control.fuel_used() > 0));
        for _ in 0..5 {
            let begun = Instant::now();
            let low = vec![(Priority::Low, Run::hostile("echo").input("short"))];
            let (outcomes, ()) = own.with(low, || ());
            assert_eq!(outcomes[0].output(), b"short");
            assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        }
        controls.iter().for_each(|control| control.cancel(Duration::ZERO));
    });
}

#[test]
fn a_task_that_is_paused_before_it_begins_does_not_begin() {
    let own = Own::new(1);
    let run = Run::hostile("echo").input("late");
    let control = run.control.clone();
    control.pause();
    let outcome = own.one(run, || {
        pause(MS * 200);
        // The only slot is not its.
        own.execute(Run::hostile("echo").input("meanwhile")).output();
        pause(MS * 200);
        assert_eq!((control.fuel_used(), control.memory_bytes()), (0, 0));
        control.resume();
    });
    assert_eq!(outcome.output(), b"late");
    let receipt = &outcome.receipt;
    // Begun between two ticks of a clock, and cut to milliseconds.
    assert!(receipt.queue_ms >= 399 && receipt.paused_ms == 0 && receipt.wall_ms < 400, "{receipt:?}");

    // Resumed and paused again while it waits, and then ended.
    let run = Run::hostile("echo").input("never");
    let control = run.control.clone();
    control.pause();
    let outcome = own.one(run, || {
        pause(MS * 100);
        control.end_for_memory();
    });
    assert_eq!(outcome.failure().kind, FailureKind::MachineMemory);
    assert_eq!((outcome.used("fuel"), outcome.used("wall_ms")), (0, 0));
}

#[test]
fn a_paused_task_computes_nothing_and_its_time_stands_still() {
    let own = Own::new(1);
    let run = Run::hostile("spin").limit("wall_ms", 1_000);
    let control = run.control.clone();
    let outcome = own.one(run, || {
        until("it spins", || control.fuel_used() > 0);
        control.pause();
        // Its next yield has been when another has the slot.
        own.execute(Run::hostile("echo").input("x")).output();
        let used = control.fuel_used();
        pause(MS * 1_500);
        assert_eq!(control.fuel_used(), used, "not one unit");
        let begun = Instant::now();
        control.resume();
        until("it goes on", || control.fuel_used() > used);
        println!("resumed within {:?}", begun.elapsed());
    });
    assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
    let receipt = &outcome.receipt;
    assert!(receipt.paused_ms >= 1_500 && (1_000..2_000).contains(&receipt.wall_ms), "{receipt:?}");
}

#[test]
fn the_deadline_of_a_paused_sleeper_moves() {
    let own = Own::new(1);
    let run = Run::hostile("sleep").units(3_600_000).limit("wall_ms", 700);
    let control = run.control.clone();
    let begun = Instant::now();
    let outcome = own.one(run, || {
        until("it sleeps", || control.fuel_used() > 0);
        control.pause();
        pause(MS * 1_500);
        control.resume();
    });
    assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
    assert!(begun.elapsed() >= MS * 2_200, "the pause is not part of it: {:?}", begun.elapsed());
    let receipt = &outcome.receipt;
    assert!(receipt.paused_ms >= 1_500 && (700..2_200).contains(&receipt.wall_ms), "{receipt:?}");

    // What it waited for has happened meanwhile.
    let run = Run::hostile("sleep").units(300).limit("wall_ms", 20_000);
    let control = run.control.clone();
    let outcome = own.one(run, || {
        until("it sleeps", || control.fuel_used() > 0);
        control.pause();
        pause(MS * 600);
        control.resume();
    });
    assert_eq!(outcome.output(), b"300");
}

#[test]
fn a_task_ends_for_the_machines_memory_whatever_it_does() {
    let own = Own::new(2);
    for (guest, paused) in [("spin", false), ("sleep", false), ("spin", true)] {
        let run = Run::hostile(guest);
        let control = run.control.clone();
        let outcome = own.one(run, || {
            until("it runs", || control.fuel_used() > 0);
            assert_eq!(control.memory_bytes(), PAGE);
            if paused {
                control.pause();
                pause(MS * 100);
            }
            control.end_for_memory();
        });
        let failure = outcome.failure();
        assert_eq!(failure.kind, FailureKind::MachineMemory, "{guest}");
        assert!(failure.message.contains("the machine is short of memory"), "{}", failure.message);
        assert_eq!(outcome.receipt.stopped_by, None, "none of its limits");
        assert_eq!((control.memory_bytes(), control.fuel_used()), (0, 0), "it holds nothing any more");
    }
    // One that a client no longer wants is not tried again.
    let run = Run::hostile("spin");
    let control = run.control.clone();
    let outcome = own.one(run, || {
        until("it runs", || control.fuel_used() > 0);
        control.cancel(Duration::from_secs(3600));
        control.end_for_memory();
    });
    assert_eq!(outcome.end, End::Cancelled);
}

#[test]
fn memory_that_the_machine_does_not_have_is_refused() {
    let own = Own::new(2);
    let levers = own.executor().levers();
    levers.leave_memory(Some(10 * PAGE));
    for guest in ["grow", "grow-once", "grow-touch"] {
        let over = own.execute(Run::hostile(guest).units(100));
        let failure = over.failure();
        assert_eq!(failure.kind, FailureKind::MachineMemory, "{guest}: {failure:?}");
        assert!(failure.message.contains("the machine is short of memory"), "{}", failure.message);
        assert!(failure.asked.is_some() && failure.hint.is_some() && failure.limit.is_none(), "{failure:?}");
        levers.leave_memory(Some(10 * PAGE));
        own.execute(Run::hostile(guest).units(9)).output();
        levers.leave_memory(Some(10 * PAGE));
    }
    // One that copes goes on, with what there is.
    let patient = own.execute(Run::hostile("grow-patient").units(100));
    assert_eq!(patient.output(), b"refused at 10 pages");
    // Nothing is left, not even for a beginning.
    let echo = own.execute(Run::hostile("echo").input("x"));
    assert_eq!(echo.failure().kind, FailureKind::MachineMemory, "{:?}", echo.failure());
    assert_eq!(echo.used("memory_bytes"), 0);
    // What traps later traps for another reason; its own limit is still told.
    levers.leave_memory(Some(100 * PAGE));
    let later = own.execute(Run::hostile("trap-after-refusal"));
    assert_eq!(later.failure().kind, FailureKind::Trap, "{:?}", later.failure());
    levers.leave_memory(Some(100 * PAGE));
    let limited = own.execute(Run::hostile("grow").units(50).limit("memory_bytes", 40 * PAGE));
    assert_stopped(&limited, FailureKind::MemoryLimit, "memory_bytes");

    levers.leave_memory(None);
    own.execute(Run::hostile("grow").units(1_000)).output();
}

#[test]
fn what_a_deterministic_task_computes_does_not_depend_on_the_machines_memory() {
    let own = Own::new(2);
    let levers = own.executor().levers();
    levers.leave_memory(Some(10 * PAGE));
    let over = own.execute(Run::hostile("grow-patient").units(100).deterministic());
    let failure = over.failure();
    assert_eq!(failure.kind, FailureKind::MachineMemory, "{failure:?}");
    levers.leave_memory(None);
    let own_limit = Run::hostile("grow-patient").units(100).deterministic().limit("memory_bytes", 10 * PAGE);
    assert_eq!(own.execute(own_limit).output(), b"refused at 10 pages");
}

/// A guest whose `run` is `body`, with a memory of one page and the text `no room` at 128.
fn small(body: &str) -> Run {
    let text = format!(
        r#"(component
      (core module $m
        (memory (export "memory") 1)
        (data (i32.const 16) "\01\00\00\00\80\00\00\00\07\00\00\00")
        (data (i32.const 128) "no room")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "run") (param i32 i32) (result i32) {body}))
      (core instance $i (instantiate $m))
      (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    Run::bytes(wat::parse_str(text).expect("text").into())
}

#[test]
fn a_guest_that_says_there_is_no_room_is_the_machines_failure_too() {
    let own = Own::new(2);
    let gives_up = || small("(drop (memory.grow (i32.const 100))) i32.const 16");
    assert_eq!(own.execute(gives_up()).failure().kind, FailureKind::GuestError);
    own.executor().levers().leave_memory(Some(10 * PAGE));
    let outcome = own.execute(gives_up());
    let failure = outcome.failure();
    assert_eq!(failure.kind, FailureKind::MachineMemory, "{failure:?}");
    assert!(failure.message.contains("no room"), "{}", failure.message);
    assert_eq!(failure.asked, Some(100 * PAGE));
}

#[test]
fn what_a_guest_holds_is_seen_while_it_computes() {
    let own = Own::new(2);
    // No call of the host but the growth itself.
    let run = small("(drop (memory.grow (i32.const 100))) (loop $again (br $again)) unreachable");
    let control = run.control.clone();
    assert_eq!((control.memory_bytes(), control.fuel_used()), (0, 0));
    own.one(run, || {
        until("it is seen", || control.memory_bytes() == 101 * PAGE);
        let used = control.fuel_used();
        until("its fuel too", || control.fuel_used() > used + 100_000_000);
        control.cancel(Duration::ZERO);
    });
}

#[test]
fn linked_components_that_nobody_uses_are_forgotten() {
    let own = Own::new(2);
    let cache = own.executor().cache();
    let echo = own.lab.prepare(Run::hostile("echo").component).expect("a task");
    own.execute(Run::hostile("spin").units(10)).output();
    assert_eq!(cache.figures().entries, 2);
    assert_eq!(cache.clear(), 1, "spin");
    assert!(own.executor().linked(&echo.component.digest).is_some());
    drop(echo);
    assert_eq!((cache.clear(), cache.clear()), (1, 0));
    own.execute(Run::hostile("echo").input("again")).output();
}
