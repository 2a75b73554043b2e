//! The forward pass: token ids to one vector per text.
//!
//! Texts are not padded: the tokens of a group of texts stand one after another, the products go over all of
//! them, and attention over each text alone. Many tokens are shared out as groups of texts, of which each thread
//! works through its own from the first layer to the last; nobody waits for anybody. Where there are too few for
//! that, the *model* is shared out: each thread takes some of the heads and some of the feed-forward columns of
//! every layer, so each reads only its part of the weights, which is what takes the time there.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rayon::iter::{IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use super::attention::{Attention, Heads};
use super::config::{Config, Pooling};
use super::tokens::Encoding;
use super::weights::{Layer, Linear, Norm};
use super::{ForwardError, Model, Pass};
use crate::backend::gemm::{Before, Matrix, MatrixMut, Mismatch, product};
use crate::backend::work::thread_cpu;

/// Tokens of one group, if no text alone has more. With MiniLM's 384 numbers each takes 9 KiB.
const GROUP_TOKENS: usize = 1024;

/// Tokens per thread below which the model is shared out, not the texts.
const FEW_TOKENS: usize = 64;

/// Operations between two questions whether to go on: some milliseconds of one slow core.
const STEP_FLOPS: usize = 300_000_000;

/// Whether somebody still wants the result.
pub(super) type GoOn<'a> = &'a (dyn Fn() -> bool + Sync);

/// A text and the place of its vector.
struct Text<'a> {
    ids: &'a [u32],
    vector: &'a mut [f32],
}

/// What one thread holds of a group while it goes through the layers.
struct Part {
    attention: Attention,
    /// Its columns of the feed-forward step.
    columns: Range<usize>,
    /// Those columns, for some tokens at a time.
    middle: Vec<f32>,
    /// What it adds to the result of a step: `hidden` numbers per token.
    out: Vec<f32>,
}

/// CPU time of all threads together, as far as they are at work on something.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    /// Does something on this thread.
    fn of<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = thread_cpu();
        let done = work();
        let time = thread_cpu().saturating_sub(begun);
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        done
    }
}

/// The vectors of `texts`.
pub(super) fn forward(
    model: &Model,
    texts: &[Encoding],
    threads: usize,
    go_on: GoOn<'_>,
) -> Result<Pass, ForwardError> {
    let Config { hidden, positions, heads, .. } = model.config;
    if !texts.iter().all(|text| (1..=positions).contains(&text.ids.len())) {
        return Err(ForwardError::Foreign);
    }
    let mut vectors = vec![0.0; texts.len() * hidden];
    let tokens: usize = texts.iter().map(Encoding::tokens).sum();
    let few = tokens < FEW_TOKENS * threads;
    let at_once = if few { 1 } else { threads.max(1) };
    let places = texts.iter().zip(vectors.chunks_exact_mut(hidden));
    let texts = places.map(|(text, vector)| Text { ids: &text.ids, vector }).collect();
    let groups = grouped(texts, tokens.div_ceil(at_once * GROUP_TOKENS) * at_once);
    let clock = Clock::default();
    if at_once > 1 {
        groups.into_par_iter().try_for_each(|group| embed(model, group, 1, go_on, &clock))?;
    } else {
        let parts = if few { threads.min(heads) } else { 1 };
        groups.into_iter().try_for_each(|group| embed(model, group, parts, go_on, &clock))?;
    }
    Ok(Pass { vectors, cpu: Duration::from_nanos(clock.0.into_inner()) })
}

