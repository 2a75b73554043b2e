//! Tensors that guests are lent: what they cost, what they may not take, and that a long product makes room.

use std::time::{Duration, Instant};

use omnimind::task::{End, FailureKind};
use omnimind_tests::{Lab, OutcomeExt, Run, assert_stopped, block_on};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Operations of one product of `tensor-products`.
const PRODUCT: u64 = 2 * 64 * 64 * 64;

fn told(run: Run) {
    let outcome = run.execute();
    let failure = outcome.failure();
    assert_eq!((failure.kind, &*failure.message), (FailureKind::BudgetExhausted, "budget-exhausted"));
}

#[test]
fn bytes_of_tensors_are_counted_together() {
    let hoard = |count| Run::hostile("tensor-hoard").units(count).limit("tensor_bytes", 400 * KIB);
    let twin = hoard(100).execute();
    twin.output();
    assert_eq!(twin.used("tensor_bytes"), 400 * KIB, "the most that there was at one time");
    told(hoard(101));
    told(Run::hostile("tensor-hoard").limit("handles", 10_000).limit("tensor_bytes", 10 * MIB));
    // Empty ones are no way around: there is a cap of handles too.
    let many = Run::hostile("tensor-hoard").limit("handles", 100).execute();
    assert_stopped(&many, FailureKind::HandleLimit, "handles");
}

#[test]
fn operations_of_products_are_counted_before_they_are_done() {
    let products = |count| Run::hostile("tensor-products").units(count).limit("tensor_flops", 100 * PRODUCT);
    let twin = products(100).execute();
    twin.output();
    assert_eq!(twin.used("tensor_flops"), 100 * PRODUCT);
    assert_eq!(twin.used("tensor_bytes"), 2 * 64 * 64 * 4, "a factor and one product at a time");
    told(products(101));
    told(products(1_000_000));
    // 55 trillion: it is not begun.
    let begun = Instant::now();
    told(Run::hostile("tensor-product").units(30_000).limit("tensor_bytes", 8 << 30));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_shape_that_no_machine_has_is_refused_before_it_is_made() {
    for size in [1 << 16, 1 << 20] {
        told(Run::hostile("tensor-product").units(size));
    }
    // No dimension is 0, and so many elements cannot be counted.
    for size in [0, u64::from(u32::MAX)] {
        let outcome = Run::hostile("tensor-product").units(size).execute();
        assert_eq!(outcome.failure().message, "refused", "{size}");
    }
}

#[test]
fn one_call_brings_back_no_more_than_there_is_room_for() {
    let read = |bytes| Run::hostile("tensor-read").units(bytes).limit("memory_bytes", 16 * MIB);
    read(15 * MIB).execute().output();
    told(read(128 * MIB));
    let carried = Run::hostile("tensor-read").units(2 * MIB).limit("host_call_bytes", MIB).execute();
    assert_stopped(&carried, FailureKind::HostcallLimit, "host_call_bytes");
}

/// A product that takes longer than any test.
fn endless() -> Run {
    Run::hostile("tensor-product").units(16_000).limit("tensor_bytes", 4 << 30)
}

#[test]
fn a_deadline_ends_a_long_product() {
    let begun = Instant::now();
    let outcome = endless().limit("wall_ms", 300).execute();
    assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(outcome.receipt.cpu_ms >= 100, "the product is the task's own time: {:?}", outcome.receipt);
}

#[test]
fn who_is_cancelled_in_a_long_product_gives_everything_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::with_slots(dir.path().join("artefacts"), 1, 1);
    let run = endless();
    let control = run.control.clone();
    let job = run.job(&lab).expect("a task");
    let next = Run::hostile("spin").units(1000).job(&lab).expect("a task");
    block_on(async {
        let product = lab.executor.execute(job);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(control.memory_bytes() > GIB, "three tensors are there");
            control.cancel(Duration::ZERO);
        };
        let (outcome, ()) = tokio::join!(product, cancel);
        assert_eq!(outcome.end, End::Cancelled);
        // The only slot is free again, soon.
        let next = lab.executor.execute(next);
        tokio::time::timeout(Duration::from_secs(5), next).await.expect("a slot").output();
        tokio::time::timeout(Duration::from_secs(5), async {
            while control.memory_bytes() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("nothing is held any more");
    });
}

#[test]
fn a_long_product_makes_room_for_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::with_slots(dir.path().join("artefacts"), 8, 1);
    let run = endless();
    let control = run.control.clone();
    let job = run.job(&lab).expect("a task");
    let short = [(); 10].map(|()| Run::hostile("spin").units(1000).job(&lab).expect("a task"));
    block_on(async {
        let product = lab.executor.execute(job);
        let others = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            for short in short {
                tokio::time::timeout(Duration::from_secs(5), lab.executor.execute(short))
                    .await
                    .expect("its turn")
                    .output();
            }
            control.cancel(Duration::ZERO);
        };
        let (outcome, ()) = tokio::join!(product, others);
        assert_eq!(outcome.end, End::Cancelled);
    });
}

