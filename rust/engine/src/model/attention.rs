//! Attention with keys and values of their own for each head: projections, norms, rotation, cache.

use candle_core::{CpuStorage, CustomOp2, Error, InplaceOp2, Layout, Result, Shape, Tensor};
use cortex_kernels::{AttentionParameters, Gate, KvCell, KvLayout, PackedMatrix};

use super::batch::Batch;
use super::description::{Description, LayerShape, QueryKeyNorm, invalid};
use super::operations::{MatMul, Workspace, matrix, part, part_mut, values};
use super::roles::Role;
use super::rope::{RopeKind, RopeTables};
use super::tensors::TensorReader;
use crate::EngineError;

/// Weights of one layer's attention.
pub(crate) struct Attention {
    query_key_value: PackedMatrix,
    query_key_value_bias: Option<Vec<f32>>,
    query_norm: Option<Vec<f32>>,
    key_norm: Option<Vec<f32>>,
    output: PackedMatrix,
    sinks: Option<Vec<f32>>,
    /// Of the last product.
    pub bias: Option<Vec<f32>>,
}

/// One forward pass as a layer's attention sees it.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub work: &'a Workspace,
    pub shape: &'a Description,
    pub layout: KvLayout,
    pub batch: &'a Batch,
    /// One for each of the model's ropes.
    pub tables: &'a [RopeTables],
}

impl Attention {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        shape: &Description,
    ) -> std::result::Result<Self, EngineError> {
        let queries = shape.heads * shape.head_dim;
        let keys = shape.kv_heads * shape.head_dim;
        let parts = [
            (Role::Query, shape.query_width()),
            (Role::Key, keys),
            (Role::Value, keys),
        ];
        let biases = [
            (Role::QueryBias, shape.query_width()),
            (Role::KeyBias, keys),
            (Role::ValueBias, keys),
        ];
        let bias = reader.stacked_vectors(&biases, Some(Role::QueryKeyValueBias), layer)?;
        if shape.query_key_value_bias && bias.is_none() {
            let text = format!("layer {layer} has no bias of queries, keys and values");
            return Err(invalid(text));
        }
        let mut norm = |role, row| match shape.query_key_norm {
            QueryKeyNorm::None => Ok(None),
            QueryKeyNorm::Head => reader.norm(role, layer, shape.head_dim).map(Some),
            QueryKeyNorm::Row => reader.norm(role, layer, row).map(Some),
        };
        Ok(Self {
            query_norm: norm(Role::QueryNorm, queries)?,
            key_norm: norm(Role::KeyNorm, keys)?,
            query_key_value: reader.stacked(&parts, Role::QueryKeyValue, layer, shape.hidden)?,
            query_key_value_bias: bias,
            output: reader.matrix(Role::AttentionOutput, layer, [shape.hidden, queries])?,
            sinks: shape
                .sinks
                .then(|| reader.vector(Role::Sinks, layer, shape.heads))
                .transpose()?,
            bias: reader.optional_vector(Role::AttentionOutputBias, layer, shape.hidden)?,
        })
    }

    /// The matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        [&self.query_key_value, &self.output].into_iter()
    }

    /// `[t, hidden] -> [t, hidden]` without the last bias; keys and values go into the cache.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        layer: LayerShape,
        x: &Tensor,
        cache: &Tensor,
    ) -> Result<Tensor> {
        let call = Call {
            weights: self,
            pass,
            layer,
        };
        let (work, weight) = (pass.work, &self.query_key_value);
        let fused = x.apply_op1_no_bwd(&MatMul { work, weight })?;
        cache.inplace_op2(&fused, &WriteCache(&call))?;
        let mixed = fused.apply_op2_no_bwd(cache, &PagedAttention(&call))?;
        let weight = &self.output;
        mixed.apply_op1_no_bwd(&MatMul { work, weight })
    }
}

/// What the two operations need of one layer and one pass.
struct Call<'a> {
    weights: &'a Attention,
    pass: Pass<'a>,
    layer: LayerShape,
}

/// Heads in a row of the fused projection.
#[derive(Clone, Copy)]
struct Heads {
    /// Column of the first.
    first: usize,
    count: usize,
    /// From one to the next.
    stride: usize,
}

impl Heads {
    fn queries(shape: &Description) -> Self {
        Self {
            first: 0,
            count: shape.heads,
            stride: shape.query_stride(),
        }
    }

    /// The gates behind the queries.
    fn gates(shape: &Description) -> Self {
        Self {
            first: shape.head_dim,
            ..Self::queries(shape)
        }
    }

    fn keys(shape: &Description) -> Self {
        Self {
            first: shape.query_width(),
            count: shape.kv_heads,
            stride: shape.head_dim,
        }
    }

    fn values(shape: &Description) -> Self {
        let keys = Self::keys(shape);
        Self {
            first: keys.first + shape.kv_heads * shape.head_dim,
            ..keys
        }
    }
}

