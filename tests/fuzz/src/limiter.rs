//! What a task takes and gives back, against the sums done by hand in wider numbers.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use omnimind::limits::{Budget, Ledger, Limiter, MachineMemory, Mode, Requested};
use wasmtime::ResourceLimiter as _;

#[derive(Debug)]
enum Step {
    Memory { current: usize, desired: usize, maximum: Option<usize> },
    Table { current: usize, desired: usize, maximum: Option<usize> },
    Spend(u64),
    Settle { reserved: u64, actual: u64 },
    Drop(u64),
    Hold(u64),
    GiveBack,
    Machine(Option<u64>),
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Step> {
        Ok(match bytes.int_in_range(0..=7)? {
            0 => Step::Memory {
                current: bytes.arbitrary()?,
                desired: bytes.arbitrary()?,
                maximum: bytes.arbitrary()?,
            },
            1 => Step::Table {
                current: bytes.arbitrary()?,
                desired: bytes.arbitrary()?,
                maximum: bytes.arbitrary()?,
            },
            2 => Step::Spend(bytes.arbitrary()?),
            3 => Step::Settle { reserved: bytes.arbitrary()?, actual: bytes.arbitrary()? },
            4 => Step::Drop(bytes.arbitrary()?),
            5 => Step::Hold(bytes.arbitrary()?),
            6 => Step::GiveBack,
            _ => Step::Machine(bytes.arbitrary()?),
        })
    }
}

fuzz_target!(|input: (u64, bool, Vec<Step>)| {
    let (limit, deterministic, steps) = input;
    let mut requested = Requested::default();
    let Ok(()) = requested.ask("memory_bytes", limit) else { return };
    let Ok(limits) = requested.effective(Mode::Dev) else { return };
    let [memory, table] = [Budget::MemoryBytes, Budget::TableElements].map(|budget| limits.get(budget));
    let [calls, tensors] = [Budget::HostCalls, Budget::TensorBytes].map(|budget| limits.get(budget));
    let ledger = Arc::new(Ledger::new(limits));
    let machine = MachineMemory::default();
    let mut limiter = Limiter::new(ledger.clone(), machine.clone(), deterministic);
    let (mut memory_sum, mut table_sum, mut spent): (u128, u128, u128) = (0, 0, 0);
    let (mut held, mut held_sum): (Vec<_>, u128) = (Vec::new(), 0);
    for step in steps {
        match step {
            Step::Memory { current, desired, maximum } => {
                let left = machine.left();
                if limiter.memory_growing(current, desired, maximum).is_ok_and(|granted| granted) {
                    let grown = desired.saturating_sub(current) as u64;
                    memory_sum += u128::from(grown);
                    assert!(maximum.is_none_or(|maximum| desired <= maximum));
                    assert!(left == u64::MAX || machine.left() == left - grown);
                } else {
                    assert_eq!(machine.left(), left, "what is refused is not taken");
                }
            }
            Step::Table { current, desired, maximum } => {
                if limiter.table_growing(current, desired, maximum).is_ok_and(|granted| granted) {
                    table_sum += desired.saturating_sub(current) as u128;
                }
            }
            Step::Spend(amount) => {
                let granted = ledger.spend(Budget::HostCalls, amount).is_ok();
                assert_eq!(granted, spent + u128::from(amount) <= u128::from(calls));
                spent += if granted { u128::from(amount) } else { 0 };
            }
            Step::Settle { reserved, actual } => {
                if let Ok(reservation) = ledger.reserve(Budget::HostCalls, reserved) {
                    reservation.settle(actual);
                    spent = (spent + u128::from(actual)).min(u128::from(u64::MAX));
                }
            }
            Step::Drop(amount) => drop(ledger.reserve(Budget::HostCalls, amount)),
            Step::Hold(amount) => {
                let taken = ledger.hold(Budget::TensorBytes, amount);
                assert_eq!(taken.is_ok(), held_sum + u128::from(amount) <= u128::from(tensors));
                if let Ok(taken) = taken {
                    held_sum += u128::from(amount);
                    held.push((amount, taken));
                }
            }
            Step::GiveBack => {
                if let Some((amount, taken)) = held.pop() {
                    drop(taken);
                    held_sum -= u128::from(amount);
                }
            }
            Step::Machine(left) => machine.leave(left),
        }
        assert!(memory_sum <= u128::from(memory) && table_sum <= u128::from(table), "above the limit");
        for (budget, sum) in [
            (Budget::MemoryBytes, memory_sum),
            (Budget::TableElements, table_sum),
            (Budget::HostCalls, spent),
            (Budget::TensorBytes, held_sum),
        ] {
            assert_eq!(u128::from(ledger.used(budget)), sum, "{}", budget.name());
            assert!(ledger.peak(budget) >= ledger.used(budget));
        }
    }
});
