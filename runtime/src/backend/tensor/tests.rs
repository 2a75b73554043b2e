//! What backends compute, beside the same in binary64, one element after the other. Numbers are new in each run.

use rand::RngExt as _;

use super::*;
use crate::backend::work::Inline;
use crate::limits::{Budget, Ledger, Mode, Requested};

/// Bytes that are held in one test, and what holds them.
pub(super) struct Bench {
    backend: Cpu,
    ledger: Arc<Ledger>,
}

impl Bench {
    pub(super) fn new(backend: Cpu) -> Bench {
        let limits = Requested::default().effective(Mode::Dev).unwrap();
        Bench { backend, ledger: Arc::new(Ledger::new(limits)) }
    }

    fn output(&self, shape: Shape, element: ElementType) -> Output {
        let held = self.ledger.hold(Budget::TensorBytes, shape.bytes(element) as u64).unwrap();
        Output { shape, element, held: Arc::new(held) }
    }

    /// A tensor of these numbers, as far as its elements can hold them.
    pub(super) fn tensor(&self, sizes: &[u32], element: ElementType, numbers: &[f64]) -> Tensor {
        let shape = Shape::new(sizes.to_vec()).unwrap();
        self.backend.adopt(self.output(shape, element), bytes(element, numbers)).unwrap()
    }

    fn random(&self, sizes: &[u32], element: ElementType) -> Tensor {
        let count = sizes.iter().product::<u32>();
        let mut rng = rand::rng();
        // Not so near zero that a product of two is subnormal in binary16.
        let magnitudes = (0..count).map(|_| rng.random_range(0.0625..1.0));
        let numbers: Vec<f64> =
            magnitudes.map(|size: f64| if rand::random() { size } else { -size }).collect();
        self.tensor(sizes, element, &numbers)
    }

    fn numbers(&self, tensor: &Tensor) -> Vec<f64> {
        let all = tensor.elements(0, tensor.shape.elements() as u64).unwrap();
        let bytes = self.backend.read(tensor, all).unwrap();
        bytes.chunks(tensor.element.size()).map(|bytes| number(tensor.element, bytes)).collect()
    }

    fn compute(&self, operation: Operation) -> Result<Tensor, Error> {
        self.compute_on(operation, &Inline)
    }

    fn compute_on(&self, operation: Operation, workers: &dyn Workers) -> Result<Tensor, Error> {
        let (shape, element) = operation.result()?;
        let output = self.output(shape, element);
        futures_util::FutureExt::now_or_never(self.backend.compute(operation, output, workers)).unwrap()
    }

    fn top_k(&self, of: &Tensor, k: usize) -> Result<(Vec<u32>, Vec<f32>), Error> {
        check_k(of, k)?;
        futures_util::FutureExt::now_or_never(self.backend.top_k(of.clone(), k, &Inline)).unwrap()
    }
}

fn bytes(element: ElementType, numbers: &[f64]) -> Vec<u8> {
    let bytes = |number: &f64| match element {
        ElementType::Float32 => (*number as f32).to_le_bytes().to_vec(),
        ElementType::Float64 => number.to_le_bytes().to_vec(),
        ElementType::Float16 => half::f16::from_f64(*number).to_le_bytes().to_vec(),
        ElementType::Bfloat16 => half::bf16::from_f64(*number).to_le_bytes().to_vec(),
    };
    numbers.iter().flat_map(bytes).collect()
}

fn number(element: ElementType, bytes: &[u8]) -> f64 {
    match element {
        ElementType::Float32 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
        ElementType::Float64 => f64::from_le_bytes(bytes.try_into().unwrap()),
        ElementType::Float16 => half::f16::from_le_bytes(bytes.try_into().unwrap()).into(),
        ElementType::Bfloat16 => half::bf16::from_le_bytes(bytes.try_into().unwrap()).into(),
    }
}

const TYPES: [ElementType; 4] =
    [ElementType::Float32, ElementType::Float64, ElementType::Float16, ElementType::Bfloat16];

/// ‖found − wanted‖ / ‖scale‖
fn error(found: &[f64], wanted: &[f64], scale: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut found.iter().zip(wanted).map(|(found, wanted)| found - wanted));
    off / norm(&mut scale.iter().copied()).max(f64::MIN_POSITIVE)
}

