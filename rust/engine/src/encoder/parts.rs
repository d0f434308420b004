//! The pieces of an encoder layer over rows of f32: projections, norms, sums.

use std::cell::RefCell;
use std::sync::Arc;

use cortex_kernels::{KernelError, PackedMatrix, Pool, Scratch, layer_norm};

/// Threads and reusable memory.
pub(super) struct Work {
    pub pool: Arc<Pool>,
    scratch: RefCell<Scratch>,
}

/// A projection with its bias.
pub(super) struct Linear {
    pub matrix: PackedMatrix,
    pub bias: Option<Vec<f32>>,
}

/// Weight and bias of a layer norm.
pub(super) struct Norm {
    pub weight: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

impl Work {
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            scratch: RefCell::default(),
        }
    }
}

impl Linear {
    /// `x [m, cols] -> [m, rows]` without the bias.
    pub fn product(&self, work: &Work, x: &[f32]) -> Result<Vec<f32>, KernelError> {
        let m = x.len() / self.matrix.cols();
        let mut out = vec![0.0; m * self.matrix.rows()];
        let mut scratch = work.scratch.borrow_mut();
        self.matrix
            .matmul(&work.pool, x, m, &mut out, &mut scratch)?;
        Ok(out)
    }

    /// The part of the bias for the outputs from `first` on.
    pub fn bias_from(&self, first: usize) -> Option<&[f32]> {
        self.bias.as_ref().map(|bias| &bias[first..])
    }

    /// `stream += product of x + bias`.
    pub fn add_to(&self, work: &Work, x: &[f32], stream: &mut [f32]) -> Result<(), KernelError> {
        let product = self.product(work, x)?;
        for (sum, value) in stream.iter_mut().zip(&product) {
            *sum += value;
        }
        if let Some(bias) = &self.bias {
            for row in stream.chunks_exact_mut(bias.len()) {
                add(row, bias);
            }
        }
        Ok(())
    }
}

impl Norm {
    pub fn apply(&self, work: &Work, x: &[f32], eps: f32) -> Result<Vec<f32>, KernelError> {
        let mut out = vec![0.0; x.len()];
        layer_norm(
            &work.pool,
            x,
            &self.weight,
            self.bias.as_deref(),
            eps,
            &mut out,
        )?;
        Ok(out)
    }
}

/// `row += other`.
pub(super) fn add(row: &mut [f32], other: &[f32]) {
    for (value, other) in row.iter_mut().zip(other) {
        *value += other;
    }
}
