//! What lies between the products: layer normalisation, activation, softmax. Each goes over its rows once, with
//! the widest vectors that the CPU has, found when it runs.
//!
//! exp and erf are polynomials that agree with the exact functions to a few units in the last place: the tests
//! hold them to it.

use pulp::{Arch, Simd, WithSimd};

use super::config::Activation;
use super::weights::Norm;

/// Vector code for this CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Math(Arch);

impl Math {
    pub fn new() -> Math {
        Math(Arch::new())
    }

    /// Adds `more` and `bias` to each row of `x` and normalises it; rows are as long as `norm`.
    pub fn add_and_normalize(self, x: &mut [f32], more: &[f32], bias: &[f32], norm: &Norm, epsilon: f32) {
        self.0.dispatch(AddAndNormalize { x, more, bias, norm, epsilon });
    }

    /// Adds `bias` to each row of `x` and applies the activation.
    pub fn add_and_activate(self, x: &mut [f32], bias: &[f32], activation: Activation) {
        self.0.dispatch(AddAndActivate { x, bias, activation });
    }

    /// Brings each row of `x`, which are `columns` long, to positive numbers that sum to one.
    pub fn softmax(self, x: &mut [f32], columns: usize) {
        self.0.dispatch(Softmax { x, columns });
    }

    /// `x += more`, element by element.
    pub fn add(self, x: &mut [f32], more: &[f32]) {
        self.0.dispatch(|| x.iter_mut().zip(more).for_each(|(x, more)| *x += more));
    }
}

struct AddAndNormalize<'a> {
    x: &'a mut [f32],
    more: &'a [f32],
    bias: &'a [f32],
    norm: &'a Norm,
    epsilon: f32,
}

impl WithSimd for AddAndNormalize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let AddAndNormalize { x, more, bias, norm, epsilon } = self;
        let columns = norm.weight.len();
        let (bias, bias_tail) = S::as_simd_f32s(bias);
        let (scale, scale_tail) = S::as_simd_f32s(&norm.weight);
        let (shift, shift_tail) = S::as_simd_f32s(&norm.bias);
        for (x, more) in x.chunks_exact_mut(columns).zip(more.chunks_exact(columns)) {
            let (x, x_tail) = S::as_mut_simd_f32s(x);
            let (more, more_tail) = S::as_simd_f32s(more);

            let mut sum = s.splat_f32s(0.0);
            for ((x, more), bias) in x.iter_mut().zip(more).zip(bias) {
                *x = s.add_f32s(*x, s.add_f32s(*more, *bias));
                sum = s.add_f32s(sum, *x);
            }
            let mut total = s.reduce_sum_f32s(sum);
            for ((x, more), bias) in x_tail.iter_mut().zip(more_tail).zip(bias_tail) {
                *x += more + bias;
                total += *x;
            }
            let mean = total / columns as f32;

            let means = s.splat_f32s(mean);
            let mut squares = s.splat_f32s(0.0);
            for x in x.iter_mut() {
                *x = s.sub_f32s(*x, means);
                squares = s.mul_add_e_f32s(*x, *x, squares);
            }
            let mut total = s.reduce_sum_f32s(squares);
            for x in x_tail.iter_mut() {
                *x -= mean;
                total += *x * *x;
            }
            let factor = (total / columns as f32 + epsilon).sqrt().recip();

            let factors = s.splat_f32s(factor);
            for ((x, scale), shift) in x.iter_mut().zip(scale).zip(shift) {
                *x = s.mul_add_e_f32s(s.mul_f32s(*x, factors), *scale, *shift);
            }
            for ((x, scale), shift) in x_tail.iter_mut().zip(scale_tail).zip(shift_tail) {
                *x = *x * factor * scale + shift;
            }
        }
    }
}

struct AddAndActivate<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
    activation: Activation,
}

impl WithSimd for AddAndActivate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let AddAndActivate { x, bias, activation } = self;
        match activation {
            Activation::Gelu => add_and_apply::<Gelu, S>(s, x, bias),
            Activation::GeluTanh => add_and_apply::<GeluTanh, S>(s, x, bias),
            Activation::Relu => add_and_apply::<Relu, S>(s, x, bias),
        }
    }
}

/// A function of one number. No closure: those would be calls out of the code that may use wide vectors.
trait Function {
    fn apply<S: Simd>(s: S, x: S::f32s) -> S::f32s;
}

