//! One canonical weight map: what each tensor is for, whatever the file calls it.

use std::collections::HashSet;

use cortex_kernels::{PackedMatrix, Pool, dequantize};
use cortex_weights::{ModelFile, TensorInfo};

use super::description::invalid;
use crate::EngineError;
use crate::loader::LoadState;

/// The tensor that carries a divisor for each rotary pair in GGUF files.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Embedding,
    FinalNorm,
    Head,
    AttentionNorm,
    Query,
    Key,
    Value,
    QueryBias,
    KeyBias,
    ValueBias,
    QueryNorm,
    KeyNorm,
    AttentionOutput,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
}

impl Role {
    /// Name in GGUF files; `{}` stands for the layer.
    fn in_gguf(self) -> &'static str {
        match self {
            Self::Embedding => "token_embd.weight",
            Self::FinalNorm => "output_norm.weight",
            Self::Head => "output.weight",
            Self::AttentionNorm => "blk.{}.attn_norm.weight",
            Self::Query => "blk.{}.attn_q.weight",
            Self::Key => "blk.{}.attn_k.weight",
            Self::Value => "blk.{}.attn_v.weight",
            Self::QueryBias => "blk.{}.attn_q.bias",
            Self::KeyBias => "blk.{}.attn_k.bias",
            Self::ValueBias => "blk.{}.attn_v.bias",
            Self::QueryNorm => "blk.{}.attn_q_norm.weight",
            Self::KeyNorm => "blk.{}.attn_k_norm.weight",
            Self::AttentionOutput => "blk.{}.attn_output.weight",
            Self::FeedForwardNorm => "blk.{}.ffn_norm.weight",
            Self::Gate => "blk.{}.ffn_gate.weight",
            Self::Up => "blk.{}.ffn_up.weight",
            Self::Down => "blk.{}.ffn_down.weight",
        }
    }

    /// Name in safetensors files, with the usual prefix.
    fn in_safetensors(self) -> &'static str {
        match self {
            Self::Embedding => "model.embed_tokens.weight",
            Self::FinalNorm => "model.norm.weight",
            Self::Head => "lm_head.weight",
            Self::AttentionNorm => "model.layers.{}.input_layernorm.weight",
            Self::Query => "model.layers.{}.self_attn.q_proj.weight",
            Self::Key => "model.layers.{}.self_attn.k_proj.weight",
            Self::Value => "model.layers.{}.self_attn.v_proj.weight",
            Self::QueryBias => "model.layers.{}.self_attn.q_proj.bias",
            Self::KeyBias => "model.layers.{}.self_attn.k_proj.bias",
            Self::ValueBias => "model.layers.{}.self_attn.v_proj.bias",
            Self::QueryNorm => "model.layers.{}.self_attn.q_norm.weight",
            Self::KeyNorm => "model.layers.{}.self_attn.k_norm.weight",
            Self::AttentionOutput => "model.layers.{}.self_attn.o_proj.weight",
            Self::FeedForwardNorm => "model.layers.{}.post_attention_layernorm.weight",
            Self::Gate => "model.layers.{}.mlp.gate_proj.weight",
            Self::Up => "model.layers.{}.mlp.up_proj.weight",
            Self::Down => "model.layers.{}.mlp.down_proj.weight",
        }
    }
}

/// Reads tensors by role, converts them, and gives the file's pages back.
pub(crate) struct TensorReader<'a> {
    file: &'a ModelFile,
    pool: &'a Pool,
    state: &'a LoadState,
    used: HashSet<String>,
}

impl<'a> TensorReader<'a> {
    /// A file whose every tensor has a type that the kernels decode.
    pub fn new(
        file: &'a ModelFile,
        pool: &'a Pool,
        state: &'a LoadState,
    ) -> Result<Self, EngineError> {
        if let Some(tensor) = file.skipped().first() {
            let (name, ty) = (&tensor.name, &tensor.ty);
            return Err(EngineError::UnsupportedModel(format!(
                "tensor {name:?} has type {ty}, which is not supported"
            )));
        }
        Ok(Self {
            file,
            pool,
            state,
            used: HashSet::new(),
        })
    }

