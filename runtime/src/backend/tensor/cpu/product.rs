//! Matrix products, in blocks: some rows of the result, some of its columns, some of the terms of their sums.

use std::marker::PhantomData;
use std::ops::Range;

use bytes::BytesMut;
use half::{bf16, f16};

use super::bands::{Bands, Kernel};
use super::{elements, elements_mut};
use crate::backend::gemm::{self, Before, Matrix, MatrixMut};
use crate::backend::tensor::element::Element;
use crate::backend::tensor::{Error, Invalid, Tensor};

/// Rows of a band: enough that packing the right factor for each band costs little.
const ROWS: usize = 256;

/// Columns of a block.
const COLUMNS: usize = 4096;

/// Multiplications of a block: some milliseconds of one core.
const MULTIPLICATIONS: usize = 1 << 28;

/// The same where numbers are so small that their products may be subnormal: a processor takes up to a hundred times
/// as long for each.
const SLOW_MULTIPLICATIONS: usize = 1 << 24;

/// The square of what is smaller is subnormal in binary64, or nothing: 2^-511.
const TINY: f64 = 1.491_668_146_240_041_3e-154;

/// Operations that multiplying a matrix is worth at least.
const CALL: u64 = 256;

/// Bands of a result at most: each is some memory besides the result, and a turn.
const BANDS: usize = 1024;

/// Multiplications of a band of small matrices.
const MANY: usize = 1 << 22;

/// Elements that matrices can be multiplied of.
pub(super) trait Factor: Element {
    /// How.
    type Blocks: Blocks<Element = Self>;
}

impl Factor for f32 {
    type Blocks = Direct<f32>;
}

impl Factor for f64 {
    type Blocks = Direct<f64>;
}

impl Factor for f16 {
    type Blocks = Widened<f16>;
}

impl Factor for bf16 {
    type Blocks = Widened<bf16>;
}

/// The product of `left` and `right`, with blocks of at most `block` rows, columns and terms.
pub(super) async fn product<T: Factor>(
    bands: Bands<'_>,
    left: Tensor,
    right: Tensor,
    block: usize,
) -> Result<BytesMut, Error> {
    let kernel = Product::<T::Blocks>::new(left, right, block)?;
    let Product { matrices, rows, inner, columns, tall, .. } = kernel;
    let at_once = rows_of_a_band((matrices, rows, inner, columns), tall);
    // Each matrix costs something, however small it is.
    let bands = Bands { cost: bands.cost.max(matrices as u64 * CALL), ..bands };
    bands.make(matrices * rows, at_once, kernel).await
}

/// Rows of the result that a band has, blocks of `tall` one after another: a block, but enough of them that there are
/// not too many bands, and many small matrices.
fn rows_of_a_band((matrices, rows, inner, columns): (usize, usize, usize, usize), tall: usize) -> usize {
    let small = MANY / rows.saturating_mul(inner).saturating_mul(columns) * rows;
    let enough = matrices.saturating_mul(rows).div_ceil(BANDS).next_multiple_of(tall);
    tall.max(small).max(enough)
}

/// Rows, columns and terms of a block at most; `elements` is how many of a factor may be in it.
fn sizes(
    (rows, inner, columns): (usize, usize, usize),
    elements: usize,
    block: usize,
) -> (usize, usize, usize) {
    // Bands of about the same size.
    let tall = rows.div_ceil(rows.div_ceil(ROWS.min(block)));
    let wide = columns.min(COLUMNS).min(block);
    let most = elements / wide.max(tall);
    (tall, wide, (MULTIPLICATIONS / (tall * wide)).min(most).min(inner).min(block).max(1))
}

/// A product whose factors hold all there is to know.
struct Product<B> {
    left: Tensor,
    right: Tensor,
    matrices: usize,
    rows: usize,
    inner: usize,
    columns: usize,
    /// The most of each that a block has.
    tall: usize,
    wide: usize,
    deep: usize,
    blocks: PhantomData<fn() -> B>,
}

impl<B: Blocks> Product<B> {
    fn new(left: Tensor, right: Tensor, block: usize) -> Result<Product<B>, Error> {
        let internal = |Invalid(why)| Error::Internal(why);
        let (matrices, rows, inner) = left.shape.matrices().map_err(internal)?;
        let (_, _, columns) = right.shape.matrices().map_err(internal)?;
        let (tall, wide, deep) = sizes((rows, inner, columns), B::ELEMENTS, block);
        Ok(Product { left, right, matrices, rows, inner, columns, tall, wide, deep, blocks: PhantomData })
    }
}

/// The factors of one matrix of the result, and which block of them.
pub(super) struct Block<'a, T> {
    left: &'a [T],
    right: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    terms: Range<usize>,
    inner: usize,
    width: usize,
}

/// How blocks of one type are multiplied.
pub(super) trait Blocks: Send + Sync + 'static {
    type Element: Element;
    type Scratch: Default + Send;

    /// Whether slow blocks are looked for and cut. In binary32 one takes a tenth of a second, and looking for it in each
    /// would cost more than that is worth.
    const CUTS_SLOW: bool;

    /// Elements of a factor in a block: with few rows or columns it is reading them that takes the time.
    const ELEMENTS: usize;

    /// Adds a block's terms to `out`, whole rows of the result; the first terms replace what was there.
    fn multiply(block: &Block<'_, Self::Element>, out: &mut [Self::Element], scratch: &mut Self::Scratch);
}

