//! What is computed of each element by itself.

use std::ops::Range;

use bytes::BytesMut;

use super::bands::{AtOnce, Bands};
use super::{elements, elements_mut};
use crate::backend::tensor::element::Element;
use crate::backend::tensor::{Error, Tensor};

/// Elements of a band.
const BAND: usize = 64 << 10;

/// Makes element after element by `make`, which knows which one.
async fn each<T: Element>(
    bands: Bands<'_>,
    make: impl Fn(Range<usize>, &mut [T]) + Send + Sync + 'static,
) -> Result<BytesMut, Error> {
    let count = bands.out.len() / size_of::<T>();
    let kernel = AtOnce(move |which: &Range<usize>, out: &mut [u8]| make(which.clone(), elements_mut(out)));
    bands.make(count, BAND, kernel).await
}

/// The sum of two tensors.
pub(super) async fn add<T: Element>(
    bands: Bands<'_>,
    left: Tensor,
    right: Tensor,
) -> Result<BytesMut, Error> {
    let add = move |which: Range<usize>, out: &mut [T]| {
        let left = elements::<T>(left.host()).get(which.clone()).unwrap_or_default();
        let right = elements::<T>(right.host()).get(which).unwrap_or_default();
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            *out = T::from_f64(left.to_f64() + right.to_f64());
        }
    };
    each(bands, add).await
}

/// A tensor times a number.
pub(super) async fn scale<T: Element>(bands: Bands<'_>, of: Tensor, factor: f32) -> Result<BytesMut, Error> {
    let scale = move |which: Range<usize>, out: &mut [T]| {
        let of = elements::<T>(of.host()).get(which).unwrap_or_default();
        for (out, of) in out.iter_mut().zip(of) {
            *out = T::from_f64(of.to_f64() * f64::from(factor));
        }
    };
    each(bands, scale).await
}

/// Numbers that look random, each made of the seed and its place: the same on every machine, by however many
/// threads.
pub(super) async fn random<T: Element>(bands: Bands<'_>, seed: u64) -> Result<BytesMut, Error> {
    let random = move |which: Range<usize>, out: &mut [T]| {
        for (place, out) in which.zip(out) {
            // As many bits as there is room for, so that none is rounded up to 1.
            let bits = mixed(seed, place as u64) >> (64 - T::DIGITS);
            *out = T::from_f64(bits as f64 / 2_f64.powi(T::DIGITS.cast_signed()));
        }
    };
    each(bands, random).await
}

/// SplitMix64 (Steele, Lea, Flood 2014): the number at `place` of the sequence of `seed`.
fn mixed(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_paper() {
        // The reference implementation's first numbers for the seed 1234567.
        let first: Vec<u64> = (0..3).map(|place| mixed(1_234_567, place)).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
