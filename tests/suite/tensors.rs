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
    assert_eq!((failure.kind, &*failure.message), (FailureKind::GuestError, "budget-exhausted"));
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
        // And more than that there is not, for anybody.
        assert_eq!(lab.executor.execute(hoard).await.failure().message, "refused");
    });
}
