//! Shapes, and which of them go together. All arithmetic is checked: shapes come from guests.

use std::fmt;

use super::{ElementType, Invalid};

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 8;

/// The size of a tensor in each dimension: one to eight of them, none of them zero, row-major.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape {
    sizes: Vec<u32>,
    elements: usize,
}

impl Shape {
    /// A tensor of these sizes.
    ///
    /// # Errors
    /// None, too many or a zero among them; more elements than can be counted.
    pub fn new(sizes: Vec<u32>) -> Result<Shape, Invalid> {
        if sizes.is_empty() || sizes.len() > MAX_RANK {
            let found = sizes.len();
            return Err(Invalid(format!("a shape has 1 to {MAX_RANK} dimensions, not {found}")));
        }
        if let Some(at) = sizes.iter().position(|size| *size == 0) {
            return Err(Invalid(format!("dimension {at} of the shape is 0: every one is 1 at least")));
        }
        let count = sizes.iter().try_fold(1_usize, |count, size| count.checked_mul(*size as usize));
        // As many as a slice can have, whatever they are.
        let elements =
            count.filter(|count| count.checked_mul(8).is_some_and(|bytes| isize::try_from(bytes).is_ok()));
        match elements {
            Some(elements) => Ok(Shape { sizes, elements }),
            None => Err(Invalid("the shape has more elements than can be counted".to_owned())),
        }
    }

    /// The sizes.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// Their product.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Bytes of so many elements.
    pub fn bytes(&self, element: ElementType) -> usize {
        self.elements * element.size()
    }

    /// The size of the last dimension.
    pub fn row(&self) -> usize {
        self.sizes.last().map_or(1, |size| *size as usize)
    }

    /// Matrices, their rows and their columns: of a matrix, or of several of one size.
    ///
    /// # Errors
    /// It has not two or three dimensions.
    pub fn matrices(&self) -> Result<(usize, usize, usize), Invalid> {
        match *self.sizes {
            [rows, columns] => Ok((1, rows as usize, columns as usize)),
            [count, rows, columns] => Ok((count as usize, rows as usize, columns as usize)),
            _ => Err(Invalid(format!("{self} is no matrix: it wants 2 dimensions, or 3 for a batch"))),
        }
    }

    /// The shape of the product with `right`.
    ///
    /// # Errors
    /// They do not go together.
    pub fn product(&self, right: &Shape) -> Result<Shape, Invalid> {
        let ((batch, rows, inner), (batches, depth, columns)) = (self.matrices()?, right.matrices()?);
        if inner != depth || batch != batches || self.sizes.len() != right.sizes.len() {
            let rule = "[m,k] times [k,n], or [b,m,k] times [b,k,n]";
            return Err(Invalid(format!("{self} and {right} do not go together: a product is {rule}")));
        }
        let mut sizes = self.sizes.clone();
        if let (Some(last), Ok(columns)) = (sizes.last_mut(), u32::try_from(columns)) {
            *last = columns;
        }
        debug_assert!(rows > 0);
        Shape::new(sizes)
    }

    /// With rows and columns exchanged.
    ///
    /// # Errors
    /// It is no matrix, nor a batch of them.
    pub fn transposed(&self) -> Result<Shape, Invalid> {
        self.matrices()?;
        let mut sizes = self.sizes.clone();
        let last = sizes.len() - 1;
        sizes.swap(last - 1, last);
        Shape::new(sizes)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.sizes.iter().map(u32::to_string).collect();
        write!(f, "[{}]", sizes.join(","))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sizes: &[u32]) -> Shape {
        Shape::new(sizes.to_vec()).unwrap()
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused_before_anything_is_made_of_it() {
        for sizes in [
            vec![],
            vec![0],
            vec![3, 0, 2],
            vec![1; MAX_RANK + 1],
            vec![1; 1000],
            vec![u32::MAX; 2],
            vec![u32::MAX; 8],
            vec![1 << 31, 1 << 30],
        ] {
            assert!(Shape::new(sizes.clone()).is_err(), "{sizes:?}");
        }
        assert_eq!(shape(&[1 << 31, 1 << 28]).bytes(ElementType::Float64), 1 << 62);
        assert_eq!(shape(&[2, 3, 4]).elements(), 24);
    }

    #[test]
    fn what_goes_together_has_a_product() {
        for (left, right, product) in [
            (&[2, 3][..], &[3, 4][..], Some(&[2, 4][..])),
            (&[1, 1], &[1, 1], Some(&[1, 1])),
            (&[5, 2, 3], &[5, 3, 4], Some(&[5, 2, 4])),
            (&[2, 3], &[2, 3], None),
            (&[5, 2, 3], &[4, 3, 4], None),
            (&[1, 2, 3], &[3, 4], None),
            (&[3], &[3], None),
            (&[1, 1, 2, 3], &[1, 1, 3, 4], None),
        ] {
            let found = shape(left).product(&shape(right));
            assert_eq!(found.as_ref().ok().map(Shape::sizes), product, "{left:?} {right:?}");
        }
        // Each fits, their product does not.
        assert!(shape(&[u32::MAX, 1]).product(&shape(&[1, u32::MAX])).is_err());
        assert_eq!(shape(&[2, 3, 4]).transposed().unwrap().sizes(), [2, 4, 3]);
        assert!(shape(&[3]).transposed().is_err());
    }
}
