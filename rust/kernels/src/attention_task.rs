//! One task of attention: a few queries of one sequence and the heads that share one key head.

use crate::math::{exp, multiply_add};
use crate::{AttentionSequence, KvLayout, SimdLevel};

/// Values of a head that are summed in registers together.
const LANES: usize = 32;

/// What all tasks of a call share.
pub(crate) struct Call<'a> {
    pub q: &'a [f32],
    pub k_cache: &'a [f32],
    pub v_cache: &'a [f32],
    pub layout: KvLayout,
    pub heads: usize,
    /// Query heads of a key head.
    pub group: usize,
    pub scale: f32,
    pub window: Option<usize>,
    pub softcap: Option<f32>,
    pub out: *mut f32,
    pub level: SimdLevel,
}

// SAFETY: tasks write disjoint elements of `out`, and nobody reads it before all are done.
unsafe impl Sync for Call<'_> {}

/// The queries of a task.
pub(crate) struct Range<'a> {
    /// Row of the first query.
    row: usize,
    /// Position of the first query.
    position: usize,
    count: usize,
    blocks: &'a [u32],
}

impl<'a> Range<'a> {
    /// `count` queries of a sequence from its query `first` on.
    pub fn new(sequence: &AttentionSequence<'a>, first: usize, count: usize) -> Self {
        Self {
            row: sequence.query_start + first,
            position: sequence.context_len - sequence.query_len + first,
            count,
            blocks: sequence.blocks,
        }
    }
}

/// Running results of the queries, reused from task to task.
#[derive(Default)]
pub(crate) struct State {
    /// `[queries, group, head_dim]`: sums of weighted values.
    sums: Vec<f32>,
    /// `[queries, group]`: the largest score, and the sum of weights.
    largest: Vec<f32>,
    totals: Vec<f32>,
    scores: Vec<f32>,
}

/// Positions `from..to` of a block, seen by a query.
#[derive(Clone, Copy)]
struct Seen {
    from: usize,
    to: usize,
}