    fn find(&mut self, role: Role, layer: usize) -> Result<&'a TensorInfo, EngineError> {
        let pattern = match self.file {
            ModelFile::Gguf(_) => role.in_gguf(),
            ModelFile::Safetensors(_) => role.in_safetensors(),
        };
        let name = pattern.replace("{}", &layer.to_string());
        let bare = name.strip_prefix("model.").unwrap_or(&name);
        let file = self.file;
        let found = file.tensor(&name).or_else(|| file.tensor(bare));
        let found = found.ok_or_else(|| invalid(format!("tensor {name:?} is missing")))?;
        self.used.insert(found.name.clone());
        Ok(found)
    }

    /// A weight matrix of this shape in the kernels' layout.
    pub fn matrix(
        &mut self,
        role: Role,
        layer: usize,
        shape: [usize; 2],
    ) -> Result<PackedMatrix, EngineError> {
        let tensor = self.find(role, layer)?;
        check_shape(tensor, &shape)?;
        let [rows, cols] = shape;
        let packed = PackedMatrix::pack(tensor.ty, rows, cols, self.file.data(tensor), self.pool)
            .map_err(|error| in_tensor(tensor, &error))?;
        self.done(tensor)?;
        Ok(packed)
    }

    /// Several matrices over the same input, stacked so that one product serves all.
    pub fn stacked(
        &mut self,
        parts: &[(Role, usize)],
        layer: usize,
        cols: usize,
    ) -> Result<PackedMatrix, EngineError> {
        let packed = parts
            .iter()
            .map(|&(role, rows)| self.matrix(role, layer, [rows, cols]));
        let packed = packed.collect::<Result<Vec<_>, _>>()?;
        PackedMatrix::fuse(packed).map_err(|error| invalid(error.to_string()))
    }

    /// A vector as f32.
    pub fn vector(
        &mut self,
        role: Role,
        layer: usize,
        len: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let tensor = self.find(role, layer)?;
        check_shape(tensor, &[len])?;
        let vector = read_vector(tensor, self.file.data(tensor))?;
        self.done(tensor)?;
        Ok(vector)
    }

    fn done(&self, tensor: &TensorInfo) -> Result<(), EngineError> {
        self.file.advise_dropped(tensor);
        self.state.advance(tensor.bytes as u64)
    }

    /// A tensor that nothing read would change the outputs: refuse rather than ignore it.
    ///
    /// A tied head is the embedding, also where the file repeats it.
    pub fn refuse_unread(&self, tied_head: bool) -> Result<(), EngineError> {
        let mut unread = self.file.tensors().iter().filter(|tensor| {
            let derived =
                tensor.name == ROPE_FACTORS || tensor.name.ends_with("rotary_emb.inv_freq");
            let repeated = tied_head && tensor.name == Role::Head.in_safetensors();
            !derived && !repeated && !self.used.contains(&tensor.name)
        });
        match unread.next() {
            None => Ok(()),
            Some(tensor) => Err(EngineError::UnsupportedModel(format!(
                "tensor {:?} is not part of a supported model of this architecture",
                tensor.name
            ))),
        }
    }
}

fn check_shape(tensor: &TensorInfo, shape: &[usize]) -> Result<(), EngineError> {
    if tensor.shape == shape {
        return Ok(());
    }
    let (name, found) = (&tensor.name, &tensor.shape);
    Err(invalid(format!(
        "tensor {name:?} has shape {found:?}; the configuration asks for {shape:?}"
    )))
}

fn in_tensor(tensor: &TensorInfo, error: &cortex_kernels::KernelError) -> EngineError {
    EngineError::UnsupportedModel(format!(
        "tensor {:?} of type {}: {error}",
        tensor.name,
        tensor.ty.name()
    ))
}

/// A one-dimensional tensor as f32.
pub(crate) fn read_vector(tensor: &TensorInfo, data: &[u8]) -> Result<Vec<f32>, EngineError> {
    let mut values = vec![0.0; tensor.rows() * tensor.cols()];
    dequantize(tensor.ty, data, &mut values).map_err(|error| in_tensor(tensor, &error))?;
    Ok(values)
}
