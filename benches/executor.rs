//! What the limits cost: an empty task on bare wasmtime, with each limit added, and through the executor.
//!
//! Read the figures as ratios within one run: these machines are noisy.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use omnimind::executor::{Job, Prepared, run};
use omnimind::limits::{Limits, Mode};
use omnimind::task::{End, Journal, MemoryJournal, TaskId};
use omnimind_benches::{Bare, On, empty};
use omnimind_tests::Lab;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

thread_local! {
    /// A guest's thread: an epoch may pass in the middle of a task, and then it yields.
    static THREAD: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

struct Tasks {
    prepared: Arc<Prepared>,
    journal: Arc<dyn Journal>,
    input: Arc<[u8]>,
    /// Made where a task is submitted, not where it is executed.
    task_id: TaskId,
    lab: Lab,
}

impl Tasks {
    fn new() -> Tasks {
        let artefacts = omnimind_tests::target_dir().join("bench-artefacts");
        let lab = Lab::new(artefacts, 50);
        let prepared = lab.prepare(empty()).expect("a task");
        let (journal, input) = (Arc::new(MemoryJournal::default()), Arc::default());
        Tasks { prepared, journal, input, task_id: TaskId::generate(), lab }
    }

    fn job(&self) -> Job {
        let limits = Limits::defaults(Mode::Dev);
        let (prepared, input, journal) = (self.prepared.clone(), self.input.clone(), self.journal.clone());
        Job::new(self.task_id, prepared, input, limits, journal).expect("a job")
    }

    /// What the executor does for one task, on this thread.
    fn run(&self) {
        let job = self.job();
        let outcome = THREAD.with(|thread| thread.block_on(run(job)));
        assert!(matches!(black_box(&outcome).end, End::Completed(_)));
    }
}

fn ladder(c: &mut Criterion) {
    let mut group = c.benchmark_group("empty task");
    let bare = On::default();
    let asynchronous = On { asynchronous: true, ..bare };
    let fuel = On { fuel: true, ..asynchronous };
    let epochs = On { epochs: true, ..asynchronous };
    let limiter = On { limiter: true, ..asynchronous };
    let handles = On { handles: true, ..asynchronous };
    let hook = On { hook: true, ..asynchronous };
    let all = On { asynchronous: true, fuel: true, epochs: true, limiter: true, handles: true, hook: true };
    for (name, on) in [
        ("bare wasmtime", bare),
        ("+ async", asynchronous),
        ("+ async, fuel", fuel),
        ("+ async, epochs", epochs),
        ("+ async, limiter", limiter),
        ("+ async, handles", handles),
        ("+ async, call hook", hook),
        ("+ all of them", all),
    ] {
        let subject = Bare::new(on);
        group.bench_function(name, |b| b.iter(|| subject.run()));
    }
    group.finish();
}

fn executor(c: &mut Criterion) {
    let mut group = c.benchmark_group("empty task");
    let tasks = Tasks::new();
    group.bench_function("executor, every limit", |b| b.iter(|| tasks.run()));
    group.finish();
}

/// The whole of [`omnimind::executor::Executor::execute`]: a permit, the guests' threads (two, nice 10), the
/// watch over the deadline and the way back, with 64 tasks in flight from a third thread.
fn executed(c: &mut Criterion) {
    const IN_FLIGHT: u64 = 64;
    let mut group = c.benchmark_group("two threads");
    group.throughput(Throughput::Elements(1));
    let tasks: &'static Tasks = Box::leak(Box::new(Tasks::new()));
    let flight = async move |tasks_each: u64| {
        for _ in 0..tasks_each {
            let outcome = tasks.lab.executor.execute(tasks.job()).await;
            assert!(matches!(outcome.end, End::Completed(_)));
        }
    };
    group.bench_function("executor, from another thread", |b| {
        b.iter_custom(|iterations| {
            let begun = Instant::now();
            omnimind_tests::block_on(async {
                let mut flights = JoinSet::new();
                for _ in 0..IN_FLIGHT {
                    flights.spawn(flight(iterations.div_ceil(IN_FLIGHT)));
                }
                flights.join_all().await;
            });
            begun.elapsed()
        });
    });
    group.finish();
}

/// Tasks a second on two threads at once.
fn throughput(c: &mut Criterion) {
    const THREADS: u64 = 2;
    let mut group = c.benchmark_group("two threads");
    group.throughput(Throughput::Elements(1));
    let both = |iterations: u64, one: &(dyn Fn() + Sync)| {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..iterations.div_ceil(THREADS)).for_each(|_| one()));
            }
        });
        begun.elapsed()
    };
    let bare = Bare::new(On::default());
    group.bench_function("bare wasmtime", |b| b.iter_custom(|iterations| both(iterations, &|| bare.run())));
    let tasks = Tasks::new();
    group.bench_function("executor, every limit", |b| {
        b.iter_custom(|iterations| both(iterations, &|| tasks.run()));
    });
    group.finish();
}

criterion_group!(benches, ladder, executor, throughput, executed);
criterion_main!(benches);