/// The product in binary64, and what its terms add up to without their signs. An error is a share of the latter: terms
/// that cancel each other leave any error beside what they leave (Higham, Accuracy and Stability, 3.5).
fn product_and_scale(left: &[f64], right: &[f64], sizes: (u32, u32, u32, u32)) -> (Vec<f64>, Vec<f64>) {
    let unsigned = |numbers: &[f64]| numbers.iter().map(|number| number.abs()).collect::<Vec<f64>>();
    (product(left, right, sizes), product(&unsigned(left), &unsigned(right), sizes))
}

/// How far a result may be off; by more where it is a share of what so many terms left.
fn tolerance(element: ElementType, terms: u32) -> f64 {
    match element {
        ElementType::Float64 => 1e-14 * f64::from(terms).sqrt(),
        ElementType::Float32 => 1e-6 * f64::from(terms).sqrt(),
        ElementType::Float16 => 1e-3,
        ElementType::Bfloat16 => 1e-2,
    }
}

fn product(left: &[f64], right: &[f64], (b, m, k, n): (u32, u32, u32, u32)) -> Vec<f64> {
    let [b, m, k, n] = [b, m, k, n].map(|size| size as usize);
    let mut out = vec![0.0; b * m * n];
    for (at, out) in out.iter_mut().enumerate() {
        let (matrix, row, column) = (at / (m * n), at / n % m, at % n);
        *out = (0..k).map(|i| left[(matrix * m + row) * k + i] * right[(matrix * k + i) * n + column]).sum();
    }
    out
}

#[test]
fn products_are_those_of_binary64_however_they_are_cut() {
    for block in [usize::MAX, 64, 3] {
        let bench = Bench::new(Cpu::new(block));
        for (b, m, k, n) in [
            (1, 1, 1, 1),
            (1, 1, 700, 1),
            (1, 3, 5, 7),
            (1, 300, 65, 33),
            (1, 600, 40, 70),
            (9, 5, 4, 3),
            (2, 300, 8, 5),
        ] {
            for element in TYPES {
                let (left, right) = match b {
                    1 => (bench.random(&[m, k], element), bench.random(&[k, n], element)),
                    _ => (bench.random(&[b, m, k], element), bench.random(&[b, k, n], element)),
                };
                let (wanted, scale) =
                    product_and_scale(&bench.numbers(&left), &bench.numbers(&right), (b, m, k, n));
                let found = bench.compute(Operation::Matmul(left, right)).unwrap();
                assert_eq!((found.element, found.precision), (element, Precision::Highest));
                let off = error(&bench.numbers(&found), &wanted, &scale);
                assert!(off <= tolerance(element, 1), "{element:?} {b} {m} {k} {n}, {block}: {off}");
            }
        }
    }
}

#[test]
fn a_large_product_has_blocks_of_columns_and_terms_too() {
    let bench = Bench::new(Cpu::default());
    let (m, k, n) = (2, 9000, 5000);
    let (left, right) =
        (bench.random(&[m, k], ElementType::Float32), bench.random(&[k, n], ElementType::Float32));
    let (wanted, scale) = product_and_scale(&bench.numbers(&left), &bench.numbers(&right), (1, m, k, n));
    let operation = Operation::Matmul(left, right);
    assert_eq!(operation.flops(), 2 * 2 * 9000 * 5000);
    let found = bench.compute(operation).unwrap();
    let off = error(&bench.numbers(&found), &wanted, &scale);
    assert!(off <= tolerance(ElementType::Float32, 1), "{off}");
}

#[test]
fn tiny_numbers_are_multiplied_to_the_same_result() {
    let bench = Bench::new(Cpu::default());
    let (m, k, n) = (300, 300, 4100);
    for (element, small, large) in [
        (ElementType::Float64, 2_f64.powi(-520), 2_f64.powi(200)),
        (ElementType::Float32, 2_f64.powi(-70), 2_f64.powi(40)),
    ] {
        let (left, right) = (bench.random(&[m, k], element), bench.random(&[k, n], element));
        let scaled = |tensor: &Tensor, sizes: &[u32], by: f64| {
            let numbers: Vec<f64> = bench.numbers(tensor).iter().map(|number| number * by).collect();
            bench.tensor(sizes, element, &numbers)
        };
        let tiny = (scaled(&left, &[m, k], small), scaled(&right, &[k, n], large));
        // Powers of two change no digit.
        let wanted = bench.numbers(&bench.compute(Operation::Matmul(left, right)).unwrap());
        let found = bench.numbers(&bench.compute(Operation::Matmul(tiny.0, tiny.1)).unwrap());
        let same = found.iter().zip(&wanted).all(|(found, wanted)| *found == wanted * small * large);
        assert!(same, "{element:?}");
    }
}

