//! Integer products with AVX-512 VNNI: a tile is one vector of 16 results.
#![allow(
    clippy::wildcard_imports,
    reason = "the vector instructions by their own names"
)]

use std::arch::x86_64::*;

use super::TILE;
use super::activations::{GROUP, Row};
use super::dispatch::Target;
use super::integer_tiles::Tile;
use super::numbers::Numbers;
use super::vectors::{BYTES, CODES, NIBBLES, ask_ahead, table};

/// The products of one tile with `M` rows.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI; every row is as long as the tile; the results
/// from `out` on are memory that nobody else uses.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn products<const M: usize>(
    tile: &Tile<'_>,
    rows: &[Row<'_>; M],
    out: *mut f32,
    target: &Target,
) {
    // SAFETY: as the caller promised; the constants are the tile's own.
    unsafe {
        match (tile.nibbles, tile.group, tile.table) {
            (true, 32, Some(_)) => inner::<M, CODES, 8>(tile, rows, out, target),
            (true, 32, None) => inner::<M, NIBBLES, 8>(tile, rows, out, target),
            (true, ..) => inner::<M, NIBBLES, 4>(tile, rows, out, target),
            (false, 32, _) => inner::<M, BYTES, 8>(tile, rows, out, target),
            (false, ..) => inner::<M, BYTES, 4>(tile, rows, out, target),
        }
    }
}

/// `N` vectors of four columns are a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn inner<const M: usize, const FORM: u8, const N: usize>(
    tile: &Tile<'_>,
    rows: &[Row<'_>; M],
    out: *mut f32,
    target: &Target,
) {
    let bytes = N * 64 / if FORM == BYTES { 1 } else { 2 };
    let table = table(tile);
    let bias = _mm512_set1_ps(-tile.bias as f32);
    let mut results = [_mm512_setzero_ps(); M];
    for group in 0..tile.groups {
        let first = group * N * 4;
        ask_ahead(tile, group, bytes / 64);
        // SAFETY: a tile has `groups` groups of `bytes` bytes, and a row as many columns.
        unsafe {
            let weights = tile.weights.as_ptr().add(group * bytes);
            let number = tile.first + group * 16;
            let x: [*const i8; M] = std::array::from_fn(|m| rows[m].values.as_ptr().add(first));
            let totals = totals::<M, FORM, N>(weights, &x, table);
            let scale = numbers(tile.scales, number);
            let offset = match tile.offsets {
                Some(offsets) => numbers(offsets, number),
                None => _mm512_mul_ps(bias, scale),
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
    let lanes = u16::MAX >> (TILE - target.count.clamp(1, TILE));
    for (m, result) in results.into_iter().enumerate() {
        // SAFETY: as the caller promised; other lanes are not written.
        unsafe { _mm512_mask_storeu_ps(out.add(m * target.stride), lanes, result) };
    }
}

/// Add the totals of one group to the results.
///
/// # Safety
/// Every row has a sum of the first number and a scale of the second.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add<const M: usize>(
    results: &mut [__m512; M],
    totals: &[__m512i; M],
    rows: &[Row<'_>; M],
    (group, step): (usize, usize),
    (scale, offset): (__m512, __m512),
) {
    for m in 0..M {
        let part = _mm512_mul_ps(_mm512_cvtepi32_ps(totals[m]), scale);
        // SAFETY: as the caller promised.
        let (step, sum) = unsafe {
            (
                *rows[m].scales.get_unchecked(step),
                *rows[m].sums.get_unchecked(group),
            )
        };
        results[m] = _mm512_fmadd_ps(part, _mm512_set1_ps(step), results[m]);
        results[m] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sum), results[m]);
    }
}

/// Totals of one group, of weights as stored.
///
/// # Safety
/// A group of weights and columns is there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn totals<const M: usize, const FORM: u8, const N: usize>(
    weights: *const u8,
    x: &[*const i8; M],
    table: __m128i,
) -> [__m512i; M] {
    let table = _mm512_broadcast_i32x4(table);
    let low = _mm512_set1_epi8(15);
    let mut totals = [_mm512_setzero_si512(); M];
    // SAFETY: as the caller promised.
    unsafe {
        if FORM == BYTES {
            for v in 0..N {
                let weight = _mm512_loadu_si512(weights.add(v * 64).cast());
                for m in 0..M {
                    totals[m] = _mm512_dpbusd_epi32(totals[m], weight, four(x[m], v));
                }
            }
            return totals;
        }
        for v in 0..N / 2 {
            let both = _mm512_loadu_si512(weights.add(v * 64).cast());
            let mut one = _mm512_and_si512(both, low);
            let mut other = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
            if FORM == CODES {
                one = _mm512_shuffle_epi8(table, one);
                other = _mm512_shuffle_epi8(table, other);
            }
            for m in 0..M {
                totals[m] = _mm512_dpbusd_epi32(totals[m], one, four(x[m], v));
            }
            for m in 0..M {
                totals[m] = _mm512_dpbusd_epi32(totals[m], other, four(x[m], v + N / 2));
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
unsafe fn four(x: *const i8, v: usize) -> __m512i {
    // SAFETY: as the caller promised; any bytes are an integer.
    unsafe { _mm512_set1_epi32(x.add(v * 4).cast::<i32>().read_unaligned()) }
}

/// Sixteen numbers.
///
/// # Safety
/// There are that many from `first` on.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn numbers(numbers: &Numbers, first: usize) -> __m512 {
    // SAFETY: as the caller promised.
    unsafe {
        match numbers {
            Numbers::Half(bits) => {
                _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().add(first).cast()))
            }
            Numbers::Single(values) => _mm512_loadu_ps(values.as_ptr().add(first)),
        }
    }
}
