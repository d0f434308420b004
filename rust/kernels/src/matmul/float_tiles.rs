//! Weights in floating point, in tiles: for each column 16 rows side by side.

use half::slice::HalfFloatSliceExt;

use super::memory::{Piece, Plain};
use super::{Lanes, TILE};
use crate::{BlockType, KernelError, SimdLevel, dequantize};

/// Partial sums of a product; they keep the error of long rows small and the vector units busy.
const PARTS: usize = 4;

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

    /// The values of a tile as f32, `[cols, 16]`; `buffer` holds them if they are stored otherwise.
    pub fn tile<'a>(&'a self, index: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let size = TILE * self.cols;
        let span = index * size..(index + 1) * size;
        match &self.values {
            Values::F32(values) => return &values[span],
            Values::F16(values) => {
                buffer.resize(size, 0.0);
                values[span].convert_to_f32_slice(buffer);
            }
            Values::BF16(values) => {
                buffer.resize(size, 0.0);
                values[span].convert_to_f32_slice(buffer);
            }
        }
        buffer
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

/// The products of a tile `[cols, 16]` with one row.
pub(crate) fn float_products(level: SimdLevel, tile: &[f32], x: &[f32], out: &mut Lanes) {
    match level {
        // SAFETY: the level says what the processor has.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { with_avx512(tile, x, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { with_avx2(tile, x, out) },
        _ => plain(tile, x, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn with_avx512(tile: &[f32], x: &[f32], out: &mut Lanes) {
    plain(tile, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(tile: &[f32], x: &[f32], out: &mut Lanes) {
    plain(tile, x, out);
}

#[inline(always)]
fn plain(tile: &[f32], x: &[f32], out: &mut Lanes) {
    let (tile, _) = tile.as_chunks::<TILE>();
    let mut parts = [[0.0; TILE]; PARTS];
    let (weights, last_weights) = tile.as_chunks::<PARTS>();
    let (x, last_x) = x.as_chunks::<PARTS>();
    for (weights, x) in weights.iter().zip(x) {
        for ((part, weights), x) in parts.iter_mut().zip(weights).zip(x) {
            add(part, weights, *x);
        }
    }
    for ((part, weights), x) in parts.iter_mut().zip(last_weights).zip(last_x) {
        add(part, weights, *x);
    }
    for (lane, out) in out.iter_mut().enumerate() {
        *out = (parts[0][lane] + parts[1][lane]) + (parts[2][lane] + parts[3][lane]);
    }
}

#[inline(always)]
fn add(part: &mut Lanes, weights: &Lanes, x: f32) {
    for (part, weight) in part.iter_mut().zip(weights) {
        *part += weight * x;
    }
}
