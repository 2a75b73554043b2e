//! What is computed over the last axis, and the exchange of axes.
//!
//! Short rows are done many at once; a long one is gone over in pieces, several times.

use std::ops::Range;

use bytes::BytesMut;

use super::bands::{Bands, Kernel};
use super::{elements, elements_mut};
use crate::backend::tensor::element::Element;
use crate::backend::tensor::{Error, Invalid, Shape, Tensor};

/// Elements that are gone over at once.
pub(super) const BLOCK: usize = 64 << 10;

/// What is done with a row, in three passes: something is found of all elements, something of all elements and
/// that, and then each becomes what it is to be.
trait Passes: Send + Sync + 'static {
    fn first(sofar: f64, element: f64) -> f64;
    const FIRST: f64;
    fn second(sofar: f64, element: f64, first: f64) -> f64;
    fn result(element: f64, first: f64, second: f64) -> f64;
}

/// exp(x - max) / Σ exp(x - max).
struct Softmax;

impl Passes for Softmax {
    const FIRST: f64 = f64::NEG_INFINITY;

    fn first(sofar: f64, element: f64) -> f64 {
        sofar.max(element)
    }

    fn second(sofar: f64, element: f64, max: f64) -> f64 {
        sofar + (element - max).exp()
    }

    fn result(element: f64, max: f64, sum: f64) -> f64 {
        (element - max).exp() / sum
    }
}

/// x / √Σx², where the largest is taken out first: its square may be more than there is.
struct Normalize;

impl Normalize {
    /// What elements are divided by before they are squared.
    fn unit(largest: f64) -> f64 {
        if largest > 0.0 && largest.is_finite() { largest } else { 1.0 }
    }
}

impl Passes for Normalize {
    const FIRST: f64 = 0.0;

    fn first(sofar: f64, element: f64) -> f64 {
        sofar.max(element.abs())
    }

    fn second(sofar: f64, element: f64, largest: f64) -> f64 {
        sofar + (element / Normalize::unit(largest)).powi(2)
    }

    fn result(element: f64, largest: f64, squares: f64) -> f64 {
        // NaN is not 0, and goes on.
        if squares == 0.0 { element } else { element / Normalize::unit(largest) / squares.sqrt() }
    }
}

struct ByRow<T, P> {
    of: Tensor,
    row: usize,
    passes: std::marker::PhantomData<fn() -> (T, P)>,
}

/// How far a band is.
#[derive(Default)]
struct At {
    /// Rows that are done.
    row: usize,
    pass: u8,
    /// Elements of this row that this pass has gone over.
    element: usize,
    first: Option<f64>,
    second: f64,
}

impl<T: Element, P: Passes> Kernel for ByRow<T, P> {
    type State = At;
    type Scratch = ();

    fn step(&self, rows: &Range<usize>, out: &mut [u8], at: &mut At, (): &mut ()) -> bool {
        let out = elements_mut::<T>(out);
        let mut budget = BLOCK;
        while at.row < rows.len() && budget > 0 {
            let count = budget.min(self.row - at.element);
            let here = at.row * self.row + at.element;
            let of = rows.start * self.row + here;
            let of = elements::<T>(self.of.host()).get(of..of + count).unwrap_or_default();
            let first = at.first.unwrap_or(P::FIRST);
            match at.pass {
                0 => at.first = Some(of.iter().fold(first, |sofar, x| P::first(sofar, x.to_f64()))),
                1 => at.second = of.iter().fold(at.second, |sofar, x| P::second(sofar, x.to_f64(), first)),
                _ => {
                    let out = out.get_mut(here..here + count).unwrap_or_default();
                    for (out, of) in out.iter_mut().zip(of) {
                        *out = T::from_f64(P::result(of.to_f64(), first, at.second));
                    }
                }
            }
            at.element += count;
            budget -= count;
            if at.element == self.row {
                at.element = 0;
                at.pass += 1;
            }
            if at.pass == 3 {
                *at = At { row: at.row + 1, ..At::default() };
            }
        }
        at.row < rows.len()
    }
}

async fn by_row<T: Element, P: Passes>(bands: Bands<'_>, of: Tensor) -> Result<BytesMut, Error> {
    let row = of.shape.row();
    let rows = of.shape.elements() / row;
    let kernel = ByRow::<T, P> { of, row, passes: std::marker::PhantomData };
    bands.make(rows, BLOCK / row, kernel).await
}

/// Each row as shares of one.
pub(super) async fn softmax<T: Element>(bands: Bands<'_>, of: Tensor) -> Result<BytesMut, Error> {
    by_row::<T, Softmax>(bands, of).await
}

/// Each row at length one.
pub(super) async fn normalize<T: Element>(bands: Bands<'_>, of: Tensor) -> Result<BytesMut, Error> {
    by_row::<T, Normalize>(bands, of).await
}

/// Rows and columns of a tile of a transposed matrix, so that what is read at once lies together.
const TRANSPOSED: usize = 64;

/// Rows as columns.
pub(super) async fn transpose<T: Element>(
    bands: Bands<'_>,
    of: Tensor,
    shape: &Shape,
) -> Result<BytesMut, Error> {
    let (matrices, rows, columns) = shape.matrices().map_err(|Invalid(why)| Error::Internal(why))?;
    let kernel = Transpose::<T> { of, rows, columns, element: std::marker::PhantomData };
    // Short rows are many in a band.
    bands.make(matrices * rows, TRANSPOSED.max(BLOCK / columns), kernel).await
}

/// Of the result's shape.
struct Transpose<T> {
    of: Tensor,
    rows: usize,
    columns: usize,
    element: std::marker::PhantomData<fn() -> T>,
}

impl<T: Element> Kernel for Transpose<T> {
    /// Columns that are done.
    type State = usize;
    type Scratch = ();

    fn step(&self, band: &Range<usize>, out: &mut [u8], done: &mut usize, (): &mut ()) -> bool {
        let (out, of) = (elements_mut::<T>(out), elements::<T>(self.of.host()));
        let until = self.columns.min(*done + (BLOCK / band.len().max(1)).max(1));
        for start in (*done..until).step_by(TRANSPOSED) {
            let columns = start..until.min(start + TRANSPOSED);
            for (out, row) in out.chunks_exact_mut(self.columns).zip(band.clone()) {
                let (matrix, row) = (row / self.rows, row % self.rows);
                let first = matrix * self.rows * self.columns + columns.start * self.rows + row;
                let of = of.get(first..).unwrap_or_default().iter().step_by(self.rows);
                let out = out.get_mut(columns.clone()).unwrap_or_default();
                out.iter_mut().zip(of).for_each(|(out, of)| *out = *of);
            }
        }
        *done = until;
        until < self.columns
    }
}
