//! Integer products with AVX2: a tile is two vectors of 8 results, one after the other.
#![allow(
    clippy::wildcard_imports,
    reason = "the vector instructions by their own names"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "the compiler keeps arrays in registers that are indexed by numbers it knows"
)]

use std::arch::x86_64::*;

use super::activations::{GROUP, Panel};
use super::integer_tiles::{Store, Tile};
use super::numbers::Numbers;
use super::vectors::{BYTES, CODES, FIVES, NIBBLES, SIXES, ask_ahead, group_bytes, table};
use super::{Lanes, TILE};

/// The products of one tile with the `M` rows of a panel.
///
/// # Safety
/// The processor has AVX2, FMA and F16C; the panel's rows are as long as the tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn products<const M: usize>(
    tile: &Tile<'_>,
    panel: &Panel<'_>,
    out: &mut [Lanes; M],
) {
    for half in 0..2 {
        // SAFETY: as the caller promised; the constants are the tile's own.
        unsafe {
            match (tile.form.store, tile.form.group) {
                (Store::Bytes, _) => inner::<M, BYTES, 8>(tile, panel, half, out),
                (Store::Nibbles, 32) => inner::<M, NIBBLES, 8>(tile, panel, half, out),
                (Store::Nibbles, _) => inner::<M, NIBBLES, 4>(tile, panel, half, out),
                (Store::Codes, _) => inner::<M, CODES, 8>(tile, panel, half, out),
                (Store::Fives, _) => inner::<M, FIVES, 8>(tile, panel, half, out),
                (Store::Sixes, _) => inner::<M, SIXES, 4>(tile, panel, half, out),
            }
        }
    }
}

/// `N` vectors of four columns are a group; 8 rows of the tile from `8 * half` on.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn inner<const M: usize, const FORM: u8, const N: usize>(
    tile: &Tile<'_>,
    panel: &Panel<'_>,
    half: usize,
    out: &mut [Lanes; M],
) {
    let bytes = group_bytes(FORM, N);
    let bias = tile.form.bias;
    let shift = _mm_cvtsi32_si128(bias.max(1).ilog2() as i32);
    let (all, sums) = if N == 8 {
        (panel.totals, panel.sums)
    } else {
        (panel.half_totals, panel.half_sums)
    };
    let mut results = [_mm256_setzero_ps(); M];
    for group in 0..tile.groups {
        if half == 0 {
            ask_ahead::<FORM>(tile, group, bytes / 64);
        }
        // Groups of 16 share the scales of 32.
        let (step, part) = (group * N / 8, group * N % 8);
        // SAFETY: a tile has `groups` groups of `bytes` bytes, and a row of the panel as many columns.
        unsafe {
            let weights = tile.weights.as_ptr().add(group * bytes);
            let x = panel.values.as_ptr().add(step * M * GROUP + part * 4);
            let mut totals = if FORM == BYTES || FORM == CODES {
                of_signed::<M, FORM, N>(weights, half, x, bias as i8, table(tile))
            } else {
                of_unsigned::<M, FORM, N>(weights, half, x)
            };
            if bias != 0 && FORM != BYTES && FORM != CODES {
                for m in 0..M {
                    let all = _mm256_set1_epi32(*all.as_ptr().add(group * M + m));
                    totals[m] = _mm256_add_epi32(totals[m], _mm256_sll_epi32(all, shift));
                }
            }
            let number = tile.first + group * TILE + half * 8;
            let scale = numbers(tile.scales, number);
            for m in 0..M {
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(totals[m]), scale);
                let step = _mm256_set1_ps(*panel.scales.as_ptr().add(step * M + m));
                results[m] = _mm256_fmadd_ps(product, step, results[m]);
            }
            if let Some(offsets) = tile.offsets {
                let offset = numbers(offsets, number);
                for m in 0..M {
                    let sum = _mm256_set1_ps(*sums.as_ptr().add(group * M + m));
                    results[m] = _mm256_fmadd_ps(offset, sum, results[m]);
                }
            }
        }
    }
    for (out, result) in out.iter_mut().zip(results) {
        // SAFETY: the array has 16 values.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(half * 8), result) };
    }
}

