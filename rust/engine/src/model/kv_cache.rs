//! What is kept of sequences: the KV tensors of all layers with attention, one pool of blocks addressed by the
//! scheduler's block numbers, and the states of the other layers.

use std::cell::RefCell;

use candle_core::{DType, Device, Error, Tensor};
use cortex_kernels::KvLayout;
use half::f16;
use half::vec::HalfBitsVecExt;

use super::batch::Batch;
use super::description::Description;
use super::states::States;
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

/// A pool of zeros whose pages nobody touched: the allocator gives bits that are zero without writing them, which it
/// does not for values in half precision.
fn zeros(
    dims: (usize, usize, usize, usize, usize),
    ty: KvType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    match (ty, device) {
        (KvType::F16, Device::Cpu) => {
            let (kinds, blocks, heads, size, dim) = dims;
            let bits = vec![0_u16; kinds * blocks * heads * size * dim];
            Tensor::from_vec(bits.reinterpret_into::<f16>(), dims, device)
        }
        _ => Tensor::zeros(dims, ty.dtype(), device),
    }
}

/// Keys and values; only one where a latent is both.
fn kinds(shape: &Description) -> usize {
    if shape.latent.is_some() { 1 } else { 2 }
}

/// Keys and values of every layer.
pub struct KvCache {
    layout: KvLayout,
    /// One a layer with attention: `[2 (keys, values), blocks, kv heads, block size, head size]`, or `[1, ..]` of
    /// latents.
    layers: Vec<Option<Tensor>>,
    states: Option<RefCell<States>>,
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
        let layers = shape.layers.iter().map(|layer| {
            let attention = !layer.recurrent;
            attention.then(|| zeros(dims, ty, device)).transpose()
        });
        let layers = layers.collect::<Result<Vec<_>, _>>();
        let layers =
            layers.map_err(|error| EngineError::EngineFailed(format!("KV pool: {error}")))?;
        Ok(Self {
            layout,
            layers,
            states: States::new(shape).map(RefCell::new),
        })
    }

    /// Bytes that one token takes over all layers.
    pub fn bytes_per_token(shape: &Description, ty: KvType) -> u64 {
        let values = kinds(shape) * shape.kv_heads * shape.head_dim;
        (shape.attention_layers() * values * ty.bytes()) as u64
    }

    /// Tokens of one block.
    pub fn block_size(&self) -> usize {
        self.layout.block_size
    }

    pub(crate) fn layout(&self) -> KvLayout {
        self.layout
    }

    /// Keys and values of a layer.
    pub(crate) fn layer(&self, layer: usize) -> candle_core::Result<&Tensor> {
        let tensor = self.layers.get(layer).and_then(Option::as_ref);
        tensor.ok_or_else(|| Error::msg(format!("layer {layer} has no cache")))
    }

    /// The states, if there are layers that keep some.
    pub(crate) fn states(&self) -> Option<&RefCell<States>> {
        self.states.as_ref()
    }

    /// Prepare for a batch.
    pub(crate) fn begin(&self, batch: &Batch) -> candle_core::Result<()> {
        let states = self.states.as_ref();
        states.map_or(Ok(()), |states| states.borrow_mut().begin(batch))
    }

    /// Drop the states of all sequences but those whose tables begin with these blocks.
    pub fn keep(&self, first_blocks: impl Iterator<Item = u32>) {
        if let Some(states) = &self.states {
            let first_blocks: Vec<u32> = first_blocks.collect();
            states.borrow_mut().keep(&first_blocks);
        }
    }
}
