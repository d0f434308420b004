//! Integer products with AVX-512 VNNI: a tile is one vector of 16 results.
#![allow(
    clippy::wildcard_imports,
    reason = "the vector instructions by their own names"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "the compiler keeps arrays in registers that are indexed by numbers it knows"
)]

use std::arch::x86_64::*;

use super::TILE;
use super::activations::{GROUP, Panel};
use super::dispatch::Target;
use super::integer_tiles::{Store, Tile};
use super::numbers::{FACTORED, HALF, Numbers, SINGLE};
use super::vectors::{BYTES, CODES, FIVES, NIBBLES, SIXES, ask_ahead, group_bytes, table};

/// The products of one tile with the `M` rows of a panel.
///
/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI; the panel's rows are as long as the tile; the results
/// from `out` on are memory that nobody else uses.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn products<const M: usize>(
    tile: &Tile<'_>,
    panel: &Panel<'_>,
    out: *mut f32,
    target: &Target,
) {
    // SAFETY: as the caller promised; the constants are the tile's own.
    unsafe {
        match (tile.form.store, tile.form.group, tile.scales.kind()) {
            (Store::Bytes, _, _) => inner::<M, BYTES, 8, HALF>(tile, panel, out, target),
            (Store::Nibbles, 32, FACTORED) => {
                inner::<M, NIBBLES, 8, FACTORED>(tile, panel, out, target);
            }
            (Store::Nibbles, 32, _) => inner::<M, NIBBLES, 8, HALF>(tile, panel, out, target),
            (Store::Nibbles, _, _) => inner::<M, NIBBLES, 4, FACTORED>(tile, panel, out, target),
            (Store::Codes, _, FACTORED) => {
                inner::<M, CODES, 8, FACTORED>(tile, panel, out, target);
            }
            (Store::Codes, _, SINGLE) => inner::<M, CODES, 8, SINGLE>(tile, panel, out, target),
            (Store::Codes, _, _) => inner::<M, CODES, 8, HALF>(tile, panel, out, target),
            (Store::Fives, _, FACTORED) => {
                inner::<M, FIVES, 8, FACTORED>(tile, panel, out, target);
            }
            (Store::Fives, _, _) => inner::<M, FIVES, 8, HALF>(tile, panel, out, target),
            (Store::Sixes, _, _) => inner::<M, SIXES, 4, FACTORED>(tile, panel, out, target),
        }
    }
}

/// `N` vectors of four columns are a group; scales and offsets are of one kind.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn inner<const M: usize, const FORM: u8, const N: usize, const KIND: u8>(
    tile: &Tile<'_>,
    panel: &Panel<'_>,
    out: *mut f32,
    target: &Target,
) {
    let bytes = group_bytes(FORM, N);
    let table = table(tile);
    let shift = _mm_cvtsi32_si128(tile.form.bias.max(1).ilog2() as i32);
    let (all, sums) = if N == 8 {
        (panel.totals, panel.sums)
    } else {
        (panel.half_totals, panel.half_sums)
    };
    let mut scales = Reader::<KIND, N>::new(tile.scales, tile.first);
    let mut offsets = tile
        .offsets
        .map(|offsets| Reader::<KIND, N>::new(offsets, tile.first));
    let mut results = [_mm512_setzero_ps(); M];
    for group in 0..tile.groups {
        ask_ahead::<FORM>(tile, group, bytes / 64);
        // Groups of 16 share the scales of 32.
        let (step, part) = (group * N / 8, group * N % 8);
        // SAFETY: a tile has `groups` groups of `bytes` bytes, and a row of the panel as many columns.
        unsafe {
            let weights = tile.weights.as_ptr().add(group * bytes);
            let x = panel.values.as_ptr().add(step * M * GROUP + part * 4);
            let mut totals = [_mm512_setzero_si512(); M];
            if offsets.is_none() {
                for m in 0..M {
                    let all = _mm512_set1_epi32(*all.as_ptr().add(group * M + m));
                    totals[m] = _mm512_sll_epi32(all, shift);
                }
            }
            let totals = add_products::<M, FORM, N>(totals, weights, x, table);
            let scale = scales.read(group);
            for m in 0..M {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(totals[m]), scale);
                let step = _mm512_set1_ps(*panel.scales.as_ptr().add(step * M + m));
                results[m] = _mm512_fmadd_ps(product, step, results[m]);
            }
            if let Some(offsets) = &mut offsets {
                let offset = offsets.read(group);
                for m in 0..M {
                    let sum = _mm512_set1_ps(*sums.as_ptr().add(group * M + m));
                    results[m] = _mm512_fmadd_ps(offset, sum, results[m]);
                }
            }
        }
    }
    let lanes = u16::MAX >> (TILE - target.count.clamp(1, TILE));
    for (m, result) in results.into_iter().enumerate() {
        // SAFETY: as the caller promised; other lanes are not written.
        unsafe { _mm512_mask_storeu_ps(out.add(m * target.stride), lanes, result) };
    }
}

