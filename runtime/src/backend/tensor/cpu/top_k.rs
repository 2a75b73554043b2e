//! The largest of each row.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::ops::Range;

use super::bands::{Bands, Kernel};
use super::rows::BLOCK;
use super::{elements, elements_mut, zeroed};
use crate::backend::tensor::element::Element;
use crate::backend::tensor::{Error, Tensor, top_k_flops};
use crate::backend::work::Workers;

/// Where an element is in its row, and what it is. The greater one is the one that comes later in the answer.
#[derive(Clone, Copy)]
struct Found {
    place: u32,
    number: f64,
}

impl Ord for Found {
    fn cmp(&self, other: &Found) -> Ordering {
        let (one, two) = (self.number, other.number);
        let by_number = match (one.is_nan(), two.is_nan()) {
            (false, false) => two.partial_cmp(&one).unwrap_or(Ordering::Equal),
            (one, two) => one.cmp(&two),
        };
        by_number.then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Found) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Found) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Found {}

struct TopK<T> {
    of: Tensor,
    row: usize,
    k: usize,
    element: PhantomData<fn() -> T>,
}

/// How far a band is: rows that are done, elements of the next one, and the best of those, the worst on top.
#[derive(Default)]
struct At {
    row: usize,
    element: usize,
    best: BinaryHeap<Found>,
}

impl<T: Element> Kernel for TopK<T> {
    type State = At;
    type Scratch = ();

    /// A row of `out` has `k` places and then as many numbers, four bytes each.
    fn step(&self, rows: &Range<usize>, out: &mut [u8], at: &mut At, (): &mut ()) -> bool {
        let TopK { row, k, .. } = *self;
        let mut budget = BLOCK;
        while at.row < rows.len() && budget > 0 {
            let count = budget.min(row - at.element);
            let start = (rows.start + at.row) * row + at.element;
            let of = elements::<T>(self.of.host()).get(start..start + count).unwrap_or_default();
            for (place, element) in (at.element..).zip(of) {
                // A row is no longer than that: a size has 32 bits.
                let found =
                    Found { place: u32::try_from(place).unwrap_or(u32::MAX), number: element.to_f64() };
                if at.best.len() < k {
                    at.best.push(found);
                } else if let Some(mut worst) = at.best.peek_mut()
                    && found < *worst
                {
                    *worst = found;
                }
            }
            at.element += count;
            budget -= count;
            if at.element == row {
                let best = std::mem::take(&mut at.best).into_sorted_vec();
                let out = out.get_mut(at.row * k * 8..(at.row + 1) * k * 8).unwrap_or_default();
                if let Some((places, numbers)) = out.split_at_mut_checked(k * 4) {
                    for ((place, number), found) in
                        elements_mut(places).iter_mut().zip(elements_mut(numbers)).zip(&best)
                    {
                        (*place, *number) = (found.place, found.number as f32);
                    }
                }
                (at.row, at.element) = (at.row + 1, 0);
            }
        }
        at.row < rows.len()
    }
}

/// The `k` largest of each row: their places, and the numbers there.
pub(super) async fn largest<T: Element>(
    of: Tensor,
    k: usize,
    workers: &dyn Workers,
) -> Result<(Vec<u32>, Vec<f32>), Error> {
    let row = of.shape.row();
    let rows = of.shape.elements() / row;
    let bands =
        Bands { out: zeroed(rows * k * 8)?, cost: top_k_flops(&of, k), held: of.held.clone(), workers };
    let made = bands.make(rows, BLOCK / row, TopK::<T> { of, row, k, element: PhantomData }).await?;
    let (mut places, mut numbers) = (Vec::with_capacity(rows * k), Vec::with_capacity(rows * k));
    for row in made.chunks_exact(k * 8) {
        if let Some((of_places, of_numbers)) = row.split_at_checked(k * 4) {
            places.extend_from_slice(elements(of_places));
            numbers.extend_from_slice(elements(of_numbers));
        }
    }
    Ok((places, numbers))
}
