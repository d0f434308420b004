//! What the integer kernels of x86-64 share.

use std::arch::x86_64::{
    __m128i, _MM_HINT_T0, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_setzero_si128,
};

use super::TILE;
use super::integer_tiles::Tile;

/// The stores of `Store`, as constants.
pub(super) const BYTES: u8 = 0;
pub(super) const NIBBLES: u8 = 1;
pub(super) const CODES: u8 = 2;
pub(super) const FIVES: u8 = 3;
pub(super) const SIXES: u8 = 4;

/// Bytes of a group of `N` vectors.
pub(super) const fn group_bytes(form: u8, n: usize) -> usize {
    match form {
        BYTES => n * 64,
        NIBBLES | CODES => n * 32,
        _ => n * 32 + 64,
    }
}

/// Bytes ahead of the weights in use that are asked for.
const AHEAD: usize = 4096;
/// The same of weights that take a byte each: of so much memory for so little work, the processor foresees most, and
/// asking into the first cache was a sixth slower.
const AHEAD_OF_BYTES: usize = 2048;

/// Ask the memory for what comes after group `group`; a group has `lines` cache lines of weights.
#[inline(always)]
pub(super) fn ask_ahead<const FORM: u8>(tile: &Tile<'_>, group: usize, lines: usize) {
    let ahead = if FORM == BYTES { AHEAD_OF_BYTES } else { AHEAD };
    let weights = tile.weights.as_ptr();
    let number = tile.first + group * TILE + ahead / TILE;
    // SAFETY: asking reads nothing, so there need be no memory.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(tile.scales.place(number));
        if let Some(offsets) = tile.offsets {
            _mm_prefetch::<_MM_HINT_T0>(offsets.place(number));
        }
        for line in group * lines..(group + 1) * lines {
            let line = weights.wrapping_add(ahead + line * 64).cast();
            if FORM == BYTES {
                _mm_prefetch::<_MM_HINT_T1>(line);
            } else {
                _mm_prefetch::<_MM_HINT_T0>(line);
            }
        }
    }
}

/// The table of a tile; zeros if it has none.
#[inline(always)]
pub(super) fn table(tile: &Tile<'_>) -> __m128i {
    // SAFETY: the processor has SSE2, as all of its kind, and a table has 16 bytes.
    unsafe {
        match tile.table {
            Some(table) => _mm_loadu_si128(table.as_ptr().cast()),
            None => _mm_setzero_si128(),
        }
    }
}