#[test]
fn a_paused_product_stands_still() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::with_slots(dir.path().join("artefacts"), 1, 2);
    let run = endless().limit("wall_ms", 2_000);
    let control = run.control.clone();
    let job = run.job(&lab).expect("a task");
    block_on(async {
        let product = lab.executor.execute(job);
        let pausing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            control.pause();
            tokio::time::sleep(Duration::from_millis(3_000)).await;
            control.resume();
        };
        let (outcome, ()) = tokio::join!(product, pausing);
        assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
        let receipt = &outcome.receipt;
        assert!(receipt.paused_ms >= 2_900, "{receipt:?}");
        // Two threads, two seconds; nothing in the pause.
        assert!(receipt.cpu_ms <= 2 * 2_000 + 1_000, "{receipt:?}");
    });
}

#[test]
fn what_a_task_gives_back_the_machine_has_again_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::with_slots(dir.path().join("artefacts"), 1, 1);
    let products = |count| Run::hostile("tensor-products").units(count);
    let many = products(1000).job(&lab).expect("a task");
    // Refused before anything is taken for its product.
    let refused = products(1).limit("tensor_flops", PRODUCT - 1).job(&lab).expect("a task");
    let hoard = Run::hostile("tensor-hoard").units(200).job(&lab).expect("a task");
    block_on(async {
        // 16 KiB for each product, one after the other, in what is left of the machine.
        lab.executor.levers().leave_memory(Some(300 * KIB));
        lab.executor.execute(many).await.output();
        let refused = lab.executor.execute(refused).await;
        assert_eq!(refused.failure().message, "budget-exhausted");
        // And more than that there is not, for anybody. Whoever gives up for it was not at fault.
        let hoard = lab.executor.execute(hoard).await;
        let failure = hoard.failure();
        assert_eq!(failure.kind, FailureKind::MachineMemory, "{failure:?}");
        assert!(failure.message.ends_with(": refused"), "{}", failure.message);
    });
}

