//! The decoder's operations as candle custom operations on our kernels: six kinds, nine calls a layer.
//!
//! A CUDA backend gives the same six kinds a `cuda_fwd`; the decoder does not change.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, InplaceOp2, Layout, Result, Shape};
use cortex_kernels::{KvLayout, PackedMatrix, Pool, Scratch};

use super::batch::Batch;
use super::description::Description;
use super::rope::{RopeKind, RopeTables};

/// What the operations of one decoder share on the CPU: threads and reusable memory.
pub(crate) struct Workspace {
    /// Threads that compute.
    pub pool: Arc<Pool>,
    scratch: RefCell<Scratch>,
    rows: RefCell<Vec<f32>>,
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
fn values<'a>(storage: &'a CpuStorage, layout: &Layout, name: &'static str) -> Result<&'a [f32]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or(Error::RequiresContiguous { op: name })?;
    let all = storage.as_slice::<f32>()?;
    all.get(start..end)
        .ok_or_else(|| Error::msg("operand ends after its storage"))
}

/// The same, to be written.
fn values_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    name: &'static str,
) -> Result<&'a mut [f32]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or(Error::RequiresContiguous { op: name })?;
    let CpuStorage::F32(all) = storage else {
        return Err(Error::msg(format!(
            "{name}: only f32 is supported on the CPU"
        )));
    };
    all.get_mut(start..end)
        .ok_or_else(|| Error::msg("operand ends after its storage"))
}

fn matrix(values: Vec<f32>, width: usize) -> (CpuStorage, Shape) {
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

/// `stream [2, t, hidden]`: row 0 is the residual stream, to which `delta` is added; row 1 becomes its norm.
pub(crate) struct AddNorm<'a> {
    pub work: &'a Workspace,
    pub weight: &'a [f32],
    pub eps: f32,
}

impl InplaceOp2 for AddNorm<'_> {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        src: &CpuStorage,
        src_l: &Layout,
    ) -> Result<()> {
        let delta = values(src, src_l, self.name())?;
        let stream = values_mut(dst, dst_l, self.name())?;
        let (residual, normed) = stream.split_at_mut(delta.len());
        cortex_kernels::add_rms_norm(
            &self.work.pool,
            residual,
            delta,
            self.weight,
            self.eps,
            normed,
        )
        .map_err(Error::wrap)
    }
}

/// The rows that are needed, `delta` added, normed: `[rows, hidden]`.
pub(crate) struct FinalNorm<'a> {
    pub work: &'a Workspace,
    pub weight: &'a [f32],
    pub eps: f32,
    pub rows: &'a [usize],
}

impl CustomOp2 for FinalNorm<'_> {
    fn name(&self) -> &'static str {
        "final-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let delta = values(s2, l2, self.name())?;
        let residual = &values(s1, l1, self.name())?[..delta.len()];
        let width = self.weight.len();
        let mut sum = Vec::with_capacity(self.rows.len() * width);
        for &row in self.rows {
            let span = row * width..(row + 1) * width;
            let pairs = residual[span.clone()].iter().zip(&delta[span]);
            sum.extend(pairs.map(|(a, b)| a + b));
        }
        let mut out = vec![0.0; sum.len()];
        cortex_kernels::rms_norm(&self.work.pool, &sum, self.weight, self.eps, &mut out)
            .map_err(Error::wrap)?;
        Ok(matrix(out, width))
    }
}

/// `[m, 2f] -> silu(gate) * up [m, f]`.
pub(crate) struct SiluMul<'a> {
    pub work: &'a Workspace,
    pub width: usize,
}

impl CustomOp1 for SiluMul<'_> {
    fn name(&self) -> &'static str {
        "silu-mul"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let gate_up = values(storage, layout, self.name())?;
        let mut out = vec![0.0; gate_up.len() / 2];
        cortex_kernels::silu_mul(&self.work.pool, gate_up, self.width, &mut out)
            .map_err(Error::wrap)?;
        Ok(matrix(out, self.width))
    }
}

