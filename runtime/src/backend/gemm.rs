//! Matrix products on the CPU: the `gemm` crate behind checked views.
//!
//! The crate takes pointers and strides and believes them. Here a view is made only of numbers that fit its
//! slice, so a product can read and write nothing else; shapes that do not go together are refused. It looks at
//! the CPU when it runs: one binary uses AVX-512 where there is some.

use std::ops::Range;

/// What a matrix may be made of.
pub trait Element: Copy + Send + Sync + 'static {
    /// The neutral element of multiplication.
    const ONE: Self;
}

impl Element for f32 {
    const ONE: f32 = 1.0;
}

impl Element for f64 {
    const ONE: f64 = 1.0;
}

/// Shapes that do not go together; nothing was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A view reaches past its elements.
    #[error(
        "a matrix of {rows} x {columns} does not fit in {elements} elements: give it as many as its shape says"
    )]
    Slice {
        /// Rows of the view.
        rows: usize,
        /// Columns of the view.
        columns: usize,
        /// What the slice holds.
        elements: usize,
    },
    /// A product's shapes.
    #[error(
        "({} x {}) times ({} x {}) does not give ({} x {}): the inner sizes are to be equal, the outer ones the result's",
        .left.0, .left.1, .right.0, .right.1, .out.0, .out.1
    )]
    Product {
        /// Rows and columns of the left factor.
        left: (usize, usize),
        /// Rows and columns of the right factor.
        right: (usize, usize),
        /// Rows and columns of the result.
        out: (usize, usize),
    },
}

/// A matrix to read: every element of it lies in `data`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Element> Matrix<'a, T> {
    /// `data` row after row.
    ///
    /// # Errors
    /// [`Mismatch::Slice`]: `data` is shorter than the shape.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Result<Matrix<'a, T>, Mismatch> {
        Matrix::strided(data, rows, columns, columns, 1)
    }

    fn strided(
        data: &'a [T],
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Result<Matrix<'a, T>, Mismatch> {
        fits(data.len(), rows, columns, row_stride, column_stride)?;
        Ok(Matrix { data, rows, columns, row_stride, column_stride })
    }

    /// Some of its rows.
    ///
    /// # Errors
    /// [`Mismatch::Slice`]: it has not that many.
    pub fn rows(self, range: Range<usize>) -> Result<Matrix<'a, T>, Mismatch> {
        let data =
            cut(self.data.len(), &range, self.rows, self.row_stride).and_then(|start| self.data.get(start..));
        let refused = Mismatch::Slice { rows: range.end, columns: self.columns, elements: self.data.len() };
        Matrix::strided(data.ok_or(refused)?, range.len(), self.columns, self.row_stride, self.column_stride)
    }

    /// Some of its columns.
    ///
    /// # Errors
    /// [`Mismatch::Slice`]: it has not that many.
    pub fn columns(self, range: Range<usize>) -> Result<Matrix<'a, T>, Mismatch> {
        self.transposed().rows(range).map(Matrix::transposed)
    }

    /// Its rows as columns.
    #[must_use]
    pub fn transposed(self) -> Matrix<'a, T> {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write, row after row: no two elements of it are the same memory.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a, T: Element> MatrixMut<'a, T> {
    /// `data` row after row.
    ///
    /// # Errors
    /// [`Mismatch::Slice`]: `data` is shorter than the shape.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize) -> Result<MatrixMut<'a, T>, Mismatch> {
        fits(data.len(), rows, columns, columns, 1)?;
        Ok(MatrixMut { data, rows, columns, row_stride: columns })
    }

    /// Some of its columns.
    ///
    /// # Errors
    /// [`Mismatch::Slice`]: it has not that many.
    pub fn columns(self, range: Range<usize>) -> Result<MatrixMut<'a, T>, Mismatch> {
        let elements = self.data.len();
        let refused = Mismatch::Slice { rows: self.rows, columns: range.end, elements };
        let start = cut(elements, &range, self.columns, 1).ok_or(refused)?;
        let data = self.data.get_mut(start..).ok_or(refused)?;
        fits(data.len(), self.rows, range.len(), self.row_stride, 1)?;
        Ok(MatrixMut { data, columns: range.len(), ..self })
    }
}

/// What becomes of what the result held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It is overwritten, whatever it was.
    Replaced,
    /// The product is added to it.
    Kept,
}

/// `out = left * right`, or `out += left * right`, on this thread. It ends only when it is done: who must be able to
/// stop, or has more threads, gives it parts.
///
/// # Errors
/// [`Mismatch::Product`]: the shapes do not go together; `out` is untouched.
pub fn product<T: Element>(
    out: MatrixMut<'_, T>,
    before: Before,
    left: Matrix<'_, T>,
    right: Matrix<'_, T>,
) -> Result<(), Mismatch> {
    let (m, n, k) = (out.rows, out.columns, left.columns);
    if left.rows != m || right.columns != n || right.rows != k {
        let (left, right) = ((left.rows, left.columns), (right.rows, right.columns));
        return Err(Mismatch::Product { left, right, out: (m, n) });
    }
    // SAFETY: `fits` held when each view was made: all rows and columns, at these strides, lie within the slices,
    // which outlive the call. `out` is borrowed for us alone, and its elements are distinct: columns lie side by
    // side, and a row is no longer than `row_stride`. Strides fit isize, for slices are no longer than that, or
    // are not used, for there is one row or column. With `Replaced` the crate does not read `out`.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            1,
            out.row_stride.cast_signed(),
            before == Before::Kept,
            left.data.as_ptr(),
            left.column_stride.cast_signed(),
            left.row_stride.cast_signed(),
            right.data.as_ptr(),
            right.column_stride.cast_signed(),
            right.row_stride.cast_signed(),
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    Ok(())
}

