//! The KV tensors of all layers: one pool of blocks, addressed by the scheduler's block numbers.

use candle_core::{DType, Device, Tensor};
use cortex_kernels::KvLayout;

use super::description::Description;
use crate::EngineError;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// Four bytes a value.
    F32,
    /// Two: half precision, which costs less than the rounding of quantised weights.
    F16,
}

impl KvType {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Keys and values; only one where a latent is both.
fn kinds(shape: &Description) -> usize {
    if shape.latent.is_some() { 1 } else { 2 }
}

/// Keys and values of every layer.
pub struct KvCache {
    layout: KvLayout,
    /// One a layer: `[2 (keys, values), blocks, kv heads, block size, head size]`, or `[1, ..]` of latents.
    layers: Vec<Tensor>,
}

impl KvCache {
    /// Reserve a pool; its pages are touched only when blocks are written.
    pub fn new(
        shape: &Description,
        blocks: usize,
        block_size: usize,
        (ty, device): (KvType, &Device),
    ) -> Result<Self, EngineError> {
        let layout = KvLayout {
            block_size,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            shared: shape.latent.map(|latent| latent.rank),
        };
        let dims = (
            kinds(shape),
            blocks,
            shape.kv_heads,
            block_size,
            shape.head_dim,
        );
        let layers = shape
            .layers
            .iter()
            .map(|_| Tensor::zeros(dims, ty.dtype(), device));
        let layers = layers.collect::<Result<Vec<_>, _>>();
        let layers =
            layers.map_err(|error| EngineError::EngineFailed(format!("KV pool: {error}")))?;
        Ok(Self { layout, layers })
    }

    /// Bytes that one token takes over all layers.
    pub fn bytes_per_token(shape: &Description, ty: KvType) -> u64 {
        let values = kinds(shape) * shape.kv_heads * shape.head_dim;
        (shape.layers.len() * values * ty.bytes()) as u64
    }

    /// Tokens of one block.
    pub fn block_size(&self) -> usize {
        self.layout.block_size
    }

    pub(crate) fn layout(&self) -> KvLayout {
        self.layout
    }

    pub(crate) fn layer(&self, layer: usize) -> &Tensor {
        &self.layers[layer]
    }
}
