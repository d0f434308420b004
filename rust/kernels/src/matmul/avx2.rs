//! Integer products with AVX2: a tile is two vectors of 8 results, one after the other.
#![allow(
    clippy::wildcard_imports,
    reason = "the vector instructions by their own names"
)]

use std::arch::x86_64::*;

use super::Lanes;
use super::activations::{GROUP, Row};
use super::integer_tiles::Tile;
use super::numbers::Numbers;
use super::vectors::{BYTES, CODES, NIBBLES, ask_ahead, table};

/// The products of one tile with `M` rows.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; every row is as long as the tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn products<const M: usize>(
    tile: &Tile<'_>,
    rows: &[Row<'_>; M],
    out: &mut [Lanes; M],
) {
    for half in 0..2 {
        // SAFETY: as the caller promised; the constants are the tile's own.
        unsafe {
            match (tile.nibbles, tile.group, tile.table) {
                (true, 32, Some(_)) => inner::<M, CODES, 8>(tile, rows, half, out),
                (true, 32, None) => inner::<M, NIBBLES, 8>(tile, rows, half, out),
                (true, ..) => inner::<M, NIBBLES, 4>(tile, rows, half, out),
                (false, 32, _) => inner::<M, BYTES, 8>(tile, rows, half, out),
                (false, ..) => inner::<M, BYTES, 4>(tile, rows, half, out),
            }
        }
    }
}

/// `N` vectors of four columns are a group; 8 rows of the tile from `8 * half` on.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn inner<const M: usize, const FORM: u8, const N: usize>(
    tile: &Tile<'_>,
    rows: &[Row<'_>; M],
    half: usize,
    out: &mut [Lanes; M],
) {
    let bytes = N * 64 / if FORM == BYTES { 1 } else { 2 };
    let (stored_bias, taken) = if FORM == NIBBLES {
        (-tile.bias as f32, 0)
    } else {
        (0.0, tile.bias as i8)
    };
    let table = table(tile);
    let mut results = [_mm256_setzero_ps(); M];
    for group in 0..tile.groups {
        let first = group * N * 4;
        if half == 0 {
            ask_ahead(tile, group, bytes / 64);
        }
        // SAFETY: a tile has `groups` groups of `bytes` bytes, and a row as many columns.
        unsafe {
            let weights = tile.weights.as_ptr().add(group * bytes + half * 32);
            let x: [*const i8; M] = std::array::from_fn(|m| rows[m].values.as_ptr().add(first));
            let totals = if FORM == NIBBLES {
                of_nibbles::<M, N>(weights, &x)
            } else {
                of_signed::<M, FORM, N>(weights, &x, taken, table)
            };
            let number = tile.first + group * 16 + half * 8;
            let scale = numbers(tile.scales, number);
            let offset = match tile.offsets {
                Some(offsets) => numbers(offsets, number),
                None => _mm256_mul_ps(_mm256_set1_ps(stored_bias), scale),
            };
            add(
                &mut results,
                &totals,
                rows,
                (group, first / GROUP),
                (scale, offset),
            );
        }
    }
    for (out, result) in out.iter_mut().zip(results) {
        // SAFETY: the array has 16 values.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(half * 8), result) };
    }
}

/// Add the totals of one group to the results.
///
/// # Safety
/// Every row has a sum of the first number and a scale of the second.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add<const M: usize>(
    results: &mut [__m256; M],
    totals: &[__m256i; M],
    rows: &[Row<'_>; M],
    (group, step): (usize, usize),
    (scale, offset): (__m256, __m256),
) {
    for m in 0..M {
        let part = _mm256_mul_ps(_mm256_cvtepi32_ps(totals[m]), scale);
        // SAFETY: as the caller promised.
        let (step, sum) = unsafe {
            (
                *rows[m].scales.get_unchecked(step),
                *rows[m].sums.get_unchecked(group),
            )
        };
        results[m] = _mm256_fmadd_ps(part, _mm256_set1_ps(step), results[m]);
        results[m] = _mm256_fmadd_ps(offset, _mm256_set1_ps(sum), results[m]);
    }
}

/// Totals of weights as stored. Sums of 16 bits hold a whole group: 32 / 4 * 2 * 15 * 127 is less than 2^15.
///
/// # Safety
/// A group of weights and columns is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn of_nibbles<const M: usize, const N: usize>(
    weights: *const u8,
    x: &[*const i8; M],
) -> [__m256i; M] {
    let low = _mm256_set1_epi8(15);
    let mut totals = [_mm256_setzero_si256(); M];
    for v in 0..N / 2 {
        // SAFETY: as the caller promised.
        unsafe {
            let both = _mm256_loadu_si256(weights.add(v * 64).cast());
            let one = _mm256_and_si256(both, low);
            let other = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
            for m in 0..M {
                let first = _mm256_maddubs_epi16(one, four(x[m], v));
                let second = _mm256_maddubs_epi16(other, four(x[m], v + N / 2));
                totals[m] = _mm256_add_epi16(totals[m], _mm256_add_epi16(first, second));
            }
        }
    }
    let ones = _mm256_set1_epi16(1);
    totals.map(|total| _mm256_madd_epi16(total, ones))
}

/// Totals of weights less their bias. Two products of a sign and 8 bits fit in 16.
///
/// # Safety
/// A group of weights and columns is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn of_signed<const M: usize, const FORM: u8, const N: usize>(
    weights: *const u8,
    x: &[*const i8; M],
    bias: i8,
    table: __m128i,
) -> [__m256i; M] {
    let table = _mm256_broadcastsi128_si256(table);
    let low = _mm256_set1_epi8(15);
    let (bias, ones) = (_mm256_set1_epi8(bias), _mm256_set1_epi16(1));
    let mut totals = [_mm256_setzero_si256(); M];
    for v in 0..N {
        // SAFETY: as the caller promised.
        unsafe {
            let stored = if FORM == BYTES {
                _mm256_loadu_si256(weights.add(v * 64).cast())
            } else {
                let both = _mm256_loadu_si256(weights.add(v % (N / 2) * 64).cast());
                let code = if v < N / 2 {
                    both
                } else {
                    _mm256_srli_epi16::<4>(both)
                };
                _mm256_shuffle_epi8(table, _mm256_and_si256(code, low))
            };
            let weight = _mm256_sub_epi8(stored, bias);
            let size = _mm256_abs_epi8(weight);
            for m in 0..M {
                let signed = _mm256_sign_epi8(four(x[m], v), weight);
                let pairs = _mm256_maddubs_epi16(size, signed);
                totals[m] = _mm256_add_epi32(totals[m], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    totals
}

/// Columns `4v..4v+4` for all lanes.
///
/// # Safety
/// There are that many columns after `x`.
#[inline(always)]
unsafe fn four(x: *const i8, v: usize) -> __m256i {
    // SAFETY: as the caller promised; any bytes are an integer.
    unsafe { _mm256_set1_epi32(x.add(v * 4).cast::<i32>().read_unaligned()) }
}

/// Eight numbers.
///
/// # Safety
/// There are that many from `first` on.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn numbers(numbers: &Numbers, first: usize) -> __m256 {
    // SAFETY: as the caller promised.
    unsafe {
        match numbers {
            Numbers::Half(bits) => {
                _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().add(first).cast()))
            }
            Numbers::Single(values) => _mm256_loadu_ps(values.as_ptr().add(first)),
        }
    }
}
