//! Every attack on a limit, with its twin: the same guest, told to take as much as it may.
//!
//! A limit is proven by both. An attack alone would be stopped by a runtime that runs nothing, a twin alone
//! would complete where nothing is limited.

use crate::limits::{Bounds, Budget};
use crate::task::FailureKind;

const PAGE: u64 = 64 << 10;

/// Bytes of each tensor of `tensor-hoard`.
const TENSOR: u64 = 4096;

/// Operations of each product of `tensor-products`.
const PRODUCT: u64 = 2 * 64 * 64 * 64;

/// What each task asks for beside the limit in question, or the server's maximum: room for the guest, whatever
/// the defaults, and the end of an attack that its own limit does not end, long after it should have.
const ROOM: [(Budget, u64); 5] = [
    (Budget::Fuel, 100_000_000_000),
    (Budget::WallMs, 10_000),
    (Budget::MemoryBytes, 64 << 20),
    (Budget::HostCalls, 10_000),
    (Budget::HostCallBytes, 16 << 20),
];

/// Milliseconds after `wall_ms` at which a task has ended at the latest, by its receipt.
pub const LATE_MS: u64 = 250;

/// Bytes of output that are read beside what is allowed, before it is refused (docs/limits.md).
const OUTPUT_CARRY: u64 = 64 << 10;

/// A hostile guest that is inside of the binary: `guest-tasks/hostile/NAME.wat`.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Its name there.
    pub name: &'static str,
    /// The component.
    pub wasm: &'static [u8],
}

/// Those that are in the binary; `build.rs` has the list.
macro_rules! guest {
    ($name:literal) => {
        Guest { name: $name, wasm: include_bytes!(concat!(env!("OUT_DIR"), "/hostile/", $name, ".wasm")) }
    };
}

pub const SPIN: Guest = guest!("spin");
pub const SLEEP: Guest = guest!("sleep");

/// How an attack has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It fails in this way, and the failure and the receipt name the limit.
    Stopped(FailureKind),
    /// It completes; what it wrote to its log beyond the limit is not kept.
    Cut,
    /// It is not accepted.
    Refused,
}

/// One task of a pair.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it asks for.
    pub limits: Vec<(Budget, u64)>,
    /// How much the guest is to take, in digits; empty is without end.
    pub input: Vec<u8>,
}

/// An attack, and its twin.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The limit that is attacked.
    pub budget: Budget,
    /// By whom.
    pub guest: Guest,
    /// The limit of the attack.
    pub configured: u64,
    /// The guest that takes too much.
    pub attack: Case,
    /// The same one, which takes as much as it may.
    pub twin: Case,
    /// How the attack has to end.
    pub end: End,
    /// How far above the limit the receipt may be.
    pub allowance: u64,
    /// Where no receipt says how far it came: what it did not come to.
    pub beyond: Option<String>,
    /// Whether it is about time: it then runs when nothing else does.
    pub timed: bool,
}

/// So many units, and without end.
fn units(units: u64) -> Vec<u8> {
    units.to_string().into_bytes()
}
const ENDLESS: Vec<u8> = Vec::new();

impl Pair {
    /// Attack and twin under the same limit, which they ask for.
    fn new(budget: Budget, guest: Guest, end: End, limit: u64, attack: Vec<u8>, twin: Vec<u8>) -> Pair {
        let case = |input| Case { limits: vec![(budget, limit)], input };
        Pair {
            budget,
            guest,
            configured: limit,
            attack: case(attack),
            twin: case(twin),
            end,
            allowance: 0,
            beyond: None,
            timed: false,
        }
    }

    /// A component that makes `count` of something: refused under one less, run under as many.
    fn made(budget: Budget, guest: Guest, kind: FailureKind, count: u64) -> Pair {
        let case = |limit| Case { limits: vec![(budget, limit)], input: units(1) };
        let pair = Pair::new(budget, guest, End::Stopped(kind), count - 1, ENDLESS, ENDLESS);
        Pair { attack: case(count - 1), twin: case(count), ..pair }
            .not_counted(format!("{count} {}", budget.name()))
    }

    fn not_counted(mut self, beyond: String) -> Pair {
        self.beyond = Some(beyond);
        self
    }

    fn allowing(mut self, allowance: u64) -> Pair {
        self.allowance = allowance;
        self
    }