#[inline(always)]
fn add_and_apply<F: Function, S: Simd>(s: S, x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_exact_mut(bias.len().max(1)) {
        let (x, x_tail) = S::as_mut_simd_f32s(row);
        let (bias, bias_tail) = S::as_simd_f32s(bias);
        for (x, bias) in x.iter_mut().zip(bias) {
            *x = F::apply(s, s.add_f32s(*x, *bias));
        }
        if !x_tail.is_empty() {
            let x = s.add_f32s(s.partial_load_f32s(x_tail), s.partial_load_f32s(bias_tail));
            s.partial_store_f32s(x_tail, F::apply(s, x));
        }
    }
}

struct Softmax<'a> {
    x: &'a mut [f32],
    columns: usize,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for row in self.x.chunks_exact_mut(self.columns.max(1)) {
            let (x, tail) = S::as_mut_simd_f32s(row);
            let mut largest = s.splat_f32s(f32::NEG_INFINITY);
            for x in x.iter() {
                largest = s.max_f32s(largest, *x);
            }
            let largest = tail.iter().fold(s.reduce_max_f32s(largest), |largest, x| largest.max(*x));

            // With the largest taken away nothing overflows, and the sum is one at least.
            let largest = s.splat_f32s(largest);
            let mut sum = s.splat_f32s(0.0);
            for x in x.iter_mut() {
                *x = exp(s, s.sub_f32s(*x, largest));
                sum = s.add_f32s(sum, *x);
            }
            let mut total = s.reduce_sum_f32s(sum);
            if !tail.is_empty() {
                let exps = exp(s, s.sub_f32s(s.partial_load_f32s(tail), largest));
                s.partial_store_f32s(tail, exps);
                total += tail.iter().sum::<f32>();
            }

            let factor = total.recip();
            let factors = s.splat_f32s(factor);
            for x in x.iter_mut() {
                *x = s.mul_f32s(*x, factors);
            }
            for x in tail {
                *x *= factor;
            }
        }
    }
}

/// `x * (1 + erf(x / sqrt(2))) / 2`.
struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::f32s) -> S::f32s {
        let half = s.mul_f32s(x, s.splat_f32s(0.5));
        let erf = erf(s, s.mul_f32s(x, s.splat_f32s(std::f32::consts::FRAC_1_SQRT_2)));
        s.mul_add_e_f32s(half, erf, half)
    }
}

/// `x * (1 + tanh(sqrt(2/π) * (x + 0.044715 x³))) / 2`.
struct GeluTanh;

impl Function for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::f32s) -> S::f32s {
        let one = s.splat_f32s(1.0);
        let cubic = s.mul_add_e_f32s(s.mul_f32s(x, x), s.splat_f32s(0.044_715), one);
        // (1 + tanh(u)) / 2 = 1 - 1 / (exp(2u) + 1)
        let twice = s.mul_f32s(s.mul_f32s(x, cubic), s.splat_f32s(1.595_769_2));
        s.sub_f32s(x, s.div_f32s(x, s.add_f32s(exp(s, twice), one)))
    }
}

struct Relu;

impl Function for Relu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::f32s) -> S::f32s {
        s.max_f32s(x, s.splat_f32s(0.0))
    }
}

/// The rational function of Eigen's `generic_fast_erf_float`: odd, and 1 beyond its range.
#[inline(always)]
fn erf<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    const ABOVE: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    let x = s.max_f32s(s.min_f32s(x, s.splat_f32s(4.0)), s.splat_f32s(-4.0));
    let square = s.mul_f32s(x, x);
    s.div_f32s(s.mul_f32s(x, polynomial(s, square, ABOVE)), polynomial(s, square, BELOW))
}

/// Cephes' expf: 2^n times a polynomial of what is left. Below the smallest normal number it stays there.
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    const REST: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    /// 1.5 * 2^23: what is added to it is rounded to a whole number, which its last bits are.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first of few bits so that whole multiples of it are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = s.max_f32s(s.min_f32s(x, s.splat_f32s(88.0)), s.splat_f32s(-87.0));
    let rounded = s.mul_add_e_f32s(x, s.splat_f32s(std::f32::consts::LOG2_E), s.splat_f32s(ROUND));
    let whole = s.sub_f32s(rounded, s.splat_f32s(ROUND));
    let rest = s.mul_add_e_f32s(whole, s.splat_f32s(-LN_2.0), x);
    let rest = s.mul_add_e_f32s(whole, s.splat_f32s(-LN_2.1), rest);
    let square = s.mul_f32s(rest, rest);
    let power = s.add_f32s(s.splat_f32s(1.0), s.mul_add_e_f32s(polynomial(s, rest, REST), square, rest));
    let exponent = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(rounded), s.splat_u32s(23));
    s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(power), exponent))
}

