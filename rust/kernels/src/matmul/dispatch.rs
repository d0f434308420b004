//! The best integer product that the processor has, for any number of rows.

use std::ops::Range;

use super::activations::{Activations, Row};
use super::integer_tiles::Tile;
use super::{Lanes, TILE, scalar};
use crate::SimdLevel;

/// Bytes of activations that stay in the first cache beside a tile.
const CACHED: usize = 24 << 10;
/// The most rows that one call of a kernel takes.
const MOST: usize = 8;

/// Rows of activations that are best multiplied with one tile after the other before the next rows are.
pub(crate) fn rows_at_once(cols: usize) -> usize {
    (CACHED / cols / MOST).max(1) * MOST
}

/// Calls `write(row, results)` for these rows of activations. A row's results do not depend on the others.
pub(crate) fn integer_products(
    level: SimdLevel,
    tile: &Tile<'_>,
    x: &Activations,
    rows: Range<usize>,
    mut write: impl FnMut(usize, &Lanes),
) {
    let mut row = rows.start;
    while row < rows.end {
        row += match rows.end - row {
            MOST.. if level == SimdLevel::Avx512 => some::<MOST>(level, tile, x, row, &mut write),
            4.. => some::<4>(level, tile, x, row, &mut write),
            2.. => some::<2>(level, tile, x, row, &mut write),
            _ => some::<1>(level, tile, x, row, &mut write),
        };
    }
}

/// The next `M` rows; returns `M`.
fn some<const M: usize>(
    level: SimdLevel,
    tile: &Tile<'_>,
    x: &Activations,
    first: usize,
    write: &mut impl FnMut(usize, &Lanes),
) -> usize {
    let rows: [Row<'_>; M] = std::array::from_fn(|m| x.row(first + m, tile.group));
    let mut out = [[0.0; TILE]; M];
    match level {
        // SAFETY: the level says what the processor has; rows are as long as the matrix is wide.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { super::avx512::products(tile, &rows, &mut out) },
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
        write(first + m, out);
    }
    M
}
