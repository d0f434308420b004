//! The best integer product that the processor has, for any number of rows.

use super::activations::{Activations, Row};
use super::integer_tiles::Tile;
use super::{Lanes, TILE, scalar};
use crate::SimdLevel;

/// Calls `write(row, results)` for every row of activations. A row's results do not depend on the others.
pub(crate) fn integer_products(
    level: SimdLevel,
    tile: &Tile<'_>,
    x: &Activations,
    mut write: impl FnMut(usize, &Lanes),
) {
    let mut row = 0;
    while row < x.rows() {
        row += match x.rows() - row {
            8.. if level == SimdLevel::Avx512 => some::<8>(level, tile, x, row, &mut write),
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
    let rows: [Row<'_>; M] = std::array::from_fn(|m| x.row(first + m));
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
