//! Attention of ragged batches over the paged cache.
//!
//! The work is cut into tasks of a few queries and one key head, whose keys and values are read once for all of
//! them. A query meets the blocks of its context in order, with a running maximum and sum, so its result depends on
//! nothing else in the batch.

use std::cell::RefCell;

use crate::attention_lines::Scoring;
use crate::attention_task::{Call, Range, State, Task};
use crate::simd::simd_level;
use crate::{KernelError, KvCell, KvLayout, Pool, shape};

/// Queries of one task.
const QUERIES: usize = 16;
/// Most query heads of one task; where more share a key head, several tasks read its keys.
const HEADS: usize = 32;

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

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// How scores are made of products, and who sees what.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionParameters<'a> {
    /// Query heads; query head `h` reads key head `h / (heads / kv_heads)`.
    pub heads: usize,
    /// Factor of the products.
    pub scale: f32,
    /// With `w` a position sees itself and the `w - 1` before it.
    pub window: Option<usize>,
    /// With `c` scores become `c * tanh(score / c)`.
    pub softcap: Option<f32>,
    /// A score for each query head that takes weight and has no value.
    pub sinks: Option<&'a [f32]>,
}

/// `q` is `[t, heads, head_dim]`, `out` the same or, where values are a part of the keys, as wide as that. Rows that
/// belong to no sequence are not written; no row may belong to two.
///
/// # Errors
/// If sizes do not fit together, a row, position or block does not exist, or a window is of no position.
#[allow(clippy::too_many_arguments)] // One call of the hot path; a struct would be built for this call only.
pub fn paged_attention<T: KvCell>(
    pool: &Pool,
    q: &[f32],
    k_cache: &[T],
    v_cache: &[T],
    layout: &KvLayout,
    sequences: &[AttentionSequence<'_>],
    parameters: &AttentionParameters<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let AttentionParameters { heads, window, .. } = *parameters;
    let blocks = layout.blocks(k_cache, v_cache)?;
    let width = shape::product("heads * head_dim", heads, layout.head_dim)?;
    let rows = shape::rows("q", q.len(), width)?;
    let results = shape::product("heads * value_dim", heads, layout.value_dim())?;
    shape::same("out", shape::product("out", rows, results)?, out.len())?;
    let group = shape::rows("heads", heads, layout.kv_heads)?;
    shape::positive("heads", group)?;
    shape::positive("window", window.unwrap_or(1))?;
    let sinks = parameters.sinks;
    shape::same("sinks", heads, sinks.map_or(heads, <[f32]>::len))?;
    let ranges = ranges(sequences, rows, blocks, layout.block_size)?;
    let call = Call {
        q,
        k_cache: T::cells(k_cache),
        v_cache: T::cells(v_cache),
        layout: *layout,
        heads,
        scoring: Scoring {
            scale: parameters.scale,
            softcap: parameters.softcap,
        },
        window,
        sinks,
        out: out.as_mut_ptr(),
        level: simd_level(),
    };
    let (kv_heads, parts) = (layout.kv_heads, group.div_ceil(HEADS));
    pool.run(ranges.len() * kv_heads * parts, &|task| {
        let (head, part) = (task / parts % kv_heads, task % parts);
        let first = head * group + group * part / parts;
        let task = Task {
            call: &call,
            range: &ranges[task / parts / kv_heads],
            head,
            first,
            group: head * group + group * (part + 1) / parts - first,
        };
        STATE.with_borrow_mut(|state| task.run(state));
    });
    Ok(())
}

/// The tasks' queries, if all sequences exist and no row belongs to two.
fn ranges<'a>(
    sequences: &[AttentionSequence<'a>],
    rows: usize,
    blocks: usize,
    block_size: usize,
) -> Result<Vec<Range<'a>>, KernelError> {
    let mut ranges = Vec::new();
    let mut taken = vec![false; rows];
    for sequence in sequences {
        check(sequence, rows, blocks, block_size)?;
        let own = &mut taken[sequence.query_start..][..sequence.query_len];
        if own.contains(&true) {
            return Err(KernelError::Shared { what: "query row" });
        }
        own.fill(true);
        for first in (0..sequence.query_len).step_by(QUERIES) {
            let count = QUERIES.min(sequence.query_len - first);
            ranges.push(Range::new(sequence, first, count));
        }
    }
    Ok(ranges)
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
