//! What a decoder is, as data: one value describes every family that the forward pass can run.

use cortex_kernels::GatedDelta;

use super::family::Stored;
use super::rope::{Rope, RopeScaling};
use crate::EngineError;

/// The gate's activation in the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The Gaussian error unit by its tanh formula.
    GeluTanh,
    /// `x * sigmoid(alpha * x)` up to a limit, which also bounds what the gate lets through, and that plus one.
    Clamped {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// The bound.
        limit: f32,
    },
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
    /// The feed-forward part has experts.
    pub experts: bool,
    /// In place of attention it has a state.
    pub recurrent: bool,
}

/// How the scores of a router become shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// Softmax over those that were chosen.
    SoftmaxOfChosen,
    /// A sigmoid for each.
    Sigmoid,
}

/// How a router chooses experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RouterShape {
    /// What scores become.
    pub score: Score,
    /// The shares of the chosen are divided by their sum.
    pub normalised: bool,
    /// Factor of the shares.
    pub factor: f32,
    /// Only experts of the best groups are chosen.
    pub groups: Option<Groups>,
}

/// Experts in groups of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// How many take part.
    pub best: usize,
    /// A group ranks by the sum of so many of its best scores.
    pub ranked: usize,
}

/// Attention of all heads to one latent of each token, which is their keys and values in short, and a key beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentShape {
    /// Size of the latent that queries are made of; `None` if they are made of the token itself.
    pub query_rank: Option<usize>,
    /// Size of the latent of keys and values.
    pub rank: usize,
    /// Values of a head's query and key that the latent gives.
    pub plain: usize,
    /// Values of a head's query, and of the key that all heads share, which rotate.
    pub rotated: usize,
    /// Values of what a head reads.
    pub value: usize,
}

/// An expert that every token visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedExpert {
    /// Width of its feed-forward part.
    pub width: usize,
    /// What it gives is multiplied by a sigmoid of the token.
    pub gated: bool,
}

/// Feed-forward parts of which every token visits a few.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsShape {
    /// Experts of a layer.
    pub count: usize,
    /// Those that a token visits.
    pub used: usize,
    /// Width of an expert's feed-forward part.
    pub width: usize,
    /// How they are chosen.
    pub router: RouterShape,
    /// How a safetensors file has them.
    pub(crate) stored: Stored,
    /// One for all tokens.
    pub shared: Option<SharedExpert>,
}

/// The layers that keep a state of a sequence in place of keys and values: a short causal convolution and the gated
/// delta rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentShape {
    /// Heads and their sizes.
    pub delta: GatedDelta,
    /// Tokens that the convolution sees: itself and those before.
    pub kernel: usize,
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent fact of a model"
)]
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
    /// Key and value heads; divides `heads`, and is 1 with latents.
    pub kv_heads: usize,
    /// Values of one head, not always `hidden / heads`; with latents those that are kept of a token.
    pub head_dim: usize,
    /// Heads share a latent in place of keys and values.
    pub latent: Option<LatentShape>,
    /// Width of the feed-forward part in layers without experts.
    pub feed_forward: usize,
    /// Of the layers that have some.
    pub experts: Option<ExpertsShape>,
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
    /// What the layers without attention are.
    pub recurrent: Option<RecurrentShape>,
    /// What a head gives is multiplied by a sigmoid of the token.
    pub attention_gate: bool,
    /// Each head has a score that takes weight and has no value.
    pub sinks: bool,
    /// Query, key and value projections must have a bias; otherwise they have one if the file has.
    pub query_key_value_bias: bool,
}

/// Largest size that any dimension may have; keeps products of two within 64 bits.
const MAX_DIMENSION: usize = 1 << 24;
/// Most layers; checked before one entry a layer is made.
const MAX_LAYERS: usize = 1 << 12;
/// Most heads of a state, values of a head, and tokens of a convolution; keeps the product of three within 64 bits.
const MAX_STATE_SIZE: usize = 1 << 12;
/// Most experts of a layer.
const MAX_EXPERTS: usize = 1 << 12;

impl Multipliers {
    /// No factors.
    pub const ONE: Self = Self {
        embedding: 1.0,
        residual: 1.0,
        logits: 1.0,
    };
}

impl Description {
    /// Values of one row of the projection of queries, each head's followed by its gate if there are gates.
    pub fn query_width(&self) -> usize {
        self.heads * self.query_stride()
    }

    /// Values of one row of the fused projection: queries, keys, values.
    pub fn fused_width(&self) -> usize {
        self.query_width() + 2 * self.kv_heads * self.head_dim
    }

    /// From one head's query to the next.
    pub fn query_stride(&self) -> usize {
        if self.attention_gate {
            2 * self.head_dim
        } else {
            self.head_dim
        }
    }

    /// Layers with keys and values.
    pub fn attention_layers(&self) -> usize {
        let layers = self.layers.iter();
        layers.filter(|layer| !layer.recurrent).count()
    }