/// A guest that returns how much room there is for tensors, as eight bytes.
const ROOM: &str = r#"(component
  (import "omnimind:runtime/tensor@0.1.0" (instance $tensor
    (type $d (enum "cpu" "cuda"))
    (export "device" (type $device (eq $d)))
    (export "placement" (func (result (tuple $device u64))))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
  (core instance $memory (instantiate $memory))
  (core func $placement (canon lower (func $tensor "placement") (memory $memory "memory")))
  (core module $m
    (import "m" "memory" (memory 1))
    (import "m" "placement" (func $placement (param i32)))
    (data (i32.const 16) "\00\00\00\00\48\00\00\00\08\00\00\00")
    (func (export "run") (param i32 i32) (result i32) (call $placement (i32.const 64)) i32.const 16))
  (core instance $m (instantiate $m
    (with "m" (instance (export "memory" (memory $memory "memory")) (export "placement" (func $placement))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $m "run") (memory $memory "memory") (realloc (func $memory "realloc")))))"#;

#[test]
fn a_deterministic_task_neither_sees_nor_survives_what_the_machine_lacks() {
    let dir = tempfile::tempdir().expect("a directory");
    let lab = Lab::with_slots(dir.path().join("artefacts"), 1, 1);
    let run =
        |run: Run| block_on(lab.executor.execute(run.limit("tensor_bytes", MIB).job(&lab).expect("a task")));
    let room = |deterministic: bool| {
        let asks = Run::bytes(wat::parse_str(ROOM).expect("text").into());
        let outcome = run(if deterministic { asks.deterministic() } else { asks });
        u64::from_le_bytes(outcome.output().try_into().expect("eight bytes"))
    };
    let hoard = || Run::hostile("tensor-hoard").units(300).deterministic();
    lab.executor.levers().leave_memory(Some(300 * KIB));
    // Its own memory is one page.
    assert_eq!((room(false), room(true)), ((300 - 64) * KIB, MIB));
    let ended = run(hoard());
    let failure = ended.failure();
    assert_eq!(failure.kind, FailureKind::MachineMemory, "{failure:?}");
    assert!(!failure.message.contains("refused:"), "it has had no say: {}", failure.message);
    lab.executor.levers().leave_memory(None);
    assert_eq!(room(false), MIB);
    assert_eq!(run(hoard()).failure().message, "budget-exhausted");
}

/// Counts the shares that some work is cut into.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl omnimind::backend::work::Workers for Counting {
    fn count(&self) -> usize {
        1000
    }

    async fn work(
        &self,
        shares: Vec<Box<dyn omnimind::backend::work::Share>>,
    ) -> Result<(), omnimind::backend::work::Stopped> {
        self.0.store(shares.len(), std::sync::atomic::Ordering::Relaxed);
        omnimind::backend::work::Inline.work(shares).await
    }

    fn charge(&self, _: Duration) {}
}

#[test]
fn products_are_split_as_the_configuration_says() {
    use omnimind::backend::Backends;
    use omnimind::backend::tensor::{ElementType, Operation, Output, Shape};
    use omnimind::config::{Environment, Flag, Sources, load};
    use omnimind::limits::{Budget, Ledger, Mode, Requested};

    let ledger = std::sync::Arc::new(Ledger::new(Requested::default().effective(Mode::Dev).expect("limits")));
    let shares = |most: &str| {
        let flag = Flag { key: "batch_limits.matrix_operations", name: "--most", value: most.into() };
        let sources = Sources {
            paths: Vec::new(),
            environment: std::iter::empty().collect::<Environment>(),
            flags: vec![flag],
            data_dir: Some("/nowhere".into()),
        };
        let config = load(&sources).expect("a configuration").config;
        let workers = Counting::default();
        block_on(async {
            let backend = Backends::new(&config, tokio::runtime::Handle::current(), None).tensor;
            let shape = Shape::new(vec![256, 256]).expect("a shape");
            let output = || Output {
                shape: shape.clone(),
                element: ElementType::Float32,
                held: ledger.hold(Budget::TensorBytes, 4 << 16).expect("room").into(),
            };
            let random = Operation::Random { shape: shape.clone(), element: ElementType::Float32, seed: 1 };
            let factor = backend.compute(random, output(), &workers).await.expect("a tensor");
            let product = Operation::Matmul(factor.clone(), factor);
            backend.compute(product, output(), &workers).await.expect("a product");
        });
        workers.0.into_inner()
    };
    let (usual, split) = (shares("5000"), shares("8"));
    assert_eq!((shares("auto"), split), (usual, 32), "256 rows, 8 at once");
    assert!(usual < 16, "{usual}");
}