impl Call<'_> {
    /// Copy heads of the fused rows; add the bias and norm them.
    fn gather(
        &self,
        fused: &[f32],
        heads: Heads,
        norm: Option<&[f32]>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let shape = self.pass.shape;
        let columns = (0..heads.count).map(|head| {
            let start = heads.first + head * heads.stride;
            start..start + shape.head_dim
        });
        out.clear();
        for row in fused.chunks_exact(shape.fused_width()) {
            for columns in columns.clone() {
                out.extend_from_slice(&row[columns]);
            }
        }
        if let Some(bias) = &self.weights.query_key_value_bias {
            for row in out.chunks_exact_mut(heads.count * shape.head_dim) {
                let bias = columns.clone().flat_map(|columns| &bias[columns]);
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
        if let Some(weight) = norm {
            let mut normed = vec![0.0; out.len()];
            let pool = &self.pass.work.pool;
            cortex_kernels::rms_norm(pool, out, weight, shape.norm_eps, &mut normed)
                .map_err(Error::wrap)?;
            *out = normed;
        }
        Ok(())
    }

    fn rotate(&self, x: &mut [f32], heads: usize) -> Result<()> {
        rotate(self.pass, self.layer, x, (heads, self.pass.shape.head_dim))
    }
}

/// Rotate `x [t, heads, head_dim]` as the layer does.
pub(super) fn rotate(
    pass: Pass<'_>,
    layer: LayerShape,
    x: &mut [f32],
    (heads, head_dim): (usize, usize),
) -> Result<()> {
    let Some(rope) = layer.rope else {
        return Ok(());
    };
    let RopeTables { cos, sin } = &pass.tables[rope];
    let rotate = match pass.shape.ropes[rope].kind {
        RopeKind::HalfSplit => cortex_kernels::rope_neox,
        RopeKind::Interleaved => cortex_kernels::rope_interleaved,
    };
    rotate(x, heads, head_dim, cos, sin).map_err(Error::wrap)
}

/// Writes the keys (rotated) and values of a batch into the layer's cache.
struct WriteCache<'a>(&'a Call<'a>);

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
        let fused = values(src, src_l, self.name())?;
        match dst {
            CpuStorage::F16(all) => self.write(fused, part_mut(all, dst_l, self.name())?),
            CpuStorage::F32(all) => self.write(fused, part_mut(all, dst_l, self.name())?),
            _ => Err(Error::msg("the cache is neither f32 nor f16")),
        }
    }
}

impl WriteCache<'_> {
    fn write<T: KvCell>(&self, fused: &[f32], cache: &mut [T]) -> Result<()> {
        let (call, half) = (self.0, cache.len() / 2);
        let (pass, shape) = (call.pass, call.pass.shape);
        let (k_cache, v_cache) = cache.split_at_mut(half);
        let mut keys = Vec::new();
        let norm = call.weights.key_norm.as_deref();
        call.gather(fused, Heads::keys(shape), norm, &mut keys)?;
        call.rotate(&mut keys, shape.kv_heads)?;
        let mut rows = pass.work.rows.borrow_mut();
        call.gather(fused, Heads::values(shape), None, &mut rows)?;
        let slots = &pass.batch.slots;
        cortex_kernels::kv_write(&pass.layout, k_cache, v_cache, &keys, &rows, slots)
            .map_err(Error::wrap)
    }
}

/// Attention of the batch's queries over the layer's cache: `[t, heads * head_dim]`.
struct PagedAttention<'a>(&'a Call<'a>);

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
        let fused = values(s1, l1, self.name())?;
        match s2 {
            CpuStorage::F16(all) => self.attend(fused, part(all, l2, self.name())?),
            CpuStorage::F32(all) => self.attend(fused, part(all, l2, self.name())?),
            _ => Err(Error::msg("the cache is neither f32 nor f16")),
        }
    }
}

impl PagedAttention<'_> {
    fn attend<T: KvCell>(&self, fused: &[f32], cache: &[T]) -> Result<(CpuStorage, Shape)> {
        let call = self.0;
        let (pass, shape) = (call.pass, call.pass.shape);
        let (k_cache, v_cache) = cache.split_at(cache.len() / 2);
        let mut queries = pass.work.rows.borrow_mut();
        let norm = call.weights.query_norm.as_deref();
        call.gather(fused, Heads::queries(shape), norm, &mut queries)?;
        call.rotate(&mut queries, shape.heads)?;
        let mut out = vec![0.0; queries.len()];
        cortex_kernels::paged_attention(
            &pass.work.pool,
            &queries,
            k_cache,
            v_cache,
            &pass.layout,
            &pass.batch.sequences(),
            &AttentionParameters {
                heads: shape.heads,
                scale: shape.attention_scale,
                window: call.layer.window,
                softcap: shape.attention_softcap,
                sinks: call.weights.sinks.as_deref(),
            },
            &mut out,
        )
        .map_err(Error::wrap)?;
        if shape.attention_gate {
            self.gate(fused, &mut queries, &mut out)?;
        }
        Ok(matrix(out, shape.heads * shape.head_dim))
    }

    /// Multiply what heads gave by the sigmoids of their gates.
    fn gate(&self, fused: &[f32], rows: &mut Vec<f32>, out: &mut [f32]) -> Result<()> {
        let (pass, width) = (self.0.pass, self.0.pass.shape.head_dim);
        self.0.gather(fused, Heads::gates(pass.shape), None, rows)?;
        let pairs = rows.chunks_exact(width).zip(out.chunks_exact(width));
        let pairs: Vec<f32> = pairs
            .flat_map(|(gate, head)| [gate, head].concat())
            .collect();
        cortex_kernels::gated(&pass.work.pool, Gate::Sigmoid, &pairs, None, width, out)
            .map_err(Error::wrap)
    }
}
