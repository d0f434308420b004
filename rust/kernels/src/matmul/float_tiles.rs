//! Weights in floating point, in tiles: for each column 16 rows side by side.

#[cfg(target_arch = "x86_64")]
use super::float_vectors::{self, Vector};
use super::memory::{Piece, Plain};
use super::{Lanes, TILE};
use crate::{BlockType, KernelError, SimdLevel, dequantize};

/// Partial sums of a product; they keep the error of long rows small and the vector units busy.
pub(super) const PARTS: usize = 4;

/// A `[rows, cols]` of f32, f16 or bf16.
#[derive(Debug)]
pub(crate) struct FloatTiles {
    pub rows: usize,
    pub cols: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F32(Piece<f32>),
    F16(Piece<half::f16>),
    BF16(Piece<half::bf16>),
}

impl FloatTiles {
    /// Rearrange a row-major matrix.
    pub fn pack(ty: BlockType, rows: usize, cols: usize, src: &[u8]) -> Result<Self, KernelError> {
        let values = match ty {
            BlockType::F16 => Values::F16(tiled(rows, cols, src, half::f16::from_le_bytes)?),
            BlockType::BF16 => Values::BF16(tiled(rows, cols, src, half::bf16::from_le_bytes)?),
            BlockType::F32 => Values::F32(tiled(rows, cols, src, f32::from_le_bytes)?),
            // Names the type in its error.
            _ => {
                return Err(dequantize(ty, src, &mut vec![0.0; rows * cols])
                    .err()
                    .unwrap_or(KernelError::Unsupported { ty }));
            }
        };
        Ok(Self { rows, cols, values })
    }

    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => values.bytes(),
            Values::F16(values) => values.bytes(),
            Values::BF16(values) => values.bytes(),
        }
    }

    /// The exact values of a row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let first = row / TILE * TILE * self.cols + row % TILE;
        for (col, out) in out.iter_mut().enumerate() {
            let at = first + col * TILE;
            *out = match &self.values {
                Values::F32(values) => values[at],
                Values::F16(values) => values[at].to_f32(),
                Values::BF16(values) => values[at].to_f32(),
            };
        }
    }

    /// Call `write(row, results)` for every row of `x` with the products of a tile.
    pub fn products(
        &self,
        level: SimdLevel,
        index: usize,
        x: &[f32],
        write: impl FnMut(usize, &Lanes),
    ) {
        let size = TILE * self.cols;
        let span = index * size..(index + 1) * size;
        match &self.values {
            Values::F32(values) => float_products(level, &values[span], x, write),
            Values::F16(values) => float_products(level, &values[span], x, write),
            Values::BF16(values) => float_products(level, &values[span], x, write),
        }
    }
}

/// Row-major bytes to tiles; zeros fill the last one.
fn tiled<const N: usize, T: Plain>(
    rows: usize,
    cols: usize,
    src: &[u8],
    read: fn([u8; N]) -> T,
) -> Result<Piece<T>, KernelError> {
    let size = (rows.div_ceil(TILE) * TILE).checked_mul(cols);
    let large = KernelError::TooLarge { what: "matrix" };
    let mut values: Piece<T> = size.and_then(Piece::zeros).ok_or(large)?;
    let (src, _) = src.as_chunks::<N>();
    for (row, src) in src.chunks_exact(cols).enumerate() {
        let first = row / TILE * TILE * cols + row % TILE;
        for (col, bytes) in src.iter().enumerate() {
            values[first + col * TILE] = read(*bytes);
        }
    }
    Ok(values)
}

/// Numbers of a tile.
pub(crate) trait Weight: Plain + Into<f32> + Vector {}

impl Weight for f32 {}
impl Weight for half::f16 {}
impl Weight for half::bf16 {}

/// Numbers that need no vectors.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) trait Vector {}

#[cfg(not(target_arch = "x86_64"))]
impl<T> Vector for T {}

/// Call `write(row, results)` for every row of `x` with the products of a tile `[cols, 16]`. A row's results do
/// not depend on the others.
pub(crate) fn float_products<T: Weight>(
    level: SimdLevel,
    tile: &[T],
    x: &[f32],
    mut write: impl FnMut(usize, &Lanes),
) {
    let cols = tile.len() / TILE;
    let rows = x.len() / cols;
    let mut row = 0;
    while row < rows {
        let x = &x[row * cols..];
        row += match rows - row {
            4.. if level == SimdLevel::Avx512 => some::<4, T>(level, tile, x, row, &mut write),
            2.. => some::<2, T>(level, tile, x, row, &mut write),
            _ => some::<1, T>(level, tile, x, row, &mut write),
        };
    }
}

/// The first `M` rows of `x`; returns `M`.
fn some<const M: usize, T: Weight>(
    level: SimdLevel,
    tile: &[T],
    x: &[f32],
    first: usize,
    write: &mut impl FnMut(usize, &Lanes),
) -> usize {
    let cols = tile.len() / TILE;
    let rows: [&[f32]; M] = std::array::from_fn(|m| &x[m * cols..(m + 1) * cols]);
    let mut out = [[0.0; TILE]; M];
    match level {
        // SAFETY: the level says what the processor has.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { float_vectors::with_avx512(tile, &rows, &mut out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { float_vectors::with_avx2(tile, &rows, &mut out) },
        _ => {
            for (row, out) in rows.iter().zip(&mut out) {
                plain(tile, row, out);
            }
        }
    }
    for (m, out) in out.iter().enumerate() {
        write(first + m, out);
    }
    M
}

fn plain<T: Weight>(tile: &[T], x: &[f32], out: &mut Lanes) {
    let (tile, _) = tile.as_chunks::<TILE>();
    let mut parts = [[0.0; TILE]; PARTS];
    for (col, (weights, x)) in tile.iter().zip(x).enumerate() {
        for (part, weight) in parts[col % PARTS].iter_mut().zip(weights) {
            let weight: f32 = (*weight).into();
            *part += weight * x;
        }
    }
    for (lane, out) in out.iter_mut().enumerate() {
        *out = (parts[0][lane] + parts[1][lane]) + (parts[2][lane] + parts[3][lane]);
    }
}