#[test]
fn what_is_no_number_passes_through_as_ieee_says() {
    let bench = Bench::new(Cpu::default());
    for element in TYPES {
        let left = bench.tensor(&[2, 2], element, &[f64::NAN, 1.0, f64::INFINITY, 1.0]);
        let right = bench.tensor(&[2, 2], element, &[1.0, 0.0, 2.0, 3.0]);
        let found = bench.numbers(&bench.compute(Operation::Matmul(left.clone(), right.clone())).unwrap());
        assert!(found[0].is_nan() && found[1].is_nan() && found[3].is_nan(), "{found:?}: infinity times 0");
        assert_eq!(found[2], f64::INFINITY);
        let sum = bench.numbers(&bench.compute(Operation::Add(left.clone(), right)).unwrap());
        assert!(sum[0].is_nan() && sum[2] == f64::INFINITY, "{sum:?}");
        let scaled = bench.numbers(&bench.compute(Operation::Scale(left.clone(), -1.0)).unwrap());
        assert!(scaled[0].is_nan() && scaled[2] == f64::NEG_INFINITY, "{scaled:?}");
        let shares = bench.numbers(&bench.compute(Operation::Softmax(left.clone())).unwrap());
        assert!(shares[..2].iter().all(|share| share.is_nan()), "{shares:?}");
        let units = bench.numbers(&bench.compute(Operation::Normalize(left)).unwrap());
        assert!(units[0].is_nan() && units[2].is_nan() && units[3] == 0.0, "{units:?}");
    }
}

#[test]
fn elements_and_rows_are_those_of_binary64() {
    let bench = Bench::new(Cpu::default());
    // One row longer than a piece, rows that share one, and one that is cut.
    for sizes in [&[3, 4][..], &[200_001], &[70, 1000], &[2, 3, 40_000], &[1]] {
        for element in TYPES {
            let (one, two) = (bench.random(sizes, element), bench.random(sizes, element));
            let (x, y) = (bench.numbers(&one), bench.numbers(&two));
            let row = *sizes.last().unwrap() as usize;
            let by_row = |of: fn(&[f64]) -> Vec<f64>| x.chunks(row).flat_map(of).collect::<Vec<f64>>();
            let softmax = by_row(|row| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(|x| x.exp() / sum).collect()
            });
            let normalized = by_row(|row| {
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter().map(|x| x / norm).collect()
            });
            let sum: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            let scaled: Vec<f64> = x.iter().map(|x| x * 0.3_f32 as f64).collect();
            for (operation, wanted) in [
                (Operation::Add(one.clone(), two), sum),
                (Operation::Scale(one.clone(), 0.3), scaled),
                (Operation::Softmax(one.clone()), softmax),
                (Operation::Normalize(one.clone()), normalized),
            ] {
                let name = format!("{operation:?}").chars().take(9).collect::<String>();
                if row > 10_000 && element == ElementType::Float16 && name == "Softmax(T" {
                    // Shares so small that a binary16 has no digits for them.
                    continue;
                }
                let off = error(&bench.numbers(&bench.compute(operation).unwrap()), &wanted, &wanted);
                assert!(
                    off <= tolerance(element, sizes[sizes.len() - 1]),
                    "{name} {element:?} {sizes:?}: {off}"
                );
            }
        }
    }
}

#[test]
fn rows_become_columns() {
    let bench = Bench::new(Cpu::default());
    for (b, m, n) in [(1, 1, 5), (1, 130, 70), (3, 65, 2), (1, 2, 100_001)] {
        for element in TYPES {
            let of = bench.random(&[b, m, n], element);
            let (x, [m, n]) = (bench.numbers(&of), [m, n].map(|size| size as usize));
            let found = bench.numbers(&bench.compute(Operation::Transpose(of)).unwrap());
            for (at, found) in found.iter().enumerate() {
                let (matrix, row, column) = (at / (m * n), at / m % n, at % m);
                assert_eq!(*found, x[matrix * m * n + column * n + row]);
            }
        }
    }
}

