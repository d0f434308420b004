//! The parametric decoder: weights in the kernels' layout and the forward pass over a ragged batch.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use cortex_kernels::{PackedMatrix, Pool};
use cortex_weights::ModelFile;

use super::batch::Batch;
use super::description::Description;
use super::kv_cache::KvCache;
use super::operations::{
    AddNorm, Attention, FinalNorm, MatMul, PagedAttention, SiluMul, Workspace, WriteCache,
};
use super::rope::RopeTables;
use super::tensors::{Role, TensorReader};
use super::{from_config, from_gguf};
use crate::EngineError;
use crate::loader::LoadState;

/// Read what the model is from the header alone.
pub(crate) fn describe(file: &ModelFile) -> std::result::Result<Description, EngineError> {
    match file {
        ModelFile::Gguf(gguf) => from_gguf::describe(gguf),
        ModelFile::Safetensors(model) => from_config::describe(&model.config),
    }
}

struct Layer {
    attention_norm: Vec<f32>,
    query_key_value: PackedMatrix,
    bias: Option<Vec<f32>>,
    query_norm: Option<Vec<f32>>,
    key_norm: Option<Vec<f32>>,
    attention_output: PackedMatrix,
    feed_forward_norm: Vec<f32>,
    gate_up: PackedMatrix,
    down: PackedMatrix,
}

/// A model that can run batches; owned by one thread.
pub struct Decoder {
    description: Description,
    device: Device,
    frequencies: Vec<f32>,
    embedding: PackedMatrix,
    layers: Vec<Layer>,
    final_norm: Vec<f32>,
    /// `None` when the head is the embedding.
    head: Option<PackedMatrix>,
    work: Workspace,
    tables: RefCell<RopeTables>,
}

/// Hidden states of the batch's last token: before the first layer, after each, and after the final norm.
pub type Trace = Vec<Vec<f32>>;

impl Decoder {
    /// Convert all weights of a model file.
    ///
    /// # Errors
    /// `ModelFileInvalid`, `UnsupportedModel`.
    pub fn load(file: &ModelFile, pool: Arc<Pool>) -> std::result::Result<Self, EngineError> {
        Self::load_watched(file, pool, &LoadState::default())
    }

    pub(crate) fn load_watched(
        file: &ModelFile,
        pool: Arc<Pool>,
        state: &LoadState,
    ) -> std::result::Result<Self, EngineError> {
        let shape = describe(file)?;
        let frequencies = shape.rope.frequencies()?;
        let reader_pool = Arc::clone(&pool);
        let mut reader = TensorReader::new(file, &reader_pool, state)?;
        let embedding = reader.matrix(Role::Embedding, 0, [shape.vocab, shape.hidden])?;
        let layers = (0..shape.layers).map(|layer| Layer::load(&mut reader, layer, &shape));
        let layers = layers.collect::<std::result::Result<Vec<_>, _>>()?;
        let final_norm = reader.vector(Role::FinalNorm, 0, shape.hidden)?;
        let head = if shape.tied_head {
            None
        } else {
            Some(reader.matrix(Role::Head, 0, [shape.vocab, shape.hidden])?)
        };
        reader.refuse_unread(shape.tied_head)?;
        Ok(Self {
            description: shape,
            device: Device::Cpu,
            frequencies,
            embedding,
            layers,
            final_norm,
            head,
            work: Workspace::new(pool),
            tables: RefCell::default(),
        })
    }

    /// What the model is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Where its tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of the converted weights.
    pub fn weights_bytes(&self) -> u64 {
        let layers = self.layers.iter().flat_map(|layer| {
            [
                &layer.query_key_value,
                &layer.attention_output,
                &layer.gate_up,
                &layer.down,
            ]
        });
        let all = layers.chain([&self.embedding]).chain(&self.head);
        all.map(|matrix| matrix.bytes() as u64).sum()
    }

    /// Logits `[outputs, vocab]` of the rows that the batch asks for; keys and values go into the cache.
    ///
    /// # Errors
    /// A candle error: a shape that does not fit, or a device fault.
    pub fn forward(&self, batch: &Batch, cache: &KvCache) -> Result<Option<Tensor>> {
        self.run(batch, cache, None)
    }

    /// The same, and the hidden states on the way.
    ///
    /// # Errors
    /// As `forward`.
    pub fn forward_traced(
        &self,
        batch: &Batch,
        cache: &KvCache,
    ) -> Result<(Option<Tensor>, Trace)> {
        let mut trace = Trace::new();
        let logits = self.run(batch, cache, Some(&mut trace))?;
        Ok((logits, trace))
    }

