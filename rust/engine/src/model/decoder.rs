//! The parametric decoder: weights in the kernels' layout and the forward pass over a ragged batch.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use cortex_kernels::{PackedMatrix, Pool};
use cortex_weights::ModelFile;

use super::attention::Pass;
use super::batch::Batch;
use super::description::{Description, LayerShape, Norms};
use super::experts::Experts;
use super::feed_forward::{DENSE, FeedForward};
use super::in_situ::InSitu;
use super::kv_cache::KvCache;
use super::mixer::Mixer;
use super::norms::{AddNorm, FinalNorm, Finish, ScaleLogits};
use super::operations::{MatMul, Workspace};
use super::roles::Role;
use super::rope::{RopeTables, Rotation};
use super::tensors::TensorReader;
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

/// One layer: the norms around its two parts, and the parts.
struct Layer {
    shape: LayerShape,
    attention_norm: Option<Vec<f32>>,
    mixer: Mixer,
    attention_post_norm: Option<Vec<f32>>,
    feed_forward_norm: Option<Vec<f32>>,
    feed_forward: Part,
    feed_forward_post_norm: Option<Vec<f32>>,
}

/// The second part of a layer.
enum Part {
    Dense(FeedForward),
    Experts(Box<Experts>),
}

/// A model that can run batches; owned by one thread.
pub struct Decoder {
    description: Description,
    device: Device,
    rotations: Vec<Rotation>,
    embedding: PackedMatrix,
    layers: Vec<Layer>,
    final_norm: Vec<f32>,
    /// `None` when the head is the embedding.
    head: Option<PackedMatrix>,
    work: Workspace,
    /// One for each rotation.
    tables: RefCell<Vec<RopeTables>>,
}

/// Hidden states of the batch's last token: before the first layer, after each, and after the final norm.
pub type Trace = Vec<Vec<f32>>;

impl Decoder {
    /// Convert all weights of a model file.
    ///
    /// # Errors
    /// `ModelFileInvalid`, `UnsupportedModel`.
    pub fn load(file: &ModelFile, pool: Arc<Pool>) -> std::result::Result<Self, EngineError> {
        Self::load_watched(file, pool, None, &LoadState::default())
    }