    /// Bytes of the states that one sequence keeps, however long it is.
    pub fn state_bytes(&self) -> u64 {
        let one = self.recurrent.map_or(0, |shape| shape.state_values());
        let layers = self.layers.len() - self.attention_layers();
        (layers * one * size_of::<f32>()) as u64
    }

    /// Longer sequences rotate other than shorter ones, from the first token on.
    pub fn short_context(&self) -> Option<usize> {
        let long = self.ropes.iter().filter_map(|rope| match &rope.scaling {
            RopeScaling::Long(long) => Some(long.original_context),
            _ => None,
        });
        long.min()
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
        check_sizes(&sizes)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            return Err(invalid(format!(
                "{heads} heads do not divide among {kv_heads} key-value heads"
            )));
        }
        if let Some(latent) = self.latent {
            latent.check(self.heads)?;
        }
        self.check_positions()?;
        self.check_numbers()?;
        if let Some(experts) = self.experts {
            experts.check()?;
        }
        self.check_states()?;
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

    fn check_states(&self) -> Result<(), EngineError> {
        if self.attention_layers() == 0 {
            return Err(unsupported("a model without attention".to_owned()));
        }
        self.recurrent.map_or(Ok(()), RecurrentShape::check)
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

impl RecurrentShape {
    /// Values of the rows that the convolution keeps.
    pub fn history_len(&self) -> usize {
        (self.kernel - 1) * self.delta.width()
    }

    /// Values that a layer keeps of a sequence.
    pub fn state_values(&self) -> usize {
        self.history_len() + self.delta.state_len()
    }

    fn check(self) -> Result<(), EngineError> {
        let GatedDelta {
            key_heads,
            value_heads,
            key_dim,
            value_dim,
        } = self.delta;
        let sizes = [key_heads, value_heads, key_dim, value_dim, self.kernel];
        if sizes
            .iter()
            .any(|size| !(1..=MAX_STATE_SIZE).contains(size))
        {
            return Err(invalid(format!(
                "a state of {key_heads} key heads of {key_dim}, {value_heads} value heads of {value_dim} and a \
                 convolution over {} tokens; expected 1 to {MAX_STATE_SIZE} of each",
                self.kernel
            )));
        }
        if !value_heads.is_multiple_of(key_heads) {
            return Err(invalid(format!(
                "{value_heads} value heads do not divide among {key_heads} key heads"
            )));
        }
        Ok(())
    }
}

impl ExpertsShape {
    fn check(&self) -> Result<(), EngineError> {
        let (count, used) = (self.count, self.used);
        if used == 0 || used > count || count > MAX_EXPERTS {
            return Err(invalid(format!("{used} of {count} experts for a token")));
        }
        let shared = self.shared.map_or(1, |shared| shared.width);
        for width in [self.width, shared] {
            if width == 0 || width > MAX_DIMENSION {
                return Err(invalid(format!("the width of an expert is {width}")));
            }
        }
        if !self.router.factor.is_finite() {
            let factor = self.router.factor;
            return Err(invalid(format!("the factor of the experts is {factor}")));
        }
        let Some(Groups {
            count: groups,
            best,
            ..
        }) = self.router.groups
        else {
            return Ok(());
        };
        let sound = groups > 0 && count.is_multiple_of(groups) && best > 0 && best <= groups;
        if !sound || best * (count / groups) < used {
            return Err(invalid(format!(
                "{used} of {count} experts from {best} of {groups} groups"
            )));
        }
        Ok(())
    }
}

impl LatentShape {
    fn check(&self, heads: usize) -> Result<(), EngineError> {
        check_sizes(&[
            ("query latent", self.query_rank.unwrap_or(1)),
            ("latent", self.rank),
            ("plain part of a key", self.plain),
            ("rotated part of a key", self.rotated),
            ("value", self.value),
        ])?;
        // Products with the number of heads are sizes too.
        let widest = self.rank.max(self.plain).max(self.value) + self.rotated;
        check_sizes(&[("heads * latent", heads.saturating_mul(widest))])
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

/// Refuse a dimension of nothing, or one whose product with another could overflow.
pub(crate) fn check_sizes(sizes: &[(&str, usize)]) -> Result<(), EngineError> {
    for (what, size) in sizes {
        if *size == 0 || *size > MAX_DIMENSION {
            return Err(invalid(format!(
                "{what} is {size}; expected 1 to {MAX_DIMENSION}"
            )));
        }
    }
    Ok(())
}

/// A model file whose header contradicts itself.
pub(crate) fn invalid(text: String) -> EngineError {
    EngineError::ModelFileInvalid(text)
}

/// Something that would change the outputs and is not there.
pub(crate) fn unsupported(text: String) -> EngineError {
    EngineError::UnsupportedModel(text)
}