/// Add the products of one group, of weights as stored, to the totals of `M` rows.
///
/// # Safety
/// A group of weights is there, and of columns of each row, `GROUP` bytes from row to row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn add_products<const M: usize, const FORM: u8, const N: usize>(
    mut totals: [__m512i; M],
    weights: *const u8,
    x: *const i8,
    table: __m128i,
) -> [__m512i; M] {
    // SAFETY: as the caller promised.
    unsafe {
        if FORM == BYTES {
            for v in 0..N {
                let weight = _mm512_loadu_si512(weights.add(v * 64).cast());
                totals = multiply_add(totals, weight, x.add(v * 4));
            }
            return totals;
        }
        let further = weights.add(N / 2 * 64);
        for v in 0..N / 2 {
            let both = _mm512_loadu_si512(weights.add(v * 64).cast());
            let low = unpacked::<FORM, N>(both, v, further, table);
            totals = multiply_add(totals, low, x.add(v * 4));
            let high = unpacked::<FORM, N>(both, v + N / 2, further, table);
            totals = multiply_add(totals, high, x.add((v + N / 2) * 4));
        }
    }
    totals
}

/// Vector `v` of a group's weights, of the bytes that two vectors share and their further bits.
///
/// # Safety
/// The further bits are there if the form has any.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpacked<const FORM: u8, const N: usize>(
    both: __m512i,
    v: usize,
    further: *const u8,
    table: __m128i,
) -> __m512i {
    let code = if v < N / 2 {
        both
    } else {
        _mm512_srli_epi16::<4>(both)
    };
    let low = _mm512_and_si512(code, _mm512_set1_epi8(15));
    // SAFETY: as the caller promised.
    unsafe {
        match FORM {
            CODES => _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), low),
            FIVES => {
                let fifth = further.add(v * 8).cast::<u64>().read_unaligned();
                _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16))
            }
            SIXES => {
                let bits = _mm512_loadu_si512(further.cast());
                let bits = match v {
                    0 => _mm512_slli_epi16::<4>(bits),
                    1 => _mm512_slli_epi16::<2>(bits),
                    2 => bits,
                    _ => _mm512_srli_epi16::<2>(bits),
                };
                let mask = _mm512_set1_epi8(0x30);
                // low | bits & mask
                _mm512_ternarylogic_epi32::<0b1111_1000>(low, bits, mask)
            }
            _ => low,
        }
    }
}

/// Add to the totals of `M` rows the products of a vector with four columns, the same for all lanes.
///
/// Written as instructions because the compiler, told the same by intrinsics, first spreads the columns of all rows
/// over registers that it does not have, at half the speed.
///
/// # Safety
/// There are four columns of each row from `x` on, `GROUP` bytes from row to row.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn multiply_add<const M: usize>(
    mut totals: [__m512i; M],
    weight: __m512i,
    x: *const i8,
) -> [__m512i; M] {
    const { assert!(GROUP == 32, "the distances below") };
    let mut m = 0;
    // SAFETY: as the caller promised; memory is only read.
    unsafe {
        while m + 4 <= M {
            std::arch::asm!(
                "vpdpbusd {0}, {weight}, dword ptr [{x}]{{1to16}}",
                "vpdpbusd {1}, {weight}, dword ptr [{x} + 32]{{1to16}}",
                "vpdpbusd {2}, {weight}, dword ptr [{x} + 64]{{1to16}}",
                "vpdpbusd {3}, {weight}, dword ptr [{x} + 96]{{1to16}}",
                inout(zmm_reg) totals[m],
                inout(zmm_reg) totals[m + 1],
                inout(zmm_reg) totals[m + 2],
                inout(zmm_reg) totals[m + 3],
                weight = in(zmm_reg) weight,
                x = in(reg) x.add(m * GROUP),
                options(pure, readonly, nostack, preserves_flags)
            );
            m += 4;
        }
        while m < M {
            std::arch::asm!(
                "vpdpbusd {0}, {weight}, dword ptr [{x}]{{1to16}}",
                inout(zmm_reg) totals[m],
                weight = in(zmm_reg) weight,
                x = in(reg) x.add(m * GROUP),
                options(pure, readonly, nostack, preserves_flags)
            );
            m += 1;
        }
    }
    totals
}

/// Reads the numbers of a tile, 16 for each group of `N` vectors, from the first group on.
struct Reader<const KIND: u8, const N: usize> {
    numbers: *const (),
    units: *const u16,
    /// Of the block that the group belongs to.
    unit: __m512,
}

impl<const KIND: u8, const N: usize> Reader<KIND, N> {
    /// Groups of a block of 256 columns.
    const GROUPS: usize = 64 / N;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(numbers: &Numbers, first: usize) -> Self {
        let (numbers, units) = numbers.places(first);
        Self {
            numbers,
            units,
            unit: _mm512_setzero_ps(),
        }
    }

    /// # Safety
    /// The numbers are of this kind, and there are that many; groups are read in order.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn read(&mut self, group: usize) -> __m512 {
        let first = group * TILE;
        // SAFETY: as the caller promised.
        unsafe {
            match KIND {
                HALF => halves(self.numbers.cast::<u16>().add(first)),
                SINGLE => _mm512_loadu_ps(self.numbers.cast::<f32>().add(first)),
                _ => {
                    if group.is_multiple_of(Self::GROUPS) {
                        self.unit = halves(self.units.add(group / Self::GROUPS * TILE));
                    }
                    let steps = _mm_loadu_si128(self.numbers.byte_add(first).cast());
                    let steps = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(steps));
                    _mm512_mul_ps(steps, self.unit)
                }
            }
        }
    }
}

/// Sixteen half-precision numbers.
///
/// # Safety
/// There are that many.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(bits: *const u16) -> __m512 {
    // SAFETY: as the caller promised.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.cast())) }
}