    pub(crate) fn load_watched(
        file: &ModelFile,
        pool: Arc<Pool>,
        in_situ: Option<InSitu>,
        state: &LoadState,
    ) -> std::result::Result<Self, EngineError> {
        let shape = describe(file)?;
        let rotations = shape.ropes.iter().map(super::rope::Rope::rotation);
        let rotations = rotations.collect::<std::result::Result<Vec<_>, _>>()?;
        let reader_pool = Arc::clone(&pool);
        let mut reader = TensorReader::new(file, &reader_pool, state, &shape)?;
        reader.quantise(in_situ);
        let embedding = reader.matrix(Role::Embedding, 0, [shape.vocab, shape.hidden])?;
        let layers = (0..shape.layers.len()).map(|layer| Layer::load(&mut reader, layer, &shape));
        let layers = layers.collect::<std::result::Result<Vec<_>, _>>()?;
        let final_norm = reader.norm(Role::FinalNorm, 0, shape.hidden)?;
        let head = if shape.tied_head {
            None
        } else {
            Some(reader.matrix(Role::Head, 0, [shape.vocab, shape.hidden])?)
        };
        reader.refuse_unread(shape.tied_head)?;
        Ok(Self {
            description: shape,
            device: Device::Cpu,
            tables: RefCell::new(rotations.iter().map(|_| RopeTables::default()).collect()),
            rotations,
            embedding,
            layers,
            final_norm,
            head,
            work: Workspace::new(pool),
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
        let all = self.layer_matrices().chain([&self.embedding]);
        let all = all.chain(&self.head);
        all.map(|matrix| matrix.bytes() as u64).sum()
    }

    /// Bytes of the weights that a step reads: those of the layers and the head.
    pub fn step_bytes(&self) -> u64 {
        let read = self.layer_matrices().chain([self.head()]);
        read.map(|matrix| matrix.bytes() as u64).sum()
    }

    /// Weights of the layers and of the head.
    pub fn weights(&self) -> (u64, u64) {
        let count = |matrix: &PackedMatrix| (matrix.rows() * matrix.cols()) as u64;
        (self.layer_matrices().map(count).sum(), count(self.head()))
    }

    fn layer_matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        self.layers.iter().flat_map(|layer| {
            let mut matrices = layer.mixer.matrices();
            matrices.extend(layer.feed_forward.matrices());
            matrices
        })
    }

    fn head(&self) -> &PackedMatrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Logits `[outputs, vocab]` of the rows that the batch asks for; keys and values go into the cache.
    ///
    /// # Errors
    /// A candle error: a shape that does not fit, or a device fault.
    pub fn forward(&self, batch: &Batch, cache: &KvCache) -> Result<Option<Tensor>> {
        let hidden = self.run(batch, cache, None)?;
        hidden.map(|hidden| self.logits(&hidden)).transpose()
    }

    /// Hidden states `[outputs, hidden]` after the final norm, of the rows that the batch asks for.
    ///
    /// # Errors
    /// As `forward`.
    pub fn hidden(&self, batch: &Batch, cache: &KvCache) -> Result<Option<Tensor>> {
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
        let hidden = self.run(batch, cache, Some(&mut trace))?;
        let logits = hidden.map(|hidden| self.logits(&hidden)).transpose()?;
        Ok((logits, trace))
    }

    fn run(
        &self,
        batch: &Batch,
        cache: &KvCache,
        mut trace: Option<&mut Trace>,
    ) -> Result<Option<Tensor>> {
        self.turn(batch);
        cache.begin(batch)?;
        let tables = self.tables.borrow();
        let pass = Pass {
            work: &self.work,
            shape: &self.description,
            layout: cache.layout(),
            batch,
            tables: &tables,
        };
        let mut delta = self.embed(&batch.tokens)?;
        let hidden = self.description.hidden;
        let stream = Tensor::zeros((2, batch.len(), hidden), delta.dtype(), &self.device)?;
        for (number, layer) in self.layers.iter().enumerate() {
            if let Some(trace) = trace.as_deref_mut() {
                trace.push(last_row(&stream, &delta)?);
            }
            delta = self.layer((number, layer), pass, &stream, &delta, cache)?;
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
        let factor = self.description.multipliers.embedding;
        for value in &mut rows {
            *value *= factor;
        }
        Tensor::from_vec(rows, (tokens.len(), width), &self.device)
    }

    /// Fill the rotary tables for a batch.
    fn turn(&self, batch: &Batch) {
        let mut tables = self.tables.borrow_mut();
        for (tables, rotation) in tables.iter_mut().zip(&self.rotations) {
            tables.fill(rotation, &batch.positions, &batch.lengths);
        }
    }

    /// One layer: adds `delta` to the stream and returns what is to be added next.
    fn layer(
        &self,
        (number, layer): (usize, &Layer),
        pass: Pass<'_>,
        stream: &Tensor,
        delta: &Tensor,
        cache: &KvCache,
    ) -> Result<Tensor> {
        let finish = |bias, norm| Finish {
            work: &self.work,
            bias,
            norm,
            eps: self.description.norm_eps,
            factor: self.description.multipliers.residual,
        };
        let x = self.norm(stream, delta, layer.attention_norm.as_deref())?;
        let mixer = &layer.mixer;
        let delta = mixer.forward(pass, (number, layer.shape), &x, cache)?;
        let post = layer.attention_post_norm.as_deref();
        apply(&delta, finish(mixer.bias(), post))?;
        let x = self.norm(stream, &delta, layer.feed_forward_norm.as_deref())?;
        let (delta, bias) = match &layer.feed_forward {
            Part::Dense(part) => {
                let activation = self.description.activation;
                (
                    part.forward(&self.work, activation, &x)?,
                    part.bias.as_deref(),
                )
            }
            Part::Experts(part) => (part.forward(&self.work, &x)?, None),
        };
        apply(
            &delta,
            finish(bias, layer.feed_forward_post_norm.as_deref()),
        )?;
        Ok(delta)
    }

    fn norm(&self, stream: &Tensor, delta: &Tensor, weight: Option<&[f32]>) -> Result<Tensor> {
        let (work, eps) = (&self.work, self.description.norm_eps);
        stream.inplace_op2(delta, &AddNorm { work, weight, eps })?;
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
        Ok(Some(normed))
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.matmul(hidden, self.head.as_ref().unwrap_or(&self.embedding))?;
        let scale = ScaleLogits {
            factor: self.description.multipliers.logits,
            softcap: self.description.final_softcap,
        };
        if scale.changes() {
            logits.inplace_op1(&scale)?;
        }
        Ok(logits)
    }
}

fn last_row(stream: &Tensor, delta: &Tensor) -> Result<Vec<f32>> {
    let sum = (stream.get(0)? + delta)?;
    sum.get(sum.dim(0)? - 1)?.to_vec1()
}

fn apply(delta: &Tensor, finish: Finish<'_>) -> Result<()> {
    if finish.changes() {
        delta.inplace_op1(&finish)?;
    }
    Ok(())
}

impl Part {
    fn load(
        reader: &mut TensorReader,
        layer: usize,
        shape: &Description,
    ) -> std::result::Result<Self, EngineError> {
        if let Some(experts) = shape.experts.filter(|_| shape.layers[layer].experts) {
            let part = Experts::load(reader, layer, shape, experts)?;
            return Ok(Self::Experts(Box::new(part)));
        }
        let sizes = [shape.hidden, shape.feed_forward];
        FeedForward::load(reader, layer, sizes, &DENSE).map(Self::Dense)
    }

    fn matrices(&self) -> Vec<&PackedMatrix> {
        match self {
            Self::Dense(part) => part.matrices().collect(),
            Self::Experts(part) => part.matrices(),
        }
    }
}

impl Layer {
    fn load(
        reader: &mut TensorReader,
        layer: usize,
        shape: &Description,
    ) -> std::result::Result<Self, EngineError> {
        let (before, after) = match shape.norms {
            Norms::Before => (true, false),
            Norms::After => (false, true),
            Norms::Around => (true, true),
        };
        let mut norm = |wanted: bool, role| {
            let norm = wanted.then(|| reader.norm(role, layer, shape.hidden));
            norm.transpose()
        };
        Ok(Self {
            shape: shape.layers[layer],
            attention_norm: norm(before, Role::AttentionNorm)?,
            attention_post_norm: norm(after, Role::AttentionPostNorm)?,
            feed_forward_norm: norm(before, Role::FeedForwardNorm)?,
            feed_forward_post_norm: norm(after, Role::FeedForwardPostNorm)?,
            mixer: Mixer::load(reader, layer, shape)?,
            feed_forward: Part::load(reader, layer, shape)?,
        })
    }
}