/// Horner's scheme, the highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut coefficients = coefficients.into_iter();
    let mut sum = s.splat_f32s(coefficients.next().unwrap_or_default());
    for coefficient in coefficients {
        sum = s.mul_add_e_f32s(sum, x, s.splat_f32s(coefficient));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::testing::{gelu, gelu_tanh};
    use super::*;

    /// Code for this CPU, for older ones, and for any.
    fn kinds() -> Vec<Math> {
        let mut kinds = vec![Math::new(), Math(Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        kinds.extend(pulp::x86::V3::try_new().map(|v3| Math(Arch::V3(v3))));
        kinds
    }

    /// Each number in steps that are no power of two, and what is far outside.
    fn numbers() -> Vec<f32> {
        let near = (-20_000..=20_000).map(|n| n as f32 * 0.000_611);
        near.chain([-1e30, -300.0, -100.0, -88.5, 88.5, 100.0, 1e30, 0.0, -0.0]).collect()
    }

    #[test]
    fn activations_are_the_exact_functions_to_a_millionth() {
        type Exact = (Activation, fn(f64) -> f64);
        let exact: [Exact; 3] =
            [(Activation::Gelu, gelu), (Activation::GeluTanh, gelu_tanh), (Activation::Relu, |x| x.max(0.0))];
        let cases =
            kinds().into_iter().flat_map(|math| exact.map(|(activation, exact)| (math, activation, exact)));
        for (math, activation, exact) in cases {
            // 7 to a row: there is a tail whatever the CPU.
            let numbers = numbers();
            let (numbers, _) = numbers.as_chunks::<7>();
            let bias = [0.0, 0.1, -0.2, 0.3, 0.0, 0.0, 0.0];
            let mut found = numbers.to_vec();
            math.add_and_activate(found.as_flattened_mut(), &bias, activation);
            for (row, found) in numbers.iter().zip(&found) {
                for ((x, bias), found) in row.iter().zip(bias).zip(found) {
                    let wanted = exact(f64::from(x + bias));
                    let error = (f64::from(*found) - wanted).abs() / f64::from(x + bias).abs().max(1.0);
                    assert!(error < 1e-6, "{activation:?} of {}: {found}, not {wanted}", x + bias);
                }
            }
        }
    }

    #[test]
    fn softmax_is_exact_and_does_not_overflow() {
        for (math, columns) in
            kinds().into_iter().flat_map(|math| [1, 2, 15, 16, 17, 33, 130].map(|n| (math, n)))
        {
            for (scale, shift) in [(1.0, 0.0), (30.0, -500.0), (1e3, 1e4), (0.0, -3e38)] {
                let x: Vec<f32> =
                    (0..3 * columns).map(|n| ((n * 7919) % 101) as f32 * 0.02 * scale + shift).collect();
                let mut found = x.clone();
                math.softmax(&mut found, columns);
                for (x, found) in x.chunks(columns).zip(found.chunks(columns)) {
                    let largest = x.iter().copied().fold(f32::MIN, f32::max);
                    let exps: Vec<f64> = x.iter().map(|x| f64::from(x - largest).exp()).collect();
                    let sum: f64 = exps.iter().sum();
                    for (exp, found) in exps.iter().zip(found) {
                        assert!(
                            (exp / sum - f64::from(*found)).abs() < 1e-6,
                            "{columns}: {} {found}",
                            exp / sum
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_normalised_row_has_the_mean_and_variance_that_are_asked_for() {
        for (math, columns) in kinds().into_iter().flat_map(|math| [3, 16, 31, 36, 384].map(|n| (math, n))) {
            let row =
                |factor: usize| (0..columns).map(|n| ((n * factor) % 97) as f32 * 0.1).collect::<Vec<f32>>();
            let (mut x, more, bias) = (row(31), row(17), row(5));
            let norm = Norm { weight: row(3), bias: row(7) };
            let sums: Vec<f64> =
                x.iter().zip(&more).zip(&bias).map(|((x, more), bias)| f64::from(x + more + bias)).collect();
            let mean = sums.iter().sum::<f64>() / columns as f64;
            let variance = sums.iter().map(|sum| (sum - mean).powi(2)).sum::<f64>() / columns as f64;
            math.add_and_normalize(&mut x, &more, &bias, &norm, 0.01);
            for (at, found) in x.iter().enumerate() {
                let normal = (sums[at] - mean) / (variance + f64::from(0.01f32)).sqrt();
                let wanted = normal * f64::from(norm.weight[at]) + f64::from(norm.bias[at]);
                assert!((wanted - f64::from(*found)).abs() < 1e-4, "{columns}: {wanted} {found}");
            }
        }
    }
}