#[test]
fn the_largest_come_first_and_what_is_no_number_last() {
    let bench = Bench::new(Cpu::default());
    let inf = f64::INFINITY;
    let of = bench.tensor(
        &[2, 4],
        ElementType::Float32,
        &[1.0, f64::NAN, 3.0, 3.0, -inf, f64::NAN, f64::NAN, inf],
    );
    let (places, numbers) = bench.top_k(&of, 3).unwrap();
    assert_eq!(places, [2, 3, 0, 3, 0, 1]);
    assert_eq!(numbers[..5], [3.0, 3.0, 1.0, f32::INFINITY, f32::NEG_INFINITY]);
    assert!(numbers[5].is_nan());
    for k in [0, 5, usize::MAX] {
        assert!(matches!(bench.top_k(&of, k), Err(Error::Invalid(_))), "{k}");
    }
    let long = bench.random(&[1, 100_000], ElementType::Float32);
    assert!(matches!(bench.top_k(&long, MAX_K + 1), Err(Error::Invalid(_))), "they are sorted in one piece");
    // A row in several pieces, beside sorting it.
    let of = bench.random(&[2, 150_000], ElementType::Float64);
    let (places, _) = bench.top_k(&of, 1000).unwrap();
    for (row, places) in bench.numbers(&of).chunks(150_000).zip(places.chunks(1000)) {
        let mut sorted: Vec<u32> = (0..150_000).collect();
        sorted.sort_by(|one, two| row[*two as usize].total_cmp(&row[*one as usize]));
        assert_eq!(places, &sorted[..1000]);
    }
}

#[test]
fn random_numbers_are_the_same_everywhere_and_below_one() {
    let bench = Bench::new(Cpu::default());
    let random = |element, seed| {
        let shape = Shape::new(vec![100_000]).unwrap();
        bench.numbers(&bench.compute(Operation::Random { shape, element, seed }).unwrap())
    };
    for element in TYPES {
        let numbers = random(element, 1);
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)), "{element:?}");
        let mean = numbers.iter().sum::<f64>() / 1e5;
        assert!((0.48..0.52).contains(&mean), "{element:?} {mean}");
        assert_eq!(numbers, random(element, 1));
        assert_ne!(numbers, random(element, 2));
    }
    // Pinned: guests rely on them.
    let first: Vec<u32> =
        random(ElementType::Float32, 7)[..3].iter().map(|x| (*x as f32).to_bits()).collect();
    assert_eq!(
        first,
        random(ElementType::Float64, 7)[..3].iter().map(|x| truncated(*x).to_bits()).collect::<Vec<u32>>()
    );
}

/// With 24 bits, as binary32 has them.
fn truncated(x: f64) -> f32 {
    ((x * 2_f64.powi(24)).floor() / 2_f64.powi(24)) as f32
}

/// Two threads' worth of shares, one after the other; the longest of their pieces is remembered.
#[derive(Default)]
struct Watch(parking_lot::Mutex<std::time::Duration>);

impl Watch {
    /// What was seen since it was asked last.
    fn longest(&self) -> std::time::Duration {
        std::mem::take(&mut self.0.lock())
    }
}

#[async_trait]
impl Workers for Watch {
    fn count(&self) -> usize {
        2
    }

    async fn work(&self, shares: Vec<Box<dyn crate::backend::work::Share>>) -> Result<(), Stopped> {
        for mut share in shares {
            let mut more = true;
            while more {
                let begun = std::time::Instant::now();
                more = share.piece();
                let mut longest = self.0.lock();
                *longest = longest.max(begun.elapsed());
            }
        }
        Ok(())
    }

    fn charge(&self, _: std::time::Duration) {}
}

#[test]
fn no_shape_makes_a_piece_long() {
    let bench = Bench::new(Cpu::default());
    let zeros = |sizes: &[u32], element| {
        let shape = Shape::new(sizes.to_vec()).unwrap();
        bench.backend.zeros(bench.output(shape, element)).unwrap()
    };
    let watch = Watch::default();
    let mut longest = Vec::new();
    for element in TYPES {
        for (left, right) in [
            (&[256, 1 << 18][..], &[1 << 18, 1][..]),
            (&[1, 1 << 14], &[1 << 14, 1 << 12]),
            (&[1 << 13, 1], &[1, 1 << 12]),
            (&[1 << 18, 1, 1], &[1 << 18, 1, 1]),
            (&[1 << 20, 16], &[16, 1]),
        ] {
            let operation = Operation::Matmul(zeros(left, element), zeros(right, element));
            bench.compute_on(operation, &watch).unwrap();
            longest.push((element, left, right, watch.longest()));
        }
        let of = zeros(&[1 << 23], element);
        check_k(&of, MAX_K).unwrap();
        futures_util::FutureExt::now_or_never(bench.backend.top_k(of, MAX_K, &watch)).unwrap().unwrap();
        longest.push((element, &[1 << 23], &[], watch.longest()));
    }
    // Seconds where a piece is not cut; milliseconds where nobody else has the processor.
    let most = std::time::Duration::from_millis(400);
    assert!(longest.iter().all(|(.., piece)| *piece < most), "{longest:#?}");
}

