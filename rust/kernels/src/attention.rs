//! Attention of ragged batches over the paged cache.

use crate::{KernelError, KvLayout, Pool, Scratch, shape};

/// One sequence of a batch: its queries are the last tokens of its context.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSequence<'a> {
    /// First row of its queries in the batch.
    pub query_start: usize,
    /// Rows of its queries.
    pub query_len: usize,
    /// Positions with keys and values, the queries' own included.
    pub context_len: usize,
    /// Block table from position 0 on.
    pub blocks: &'a [u32],
}

/// `out` and `q` are `[t, heads, head_dim]`; query head `h` reads key head `h / (heads / kv_heads)`.
///
/// A `window` of `w` lets a position see itself and the `w - 1` before it. With a `softcap` of `c` scores become
/// `c * tanh(score / c)`. Rows that belong to no sequence are not written.
#[allow(clippy::too_many_arguments)] // One call of the hot path; a struct would be built for this call only.
pub fn paged_attention(
    _pool: &Pool,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    layout: &KvLayout,
    sequences: &[AttentionSequence<'_>],
    heads: usize,
    scale: f32,
    window: Option<usize>,
    softcap: Option<f32>,
    out: &mut [f32],
    _scratch: &mut Scratch,
) -> Result<(), KernelError> {
    let blocks = layout.blocks(k_cache, v_cache)?;
    let width = shape::product("heads * head_dim", heads, layout.head_dim)?;
    let rows = shape::rows("q", q.len(), width)?;
    shape::same("out", q.len(), out.len())?;
    let group = shape::rows("heads", heads, layout.kv_heads)?;
    shape::positive("heads", group)?;
    let (dim, size) = (layout.head_dim, layout.block_size);
    for sequence in sequences {
        check(sequence, rows, blocks, size)?;
        for query in 0..sequence.query_len {
            let row = sequence.query_start + query;
            let end = sequence.context_len - sequence.query_len + query + 1;
            let start = window.map_or(0, |window| end.saturating_sub(window));
            for head in 0..heads {
                let q = &q[row * width + head * dim..][..dim];
                let mut scores = Vec::new();
                for position in start..end {
                    let at = layout.start(sequence.blocks[position / size] as usize, head / group);
                    let keys = k_cache[at + position % size..].iter().step_by(size);
                    let score: f32 = keys.zip(q).map(|(k, q)| k * q).sum::<f32>() * scale;
                    scores.push(softcap.map_or(score, |cap| cap * (score / cap).tanh()));
                }
                let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let out = &mut out[row * width + head * dim..][..dim];
                out.fill(0.0);
                let mut total = 0.0;
                for (position, score) in (start..end).zip(scores) {
                    let weight = (score - top).exp();
                    total += weight;
                    let at = layout.start(sequence.blocks[position / size] as usize, head / group);
                    let values = &v_cache[at + position % size * dim..][..dim];
                    for (out, value) in out.iter_mut().zip(values) {
                        *out += weight * value;
                    }
                }
                for out in out.iter_mut() {
                    *out /= total;
                }
            }
        }
    }
    Ok(())
}

/// The rows, the positions and the blocks of a sequence exist.
fn check(
    sequence: &AttentionSequence<'_>,
    rows: usize,
    blocks: usize,
    block_size: usize,
) -> Result<(), KernelError> {
    let end = sequence.query_start.checked_add(sequence.query_len);
    let end = end.ok_or(KernelError::TooLarge { what: "query_len" })?;
    let beyond = |what, index, len| Err(KernelError::OutOfRange { what, index, len });
    if end > rows {
        return beyond("query row", end, rows);
    }
    if sequence.query_len > sequence.context_len {
        return beyond("query", sequence.query_len, sequence.context_len);
    }
    let needed = sequence.context_len.div_ceil(block_size);
    if needed > sequence.blocks.len() {
        return beyond("block of the context", needed, sequence.blocks.len());
    }
    let table = sequence.blocks[..needed].iter();
    match table.copied().find(|&block| block as usize >= blocks) {
        Some(block) => beyond("block", block as usize, blocks),
        None => Ok(()),
    }
}
