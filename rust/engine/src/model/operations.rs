//! What the decoder's operations share: they are candle custom operations on our kernels.
//!
//! A CUDA backend gives the same operations a `cuda_fwd`; the decoder does not change.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape};
use cortex_kernels::{PackedMatrix, Pool, Scratch};

/// What the operations of one decoder share on the CPU: threads and reusable memory.
pub(crate) struct Workspace {
    /// Threads that compute.
    pub pool: Arc<Pool>,
    /// Activations as integers.
    pub scratch: RefCell<Scratch>,
    /// Queries or values on their way.
    pub rows: RefCell<Vec<f32>>,
}

impl Workspace {
    /// Nothing is allocated before the first use.
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            scratch: RefCell::default(),
            rows: RefCell::default(),
        }
    }
}

/// The contiguous f32 values of an operand.
pub(crate) fn values<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
    name: &'static str,
) -> Result<&'a [f32]> {
    part(storage.as_slice::<f32>()?, layout, name)
}

/// The same, to be written.
pub(crate) fn values_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    name: &'static str,
) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(all) = storage else {
        return Err(Error::msg(format!(
            "{name}: only f32 is supported on the CPU"
        )));
    };
    part_mut(all, layout, name)
}

/// The part of a storage that an operand is, in one piece.
pub(crate) fn part<'a, T>(all: &'a [T], layout: &Layout, name: &'static str) -> Result<&'a [T]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or(Error::RequiresContiguous { op: name })?;
    all.get(start..end)
        .ok_or_else(|| Error::msg("operand ends after its storage"))
}

/// The same, to be written.
pub(crate) fn part_mut<'a, T>(
    all: &'a mut [T],
    layout: &Layout,
    name: &'static str,
) -> Result<&'a mut [T]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or(Error::RequiresContiguous { op: name })?;
    all.get_mut(start..end)
        .ok_or_else(|| Error::msg("operand ends after its storage"))
}

/// Rows of this width as an operation returns them.
pub(crate) fn matrix(values: Vec<f32>, width: usize) -> (CpuStorage, Shape) {
    let rows = values.len() / width;
    (CpuStorage::F32(values), Shape::from((rows, width)))
}

/// `x [m, cols] -> x · Wᵀ [m, rows]`.
pub(crate) struct MatMul<'a> {
    pub work: &'a Workspace,
    pub weight: &'a PackedMatrix,
}

impl CustomOp1 for MatMul<'_> {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(storage, layout, self.name())?;
        let m = x.len() / self.weight.cols();
        let mut out = vec![0.0; m * self.weight.rows()];
        let mut scratch = self.work.scratch.borrow_mut();
        let pool = &self.work.pool;
        self.weight
            .matmul(pool, x, m, &mut out, &mut scratch)
            .map_err(Error::wrap)?;
        Ok(matrix(out, self.weight.rows()))
    }
}