/// Where a band is: rows that are done, columns and terms of those after them, and of a slow block what of its rows.
#[derive(Default)]
struct At {
    row: usize,
    column: usize,
    term: usize,
    part: usize,
}

impl<B: Blocks> Kernel for Product<B> {
    type State = At;
    type Scratch = B::Scratch;

    fn step(&self, band: &Range<usize>, out: &mut [u8], at: &mut At, scratch: &mut B::Scratch) -> bool {
        let Product { rows, inner, columns, tall, wide, deep, .. } = *self;
        let begin = band.start + at.row;
        // A block is of one matrix.
        let (matrix, row) = (begin / rows, begin % rows);
        let height = tall.min(rows - row).min(band.end - begin);
        let part = |of: &Tensor, size: usize| matrix * size..matrix * size + size.min(of.shape.elements());
        let left = elements(self.left.host()).get(part(&self.left, rows * inner)).unwrap_or_default();
        let right = elements(self.right.host()).get(part(&self.right, inner * columns)).unwrap_or_default();
        let mut block = Block {
            left,
            right,
            rows: row + at.part..row + height,
            columns: at.column..columns.min(at.column + wide),
            terms: at.term..inner.min(at.term + deep),
            inner,
            width: columns,
        };
        if B::CUTS_SLOW && block.is_slow() {
            // What comes out does not depend on how many take part in it, nor on what the rows beside one are.
            let rows = (SLOW_MULTIPLICATIONS / (block.columns.len() * block.terms.len())).max(1);
            block.rows.end = block.rows.end.min(block.rows.start + rows);
        }
        let first = at.row + at.part;
        let out = elements_mut(out).get_mut(first * columns..(first + block.rows.len()) * columns);
        B::multiply(&block, out.unwrap_or_default(), scratch);
        at.part += block.rows.len();
        if at.part < height {
            return true;
        }
        (at.part, at.term) = (0, block.terms.end);
        if at.term == inner {
            (at.term, at.column) = (0, block.columns.end);
        }
        if at.column == columns {
            (at.column, at.row) = (0, at.row + height);
        }
        at.row < band.len()
    }
}

impl<T: Element> Block<'_, T> {
    /// Whether any of its numbers is so small that its product with another such is subnormal in binary64.
    fn is_slow(&self) -> bool {
        let any = |matrix: &[T], width: usize, rows: &Range<usize>, columns: &Range<usize>| {
            let is_tiny = |number: &T| number.to_f64() != 0.0 && number.to_f64().abs() < TINY;
            // All of a row is looked at, without a branch.
            let tiny = |row: &[T]| row.iter().fold(false, |any, number| any | is_tiny(number));
            let mut rows = matrix.chunks_exact(width).skip(rows.start).take(rows.len());
            rows.any(|row| tiny(row.get(columns.clone()).unwrap_or_default()))
        };
        any(self.left, self.inner, &self.rows, &self.terms)
            || any(self.right, self.width, &self.terms, &self.columns)
    }
}

impl<T> Block<'_, T> {
    fn before(&self) -> Before {
        if self.terms.start == 0 { Before::Replaced } else { Before::Kept }
    }
}

/// Views of slices that a block was cut out of always fit.
fn fits<T>(view: Result<T, gemm::Mismatch>) -> Option<T> {
    debug_assert!(view.is_ok());
    view.ok()
}

/// The type that is computed in is the one that is stored.
pub(super) struct Direct<T>(PhantomData<fn() -> T>);

impl<T: Element + gemm::Element> Blocks for Direct<T> {
    type Element = T;
    type Scratch = ();

    const CUTS_SLOW: bool = T::DIGITS > <f32 as Element>::DIGITS;
    const ELEMENTS: usize = 1 << 22;

    fn multiply(block: &Block<'_, T>, out: &mut [T], (): &mut ()) {
        let Block { left, right, rows, columns, terms, inner, width } = block;
        let all = left.len() / inner;
        let mut product = || {
            let left = Matrix::new(left, all, *inner)?.rows(rows.clone())?.columns(terms.clone())?;
            let right = Matrix::new(right, *inner, *width)?.rows(terms.clone())?.columns(columns.clone())?;
            let out = MatrixMut::new(out, rows.len(), *width)?.columns(columns.clone())?;
            gemm::product(out, block.before(), left, right)
        };
        fits(product());
    }
}

/// Halves are computed in binary32: a block's factors are widened, its sums kept until they are whole.
pub(super) struct Widened<T>(PhantomData<fn() -> T>);

#[derive(Default)]
pub(super) struct Wide {
    left: Vec<f32>,
    right: Vec<f32>,
    sums: Vec<f32>,
}

impl<T: Element> Blocks for Widened<T> {
    type Element = T;
    type Scratch = Wide;

    const CUTS_SLOW: bool = false;

