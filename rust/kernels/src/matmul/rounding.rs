//! Rounding of activations with AVX-512: one group is two vectors.
#![allow(
    clippy::wildcard_imports,
    reason = "the vector instructions by their own names"
)]

use std::arch::x86_64::*;

use super::activations::GROUP;

/// Largest absolute value, found as the integer that its bits are: what is not a number stays the largest.
#[target_feature(enable = "avx512f")]
pub(super) fn largest(x: &[f32; GROUP]) -> f32 {
    let magnitude = _mm512_set1_epi32(0x7fff_ffff);
    let [first, second] = halves(x).map(|x| _mm512_and_si512(_mm512_castps_si512(x), magnitude));
    f32::from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(first, second)))
}

/// Write the integers nearest to `x * inverse` (ties to even); returns the sums of both halves.
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
pub(super) fn round(x: &[f32; GROUP], inverse: f32, values: &mut [i8; GROUP]) -> [i32; 2] {
    let inverse = _mm512_set1_ps(inverse);
    let [first, second] =
        halves(x).map(|x| _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse))));
    let bytes = _mm256_set_m128i(second, first);
    // SAFETY: a group has 32 values.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), bytes) };
    let fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), bytes);
    let twos = _mm256_add_epi32(fours, _mm256_shuffle_epi32::<0b01_00_11_10>(fours));
    let sums = _mm256_add_epi32(twos, _mm256_shuffle_epi32::<0b10_11_00_01>(twos));
    [
        _mm256_extract_epi32::<0>(sums),
        _mm256_extract_epi32::<4>(sums),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(x: &[f32; GROUP]) -> [__m512; 2] {
    // SAFETY: a group has 32 values.
    unsafe {
        [
            _mm512_loadu_ps(x.as_ptr()),
            _mm512_loadu_ps(x.as_ptr().add(16)),
        ]
    }
}
