//! The best integer product that the processor has, for any number of rows.

use std::ops::Range;

use super::activations::{Activations, Row};
use super::integer_tiles::Tile;
use super::{TILE, scalar};
use crate::SimdLevel;

/// Bytes of activations that stay in the first cache beside a tile.
const CACHED: usize = 24 << 10;
/// The most rows that one call of a kernel takes.
const MOST: usize = 12;

/// Rows of activations that are best multiplied with one tile after the other before the next rows are.
pub(crate) fn rows_at_once(cols: usize) -> usize {
    (CACHED / cols / MOST).max(1) * MOST
}

/// Where the results of a tile go.
pub(crate) struct Target {
    /// The first result of row 0.
    pub start: *mut f32,
    /// From one row to the next.
    pub stride: usize,
    /// Results of each row; at most those of a tile.
    pub count: usize,
}

/// Multiply these rows of activations with a tile. A row's results do not depend on the others.
///
/// # Safety
/// The results of these rows are memory that nobody else uses.
pub(crate) unsafe fn integer_products(
    level: SimdLevel,
    tile: &Tile<'_>,
    x: &Activations,
    rows: Range<usize>,
    target: &Target,
) {
    let mut row = rows.start;
    while row < rows.end {
        // SAFETY: as the caller promised.
        row += unsafe {
            match rows.end - row {
                MOST.. if level == SimdLevel::Avx512 => some::<MOST>(level, tile, x, row, target),
                8.. if level == SimdLevel::Avx512 => some::<8>(level, tile, x, row, target),
                4.. => some::<4>(level, tile, x, row, target),
                2.. => some::<2>(level, tile, x, row, target),
                _ => some::<1>(level, tile, x, row, target),
            }
        };
    }
}

/// The next `M` rows; returns `M`.
///
/// # Safety
/// As above.
unsafe fn some<const M: usize>(
    level: SimdLevel,
    tile: &Tile<'_>,
    x: &Activations,
    first: usize,
    target: &Target,
) -> usize {
    let rows: [Row<'_>; M] = std::array::from_fn(|m| x.row(first + m, tile.group));
    #[cfg(target_arch = "x86_64")]
    if level == SimdLevel::Avx512 {
        // SAFETY: as the caller promised; the level says what the processor has, and rows are as long as the
        // matrix is wide.
        unsafe {
            let out = target.start.add(first * target.stride);
            super::avx512::products(tile, &rows, out, target);
        }
        return M;
    }
    let mut out = [[0.0; TILE]; M];
    match level {
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { super::avx2::products(tile, &rows, &mut out) },
        _ => {
            for (row, out) in rows.iter().zip(&mut out) {
                scalar::products(tile, *row, out);
            }
        }
    }
    for (m, out) in out.iter().enumerate() {
        // SAFETY: as the caller promised.
        unsafe {
            let start = target.start.add((first + m) * target.stride);
            start.copy_from_nonoverlapping(out.as_ptr(), target.count.min(TILE));
        }
    }
    M
}