    // Four megabytes when they are widened.
    const ELEMENTS: usize = 1 << 20;

    fn multiply(block: &Block<'_, T>, out: &mut [T], wide: &mut Wide) {
        let Block { left, right, rows, columns, terms, inner, width } = block;
        widen(&mut wide.left, left, *inner, rows, terms);
        widen(&mut wide.right, right, *width, terms, columns);
        wide.sums.resize(rows.len() * columns.len(), 0.0);
        let mut product = || {
            let left = Matrix::new(&wide.left, rows.len(), terms.len())?;
            let right = Matrix::new(&wide.right, terms.len(), columns.len())?;
            let sums = MatrixMut::new(&mut wide.sums, rows.len(), columns.len())?;
            gemm::product(sums, block.before(), left, right)
        };
        fits(product());
        if terms.end == *inner {
            for (out, sums) in out.chunks_exact_mut(*width).zip(wide.sums.chunks_exact(columns.len())) {
                let out = out.get_mut(columns.clone()).unwrap_or_default();
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::from_f64(f64::from(*sum)));
            }
        }
    }
}

/// Some rows and columns of a matrix of that `width`, as binary32.
fn widen<T: Element>(
    wide: &mut Vec<f32>,
    matrix: &[T],
    width: usize,
    rows: &Range<usize>,
    columns: &Range<usize>,
) {
    wide.clear();
    wide.reserve(rows.len() * columns.len());
    for row in matrix.chunks_exact(width).skip(rows.start).take(rows.len()) {
        wide.extend(row.get(columns.clone()).unwrap_or_default().iter().map(|element| element.to_f32()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tensor::ElementType;
    use crate::backend::tensor::cpu::Cpu;
    use crate::backend::tensor::tests::Bench;

    /// Processors take up to a hundred times as long for subnormal numbers. How many steps a piece has depends on how
    /// fast they were, so it is steps that are counted.
    #[test]
    fn what_may_be_subnormal_is_multiplied_in_shorter_steps() {
        let bench = Bench::new(Cpu::default());
        let (rows, inner, columns) = (300_u32, 300_u32, 4100_u32);
        let steps = |by: f64| {
            let of = |rows: u32, columns: u32, number: f64| {
                let numbers = vec![number; (rows * columns) as usize];
                bench.tensor(&[rows, columns], ElementType::Float64, &numbers)
            };
            let (left, right) = (of(rows, inner, by), of(inner, columns, 1.0));
            let kernel = Product::<Direct<f64>>::new(left, right, usize::MAX).unwrap();
            let mut out = vec![0_u8; (rows * columns) as usize * size_of::<f64>()];
            let (band, mut at, mut steps) = (0..rows as usize, At::default(), 1);
            while kernel.step(&band, &mut out, &mut at, &mut ()) {
                steps += 1;
            }
            steps
        };
        let (usual, tiny) = (steps(1.0), steps(2_f64.powi(-520)));
        assert!(tiny > 5 * usual, "{tiny} steps, {usual} of usual numbers");
    }

    #[test]
    fn there_are_not_many_bands_however_narrow_a_result_is() {
        for rows in [1, 2, 255, 257, 65_535, 1 << 20, (1 << 31) - 1] {
            for (matrices, inner, columns) in [(1, 1, 1), (1, 5000, 5000), (3, 1, 7), (1 << 20, 2000, 2000)] {
                let (tall, ..) = sizes((rows, inner, columns), Direct::<f32>::ELEMENTS, usize::MAX);
                let at_once = rows_of_a_band((matrices, rows, inner, columns), tall);
                assert!(at_once >= tall && (matrices * rows).div_ceil(at_once) <= BANDS, "{rows} {at_once}");
            }
        }
        assert_eq!(rows_of_a_band((1, 2048, 2048, 2048), 256), 256, "shares for many threads");
    }

    #[test]
    fn a_block_is_small_whatever_the_shape_is() {
        let sizes_of = [1, 2, 15, 255, 256, 257, 4095, 4097, 65_535, 1 << 20, (1 << 31) - 1];
        let all = |of: fn(usize, usize, usize)| {
            for rows in sizes_of {
                for inner in sizes_of {
                    sizes_of.iter().for_each(|columns| of(rows, inner, *columns));
                }
            }
        };
        all(|rows, inner, columns| {
            for elements in [Direct::<f32>::ELEMENTS, Widened::<f16>::ELEMENTS] {
                for block in [1, 8, 5000, usize::MAX] {
                    let (tall, wide, deep) = sizes((rows, inner, columns), elements, block);
                    let shape = format!("{rows} x {inner} x {columns}: {tall} x {deep} x {wide}");
                    assert!(tall <= rows && deep <= inner && wide <= columns, "{shape}");
                    assert!(tall.max(deep).max(wide) <= block, "{shape}");
                    // What a thread holds of halves while it widens them: 12 MiB.
                    assert!(tall * deep <= elements && deep * wide <= elements, "{shape}");
                    assert!(tall * wide <= 1 << 20 && tall * wide * deep <= MULTIPLICATIONS, "{shape}");
                }
            }
        });
    }
}
