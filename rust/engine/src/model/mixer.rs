//! The first part of a layer, in which tokens see each other.

use candle_core::{Result, Tensor};
use cortex_kernels::PackedMatrix;

use super::attention::{Attention, Pass};
use super::description::{Description, LayerShape};
use super::kv_cache::KvCache;
use super::latent::LatentAttention;
use super::recurrent::GatedDeltaNet;
use super::tensors::TensorReader;
use crate::EngineError;

/// One layer's part.
pub(crate) enum Mixer {
    /// Each head has keys and values of its own, or shares them with a few.
    Heads(Box<Attention>),
    /// All heads share a latent.
    Latent(Box<LatentAttention>),
    /// What came before is in a state.
    Recurrent(Box<GatedDeltaNet>),
}

impl Mixer {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        shape: &Description,
    ) -> std::result::Result<Self, EngineError> {
        if let Some(recurrent) = shape.recurrent.filter(|_| shape.layers[layer].recurrent) {
            let part = GatedDeltaNet::load(reader, layer, shape, recurrent)?;
            return Ok(Self::Recurrent(Box::new(part)));
        }
        match shape.latent {
            None => Attention::load(reader, layer, shape).map(|part| Self::Heads(Box::new(part))),
            Some(latent) => LatentAttention::load(reader, layer, shape, latent)
                .map(|part| Self::Latent(Box::new(part))),
        }
    }

    /// The matrices.
    pub fn matrices(&self) -> Vec<&PackedMatrix> {
        match self {
            Self::Heads(part) => part.matrices().collect(),
            Self::Latent(part) => part.matrices().collect(),
            Self::Recurrent(part) => part.matrices().collect(),
        }
    }

    /// Of the last product.
    pub fn bias(&self) -> Option<&[f32]> {
        match self {
            Self::Heads(part) => part.bias.as_deref(),
            Self::Latent(part) => part.bias(),
            Self::Recurrent(_) => None,
        }
    }

    /// `[t, hidden] -> [t, hidden]` without the last bias; what later tokens see goes into the cache.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        (number, layer): (usize, LayerShape),
        x: &Tensor,
        cache: &KvCache,
    ) -> Result<Tensor> {
        match self {
            Self::Heads(part) => part.forward(pass, layer, x, cache.layer(number)?),
            Self::Latent(part) => part.forward(pass, layer, x, cache.layer(number)?),
            Self::Recurrent(part) => part.forward(pass, x, cache, number),
        }
    }
}