/// Compute a task and write its results.
pub(crate) fn run(call: &Call<'_>, range: &Range<'_>, head: usize, state: &mut State) {
    match call.level {
        // SAFETY: the level says what the processor has.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { with_avx512(call, range, head, state) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { with_avx2(call, range, head, state) },
        _ => task::<false>(call, range, head, state),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn with_avx512(call: &Call<'_>, range: &Range<'_>, head: usize, state: &mut State) {
    task::<true>(call, range, head, state);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(call: &Call<'_>, range: &Range<'_>, head: usize, state: &mut State) {
    task::<true>(call, range, head, state);
}

#[inline(always)]
fn task<const FUSED: bool>(call: &Call<'_>, range: &Range<'_>, head: usize, state: &mut State) {
    let KvLayout {
        block_size: size,
        head_dim: dim,
        ..
    } = call.layout;
    let lines = range.count * call.group;
    state.sums.clear();
    state.sums.resize(lines * dim, 0.0);
    state.largest.clear();
    state.largest.resize(lines, f32::NEG_INFINITY);
    state.totals.clear();
    state.totals.resize(lines, 0.0);
    state.scores.resize(size, 0.0);
    let first = call
        .window
        .map_or(0, |window| (range.position + 1).saturating_sub(window));
    let last = range.position + range.count - 1;
    for block in first / size..=last / size {
        let start = call.layout.start(range.blocks[block] as usize, head);
        let keys = &call.k_cache[start..][..size * dim];
        let values = &call.v_cache[start..][..size * dim];
        for query in 0..range.count {
            let end = range.position + query + 1;
            let begin = call.window.map_or(0, |window| end.saturating_sub(window));
            let seen = Seen {
                from: begin.saturating_sub(block * size).min(size),
                to: end.saturating_sub(block * size).min(size),
            };
            if seen.from < seen.to {
                for one in 0..call.group {
                    let at = ((range.row + query) * call.heads + head * call.group + one) * dim;
                    let line = query * call.group + one;
                    score::<FUSED>(call, &call.q[at..][..dim], keys, &mut state.scores);
                    weigh::<FUSED>(state, line, dim, seen, values);
                }
            }
        }
    }
    write(call, range, head, state);
}

/// The scores of a query with all positions of a block.
#[inline(always)]
fn score<const FUSED: bool>(call: &Call<'_>, q: &[f32], keys: &[f32], scores: &mut [f32]) {
    let size = scores.len();
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    let chunked = chunks.len() * LANES;
    for (number, chunk) in chunks.iter_mut().enumerate() {
        let mut sums = [0.0; LANES];
        for (keys, q) in keys.chunks_exact(size).zip(q) {
            let (keys, _) = keys[number * LANES..].as_chunks::<LANES>();
            for (sum, key) in sums.iter_mut().zip(&keys[0]) {
                *sum = multiply_add::<FUSED>(*key, *q, *sum);
            }
        }
        *chunk = sums;
    }
    for (place, score) in rest.iter_mut().enumerate() {
        let keys = keys[chunked + place..].iter().step_by(size);
        let products = keys.zip(q);
        *score = products.fold(0.0, |sum, (key, q)| multiply_add::<FUSED>(*key, *q, sum));
    }
    for score in scores.iter_mut() {
        *score *= call.scale;
    }
    if let Some(cap) = call.softcap {
        for score in scores.iter_mut() {
            *score = cap * (*score / cap).tanh();
        }
    }
}

/// Turn scores into weights and add the weighted values to a line's sums.
#[inline(always)]
fn weigh<const FUSED: bool>(
    state: &mut State,
    line: usize,
    dim: usize,
    seen: Seen,
    values: &[f32],
) {
    for score in &mut state.scores[..seen.from] {
        *score = f32::NEG_INFINITY;
    }
    for score in &mut state.scores[seen.to..] {
        *score = f32::NEG_INFINITY;
    }
    let seen_scores = &state.scores[seen.from..seen.to];
    let largest = seen_scores
        .iter()
        .fold(state.largest[line], |largest, score| largest.max(*score));
    let shrink = exp::<FUSED>(state.largest[line] - largest);
    state.largest[line] = largest;
    for score in &mut state.scores {
        *score = exp::<FUSED>(*score - largest);
    }
    let total: f32 = state.scores[seen.from..seen.to].iter().sum();
    state.totals[line] = multiply_add::<FUSED>(state.totals[line], shrink, total);
    let weights = &state.scores[seen.from..seen.to];
    let values = &values[seen.from * dim..seen.to * dim];
    let sums = &mut state.sums[line * dim..][..dim];
    let (chunks, rest) = sums.as_chunks_mut::<LANES>();
    let chunked = chunks.len() * LANES;
    for (number, chunk) in chunks.iter_mut().enumerate() {
        let mut sums = chunk.map(|sum| sum * shrink);
        for (values, weight) in values.chunks_exact(dim).zip(weights) {
            let (values, _) = values[number * LANES..].as_chunks::<LANES>();
            for (sum, value) in sums.iter_mut().zip(&values[0]) {
                *sum = multiply_add::<FUSED>(*value, *weight, *sum);
            }
        }
        *chunk = sums;
    }
    for (place, sum) in rest.iter_mut().enumerate() {
        let values = values[chunked + place..].iter().step_by(dim);
        let products = values.zip(weights);
        *sum = products.fold(*sum * shrink, |sum, (value, weight)| {
            multiply_add::<FUSED>(*value, *weight, sum)
        });
    }
}

/// Write the results: sums by totals.
#[inline(always)]
fn write(call: &Call<'_>, range: &Range<'_>, head: usize, state: &State) {
    let dim = call.layout.head_dim;
    for (line, sums) in state.sums.chunks_exact(dim).enumerate() {
        let (query, one) = (line / call.group, line % call.group);
        let at = ((range.row + query) * call.heads + head * call.group + one) * dim;
        for (place, sum) in sums.iter().enumerate() {
            // SAFETY: the row, head and value exist, and no other task writes them.
            unsafe { *call.out.add(at + place) = sum / state.totals[line] };
        }
    }
}
