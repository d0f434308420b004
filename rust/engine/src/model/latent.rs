//! Multi-head latent attention (DeepSeek-AI 2024): of each token only a latent and a small rotated key are kept.
//!
//! The projections from the latent to each head's keys and values are applied to queries and results instead, so that
//! all heads attend to one key head, whose first part is its value too.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Error, InplaceOp2, Layout, Result, Shape, Tensor,
};
use cortex_kernels::{AttentionParameters, Group, KvCell, PackedMatrix, grouped_matmul};

use super::attention::{Pass, rotate};
use super::description::{Description, LatentShape, LayerShape};
use super::latent_weights::{LatentWeights, Queries};
use super::operations::{MatMul, matrix, part, part_mut, values};
use super::tensors::TensorReader;
use crate::EngineError;

/// Added to the mean square in the norms of latents, whatever the configuration says of the others.
const EPS: f32 = 1e-6;

/// One layer's attention.
pub(crate) struct LatentAttention {
    shape: LatentShape,
    heads: usize,
    weights: LatentWeights,
}

impl LatentAttention {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        model: &Description,
        shape: LatentShape,
    ) -> std::result::Result<Self, EngineError> {
        Ok(Self {
            shape,
            heads: model.heads,
            weights: LatentWeights::load(reader, layer, model, shape)?,
        })
    }

    /// The matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        self.weights.matrices()
    }

    /// Of the last product.
    pub fn bias(&self) -> Option<&[f32]> {
        self.weights.output_bias.as_deref()
    }

    /// `[t, hidden] -> [t, hidden]` without the last bias; latents go into the cache.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        layer: LayerShape,
        x: &Tensor,
        cache: &Tensor,
    ) -> Result<Tensor> {
        let call = Call {
            attention: self,
            pass,
            layer,
        };
        let work = pass.work;
        let weight = &self.weights.down;
        let down = x.apply_op1_no_bwd(&MatMul { work, weight })?;
        cache.inplace_op2(&down, &WriteLatents(&call))?;
        let mut queries = down.apply_op1_no_bwd(&QueryColumns(&call))?;
        if let Queries::Latent { up: weight, .. } = &self.weights.queries {
            queries = queries.apply_op1_no_bwd(&MatMul { work, weight })?;
        }
        let mixed = queries.apply_op2_no_bwd(cache, &Mix(&call))?;
        let weight = &self.weights.output;
        mixed.apply_op1_no_bwd(&MatMul { work, weight })
    }
}

/// What the operations need of one layer and one pass.
struct Call<'a> {
    attention: &'a LatentAttention,
    pass: Pass<'a>,
    layer: LayerShape,
}

impl Call<'_> {
    /// Columns of the first product, their bias added.
    fn columns(&self, down: &[f32], columns: std::ops::Range<usize>) -> Vec<f32> {
        let weights = &self.attention.weights;
        let rows = down.chunks_exact(weights.down.rows());
        let mut out: Vec<f32> = rows
            .flat_map(|row| &row[columns.clone()])
            .copied()
            .collect();
        if let Some(bias) = &weights.down_bias {
            for row in out.chunks_exact_mut(columns.len()) {
                for (value, bias) in row.iter_mut().zip(&bias[columns.clone()]) {
                    *value += bias;
                }
            }
        }
        out
    }

    fn norm(&self, x: &[f32], weight: &[f32]) -> Result<Vec<f32>> {
        let mut normed = vec![0.0; x.len()];
        let pool = &self.pass.work.pool;
        cortex_kernels::rms_norm(pool, x, weight, EPS, &mut normed).map_err(Error::wrap)?;
        Ok(normed)
    }

    /// The product of each head's rows with its matrix: `[t, heads, cols]`, of which `x` has the first columns of rows
    /// that are `width` wide, to `[t, heads, rows]`, the first columns of rows that are `out_width` wide.
    fn by_head(
        &self,
        matrices: &[PackedMatrix],
        (x, width): (&[f32], usize),
        (out, out_width): (&mut [f32], usize),
    ) -> Result<()> {
        let heads = matrices.len();
        let tokens = x.len() / (heads * width);
        let (rows, cols) = matrices
            .first()
            .map_or((0, 0), |one| (one.rows(), one.cols()));
        let mut sorted = vec![0.0; tokens * heads * cols];
        for (number, row) in x.chunks_exact(width).enumerate() {
            let (token, head) = (number / heads, number % heads);
            sorted[(head * tokens + token) * cols..][..cols].copy_from_slice(&row[..cols]);
        }
        let groups = matrices.iter().enumerate().map(|(head, matrix)| Group {
            matrix,
            rows: head * tokens..(head + 1) * tokens,
        });
        let groups: Vec<_> = groups.collect();
        let mut products = vec![0.0; tokens * heads * rows];
        let work = self.pass.work;
        let mut scratch = work.scratch.borrow_mut();
        grouped_matmul(&work.pool, &groups, &sorted, &mut products, &mut scratch)
            .map_err(Error::wrap)?;
        for (number, row) in out.chunks_exact_mut(out_width).enumerate() {
            let (token, head) = (number / heads, number % heads);
            row[..rows].copy_from_slice(&products[(head * tokens + token) * rows..][..rows]);
        }
        Ok(())
    }
}