/// Vector `v` of a group's weights as stored, for one half of the rows.
///
/// # Safety
/// The group is there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn stored<const FORM: u8, const N: usize>(
    weights: *const u8,
    half: usize,
    v: usize,
) -> __m256i {
    // SAFETY: as the caller promised.
    unsafe {
        if FORM == BYTES {
            return _mm256_loadu_si256(weights.add(v * 64 + half * 32).cast());
        }
        let both = _mm256_loadu_si256(weights.add(v % (N / 2) * 64 + half * 32).cast());
        let code = if v < N / 2 {
            both
        } else {
            _mm256_srli_epi16::<4>(both)
        };
        let low = _mm256_and_si256(code, _mm256_set1_epi8(15));
        let further = weights.add(N / 2 * 64);
        match FORM {
            FIVES => {
                let bits = further.add(v * 8 + half * 4).cast::<i32>().read_unaligned();
                // Each byte of a vector gets the byte that has its bit, then that bit alone.
                let spread = _mm256_setr_epi64x(
                    0,
                    0x0101_0101_0101_0101,
                    0x0202_0202_0202_0202,
                    0x0303_0303_0303_0303,
                );
                let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread);
                let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
                let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own), own);
                _mm256_or_si256(low, _mm256_and_si256(set, _mm256_set1_epi8(16)))
            }
            SIXES => {
                let bits = _mm256_loadu_si256(further.add(half * 32).cast());
                let bits = match v {
                    0 => _mm256_slli_epi16::<4>(bits),
                    1 => _mm256_slli_epi16::<2>(bits),
                    2 => bits,
                    _ => _mm256_srli_epi16::<2>(bits),
                };
                _mm256_or_si256(low, _mm256_and_si256(bits, _mm256_set1_epi8(0x30)))
            }
            _ => low,
        }
    }
}

/// Totals of weights as stored.
///
/// # Safety
/// A group of weights and columns is there, `GROUP` bytes from row to row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn of_unsigned<const M: usize, const FORM: u8, const N: usize>(
    weights: *const u8,
    half: usize,
    x: *const i8,
) -> [__m256i; M] {
    // Vectors whose sums of two products fit together in 16 bits: 8 * 2 * 15 * 127 is less than 2^15.
    let wide = match FORM {
        SIXES => 2,
        FIVES => 4,
        _ => 8,
    };
    let ones = _mm256_set1_epi16(1);
    let mut totals = [_mm256_setzero_si256(); M];
    for first in (0..N).step_by(wide) {
        let mut pairs = [_mm256_setzero_si256(); M];
        for v in first..N.min(first + wide) {
            // SAFETY: as the caller promised.
            unsafe {
                let weight = stored::<FORM, N>(weights, half, v);
                for m in 0..M {
                    let pair = _mm256_maddubs_epi16(weight, four(x.add(m * GROUP), v));
                    pairs[m] = _mm256_add_epi16(pairs[m], pair);
                }
            }
        }
        for m in 0..M {
            totals[m] = _mm256_add_epi32(totals[m], _mm256_madd_epi16(pairs[m], ones));
        }
    }
    totals
}

/// Totals of weights less their bias. Two products of a sign and 8 bits fit in 16.
///
/// # Safety
/// A group of weights and columns is there, `GROUP` bytes from row to row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn of_signed<const M: usize, const FORM: u8, const N: usize>(
    weights: *const u8,
    half: usize,
    x: *const i8,
    bias: i8,
    table: __m128i,
) -> [__m256i; M] {
    let table = _mm256_broadcastsi128_si256(table);
    let (bias, ones) = (_mm256_set1_epi8(bias), _mm256_set1_epi16(1));
    let mut totals = [_mm256_setzero_si256(); M];
    for v in 0..N {
        // SAFETY: as the caller promised.
        unsafe {
            let mut weight = stored::<FORM, N>(weights, half, v);
            if FORM == CODES {
                weight = _mm256_shuffle_epi8(table, weight);
            }
            let weight = _mm256_sub_epi8(weight, bias);
            let size = _mm256_abs_epi8(weight);
            for m in 0..M {
                let signed = _mm256_sign_epi8(four(x.add(m * GROUP), v), weight);
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
            Numbers::Factored(factored) => {
                let steps = _mm_loadl_epi64(factored.steps.as_ptr().add(first).cast());
                let units = factored
                    .units
                    .as_ptr()
                    .add(factored.unit(first) + first % TILE);
                let units = _mm256_cvtph_ps(_mm_loadu_si128(units.cast()));
                _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(steps)), units)
            }
        }
    }
}
