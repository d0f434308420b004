//! Products of float tiles with AVX2 and AVX-512.
#![allow(
    clippy::wildcard_imports,
    reason = "the vector instructions by their own names"
)]

use std::arch::x86_64::*;

use super::float_tiles::PARTS;
use super::{Lanes, TILE};

/// Weights ahead of those in use that are asked for, in bytes.
const AHEAD: usize = 8192;

/// Numbers that both instruction sets turn into f32.
pub(crate) trait Vector: Copy {
    /// Sixteen numbers.
    ///
    /// # Safety
    /// They are there, and the caller is compiled for AVX-512 F.
    unsafe fn sixteen(start: *const Self) -> __m512;

    /// Eight numbers.
    ///
    /// # Safety
    /// They are there, and the caller is compiled for AVX2 and F16C.
    unsafe fn eight(start: *const Self) -> __m256;
}

impl Vector for f32 {
    #[inline(always)]
    unsafe fn sixteen(start: *const Self) -> __m512 {
        // SAFETY: as the caller promised.
        unsafe { _mm512_loadu_ps(start) }
    }

    #[inline(always)]
    unsafe fn eight(start: *const Self) -> __m256 {
        // SAFETY: as the caller promised.
        unsafe { _mm256_loadu_ps(start) }
    }
}

impl Vector for half::f16 {
    #[inline(always)]
    unsafe fn sixteen(start: *const Self) -> __m512 {
        // SAFETY: as the caller promised.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(start.cast())) }
    }

    #[inline(always)]
    unsafe fn eight(start: *const Self) -> __m256 {
        // SAFETY: as the caller promised.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(start.cast())) }
    }
}

impl Vector for half::bf16 {
    #[inline(always)]
    unsafe fn sixteen(start: *const Self) -> __m512 {
        // SAFETY: as the caller promised. The bits are the upper half of the number.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(start.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn eight(start: *const Self) -> __m256 {
        // SAFETY: as the caller promised. The bits are the upper half of the number.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(start.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }
}

/// The products of a tile `[cols, 16]` with `M` rows of `cols`.
#[target_feature(enable = "avx512f")]
pub(super) fn with_avx512<const M: usize, T: Vector>(
    tile: &[T],
    x: &[&[f32]; M],
    out: &mut [Lanes; M],
) {
    let cols = columns(tile, x);
    let mut sums = [[_mm512_setzero_ps(); M]; PARTS];
    for first in (0..cols).step_by(PARTS) {
        for (part, sums) in sums.iter_mut().enumerate().take(cols - first) {
            let col = first + part;
            // SAFETY: every row has `cols` columns, the tile 16 weights for each; asking ahead reads nothing.
            unsafe {
                let weights = tile.as_ptr().add(col * TILE);
                _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_byte_add(AHEAD).cast());
                let weights = T::sixteen(weights);
                for m in 0..M {
                    let x = _mm512_set1_ps(*x[m].get_unchecked(col));
                    sums[m] = _mm512_fmadd_ps(weights, x, sums[m]);
                }
            }
        }
    }
    for (m, out) in out.iter_mut().enumerate() {
        let first = _mm512_add_ps(sums[0][m], sums[1][m]);
        let sum = _mm512_add_ps(first, _mm512_add_ps(sums[2][m], sums[3][m]));
        // SAFETY: the array has 16 values.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
}

/// The products of a tile `[cols, 16]` with `M` rows of `cols`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn with_avx2<const M: usize, T: Vector>(
    tile: &[T],
    x: &[&[f32]; M],
    out: &mut [Lanes; M],
) {
    let cols = columns(tile, x);
    for half in [0, TILE / 2] {
        let mut sums = [[_mm256_setzero_ps(); M]; PARTS];
        for first in (0..cols).step_by(PARTS) {
            for (part, sums) in sums.iter_mut().enumerate().take(cols - first) {
                let col = first + part;
                // SAFETY: as above.
                unsafe {
                    let weights = tile.as_ptr().add(col * TILE + half);
                    _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_byte_add(AHEAD).cast());
                    let weights = T::eight(weights);
                    for m in 0..M {
                        let x = _mm256_set1_ps(*x[m].get_unchecked(col));
                        sums[m] = _mm256_fmadd_ps(weights, x, sums[m]);
                    }
                }
            }
        }
        for (m, out) in out.iter_mut().enumerate() {
            let first = _mm256_add_ps(sums[0][m], sums[1][m]);
            let sum = _mm256_add_ps(first, _mm256_add_ps(sums[2][m], sums[3][m]));
            // SAFETY: the array has 16 values, `half` is 0 or 8.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(half), sum) };
        }
    }
}

/// Columns that the tile and every row have.
fn columns<T>(tile: &[T], x: &[&[f32]]) -> usize {
    let shortest = x.iter().map(|x| x.len()).min().unwrap_or(0);
    shortest.min(tile.len() / TILE)
}