/// Whether the last element of a view lies within `elements`.
fn fits(
    elements: usize,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
) -> Result<(), Mismatch> {
    let (Some(last_row), Some(last_column)) = (rows.checked_sub(1), columns.checked_sub(1)) else {
        return Ok(()); // nothing is read of nothing
    };
    let row = last_row.checked_mul(row_stride);
    let last =
        row.zip(last_column.checked_mul(column_stride)).and_then(|(row, column)| row.checked_add(column));
    if last.is_some_and(|last| last < elements) {
        Ok(())
    } else {
        Err(Mismatch::Slice { rows, columns, elements })
    }
}

/// Where a view starts that begins at `range` of `count`; at the end of the elements if it is empty there.
fn cut(elements: usize, range: &Range<usize>, count: usize, stride: usize) -> Option<usize> {
    if range.start > range.end || range.end > count {
        return None;
    }
    range.start.checked_mul(stride).map(|start| start.min(elements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn random(rng: &mut StdRng, count: usize) -> Vec<f32> {
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn products_of_views_are_those_of_the_numbers_in_them() {
        let mut rng = StdRng::from_rng(&mut rand::rng());
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (26, 384, 100), (130, 32, 130), (65, 17, 33)] {
            let (left, right) = (random(&mut rng, m * (k + 3)), random(&mut rng, n * (k + 2)));
            let was = random(&mut rng, m * (n + 4));
            let mut out = was.clone();
            let a = Matrix::new(&left, m, k + 3).unwrap().columns(2..k + 2).unwrap();
            let b = Matrix::new(&right, n, k + 2).unwrap().columns(1..k + 1).unwrap().transposed();
            let c = MatrixMut::new(&mut out, m, n + 4).unwrap().columns(3..n + 3).unwrap();
            product(c, Before::Kept, a, b).unwrap();
            for i in 0..m {
                for j in 0..n + 4 {
                    let sum = if (3..n + 3).contains(&j) {
                        let terms = (0..k).map(|l| {
                            f64::from(left[i * (k + 3) + l + 2]) * f64::from(right[(j - 3) * (k + 2) + l + 1])
                        });
                        terms.sum()
                    } else {
                        0.0
                    };
                    let (wanted, found) =
                        (f64::from(was[i * (n + 4) + j]) + sum, f64::from(out[i * (n + 4) + j]));
                    assert!((wanted - found).abs() < 1e-4, "{m} {k} {n}: {i},{j}: {wanted} {found}");
                }
            }
        }
    }

    #[test]
    fn what_was_there_is_not_read_when_it_is_replaced() {
        let mut out = [f32::NAN; 4];
        let (left, right) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0]);
        let (a, b) = (Matrix::new(&left, 2, 2).unwrap(), Matrix::new(&right, 2, 2).unwrap());
        product(MatrixMut::new(&mut out, 2, 2).unwrap(), Before::Replaced, a, b).unwrap();
        assert_eq!(out, left);
    }

    #[test]
    fn a_view_that_reaches_past_its_slice_is_refused() {
        let mut data = [0.0f32; 12];
        assert!(Matrix::new(&data, 3, 5).is_err());
        assert!(Matrix::new(&data, usize::MAX, 2).is_err(), "no overflow");
        assert!(Matrix::new(&data, usize::MAX, usize::MAX).is_err());
        let whole = Matrix::new(&data, 3, 4).unwrap();
        assert!(whole.rows(1..4).is_err() && whole.columns(2..5).is_err());
        assert!(whole.rows(3..3).is_ok() && whole.columns(4..4).is_ok(), "empty is fine");
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 2..1;
        assert!(whole.rows(reversed).is_err());
        assert!(MatrixMut::new(&mut data, 4, 4).is_err());
        assert!(MatrixMut::new(&mut data, 3, 4).unwrap().columns(3..5).is_err());
    }

    #[test]
    fn shapes_that_do_not_go_together_are_refused() {
        let (left, right, mut out) = ([1.0f32; 6], [1.0f32; 6], [7.0f32; 4]);
        let (a, b) = (Matrix::new(&left, 2, 3).unwrap(), Matrix::new(&right, 2, 3).unwrap());
        let refused = product(MatrixMut::new(&mut out, 2, 2).unwrap(), Before::Replaced, a, b).unwrap_err();
        assert_eq!(refused, Mismatch::Product { left: (2, 3), right: (2, 3), out: (2, 2) });
        assert_eq!(out, [7.0; 4]);
    }
}
