//! The weights of one layer of an encoder.

use super::description::{EncoderDescription, EncoderStyle};
use super::parts::{Linear, Norm};
use super::weights::Weights;
use crate::EngineError;

/// Attention and feed-forward part, each with its norm.
pub(super) struct Layer {
    /// `None` where the norm of the embedding serves.
    pub attention_norm: Option<Norm>,
    pub query_key_value: Linear,
    pub attention_output: Linear,
    pub feed_forward_norm: Norm,
    pub up: Linear,
    pub down: Linear,
}

impl Layer {
    /// Of BERT and its relatives.
    pub fn bert(
        weights: &mut Weights,
        layer: usize,
        shape: &EncoderDescription,
    ) -> Result<Self, EngineError> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let (hidden, wide) = (shape.hidden, shape.feed_forward);
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let parts = parts.each_ref().map(String::as_str);
        Ok(Self {
            query_key_value: weights.stacked(&parts, hidden, hidden, true)?,
            attention_output: weights.linear(
                &name("attention.output.dense"),
                hidden,
                hidden,
                true,
            )?,
            attention_norm: Some(weights.norm(
                &name("attention.output.LayerNorm"),
                hidden,
                true,
            )?),
            up: weights.linear(&name("intermediate.dense"), wide, hidden, true)?,
            down: weights.linear(&name("output.dense"), hidden, wide, true)?,
            feed_forward_norm: weights.norm(&name("output.LayerNorm"), hidden, true)?,
        })
    }

    /// Of `ModernBERT`.
    pub fn modern(
        weights: &mut Weights,
        layer: usize,
        shape: &EncoderDescription,
    ) -> Result<Self, EngineError> {
        let EncoderStyle::Modern {
            norm_bias,
            attention_bias,
            feed_forward_bias,
            ..
        } = shape.style
        else {
            return Err(crate::model::invalid("not a modern encoder".to_owned()));
        };
        let name = |part: &str| format!("layers.{layer}.{part}");
        let (hidden, wide) = (shape.hidden, shape.feed_forward);
        let norm = (layer > 0).then(|| weights.norm(&name("attn_norm"), hidden, norm_bias));
        Ok(Self {
            attention_norm: norm.transpose()?,
            query_key_value: weights.linear(
                &name("attn.Wqkv"),
                3 * hidden,
                hidden,
                attention_bias,
            )?,
            attention_output: weights.linear(&name("attn.Wo"), hidden, hidden, attention_bias)?,
            feed_forward_norm: weights.norm(&name("mlp_norm"), hidden, norm_bias)?,
            up: weights.linear(&name("mlp.Wi"), 2 * wide, hidden, feed_forward_bias)?,
            down: weights.linear(&name("mlp.Wo"), hidden, wide, feed_forward_bias)?,
        })
    }
}
