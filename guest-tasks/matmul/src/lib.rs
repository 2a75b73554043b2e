//! Multiplies two square matrices of random numbers, on the host and in the guest, and tells how fast each was and
//! how far they are apart.
//!
//! Input: `2048` or `{"size": 2048}`, at most 20000. Output:
//! `{"size": 2048, "host": {"rows": 2048, "ms": 110, "gflops": 156.2}, "guest": {"rows": 32, "ms": 131, "gflops": 2.0}, "difference": 1.2e-7}`.
//!
//! The host multiplies all of it, again and again until that can be measured with a clock of milliseconds. The guest
//! multiplies the first rows, as many as take it a fraction of a second. `difference` is ‖host - guest‖ / ‖guest‖ of
//! the rows that both have.

use omnimind_guest::tensor::{self, ElementType, Precision, Tensor};
use omnimind_guest::{context, json};
use serde::{Deserialize, Serialize};

/// Three such matrices are 4.8 GB, and the product 16 trillion operations: more than a task gets by default.
const MAX_SIZE: u32 = 20_000;

/// Multiplications that the guest does, about.
const GUEST: usize = 1 << 28;

/// How long the host is measured, in milliseconds.
const MEASURED: u64 = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    size: u32,
}

#[derive(Serialize)]
struct Answer {
    size: u32,
    host: Speed,
    guest: Speed,
    difference: f64,
}

#[derive(Serialize)]
struct Speed {
    rows: usize,
    ms: u64,
    gflops: f64,
}

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let size = parse(&input)?;
    let shape = [size, size];
    let left = Tensor::random(&shape, ElementType::Float32, 1)?;
    let right = Tensor::random(&shape, ElementType::Float32, 2)?;
    let (mut product, begun, mut times) = (left.matmul(&right, Precision::Highest)?, now(), 0);
    let ms = loop {
        // The first one was to warm up.
        drop(product);
        product = left.matmul(&right, Precision::Highest)?;
        times += 1;
        let ms = now() - begun;
        if ms >= MEASURED {
            break ms;
        }
    };
    let width = size as usize;
    let host = Speed::of(width * times, width, ms);
    let host = Speed { rows: width, ..host };

    let rows = (GUEST / (width * width)).clamp(1, width);
    let (left, right) =
        (tensor::read_f32(&left, 0, rows * width)?, tensor::read_f32(&right, 0, width * width)?);
    let begun = now();
    let mine = multiply(&left, &right, width);
    let guest = Speed::of(rows, width, now() - begun);
    let theirs = tensor::read_f32(&product, 0, rows * width)?;
    json::encode(&Answer { size, host, guest, difference: difference(&theirs, &mine) })
}

fn parse(input: &[u8]) -> Result<u32, String> {
    let object = input.trim_ascii_start().starts_with(b"{");
    let size = match object {
        true => json::decode::<Request>(input).map(|request| request.size),
        false => json::decode::<u32>(input),
    };
    let size = size.map_err(|why| format!("{why}; give a whole number as 2048 or {{\"size\": 2048}}"))?;
    match size {
        1..=MAX_SIZE => Ok(size),
        _ => Err(format!("size is {size}: it is 1 to {MAX_SIZE}")),
    }
}

/// Milliseconds, by what is left of the task's time.
fn now() -> u64 {
    u64::MAX - context::remaining("wall_ms").unwrap_or_default()
}

impl Speed {
    /// Of multiplying so many rows with a square matrix.
    fn of(rows: usize, width: usize, ms: u64) -> Speed {
        let operations = 2.0 * rows as f64 * (width as f64).powi(2);
        // A clock of milliseconds says 0 of less than one.
        let gflops = operations / 1e6 / ms.max(1) as f64;
        Speed { rows, ms, gflops: (gflops * 10.0).round() / 10.0 }
    }
}

/// Rows of `left` times a square matrix, row after row of it, so that both are read in their order.
fn multiply(left: &[f32], right: &[f32], width: usize) -> Vec<f32> {
    let mut product = vec![0.0; left.len()];
    for (row, out) in left.chunks_exact(width).zip(product.chunks_exact_mut(width)) {
        for (factor, right) in row.iter().zip(right.chunks_exact(width)) {
            out.iter_mut().zip(right).for_each(|(sum, right)| *sum += factor * right);
        }
    }
    product
}

/// ‖a - b‖ / ‖b‖
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let square = |number: f64| number * number;
    let off: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (off / norm.max(f64::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_input_are_read_and_others_are_told_what_would_be_good() {
        assert_eq!(parse(b"100"), Ok(100));
        assert_eq!(parse(b" {\"size\": 100}\n"), Ok(100));
        for input in ["", "abc", "-1", "{}", "[1]", "{\"sise\": 3}", "4294967296"] {
            let error = parse(input.as_bytes()).unwrap_err();
            assert!(error.contains("{\"size\": 2048}"), "{input}: {error}");
        }
        for input in ["0", "20001"] {
            assert!(parse(input.as_bytes()).unwrap_err().contains("20000"));
        }
    }

    #[test]
    fn rows_are_multiplied() {
        let (left, right) = ([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 1.0, 1.0]);
        assert_eq!(multiply(&left, &right, 2), [2.0, 3.0, 4.0, 7.0]);
        assert_eq!(multiply(&left[..2], &right, 2), [2.0, 3.0]);
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((difference(&[3.0, 5.0], &[3.0, 4.0]) - 0.2).abs() < 1e-9);
    }
}