    fn run(
        &self,
        batch: &Batch,
        cache: &KvCache,
        mut trace: Option<&mut Trace>,
    ) -> Result<Option<Tensor>> {
        let shape = &self.description;
        self.tables
            .borrow_mut()
            .fill(&self.frequencies, &batch.positions);
        let tables = self.tables.borrow();
        let mut delta = self.embed(&batch.tokens)?;
        let stream = Tensor::zeros((2, batch.len(), shape.hidden), delta.dtype(), &self.device)?;
        for (number, layer) in self.layers.iter().enumerate() {
            if let Some(trace) = trace.as_deref_mut() {
                trace.push(last_row(&stream, &delta)?);
            }
            let attention = Attention {
                work: &self.work,
                description: shape,
                layout: cache.layout(),
                batch,
                tables: &tables,
                bias: layer.bias.as_deref(),
                query_norm: layer.query_norm.as_deref(),
                key_norm: layer.key_norm.as_deref(),
            };
            delta = self.layer(layer, &stream, &delta, &attention, cache.layer(number))?;
        }
        if let Some(trace) = trace.as_deref_mut() {
            trace.push(last_row(&stream, &delta)?);
        }
        self.finish(&stream, &delta, &batch.outputs, trace)
    }

    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let width = self.description.hidden;
        let mut rows = vec![0.0; tokens.len() * width];
        for (row, &token) in rows.chunks_exact_mut(width).zip(tokens) {
            self.embedding
                .row(token as usize, row)
                .map_err(candle_core::Error::wrap)?;
        }
        Tensor::from_vec(rows, (tokens.len(), width), &self.device)
    }

    /// One layer: adds `delta` to the stream and returns what is to be added next.
    fn layer(
        &self,
        layer: &Layer,
        stream: &Tensor,
        delta: &Tensor,
        attention: &Attention,
        cache: &Tensor,
    ) -> Result<Tensor> {
        let fused = self.matmul(
            &self.norm(stream, delta, &layer.attention_norm)?,
            &layer.query_key_value,
        )?;
        cache.inplace_op2(&fused, &WriteCache(attention))?;
        let mixed = fused.apply_op2_no_bwd(cache, &PagedAttention(attention))?;
        let delta = self.matmul(&mixed, &layer.attention_output)?;
        let gate_up = self.matmul(
            &self.norm(stream, &delta, &layer.feed_forward_norm)?,
            &layer.gate_up,
        )?;
        let gated = gate_up.apply_op1_no_bwd(&SiluMul {
            work: &self.work,
            width: self.description.feed_forward,
        })?;
        self.matmul(&gated, &layer.down)
    }

    fn norm(&self, stream: &Tensor, delta: &Tensor, weight: &[f32]) -> Result<Tensor> {
        let eps = self.description.norm_eps;
        stream.inplace_op2(
            delta,
            &AddNorm {
                work: &self.work,
                weight,
                eps,
            },
        )?;
        stream.get(1)
    }

    fn matmul(&self, x: &Tensor, weight: &PackedMatrix) -> Result<Tensor> {
        x.apply_op1_no_bwd(&MatMul {
            work: &self.work,
            weight,
        })
    }

    fn finish(
        &self,
        stream: &Tensor,
        delta: &Tensor,
        rows: &[usize],
        trace: Option<&mut Trace>,
    ) -> Result<Option<Tensor>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let normed = stream.apply_op2_no_bwd(
            delta,
            &FinalNorm {
                work: &self.work,
                weight: &self.final_norm,
                eps: self.description.norm_eps,
                rows,
            },
        )?;
        if let Some(trace) = trace {
            trace.push(normed.get(rows.len() - 1)?.to_vec1()?);
        }
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        self.matmul(&normed, head).map(Some)
    }
}

fn last_row(stream: &Tensor, delta: &Tensor) -> Result<Vec<f32>> {
    let sum = (stream.get(0)? + delta)?;
    sum.get(sum.dim(0)? - 1)?.to_vec1()
}

impl Layer {
    fn load(
        reader: &mut TensorReader,
        layer: usize,
        shape: &Description,
    ) -> std::result::Result<Self, EngineError> {
        let queries = shape.heads * shape.head_dim;
        let keys = shape.kv_heads * shape.head_dim;
        let fused = [
            (Role::Query, queries),
            (Role::Key, keys),
            (Role::Value, keys),
        ];
        let gated = [
            (Role::Gate, shape.feed_forward),
            (Role::Up, shape.feed_forward),
        ];
        let mut head_norm = |role| {
            let wanted = shape.query_key_norm;
            wanted
                .then(|| reader.vector(role, layer, shape.head_dim))
                .transpose()
        };
        let query_norm = head_norm(Role::QueryNorm)?;
        let key_norm = head_norm(Role::KeyNorm)?;
        let mut bias = None;
        if shape.query_key_value_bias {
            let parts = [
                (Role::QueryBias, queries),
                (Role::KeyBias, keys),
                (Role::ValueBias, keys),
            ];
            let parts = parts.map(|(role, len)| reader.vector(role, layer, len));
            let parts = parts
                .into_iter()
                .collect::<std::result::Result<Vec<_>, _>>()?;
            bias = Some(parts.concat());
        }
        Ok(Self {
            attention_norm: reader.vector(Role::AttentionNorm, layer, shape.hidden)?,
            query_key_value: reader.stacked(&fused, layer, shape.hidden)?,
            bias,
            query_norm,
            key_norm,
            attention_output: reader.matrix(
                Role::AttentionOutput,
                layer,
                [shape.hidden, queries],
            )?,
            feed_forward_norm: reader.vector(Role::FeedForwardNorm, layer, shape.hidden)?,
            gate_up: reader.stacked(&gated, layer, shape.hidden)?,
            down: reader.matrix(Role::Down, layer, [shape.hidden, shape.feed_forward])?,
        })
    }
}
