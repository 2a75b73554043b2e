//! `wasi:random`: bounded for each call, metered, and in deterministic mode the same every time.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::{HostView, Stop};
use crate::limits::Ledger;

/// Most random bytes one call may ask for.
const MAX_BYTES: u64 = 64 << 10;

/// The seed of every deterministic task.
const SEED: u64 = 0x006f_6d6e_696d_696e;

/// A task's source of randomness, seeded at its first use.
pub(super) struct Random {
    deterministic: bool,
    source: Option<Box<StdRng>>,
}

impl Random {
    pub(super) fn new(deterministic: bool) -> Random {
        Random { deterministic, source: None }
    }

    fn source(&mut self) -> &mut StdRng {
        let deterministic = self.deterministic;
        self.source.get_or_insert_with(|| {
            Box::new(match deterministic {
                true => StdRng::seed_from_u64(SEED),
                false => StdRng::from_rng(&mut rand::rng()),
            })
        })
    }
}

struct RandomView<'a> {
    random: &'a mut Random,
    ledger: &'a Ledger,
}

struct Randoms;

impl HasData for Randoms {
    type Data<'a> = RandomView<'a>;
}

impl RandomView<'_> {
    fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > MAX_BYTES {
            return Err(Stop::TooMuchAtOnce { what: "random bytes", asked: len, limit: MAX_BYTES }.into());
        }
        super::carry(self.ledger, len)?;
        let mut bytes = vec![0; usize::try_from(len)?];
        self.random.source().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> u64 {
        self.random.source().next_u64()
    }
}

impl random::Host for RandomView<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.number())
    }
}

// The "insecure" functions may be faster; nobody minds that they are as good.
impl insecure::Host for RandomView<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.number())
    }
}

impl insecure_seed::Host for RandomView<'_> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.number(), self.number()))
    }
}

fn view<T: HostView>(data: &mut T) -> RandomView<'_> {
    let host = data.host().call();
    RandomView { random: &mut host.random, ledger: &host.ledger }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    random::add_to_linker::<T, Randoms>(linker, view)?;
    insecure::add_to_linker::<T, Randoms>(linker, view)?;
    insecure_seed::add_to_linker::<T, Randoms>(linker, view)
}
