//! A result in bands of rows, each of which is made by one thread.
//!
//! A band owns its part of the result's memory (`BytesMut` splits without copying, and joins what lay side by side),
//! so threads write side by side with nothing to guard. How a result is cut does not depend on how many threads
//! there are, so neither does what comes out.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::backend::tensor::Error;
use crate::backend::work::{Inline, Pile, Share, Workers};
use crate::limits::Held;

/// How long a piece goes on with bands that are short.
const PIECE: Duration = Duration::from_millis(2);

/// Operations that are not worth another thread: some ten microseconds.
const SMALL: u64 = 1 << 20;

/// Bands of a result that is made at once, where it is asked for.
const FEW: usize = 2;

/// What makes a band.
pub(super) trait Kernel: Send + Sync + 'static {
    /// How far it is with a band; each begins with the default.
    type State: Default + Send;

    /// What a thread keeps from band to band.
    type Scratch: Default + Send;

    /// Goes on with `rows` of the result, which are `out`, for some milliseconds at most; whether there is more to
    /// do of them.
    fn step(
        &self,
        rows: &Range<usize>,
        out: &mut [u8],
        state: &mut Self::State,
        scratch: &mut Self::Scratch,
    ) -> bool;
}

/// A kernel that makes a band in one step.
pub(super) struct AtOnce<F>(pub F);

impl<F: Fn(&Range<usize>, &mut [u8]) + Send + Sync + 'static> Kernel for AtOnce<F> {
    type State = ();
    type Scratch = ();

    fn step(&self, rows: &Range<usize>, out: &mut [u8], (): &mut (), (): &mut ()) -> bool {
        (self.0)(rows, out);
        false
    }
}

/// What is to be made.
pub(super) struct Bands<'a> {
    /// Memory for the result.
    pub out: BytesMut,
    /// Operations that it takes, or more where it is not they that take the time.
    pub cost: u64,
    /// Held until the last share is gone.
    pub held: Arc<Held>,
    /// Who may take part.
    pub workers: &'a dyn Workers,
}

struct Band<S> {
    rows: Range<usize>,
    out: BytesMut,
    state: S,
}

struct BandShare<K: Kernel> {
    kernel: Arc<K>,
    todo: Pile<Band<K::State>>,
    /// The first row of each, and what became of it.
    done: Pile<(usize, BytesMut)>,
    current: Option<Band<K::State>>,
    scratch: K::Scratch,
    _held: Arc<Held>,
}

impl<K: Kernel> Share for BandShare<K> {
    fn piece(&mut self) -> bool {
        let begun = Instant::now();
        while let Some(mut band) = self.current.take().or_else(|| self.todo.take()) {
            match self.kernel.step(&band.rows, &mut band.out, &mut band.state, &mut self.scratch) {
                true => self.current = Some(band),
                false => self.done.put((band.rows.start, band.out)),
            }
            if begun.elapsed() >= PIECE {
                return true;
            }
        }
        false
    }
}

impl Bands<'_> {
    /// Makes it with `kernel`: `rows` rows, `at_once` of them in a band.
    pub async fn make<K: Kernel>(self, rows: usize, at_once: usize, kernel: K) -> Result<BytesMut, Error> {
        let Bands { out: mut rest, cost, held, workers } = self;
        let row_bytes = rest.len() / rows.max(1);
        let at_once = at_once.max(1);
        let mut bands = Vec::with_capacity(rows.div_ceil(at_once));
        for start in (0..rows).step_by(at_once) {
            let rows = start..rows.min(start.saturating_add(at_once));
            let out = rest.split_to(rest.len().min(rows.len() * row_bytes));
            bands.push(Band { rows, out, state: K::State::default() });
        }
        let (count, kernel) = (bands.len(), Arc::new(kernel));
        // The first are taken first.
        bands.reverse();
        let (todo, done) = (Pile::new(bands), Pile::new(Vec::with_capacity(count)));
        let share = || -> Box<dyn Share> {
            let (kernel, todo, done) = (kernel.clone(), todo.clone(), done.clone());
            let scratch = K::Scratch::default();
            Box::new(BandShare { kernel, todo, done, current: None, scratch, _held: held.clone() })
        };
        match cost <= SMALL && count <= FEW {
            true => Inline.work(vec![share()]).await?,
            false => workers.work((0..workers.count().min(count)).map(|_| share()).collect()).await?,
        }
        let mut done = done.empty();
        done.sort_unstable_by_key(|(start, _)| *start);
        let whole = done.into_iter().map(|(_, out)| out).reduce(|mut whole, next| {
            whole.unsplit(next);
            whole
        });
        whole.ok_or_else(|| Error::Internal("a result without rows".to_owned()))
    }
}