#[test]
fn what_does_not_go_together_is_refused_and_costs_nothing() {
    let bench = Bench::new(Cpu::default());
    let [f32, f64] =
        [ElementType::Float32, ElementType::Float64].map(|element| bench.random(&[2, 3], element));
    let row = bench.random(&[3], ElementType::Float32);
    let used = bench.ledger.used(Budget::TensorBytes);
    for operation in [
        Operation::Matmul(f32.clone(), f32.clone()),
        Operation::Add(f32.clone(), f64.clone()),
        Operation::Add(f32.clone(), row.clone()),
        Operation::Transpose(row.clone()),
        Operation::Matmul(row.clone(), f32.clone()),
    ] {
        assert!(matches!(bench.compute(operation), Err(Error::Invalid(_))));
    }
    let shape = Shape::new(vec![3]).unwrap();
    let wrong = bench.backend.adopt(bench.output(shape.clone(), ElementType::Float32), vec![0; 11]);
    assert!(matches!(wrong, Err(Error::Invalid(_))));
    assert_eq!(bench.ledger.used(Budget::TensorBytes), used);
    // More than any machine has: no abort.
    let shape = Shape::new(vec![1 << 31, 1 << 28]).unwrap();
    let held = bench.output(Shape::new(vec![1]).unwrap(), ElementType::Float64).held;
    let none = bench.backend.zeros(Output { shape, element: ElementType::Float64, held });
    assert!(matches!(none, Err(Error::NoMemory { .. })));
}

#[test]
fn elements_are_written_and_read_in_pieces() {
    let bench = Bench::new(Cpu::default());
    let shape = Shape::new(vec![5]).unwrap();
    let mut tensor = bench.backend.zeros(bench.output(shape, ElementType::Float32)).unwrap();
    let data = bytes(ElementType::Float32, &[1.0, 2.0]);
    let range = tensor.bytes(3, data.len()).unwrap();
    bench.backend.write(&mut tensor, range, &data).unwrap();
    assert_eq!(bench.numbers(&tensor), [0.0, 0.0, 0.0, 1.0, 2.0]);
    for (offset, length) in
        [(4, 8), (5, 4), (6, 0), (u64::MAX, 4), (u64::MAX / 4, 4), (0, 3), (0, usize::MAX - 3)]
    {
        assert!(tensor.bytes(offset, length).is_err(), "{offset} {length}");
    }
    assert!(tensor.bytes(5, 0).is_ok() && tensor.elements(0, 6).is_err());
    assert!(tensor.elements(1, u64::MAX).is_err() && tensor.elements(u64::MAX, 1).is_err());
    // What somebody else has in his hands does not change under them.
    let other = tensor.clone();
    let range = tensor.bytes(0, 4).unwrap();
    assert!(matches!(bench.backend.write(&mut tensor, range.clone(), &data[..4]), Err(Error::Internal(_))));
    drop(other);
    bench.backend.write(&mut tensor, range, &data[..4]).unwrap();
    assert_eq!(bench.numbers(&tensor)[0], 1.0);
}

#[test]
fn bytes_are_held_as_long_as_anything_uses_them() {
    let bench = Bench::new(Cpu::default());
    let used = || bench.ledger.used(Budget::TensorBytes);
    let tensor = bench.random(&[10, 10], ElementType::Float32);
    let clone = tensor.clone();
    drop(tensor);
    assert_eq!(used(), 400);
    let product = bench.compute(Operation::Matmul(clone.clone(), clone)).unwrap();
    assert_eq!(used(), 400, "the factors are gone");
    drop(product);
    assert_eq!((used(), bench.ledger.peak(Budget::TensorBytes)), (0, 800));
}