    fn timed(mut self) -> Pair {
        self.timed = true;
        self.allowing(LATE_MS)
    }

    /// Neither asks for the limit: it is the one that every task has.
    fn unasked(mut self) -> Pair {
        self.attack.limits.clear();
        self.twin.limits.clear();
        self
    }
}

/// What every task asks for besides, on a server with these `bounds`.
pub fn room(bounds: impl Fn(Budget) -> Bounds) -> Vec<(Budget, u64)> {
    ROOM.into_iter().map(|(budget, wanted)| (budget, wanted.min(bounds(budget).max))).collect()
}

/// Every pair, for a server with these `bounds`. Limits are small where they can be, so that all of it takes
/// seconds; where the server's maximum is smaller still, that is taken.
pub fn all(bounds: impl Fn(Budget) -> Bounds) -> Vec<Pair> {
    use Budget::*;
    use End::{Cut, Refused, Stopped};
    use FailureKind::*;
    let at = |budget, wanted: u64| wanted.min(bounds(budget).max);
    let new = Pair::new;
    let mut pairs = Vec::new();

    // An iteration of `spin` takes 9, a fill 1 MiB and 42.
    let fuel = at(Fuel, 50_000_000);
    let (turns, fills) = (units(fuel.saturating_sub(1000) / 9), units(fuel.saturating_sub(1000) / 1_048_618));
    pairs.push(new(Fuel, SPIN, Stopped(FuelExhausted), fuel, ENDLESS, turns));
    pairs.push(new(Fuel, guest!("bulk-fill"), Stopped(FuelExhausted), fuel, ENDLESS, fills));

    let ms = at(WallMs, 500);
    pairs.push(new(WallMs, SPIN, Stopped(DeadlineExceeded), ms, ENDLESS, units(10_000_000)).timed());
    pairs.push(new(WallMs, SLEEP, Stopped(DeadlineExceeded), ms, units(20 * ms), units(ms / 2)).timed());

    let bytes = at(MemoryBytes, 100 * PAGE);
    let pages = bytes / PAGE;
    for guest in [guest!("grow"), guest!("memories")] {
        pairs.push(new(MemoryBytes, guest, Stopped(MemoryLimit), bytes, units(pages + 1), units(pages)));
    }
    // What every task gets. One memory has 4 GiB at most.
    let usual = bounds(MemoryBytes).default;
    let pages = usual / PAGE;
    if pages < 65_535 {
        let once = guest!("grow-once");
        let pair = new(MemoryBytes, once, Stopped(MemoryLimit), usual, units(pages + 1), units(pages));
        pairs.push(pair.unasked());
    }

    let elements = at(TableElements, 1000);
    let grow = guest!("table-grow");
    pairs.push(new(TableElements, grow, Stopped(TableLimit), elements, units(elements + 1), units(elements)));

    // Where eight are not allowed, a guest that needs less.
    for (budget, guest, kind, small, count) in [
        (Tables, guest!("table-count"), TableLimit, grow, 1),
        (Memories, guest!("memory-count"), MemoryLimit, SPIN, 1),
        (Instances, guest!("instance-count"), InstanceLimit, SPIN, 2),
    ] {
        let (guest, count) = if bounds(budget).max < 8 { (small, count) } else { (guest, 8) };
        pairs.push(Pair::made(budget, guest, kind, count));
    }

    // 10 915 calls of the one fit into the stack, 486 of the other.
    let stack = bounds(StackBytes).default;
    for (guest, over, under) in [(guest!("recurse"), 12_000, 10_000), (guest!("recurse-fat"), 540, 440)] {
        let pair = new(StackBytes, guest, Stopped(StackOverflow), stack, units(over), units(under));
        pairs.push(pair.not_counted(format!("{over} calls")));
    }

    let size = at(InputBytes, 1000);
    let text = |bytes: u64| vec![b'x'; usize::try_from(bytes).unwrap_or(usize::MAX)];
    pairs.push(new(InputBytes, guest!("echo"), Refused, size, text(size + 1), text(size)));

    // Read and then refused; and refused before it is read.
    let size = at(OutputBytes, 100_000);
    for over in [size + 1, size + (1 << 20)] {
        let pair = new(OutputBytes, guest!("output"), Stopped(OutputLimit), size, units(over), units(size));
        pairs.push(pair.allowing(OUTPUT_CARRY));
    }

    let size = at(LogBytes, 8192);
    pairs.push(new(LogBytes, guest!("log"), Cut, size, units(size + 100_000), units(size)));

    let size = at(HostCallBytes, 100_000);
    for guest in [guest!("random-bytes"), guest!("log-unchecked")] {
        pairs.push(new(HostCallBytes, guest, Stopped(HostcallLimit), size, units(size + 1), units(size)));
    }

    let calls = at(HostCalls, 1000);
    pairs.push(new(
        HostCalls,
        guest!("host-calls"),
        Stopped(HostcallLimit),
        calls,
        units(calls + 1),
        units(calls),
    ));

    // The name, of one byte, is kept too.
    let size = at(CheckpointBytes, 1000);
    pairs.push(new(
        CheckpointBytes,
        guest!("checkpoint"),
        Stopped(FailureKind::BudgetExhausted),
        size,
        units(size),
        units(size.saturating_sub(1)),
    ));

    let tensors = at(TensorBytes, 100 * TENSOR) / TENSOR;
    let size = tensors * TENSOR;
    pairs.push(new(
        TensorBytes,
        guest!("tensor-hoard"),
        Stopped(FailureKind::BudgetExhausted),
        size,
        units(tensors + 1),
        units(tensors),
    ));

    let products = at(TensorFlops, 100 * PRODUCT) / PRODUCT;
    let size = products * PRODUCT;
    pairs.push(new(
        TensorFlops,
        guest!("tensor-products"),
        Stopped(FailureKind::BudgetExhausted),
        size,
        units(products + 1),
        units(products),
    ));

    // However few tokens a text has, so many end the attack; none has more than ten.
    let tokens = at(EmbedTokens, 1000);
    pairs.push(new(
        EmbedTokens,
        guest!("embed-tokens"),
        Stopped(FailureKind::BudgetExhausted),
        tokens,
        ENDLESS,
        units(tokens / 10),
    ));

    // A prompt of four bytes is a token; one more is for the answer. Nothing of it is kept where it is refused.
    let tokens = at(LlmTokens, 1000);
    // What is around a message counts as 32 bytes.
    let of = |tokens: u64| (4 * tokens).saturating_sub(32);
    let pair = new(
        LlmTokens,
        guest!("llm-tokens"),
        Stopped(FailureKind::BudgetExhausted),
        tokens,
        units(of(tokens)),
        units(of(tokens.saturating_sub(1))),
    );
    pairs.push(pair.not_counted(format!("{} tokens", tokens + 1)));

    let count = at(Handles, 100);
    let pair = new(Handles, guest!("handles"), Stopped(HandleLimit), count, units(count + 1), units(count));
    pairs.push(pair.not_counted(format!("{} handles", count + 1)));
    // A pollable is two of the host's.
    let (count, held) = (at(Handles, 101), at(Handles, 101).saturating_sub(1) / 2);
    let pair = new(Handles, guest!("pollables"), Stopped(HandleLimit), count, units(held + 1), units(held));
    pairs.push(pair.not_counted(format!("{} pollables", held + 1)));

    for pair in &mut pairs {
        let room: Vec<(Budget, u64)> =
            room(&bounds).into_iter().filter(|(budget, _)| *budget != pair.budget).collect();
        pair.attack.limits.extend(&room);
        pair.twin.limits.extend(&room);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Mode;

    #[test]
    fn every_limit_has_a_pair_in_every_mode() {
        for mode in Mode::ALL {
            let pairs = all(|budget| budget.bounds(mode));
            for budget in Budget::ALL {
                let of = pairs.iter().filter(|pair| pair.budget == budget).count();
                assert!(of > 0, "`omnimind attest` has no attack on {}: write one here", budget.name());
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_within_the_maxima() {
        for max in [2, 20, 1 << 40] {
            let lowered = |budget: Budget| {
                let max = budget.least().max(max).min(budget.bounds(Mode::Dev).max);
                Bounds { default: max, max }
            };
            for pair in all(lowered) {
                for (budget, limit) in pair.attack.limits.iter().chain(&pair.twin.limits) {
                    assert!(*limit <= lowered(*budget).max, "{pair:?}");
                }
            }
        }
    }
}