/// What the two attention operations need of one layer and one batch.
pub(crate) struct Attention<'a> {
    pub work: &'a Workspace,
    pub description: &'a Description,
    pub layout: KvLayout,
    pub batch: &'a Batch,
    pub tables: &'a RopeTables,
    pub bias: Option<&'a [f32]>,
    pub query_norm: Option<&'a [f32]>,
    pub key_norm: Option<&'a [f32]>,
}

impl Attention<'_> {
    /// Copy `heads` heads from column `first` of the fused rows; add the bias, norm and rotate them.
    fn gather(
        &self,
        fused: &[f32],
        first: usize,
        heads: usize,
        norm: Option<&[f32]>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let width = heads * self.description.head_dim;
        out.clear();
        for row in fused.chunks_exact(self.description.fused_width()) {
            out.extend_from_slice(&row[first..first + width]);
        }
        if let Some(bias) = self.bias {
            for row in out.chunks_exact_mut(width) {
                for (value, bias) in row.iter_mut().zip(&bias[first..first + width]) {
                    *value += bias;
                }
            }
        }
        if let Some(weight) = norm {
            let mut normed = vec![0.0; out.len()];
            let eps = self.description.norm_eps;
            cortex_kernels::rms_norm(&self.work.pool, out, weight, eps, &mut normed)
                .map_err(Error::wrap)?;
            *out = normed;
        }
        Ok(())
    }

    fn rotate(&self, x: &mut [f32], heads: usize) -> Result<()> {
        let head_dim = self.description.head_dim;
        let RopeTables { cos, sin } = self.tables;
        let rotate = match self.description.rope.kind {
            RopeKind::HalfSplit => cortex_kernels::rope_neox,
            RopeKind::Interleaved => cortex_kernels::rope_interleaved,
        };
        rotate(x, heads, head_dim, cos, sin).map_err(Error::wrap)
    }
}

/// Writes the keys (rotated) and values of a batch into the layer's cache.
pub(crate) struct WriteCache<'a>(pub &'a Attention<'a>);

impl InplaceOp2 for WriteCache<'_> {
    fn name(&self) -> &'static str {
        "write-kv"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        src: &CpuStorage,
        src_l: &Layout,
    ) -> Result<()> {
        let attention = self.0;
        let shape = attention.description;
        let fused = values(src, src_l, self.name())?;
        let cache = values_mut(dst, dst_l, self.name())?;
        let half = cache.len() / 2;
        let (k_cache, v_cache) = cache.split_at_mut(half);
        let first = shape.heads * shape.head_dim;
        let width = shape.kv_heads * shape.head_dim;
        let mut keys = Vec::new();
        attention.gather(fused, first, shape.kv_heads, attention.key_norm, &mut keys)?;
        attention.rotate(&mut keys, shape.kv_heads)?;
        let mut rows = attention.work.rows.borrow_mut();
        attention.gather(fused, first + width, shape.kv_heads, None, &mut rows)?;
        cortex_kernels::kv_write(
            &attention.layout,
            k_cache,
            v_cache,
            &keys,
            &rows,
            &attention.batch.slots,
        )
        .map_err(Error::wrap)
    }
}

/// Attention of the batch's queries over the layer's cache: `[t, heads * head_dim]`.
pub(crate) struct PagedAttention<'a>(pub &'a Attention<'a>);

impl CustomOp2 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        "paged-attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let attention = self.0;
        let shape = attention.description;
        let fused = values(s1, l1, self.name())?;
        let (k_cache, v_cache) = {
            let cache = values(s2, l2, self.name())?;
            cache.split_at(cache.len() / 2)
        };
        let mut queries = attention.work.rows.borrow_mut();
        attention.gather(fused, 0, shape.heads, attention.query_norm, &mut queries)?;
        attention.rotate(&mut queries, shape.heads)?;
        let mut out = vec![0.0; queries.len()];
        cortex_kernels::paged_attention(
            &attention.work.pool,
            &queries,
            k_cache,
            v_cache,
            &attention.layout,
            &attention.batch.sequences(),
            shape.heads,
            shape.attention_scale,
            shape.window,
            None,
            &mut out,
        )
        .map_err(Error::wrap)?;
        Ok(matrix(out, shape.heads * shape.head_dim))
    }
}
