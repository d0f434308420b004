//! What a decoder is, as data: one value describes every family that the forward pass can run.

use super::rope::Rope;
use crate::EngineError;

/// The gate's activation in the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The Gaussian error unit by its tanh formula.
    GeluTanh,
}

/// Where the norms of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and before the feed-forward part.
    Before,
    /// After both, on what they add.
    After,
    /// Before and after both.
    Around,
}

/// What an RMS norm of queries and keys sums over, before the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// There is none.
    None,
    /// Each head.
    Head,
    /// All heads of a token.
    Row,
}

/// What is different from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// A token sees itself and `window - 1` before it; `None` sees all.
    pub window: Option<usize>,
    /// Which of the model's ropes rotates queries and keys; `None` leaves them.
    pub rope: Option<usize>,
}

/// Constant factors, 1 in most families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Of the embedding.
    pub embedding: f32,
    /// Of what attention and feed-forward part add to the residual stream.
    pub residual: f32,
    /// Of the logits.
    pub logits: f32,
}

/// A decoder-only transformer with RMS norms, rotary positions and a gated feed-forward part.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The family's name as the file has it.
    pub architecture: String,
    /// The publisher's name of the model, if the file tells it.
    pub name: Option<String>,
    /// One a layer.
    pub layers: Vec<LayerShape>,
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
    /// Added to the stored weights of norms.
    pub norm_offset: f32,
    /// Where the norms of a layer are.
    pub norms: Norms,
    /// Scale of the attention scores.
    pub attention_scale: f32,
    /// With `c`, scores become `c * tanh(score / c)`.
    pub attention_softcap: Option<f32>,
    /// The same for logits.
    pub final_softcap: Option<f32>,
    /// The different rotary positions.
    pub ropes: Vec<Rope>,
    /// Of the feed-forward gate.
    pub activation: Activation,
    /// Constant factors.
    pub multipliers: Multipliers,
    /// The head is the embedding.
    pub tied_head: bool,
    /// Norm of queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// Query, key and value projections must have a bias; otherwise they have one if the file has.
    pub query_key_value_bias: bool,
}

/// Largest size that any dimension may have; keeps products of two within 64 bits.
const MAX_DIMENSION: usize = 1 << 24;
/// Most layers; checked before one entry a layer is made.
const MAX_LAYERS: usize = 1 << 12;

impl Multipliers {
    /// No factors.
    pub const ONE: Self = Self {
        embedding: 1.0,
        residual: 1.0,
        logits: 1.0,
    };
}

impl Description {
    /// Values of one row of the fused projection: queries, keys, values.
    pub fn fused_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Refuse sizes that contradict each other.
    pub(crate) fn checked(self) -> Result<Self, EngineError> {
        let sizes = [
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
        self.check_positions()?;
        self.check_numbers()?;
        Ok(self)
    }

    fn check_positions(&self) -> Result<(), EngineError> {
        for rope in &self.ropes {
            if rope.dims > self.head_dim {
                let (dims, head_dim) = (rope.dims, self.head_dim);
                return Err(invalid(format!(
                    "the rotation covers {dims} of {head_dim} values of a head"
                )));
            }
            rope.rotation()?;
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), EngineError> {
        let positive = [
            ("the norm's epsilon", Some(self.norm_eps)),
            ("the attention scale", Some(self.attention_scale)),
            ("the softcap of attention", self.attention_softcap),
            ("the softcap of logits", self.final_softcap),
            ("the factor of logits", Some(self.multipliers.logits)),
        ];
        for (what, value) in positive {
            if value.is_some_and(|value| !(value.is_finite() && value > 0.0)) {
                return Err(invalid(format!("{what} is {}", value.unwrap_or_default())));
            }
        }
        let Multipliers {
            embedding,
            residual,
            ..
        } = self.multipliers;
        if !(embedding.is_finite() && residual.is_finite()) {
            return Err(invalid(format!(
                "the factors of embedding and residual stream are {embedding} and {residual}"
            )));
        }
        Ok(())
    }
}

/// The number of layers, if it can be true.
pub(crate) fn layer_count(layers: usize) -> Result<usize, EngineError> {
    if layers == 0 || layers > MAX_LAYERS {
        return Err(invalid(format!(
            "layers is {layers}; expected 1 to {MAX_LAYERS}"
        )));
    }
    Ok(layers)
}

/// A model file whose header contradicts itself.
pub(crate) fn invalid(text: String) -> EngineError {
    EngineError::ModelFileInvalid(text)
}

/// Something that would change the outputs and is not there.
pub(crate) fn unsupported(text: String) -> EngineError {
    EngineError::UnsupportedModel(text)
}
