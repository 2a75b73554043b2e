//! Attention: each token of a text gathers from all tokens of that text, once per head.

use std::ops::Range;

use super::forward::{GoOn, matrix, proceed, rows_times};
use super::weights::Linear;
use super::{ForwardError, Model};
use crate::backend::gemm::{Before, Matrix, MatrixMut, product};

/// Queries that are worked on together: their scores stay in the cache, however long the text.
const QUERIES: usize = 64;

/// Tokens that go through the first product together.
const ROWS: usize = 256;

/// Some of the heads of a layer.
pub(super) struct Heads {
    pub range: Range<usize>,
    /// Numbers of a head.
    pub size: usize,
}

impl Heads {
    /// What they write: a range of `hidden`.
    pub fn context(&self) -> Range<usize> {
        self.range.start * self.size..self.range.end * self.size
    }

    /// Their queries, keys and values among those of all heads.
    fn qkv(&self) -> Range<usize> {
        3 * self.range.start * self.size..3 * self.range.end * self.size
    }
}

/// Room for the attention of some heads.
pub(super) struct Attention {
    pub heads: Heads,
    /// Query, key and value of each head, for each token.
    qkv: Vec<f32>,
    /// What the heads found, for each token.
    context: Vec<f32>,
    /// Queries times keys of one head.
    scores: Vec<f32>,
}

impl Attention {
    /// Room for texts of these lengths.
    pub fn new(heads: Heads, lengths: &[usize]) -> Attention {
        let tokens: usize = lengths.iter().sum();
        let longest = lengths.iter().max().copied().unwrap_or_default();
        Attention {
            qkv: vec![0.0; tokens * heads.qkv().len()],
            context: vec![0.0; tokens * heads.context().len()],
            scores: vec![0.0; longest.min(QUERIES) * longest],
            heads,
        }
    }

    /// What the heads find in `x`: a row for each token.
    pub fn attend(
        &mut self,
        model: &Model,
        qkv: &Linear,
        x: &[f32],
        lengths: &[usize],
        go_on: GoOn<'_>,
    ) -> Result<&[f32], ForwardError> {
        let hidden = model.config.hidden;
        let (columns, width) = (self.heads.qkv(), self.heads.context().len());
        let weight = matrix(qkv, 3 * hidden)?.columns(columns.clone())?;
        let bias = qkv.bias.get(columns.clone()).unwrap_or_default();
        for (out, x) in self.qkv.chunks_mut(ROWS * columns.len()).zip(x.chunks(ROWS * hidden)) {
            proceed(go_on)?;
            out.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
            rows_times(out, columns.len(), Before::Kept, x, weight)?;
        }

        let (mut qkv, mut context) = (self.qkv.as_slice(), self.context.as_mut_slice());
        for length in lengths.iter().copied() {
            let (text, rest) = qkv.split_at(length * columns.len());
            let (out, others) = context.split_at_mut(length * width);
            (qkv, context) = (rest, others);
            let text = Matrix::new(text, length, columns.len())?;
            for head in 0..self.heads.range.len() {
                let columns = head * self.heads.size..(head + 1) * self.heads.size;
                attend(model, text, out, width, columns, &mut self.scores, go_on)?;
            }
        }
        Ok(&self.context)
    }
}

/// One head in one text; `columns` are those of the head in `out`.
fn attend(
    model: &Model,
    text: Matrix<'_, f32>,
    out: &mut [f32],
    width: usize,
    columns: Range<usize>,
    scores: &mut [f32],
    go_on: GoOn<'_>,
) -> Result<(), ForwardError> {
    let (first, size) = (3 * columns.start, columns.len());
    let part = |at: usize| text.columns(first + at * size..first + (at + 1) * size);
    let (query, key, value) = (part(0)?, part(1)?.transposed(), part(2)?);
    let length = out.len() / width.max(1);
    for (at, out) in out.chunks_mut(QUERIES * width).enumerate() {
        proceed(go_on)?;
        let count = out.len() / width.max(1);
        let scores = scores.get_mut(..count * length).unwrap_or_default();
        let query = query.rows(at * QUERIES..at * QUERIES + count)?;
        product(MatrixMut::new(scores, count, length)?, Before::Replaced, query, key)?;
        model.math.softmax(scores, length);
        let out = MatrixMut::new(out, count, width)?.columns(columns.clone())?;
        product(out, Before::Replaced, Matrix::new(scores, count, length)?, value)?;
    }
    Ok(())
}
