//! What a decoder is, as data: one value describes every family that the forward pass can run.

use super::rope::Rope;
use crate::EngineError;

/// The gate's activation in the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
}

/// A decoder-only transformer with RMS norms, rotary positions and a gated feed-forward part.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The family's name as the file has it.
    pub architecture: String,
    /// The publisher's name of the model, if the file tells it.
    pub name: Option<String>,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of one head; not always `hidden / heads`.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Rows of embedding and head.
    pub vocab: usize,
    /// Positions that the model was made for.
    pub context_length: usize,
    /// Added to the mean square in every RMS norm.
    pub norm_eps: f32,
    /// Scale of the attention scores.
    pub attention_scale: f32,
    /// A token sees itself and `window - 1` before it; `None` sees all.
    pub window: Option<usize>,
    /// Rotary positions.
    pub rope: Rope,
    /// Of the feed-forward gate.
    pub activation: Activation,
    /// The head is the embedding.
    pub tied_head: bool,
    /// Queries and keys go through an RMS norm over each head before the rotation.
    pub query_key_norm: bool,
    /// Query, key and value projections have a bias.
    pub query_key_value_bias: bool,
}

/// Largest size that any dimension may have; keeps products of two within 64 bits.
const MAX_DIMENSION: usize = 1 << 24;

impl Description {
    /// Values of one row of the fused projection: queries, keys, values.
    pub fn fused_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Refuse sizes that contradict each other.
    pub(crate) fn checked(self) -> Result<Self, EngineError> {
        let sizes = [
            ("layers", self.layers),
            ("hidden size", self.hidden),
            ("heads", self.heads),
            ("key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("feed-forward size", self.feed_forward),
            ("vocabulary", self.vocab),
            ("context length", self.context_length),
        ];
        for (what, size) in sizes {
            if size == 0 || size > MAX_DIMENSION {
                return Err(invalid(format!(
                    "{what} is {size}; expected 1 to {MAX_DIMENSION}"
                )));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            return Err(invalid(format!(
                "{heads} heads do not divide among {kv_heads} key-value heads"
            )));
        }
        if self.rope.dims != self.head_dim {
            let (dims, head_dim) = (self.rope.dims, self.head_dim);
            return Err(EngineError::UnsupportedModel(format!(
                "the rotation covers {dims} of {head_dim} values of a head; only a rotation of whole heads is supported"
            )));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return Err(invalid(format!("the norm's epsilon is {}", self.norm_eps)));
        }
        Ok(self)
    }
}

/// A model file whose header contradicts itself.
pub(crate) fn invalid(text: String) -> EngineError {
    EngineError::ModelFileInvalid(text)
}