/// The columns of the first product that queries are made of, normed if they are a latent.
struct QueryColumns<'a>(&'a Call<'a>);

impl CustomOp1 for QueryColumns<'_> {
    fn name(&self) -> &'static str {
        "query-columns"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let call = self.0;
        let down = values(storage, layout, self.name())?;
        let width = call.attention.weights.query_columns();
        let mut columns = call.columns(down, 0..width);
        if let Queries::Latent { norm, .. } = &call.attention.weights.queries {
            columns = call.norm(&columns, norm)?;
        }
        Ok(matrix(columns, width))
    }
}

/// Writes the latents (normed) and shared keys (rotated) of a batch into the layer's cache.
struct WriteLatents<'a>(&'a Call<'a>);

impl InplaceOp2 for WriteLatents<'_> {
    fn name(&self) -> &'static str {
        "write-latents"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        src: &CpuStorage,
        src_l: &Layout,
    ) -> Result<()> {
        let down = values(src, src_l, self.name())?;
        match dst {
            CpuStorage::F16(all) => self.write(down, part_mut(all, dst_l, self.name())?),
            CpuStorage::F32(all) => self.write(down, part_mut(all, dst_l, self.name())?),
            _ => Err(Error::msg("the cache is neither f32 nor f16")),
        }
    }
}

impl WriteLatents<'_> {
    fn write<T: KvCell>(&self, down: &[f32], cache: &mut [T]) -> Result<()> {
        let call = self.0;
        let LatentAttention { shape, weights, .. } = call.attention;
        let first = weights.query_columns();
        let (latent, end) = (first + shape.rank, first + shape.rank + shape.rotated);
        let latents = call.norm(&call.columns(down, first..latent), &weights.norm)?;
        let mut turned = call.columns(down, latent..end);
        rotate(call.pass, call.layer, &mut turned, (1, shape.rotated))?;
        let pairs = latents
            .chunks_exact(shape.rank)
            .zip(turned.chunks_exact(shape.rotated));
        let keys: Vec<f32> = pairs
            .flat_map(|(latent, turned)| [latent, turned].concat())
            .collect();
        let slots = &call.pass.batch.slots;
        cortex_kernels::kv_write(&call.pass.layout, cache, &mut [], &keys, &[], slots)
            .map_err(Error::wrap)
    }
}

/// Queries `[t, heads * (plain + rotated)]` to what each head reads `[t, heads * value]`.
struct Mix<'a>(&'a Call<'a>);

impl CustomOp2 for Mix<'_> {
    fn name(&self) -> &'static str {
        "latent-attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let queries = values(s1, l1, self.name())?;
        match s2 {
            CpuStorage::F16(all) => self.attend(queries, part(all, l2, self.name())?),
            CpuStorage::F32(all) => self.attend(queries, part(all, l2, self.name())?),
            _ => Err(Error::msg("the cache is neither f32 nor f16")),
        }
    }
}

impl Mix<'_> {
    /// Queries in the space of the cache: `[t, heads, rank + rotated]`.
    fn absorbed(&self, queries: &[f32]) -> Result<Vec<f32>> {
        let call = self.0;
        let LatentAttention {
            shape,
            heads,
            weights,
        } = call.attention;
        let (own, wide) = (shape.plain + shape.rotated, shape.rank + shape.rotated);
        let turned = queries
            .chunks_exact(own)
            .flat_map(|query| &query[shape.plain..]);
        let mut turned: Vec<f32> = turned.copied().collect();
        rotate(call.pass, call.layer, &mut turned, (*heads, shape.rotated))?;
        let mut absorbed = vec![0.0; queries.len() / own * wide];
        call.by_head(&weights.keys, (queries, own), (&mut absorbed, wide))?;
        let rows = absorbed
            .chunks_exact_mut(wide)
            .zip(turned.chunks_exact(shape.rotated));
        for (row, turned) in rows {
            row[shape.rank..].copy_from_slice(turned);
        }
        Ok(absorbed)
    }

    fn attend<T: KvCell>(&self, queries: &[f32], cache: &[T]) -> Result<(CpuStorage, Shape)> {
        let call = self.0;
        let LatentAttention {
            shape,
            heads,
            weights,
        } = call.attention;
        let pass = call.pass;
        let absorbed = self.absorbed(queries)?;
        let rows = queries.len() / (shape.plain + shape.rotated);
        let mut mixed = vec![0.0; rows * shape.rank];
        cortex_kernels::paged_attention(
            &pass.work.pool,
            &absorbed,
            cache,
            &[],
            &pass.layout,
            &pass.batch.sequences(),
            &AttentionParameters {
                heads: *heads,
                scale: pass.shape.attention_scale,
                window: call.layer.window,
                softcap: pass.shape.attention_softcap,
                sinks: None,
            },
            &mut mixed,
        )
        .map_err(Error::wrap)?;
        let mut out = vec![0.0; rows * shape.value];
        call.by_head(
            &weights.values,
            (&mixed, shape.rank),
            (&mut out, shape.value),
        )?;
        Ok(matrix(out, heads * shape.value))
    }
}
