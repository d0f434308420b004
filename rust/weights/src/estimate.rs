//! How much memory a model needs, from its header alone, before anything is allocated.

use crate::error::WeightsError;
use crate::model::ModelFile;
use crate::shape::ModelShape;

/// Tokens of a KV block: the cache is handed out in whole blocks.
const BLOCK_TOKENS: u64 = 32;
/// Tokens of one step that the work memory is bounded for, at least.
const STEP_TOKENS: u64 = 256;
const WORK_VALUE_BYTES: u64 = 4;
/// Tokenizer, templates, thread stacks and the like.
const FIXED_BYTES: u64 = 32 << 20;
/// One part in this many is lost to fragmentation.
const FRAGMENTATION: u64 = 20;

/// Bytes by use. Sums saturate: a model that lies about its size is too large, never too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// All tensors as stored in the file; a shared (tied) one counts once.
    pub weights_bytes: u64,
    /// What one token adds; layers with a window keep it as the others do.
    pub kv_bytes_per_token: u64,
    /// The cache of all sequences at full context.
    pub kv_bytes: u64,
    /// The states of all sequences, of fixed size, in models that have layers without attention.
    pub state_bytes: u64,
    /// Activations of the largest step, logits, and a fixed part.
    pub work_bytes: u64,
    /// All of it and 5 % for fragmentation.
    pub total_bytes: u64,
}

impl Estimate {
    /// The same model whose states take this many bytes; the weights are to be set after it.
    #[must_use]
    pub fn with_states(self, state_bytes: u64) -> Self {
        Self {
            state_bytes,
            ..self
        }
    }

    /// The same model whose weights take this many bytes once they are loaded.
    #[must_use]
    pub fn with_weights(self, weights_bytes: u64) -> Self {
        let sum = weights_bytes
            .saturating_add(self.kv_bytes)
            .saturating_add(self.state_bytes)
            .saturating_add(self.work_bytes);
        Self {
            weights_bytes,
            total_bytes: sum.saturating_add(sum / FRAGMENTATION),
            ..self
        }
    }
}

/// Estimates `file` for `sequences` sequences of `context` tokens each, KV values taking `kv_value_bytes`.
pub fn estimate(
    file: &ModelFile,
    context: usize,
    sequences: usize,
    kv_value_bytes: usize,
) -> Result<(ModelShape, Estimate), WeightsError> {
    let shape = ModelShape::read(file)?;
    let value_bytes = kv_value_bytes as u64;
    let kv_bytes_per_token = shape
        .layer_kv
        .iter()
        .fold(0_u64, |sum, layer| sum.saturating_add(layer.values()))
        .saturating_mul(value_bytes);
    let blocks = (context as u64).div_ceil(BLOCK_TOKENS);
    let kv_bytes = kv_bytes_per_token
        .saturating_mul(blocks.saturating_mul(BLOCK_TOKENS))
        .saturating_mul(sequences as u64);
    let step = if shape.encoder {
        // The longest text in one piece.
        STEP_TOKENS.max(context as u64)
    } else {
        STEP_TOKENS.max(sequences as u64)
    };
    let work_bytes = work_bytes(&shape, step, sequences as u64);
    let estimate = Estimate {
        weights_bytes: 0,
        kv_bytes_per_token,
        kv_bytes,
        state_bytes: 0,
        work_bytes,
        total_bytes: 0,
    };
    let estimate = estimate.with_weights(file.weights_bytes());
    Ok((shape, estimate))
}

/// Activations of one step: residual and norm, queries, keys, values, attention output and the feed-forward
/// intermediates, which live at once in the widest layer; and logits of every sequence.
fn work_bytes(shape: &ModelShape, step: u64, sequences: u64) -> u64 {
    let kv_heads = if shape.encoder {
        shape.heads
    } else {
        shape.kv_heads
    };
    let attention = (shape.heads as u64)
        .saturating_mul(2)
        .saturating_add((kv_heads as u64).saturating_mul(2))
        .saturating_mul(shape.head_dim as u64);
    let per_token = (shape.hidden as u64)
        .saturating_mul(4)
        .saturating_add(attention)
        .saturating_add((shape.feed_forward as u64).saturating_mul(3));
    let logits = (shape.vocab as u64)
        .saturating_mul(2)
        .saturating_mul(sequences);
    per_token
        .saturating_mul(step)
        .saturating_add(logits)
        .saturating_mul(WORK_VALUE_BYTES)
        .saturating_add(FIXED_BYTES)
}
