//! The best integer product that the processor has, for any number of rows.

use std::ops::Range;

use super::activations::{Activations, MOST, Panel};
use super::integer_tiles::Tile;
use super::{TILE, scalar};
use crate::SimdLevel;

/// Bytes of activations that stay in the first cache beside a tile.
const CACHED: usize = 20 << 10;

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

/// Multiply these rows of activations with a tile; they begin with a panel and end with one. A row's results do not
/// depend on the others.
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
        let (count, panel) = x.panel(row, rows.end - row);
        let out = target.start.wrapping_add(row * target.stride);
        // SAFETY: as the caller promised.
        unsafe {
            match count {
                MOST => some::<MOST>(level, tile, &panel, out, target),
                8 => some::<8>(level, tile, &panel, out, target),
                4 => some::<4>(level, tile, &panel, out, target),
                2 => some::<2>(level, tile, &panel, out, target),
                _ => some::<1>(level, tile, &panel, out, target),
            }
        }
        row += count;
    }
}

/// The `M` rows of a panel; the results of the first begin at `out`.
///
/// # Safety
/// As above.
unsafe fn some<const M: usize>(
    level: SimdLevel,
    tile: &Tile<'_>,
    panel: &Panel<'_>,
    out: *mut f32,
    target: &Target,
) {
    #[cfg(target_arch = "x86_64")]
    if level == SimdLevel::Avx512 {
        // SAFETY: as the caller promised; the level says what the processor has, and rows are as long as the
        // matrix is wide.
        return unsafe { super::avx512::products::<M>(tile, panel, out, target) };
    }
    let mut results = [[0.0; TILE]; M];
    match level {
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { super::avx2::products(tile, panel, &mut results) },
        _ => {
            for (m, results) in results.iter_mut().enumerate() {
                scalar::products(tile, panel, (m, M), results);
            }
        }
    }
    for (m, results) in results.iter().enumerate() {
        // SAFETY: as the caller promised.
        unsafe {
            let start = out.add(m * target.stride);
            start.copy_from_nonoverlapping(results.as_ptr(), target.count.min(TILE));
        }
    }
}
