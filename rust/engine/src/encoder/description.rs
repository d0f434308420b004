//! What an encoder is, as data: one value describes every family that the forward pass can run.

use crate::EngineError;
use crate::model::{check_sizes, invalid};

/// An encoder-only transformer with layer norms and attention in both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderDescription {
    /// The family's name as the file has it.
    pub architecture: String,
    /// The publisher's name of the model, if the file tells it.
    pub name: Option<String>,
    /// Layers.
    pub layers: usize,
    /// Width of the stream, and of an embedding.
    pub hidden: usize,
    /// Heads of queries, keys and values.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Most tokens of a text.
    pub context_length: usize,
    /// Added to the variance in every norm.
    pub norm_eps: f32,
    /// What differs between the generations.
    pub style: EncoderStyle,
}

/// The two generations of encoders.
#[derive(Debug, Clone, PartialEq)]
pub enum EncoderStyle {
    /// BERT and its relatives: learned positions, norms after the sums, biases everywhere.
    Bert {
        /// Rows of the position table.
        positions: usize,
        /// Rows of the table of token types, of which the first is used; 0 for a model without.
        token_types: usize,
        /// `RoBERTa` counts positions from the one after this token's id on, and leaves the token itself there.
        padding: Option<u32>,
    },
    /// `ModernBERT`: rotary positions, norms before the parts, gated feed-forward, windows.
    Modern {
        /// For each layer, how it looks around.
        attention: Vec<Looks>,
        /// Norms have a bias.
        norm_bias: bool,
        /// Attention projections have a bias.
        attention_bias: bool,
        /// Feed-forward projections have a bias.
        feed_forward_bias: bool,
    },
}

/// How one layer looks around.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Looks {
    /// Tokens that a token sees to each side; `None` sees all.
    pub reach: Option<usize>,
    /// Base of the rotary frequencies.
    pub theta: f32,
}

impl EncoderDescription {
    /// Values of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Refuse sizes that contradict each other.
    pub(crate) fn checked(self) -> Result<Self, EngineError> {
        let sizes = [
            ("layers", self.layers),
            ("hidden size", self.hidden),
            ("heads", self.heads),
            ("feed-forward size", self.feed_forward),
            ("vocabulary", self.vocab),
            ("context length", self.context_length),
        ];
        check_sizes(&sizes)?;
        if !self.hidden.is_multiple_of(self.heads) {
            let (hidden, heads) = (self.hidden, self.heads);
            return Err(invalid(format!(
                "{hidden} values do not divide into {heads} heads"
            )));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return Err(invalid(format!("the norm's epsilon is {}", self.norm_eps)));
        }
        if let EncoderStyle::Modern { attention, .. } = &self.style {
            self.check_rotation(attention)?;
        }
        Ok(self)
    }

    fn check_rotation(&self, attention: &[Looks]) -> Result<(), EngineError> {
        if attention.len() != self.layers {
            let (found, layers) = (attention.len(), self.layers);
            return Err(invalid(format!(
                "the attention of {found} layers is given for {layers} layers"
            )));
        }
        let sound = |looks: &Looks| looks.theta.is_finite() && looks.theta > 0.0;
        if !self.head_dim().is_multiple_of(2) || !attention.iter().all(sound) {
            let bases: Vec<f32> = attention.iter().map(|looks| looks.theta).collect();
            return Err(invalid(format!(
                "rotation of {} values with bases {bases:?}",
                self.head_dim()
            )));
        }
        Ok(())
    }
}
