//! Weight matrices in a kernel layout.

use crate::{BlockType, KernelError, Pool, Scratch, dequantize, shape};

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations of quantised weights are rounded to 8 bits in groups of 32.
    #[default]
    Fast,
    /// Weights are dequantised and products accumulated in f32.
    Exact,
}

/// A weight `[rows, cols]`, row-major in meaning.
#[derive(Debug)]
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    precision: Precision,
    values: Vec<f32>,
}

impl PackedMatrix {
    /// Convert `src`, the blocks of a row-major matrix.
    pub fn pack(
        ty: BlockType,
        rows: usize,
        cols: usize,
        src: &[u8],
        _pool: &Pool,
    ) -> Result<Self, KernelError> {
        shape::positive("rows", rows)?;
        shape::positive("cols", cols)?;
        if !cols.is_multiple_of(ty.block_len()) {
            return Err(KernelError::PartialBlock { ty, values: cols });
        }
        let values = shape::product("matrix", rows, cols)?;
        let bytes = ty
            .bytes_for(values)
            .ok_or(KernelError::TooLarge { what: "matrix" })?;
        shape::same("matrix bytes", bytes, src.len())?;
        let mut values = vec![0.0; values];
        dequantize(ty, src, &mut values)?;
        Ok(Self {
            rows,
            cols,
            precision: Precision::default(),
            values,
        })
    }

    /// Stack matrices over the same input; their types may differ.
    pub fn fuse(parts: Vec<Self>) -> Result<Self, KernelError> {
        let cols = parts.first().map_or(0, |part| part.cols);
        shape::positive("parts", cols)?;
        let mut fused = Self {
            rows: 0,
            cols,
            precision: Precision::default(),
            values: Vec::new(),
        };
        for part in parts {
            shape::same("cols", cols, part.cols)?;
            fused.rows += part.rows;
            fused.values.extend(part.values);
        }
        Ok(fused)
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.values.len() * 4
    }

    /// Choose how products with this matrix are computed.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// `x [m, cols] -> out [m, rows]`.
    pub fn matmul(
        &self,
        pool: &Pool,
        x: &[f32],
        m: usize,
        out: &mut [f32],
        _scratch: &mut Scratch,
    ) -> Result<(), KernelError> {
        shape::same("x", shape::product("x", m, self.cols)?, x.len())?;
        shape::same("out", shape::product("out", m, self.rows)?, out.len())?;
        pool.run(0, &|_| ());
        let x = x.chunks_exact(self.cols);
        for (x, out) in x.zip(out.chunks_exact_mut(self.rows)) {
            for (out, row) in out.iter_mut().zip(self.values.chunks_exact(self.cols)) {
                *out = row.iter().zip(x).map(|(a, b)| a * b).sum();
            }
        }
        Ok(())
    }

    /// The exact values of a row.
    pub fn row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        shape::same("out", self.cols, out.len())?;
        let found = self.values.chunks_exact(self.cols).nth(row);
        let found = found.ok_or(KernelError::OutOfRange {
            what: "row",
            index: row,
            len: self.rows,
        })?;
        out.copy_from_slice(found);
        Ok(())
    }
}