/// Shares texts out so that all groups have about as many tokens: the long ones first, each to the least.
fn grouped(mut texts: Vec<Text<'_>>, count: usize) -> Vec<Vec<Text<'_>>> {
    texts.sort_by_key(|text| std::cmp::Reverse(text.ids.len()));
    let mut groups: Vec<(usize, Vec<Text<'_>>)> = (0..count).map(|_| (0, Vec::new())).collect();
    for text in texts {
        if let Some((tokens, group)) = groups.iter_mut().min_by_key(|(tokens, _)| *tokens) {
            *tokens += text.ids.len();
            group.push(text);
        }
    }
    groups.into_iter().map(|(_, group)| group).filter(|group| !group.is_empty()).collect()
}

/// Takes a group of texts through the model, in as many parts at once.
fn embed(
    model: &Model,
    group: Vec<Text<'_>>,
    parts: usize,
    go_on: GoOn<'_>,
    clock: &Clock,
) -> Result<(), ForwardError> {
    let Model { config, weights, math, .. } = model;
    let mut x = clock.of(|| tokens(model, &group))?;
    let lengths: Vec<usize> = group.iter().map(|text| text.ids.len()).collect();
    let rows = (STEP_FLOPS / (2 * config.hidden * config.intermediate)).clamp(16, 256);
    let mut parts: Vec<Part> = (0..parts).map(|part| Part::new(model, part, parts, &lengths, rows)).collect();
    let join = |x: &mut [f32], parts: &mut [Part], bias: &[f32], norm: &Norm| {
        if let Some((first, others)) = parts.split_first_mut() {
            others.iter().for_each(|other| math.add(&mut first.out, &other.out));
            math.add_and_normalize(x, &first.out, bias, norm, config.epsilon);
        }
    };
    for layer in &weights.layers {
        each(&mut parts, |part| clock.of(|| part.attend(model, layer, &x, &lengths, go_on)))?;
        clock.of(|| join(&mut x, &mut parts, &layer.output.bias, &layer.attention_norm));
        each(&mut parts, |part| clock.of(|| part.feed(model, layer, &x, go_on)))?;
        clock.of(|| join(&mut x, &mut parts, &layer.down.bias, &layer.output_norm));
    }
    let mut rest = x.as_slice();
    clock.of(|| {
        for text in group {
            let (rows, others) = rest.split_at(text.ids.len() * config.hidden);
            rest = others;
            pool(config, rows, text.vector);
        }
    });
    Ok(())
}

/// Does something with each part, at once if there are several.
fn each(
    parts: &mut [Part],
    work: impl Fn(&mut Part) -> Result<(), ForwardError> + Send + Sync,
) -> Result<(), ForwardError> {
    match parts {
        [part] => work(part),
        parts => parts.par_iter_mut().try_for_each(work),
    }
}

/// What the first layer sees: words and their positions, normalised.
fn tokens(model: &Model, group: &[Text<'_>]) -> Result<Vec<f32>, ForwardError> {
    let Model { config, weights, math, .. } = model;
    let hidden = config.hidden;
    let count: usize = group.iter().map(|text| text.ids.len()).sum();
    let (mut words, mut places) = (Vec::with_capacity(count * hidden), Vec::with_capacity(count * hidden));
    for text in group {
        let positions = weights.positions.get(..text.ids.len() * hidden);
        places.extend_from_slice(
            positions.filter(|positions| !positions.is_empty()).ok_or(ForwardError::Foreign)?,
        );
        for id in text.ids {
            let start = *id as usize * hidden;
            let word = weights.words.get(start..start + hidden);
            words.extend_from_slice(word.ok_or(ForwardError::Foreign)?);
        }
    }
    math.add_and_normalize(&mut words, &places, &vec![0.0; hidden], &weights.norm, config.epsilon);
    Ok(words)
}

impl Part {
    /// Part number `part` of `parts`, for texts of these lengths.
    fn new(model: &Model, part: usize, parts: usize, lengths: &[usize], rows: usize) -> Part {
        let config = &model.config;
        let share = |of: usize| part * of / parts..(part + 1) * of / parts;
        let heads = Heads { range: share(config.heads), size: config.hidden / config.heads };
        let tokens: usize = lengths.iter().sum();
        let columns = share(config.intermediate);
        Part {
            attention: Attention::new(heads, lengths),
            middle: vec![0.0; rows.min(tokens) * columns.len()],
            columns,
            out: vec![0.0; tokens * config.hidden],
        }
    }

    /// Attention of its heads, as far as their share of what is added to `x`.
    fn attend(
        &mut self,
        model: &Model,
        layer: &Layer,
        x: &[f32],
        lengths: &[usize],
        go_on: GoOn<'_>,
    ) -> Result<(), ForwardError> {
        let hidden = model.config.hidden;
        let range = self.attention.heads.context();
        let width = range.len();
        let weight = matrix(&layer.output, hidden)?.rows(range)?;
        let context = self.attention.attend(model, &layer.qkv, x, lengths, go_on)?;
        let step = (STEP_FLOPS / (2 * width * hidden)).max(16);
        for (out, context) in self.out.chunks_mut(step * hidden).zip(context.chunks(step * width)) {
            proceed(go_on)?;
            rows_times(out, hidden, Before::Replaced, context, weight)?;
        }
        Ok(())
    }

    /// The feed-forward step with its columns, as far as their share of what is added to `x`.
    fn feed(&mut self, model: &Model, layer: &Layer, x: &[f32], go_on: GoOn<'_>) -> Result<(), ForwardError> {
        let Config { hidden, intermediate, activation, .. } = model.config;
        let width = self.columns.len();
        let up = matrix(&layer.up, intermediate)?.columns(self.columns.clone())?;
        let down = matrix(&layer.down, hidden)?.rows(self.columns.clone())?;
        let bias = layer.up.bias.get(self.columns.clone()).unwrap_or_default();
        let step = (self.middle.len() / width.max(1)).max(1);
        for (out, x) in self.out.chunks_mut(step * hidden).zip(x.chunks(step * hidden)) {
            proceed(go_on)?;
            let middle = self.middle.get_mut(..x.len() / hidden * width).unwrap_or_default();
            rows_times(middle, width, Before::Replaced, x, up)?;
            model.math.add_and_activate(middle, bias, activation);
            proceed(go_on)?;
            rows_times(out, hidden, Before::Replaced, middle, down)?;
        }
        Ok(())
    }
}

/// The weight of a product that gives `outputs` numbers.
pub(super) fn matrix(linear: &Linear, outputs: usize) -> Result<Matrix<'_, f32>, Mismatch> {
    Matrix::new(&linear.weight, linear.weight.len() / outputs, outputs)
}

/// `out = x * weight` where `out` has rows of `columns`.
pub(super) fn rows_times(
    out: &mut [f32],
    columns: usize,
    before: Before,
    x: &[f32],
    weight: Matrix<'_, f32>,
) -> Result<(), Mismatch> {
    let rows = out.len() / columns.max(1);
    let x = Matrix::new(x, rows, x.len() / rows.max(1))?;
    product(MatrixMut::new(out, rows, columns)?, before, x, weight)
}

/// Stops here if nobody wants the result any more.
pub(super) fn proceed(go_on: GoOn<'_>) -> Result<(), ForwardError> {
    if go_on() { Ok(()) } else { Err(ForwardError::Stopped) }
}

/// One vector of those of a text's tokens, of which there is one at least.
fn pool(config: &Config, tokens: &[f32], vector: &mut [f32]) {
    let mut rows = tokens.chunks_exact(config.hidden);
    if let Some(first) = rows.next() {
        vector.copy_from_slice(first);
    }
    let fold = |vector: &mut [f32], row: &[f32], with: fn(f32, f32) -> f32| {
        vector.iter_mut().zip(row).for_each(|(number, other)| *number = with(*number, *other));
    };
    match config.pooling {
        Pooling::Cls => {}
        Pooling::Max => rows.for_each(|row| fold(vector, row, f32::max)),
        Pooling::Mean => {
            let count = (1 + rows.len()) as f32;
            rows.for_each(|row| fold(vector, row, |sum, number| sum + number));
            vector.iter_mut().for_each(|number| *number /= count);
        }
    }
    let squares: f32 = vector.iter().map(|number| number * number).sum();
    // As PyTorch has it: a vector of nothing stays nothing.
    let length = squares.sqrt().max(1e-12);
    vector.iter_mut().for_each(|number| *number /= length);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rayon::ThreadPool;
    use safetensors::Dtype;

    use super::super::testing::{Tiny, VOCABULARY, gelu, gelu_tanh, random};
    use super::*;

    fn texts(lengths: impl IntoIterator<Item = usize>) -> Vec<Encoding> {
        let ids = |length| (0..length).map(|_| random(0..VOCABULARY) as u32).collect();
        lengths.into_iter().map(|length| Encoding { ids: ids(length) }).collect()
    }

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    fn all(model: &Model, texts: &[Encoding], threads: usize) -> Vec<f32> {
        pool(threads).install(|| model.forward(texts, threads, &|| true)).unwrap().vectors
    }

    /// How far `found` is from `rows` made one vector by `pooled`, and that brought to length 1.
    fn error(found: &[f32], rows: &[Vec<f64>], pooled: Pooled) -> f64 {
        let column = |at: usize| pooled(&mut rows.iter().map(|row| row[at]));
        let vector: Vec<f64> = (0..found.len()).map(column).collect();
        let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
        let differences =
            vector.iter().zip(found).map(|(number, found)| (number / length - f64::from(*found)).abs());
        differences.fold(0.0, f64::max)
    }

    /// One component of all tokens' vectors to that of the text's.
    type Pooled = fn(&mut dyn Iterator<Item = f64>) -> f64;

    fn mean(numbers: &mut dyn Iterator<Item = f64>) -> f64 {
        let numbers: Vec<f64> = numbers.collect();
        numbers.iter().sum::<f64>() / numbers.len() as f64
    }

    #[test]
    fn vectors_are_those_of_the_formulas() {
        let tiny = Tiny::new();
        let texts = texts([2, 1, 17, 64, 65, 130, 200, 3]);
        for (name, activation) in
            [("gelu", gelu as fn(f64) -> f64), ("gelu_new", gelu_tanh), ("relu", |x| x.max(0.0))]
        {
            tiny.config(name);
            let model = Model::load(tiny.dir()).unwrap();
            let exact: Vec<_> = texts.iter().map(|text| tiny.rows(&text.ids, activation)).collect();
            for threads in [1, 2, 3, 8] {
                let vectors = all(&model, &texts, threads);
                for (vector, exact) in vectors.chunks(tiny.hidden).zip(&exact) {
                    let error = error(vector, exact, mean);
                    assert!(error < 2e-6, "{name}, {threads} threads, {} tokens: {error}", exact.len());
                }
            }
            // Alone, the model is shared out and not the texts.
            for (text, exact) in texts.iter().zip(&exact) {
                let error = error(&all(&model, std::slice::from_ref(text), 2), exact, mean);
                assert!(error < 2e-6, "{name}, alone, {} tokens: {error}", exact.len());
            }
        }
    }

    #[test]
    fn pooling_is_what_the_checkpoint_says() {
        let tiny = Tiny::new();
        let texts = texts([9, 30]);
        let ways: [(&str, Pooled); 4] = [
            (r#"{"pooling_mode": "mean"}"#, mean),
            (r#"{"pooling_mode": "cls"}"#, |numbers| numbers.next().unwrap()),
            (r#"{"pooling_mode_max_tokens": true}"#, |numbers| numbers.fold(f64::MIN, f64::max)),
            (r#"{"pooling_mode_mean_tokens": true}"#, mean),
        ];
        for (file, pooled) in ways {
            tiny.file("1_Pooling/config.json", file);
            let model = Model::load(tiny.dir()).unwrap();
            for (vector, text) in all(&model, &texts, 1).chunks(tiny.hidden).zip(&texts) {
                let error = error(vector, &tiny.rows(&text.ids, gelu), pooled);
                assert!(error < 2e-6, "{file}: {error}");
            }
        }
    }

    #[test]
    fn half_precision_and_a_prefix_load_too() {
        let tiny = Tiny::new();
        let text = texts([20]);
        let exact = tiny.rows(&text[0].ids, gelu);
        for (dtype, prefix, most) in
            [(Dtype::F32, "bert.", 2e-6), (Dtype::F16, "", 1e-3), (Dtype::BF16, "bert.", 1e-2)]
        {
            tiny.write(dtype, prefix);
            let error = error(&all(&Model::load(tiny.dir()).unwrap(), &text, 1), &exact, mean);
            assert!(error < most, "{dtype:?}: {error}");
        }
    }

    #[test]
    fn a_text_in_a_large_batch_has_the_vector_that_it_has_alone() {
        let tiny = Tiny::new();
        let model = Model::load(tiny.dir()).unwrap();
        let texts = texts((0..300).map(|_| random(1..40)));
        for threads in [1, 2, 5] {
            let vectors = all(&model, &texts, threads);
            for (vector, text) in vectors.chunks(tiny.hidden).zip(&texts) {
                let alone = all(&model, std::slice::from_ref(text), 1);
                let far =
                    vector.iter().zip(&alone).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
                assert!(far < 2e-6, "{threads}: {far}");
            }
        }
    }

    #[test]
    fn groups_are_bounded_and_balanced() {
        let encodings = texts((0..500).map(|_| random(2..200)));
        let tokens: usize = encodings.iter().map(Encoding::tokens).sum();
        let count = tokens.div_ceil(2 * GROUP_TOKENS) * 2;
        let texts = encodings.iter().map(|text| Text { ids: &text.ids, vector: &mut [] }).collect();
        let groups = grouped(texts, count);
        let sizes: Vec<usize> =
            groups.iter().map(|group| group.iter().map(|text| text.ids.len()).sum()).collect();
        assert_eq!((groups.len(), sizes.iter().sum()), (count, tokens));
        assert!(sizes.iter().all(|size| size.abs_diff(tokens / count) < 20), "{sizes:?}");
    }

    #[test]
    fn it_stops_wherever_it_is_told_to() {
        let model = Model::load(Tiny::new().dir()).unwrap();
        let texts = texts([30, 120, 7]);
        for threads in [1, 2] {
            let pool = pool(threads);
            let asked = AtomicUsize::new(0);
            let run = |most: usize| {
                asked.store(0, Ordering::Relaxed);
                let go_on = || asked.fetch_add(1, Ordering::Relaxed) < most;
                pool.install(|| model.forward(&texts, threads, &go_on))
            };
            run(usize::MAX).unwrap();
            let all = asked.load(Ordering::Relaxed);
            assert!(all > 10, "{all}");
            for most in 0..all {
                assert_eq!(run(most), Err(ForwardError::Stopped), "{most} of {all}");
                assert!(asked.load(Ordering::Relaxed) <= most + threads, "nothing is done after it");
            }
            run(all).unwrap();
        }
    }
}
