//! One task of attention: a few queries of one sequence and the heads that share one key head.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512, _MM_HINT_T1, _mm_prefetch};
use std::array::from_fn;
use std::slice::from_raw_parts_mut;

use half::f16;

use crate::attention_lines::{Running, Scoring, Seen};
use crate::quant::half_to_f32;
use crate::vector::{Cell, Vector, add_products};
use crate::{AttentionSequence, KvCells, KvLayout, SimdLevel};

/// The most lines (heads of queries) that are computed together.
const TOGETHER: usize = 4;
/// Values of a cache line.
const LINE: usize = 16;

/// What all tasks of a call share.
pub(crate) struct Call<'a> {
    pub q: &'a [f32],
    pub k_cache: KvCells<'a>,
    pub v_cache: KvCells<'a>,
    pub layout: KvLayout,
    pub heads: usize,
    pub scoring: Scoring,
    pub window: Option<usize>,
    pub sinks: Option<&'a [f32]>,
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

/// Running results of the lines, `[queries, group]`, reused from task to task.
#[derive(Default)]
pub(crate) struct State {
    /// `[lines, value_dim]`: sums of weighted values.
    sums: Vec<f32>,
    running: Vec<Running>,
    /// `[TOGETHER, block_size]`.
    scores: Vec<f32>,
    /// Keys and values of a block in single precision.
    widened: [Vec<f32>; 2],
}

/// One block of keys and values of one head, and the number of its first position.
#[derive(Clone, Copy)]
struct Block<'a, C> {
    keys: &'a [C],
    values: &'a [C],
    start: usize,
}

/// The queries and the key head of a task.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub call: &'a Call<'a>,
    pub range: &'a Range<'a>,
    pub head: usize,
    /// The first query head, and how many there are.
    pub first: usize,
    pub group: usize,
}

impl Task<'_> {
    /// Compute the task and write its results.
    pub fn run(self, state: &mut State) {
        match self.call.level {
            // SAFETY: the level says what the processor has.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => unsafe { with_avx512(self, state) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => unsafe { with_avx2(self, state) },
            // SAFETY: plain code needs no instructions.
            _ => unsafe { attend::<[f32; 4]>(self, state) },
        }
    }

    /// Which head of all rows a line is.
    fn place(self, line: usize) -> usize {
        let (query, one) = (line / self.group, line % self.group);
        (self.range.row + query) * self.call.heads + self.first + one
    }

    /// A line before its first block.
    fn begin(self, line: usize) -> Running {
        let head = self.first + line % self.group;
        let sinks = self.call.sinks;
        sinks.map_or(Running::START, |sinks| Running::sink(sinks[head]))
    }

    /// What a line sees of the block that begins at position `start`.
    fn seen(self, line: usize, start: usize) -> Seen {
        let size = self.call.layout.block_size;
        let end = self.range.position + line / self.group + 1;
        let window = self.call.window;
        let begin = window.map_or(0, |window| end.saturating_sub(window));
        Seen {
            from: begin.saturating_sub(start).min(size),
            to: end.saturating_sub(start).min(size),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn with_avx512(task: Task<'_>, state: &mut State) {
    // SAFETY: this is compiled for AVX-512.
    unsafe { attend::<__m512>(task, state) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_avx2(task: Task<'_>, state: &mut State) {
    // SAFETY: this is compiled for AVX2.
    unsafe { attend::<__m256>(task, state) }
}

/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn attend<V: Vector>(task: Task<'_>, state: &mut State) {
    let (call, range) = (task.call, task.range);
    let size = call.layout.block_size;
    let lines = range.count * task.group;
    state.sums.clear();
    state.sums.resize(lines * call.layout.value_dim(), 0.0);
    state.running.clear();
    state
        .running
        .extend((0..lines).map(|line| task.begin(line)));
    state.scores.resize(TOGETHER * size, 0.0);
    let first = call
        .window
        .map_or(0, |window| (range.position + 1).saturating_sub(window));
    let last = range.position + range.count - 1;
    let mut widened = std::mem::take(&mut state.widened);
    for number in first / size..=last / size {
        // SAFETY: as the caller promised.
        unsafe { meet_block::<V>(task, lines, number, (state, &mut widened)) };
    }
    state.widened = widened;
    write(task, state);
}

/// Let all lines meet block `number` of the context.
///
/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn meet_block<V: Vector>(
    task: Task<'_>,
    lines: usize,
    number: usize,
    (state, widened): (&mut State, &mut [Vec<f32>; 2]),
) {
    let (layout, blocks) = (task.call.layout, task.range.blocks);
    let size = layout.block_size * layout.head_dim;
    let cells = |number: usize| {
        let start = layout.start(blocks[number] as usize, task.head);
        start..start + size
    };
    let (own, start) = (cells(number), number * layout.block_size);
    if let (KvCells::F16(keys), KvCells::F16(values)) = (task.call.k_cache, task.call.v_cache)
        && lines <= TOGETHER
        && layout.shared.is_none()
    {
        // Every cell is used once: it is widened on the way to its products, and asked for ahead.
        if start + layout.block_size < task.range.position + task.range.count {
            ask(&keys[cells(number + 1)]);
            ask(&values[cells(number + 1)]);
        }
        let (keys, values) = (&keys[own.clone()], &values[own]);
        let block = Block {
            keys,
            values,
            start,
        };
        // SAFETY: as the caller promised.
        return unsafe { meet_all::<V, f16>(task, lines, block, state) };
    }
    let [keys, values] = widened;
    // SAFETY: as the caller promised.
    unsafe {
        let keys = singles::<V>(task.call.k_cache, own.clone(), keys);
        let block = Block {
            keys,
            values: match layout.shared {
                Some(shared) => turned(keys, layout.block_size, shared, values),
                None => singles::<V>(task.call.v_cache, own, values),
            },
            start,
        };
        meet_all::<V, f32>(task, lines, block, state);
    }
}

/// Ask the memory for cells that are used soon.
#[inline(always)]
fn ask(cells: &[f16]) {
    #[cfg(target_arch = "x86_64")]
    for line in cells.chunks(64 / size_of::<f16>()) {
        // SAFETY: asking reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    let _ = cells;
}

/// Let all lines meet a block.
///
/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn meet_all<V: Vector, C: Cell>(
    task: Task<'_>,
    lines: usize,
    block: Block<'_, C>,
    state: &mut State,
) {
    for line in (0..lines).step_by(TOGETHER) {
        // SAFETY: as the caller promised.
        unsafe {
            match lines - line {
                1 => meet::<V, C, 1>(task, line, block, state),
                2 => meet::<V, C, 2>(task, line, block, state),
                3 => meet::<V, C, 3>(task, line, block, state),
                _ => meet::<V, C, TOGETHER>(task, line, block, state),
            }
        }
    }
}

/// The cells of a span in single precision: as they are, or widened into the buffer.
///
/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn singles<'a, V: Vector>(
    cells: KvCells<'a>,
    span: std::ops::Range<usize>,
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    match cells {
        KvCells::F32(cells) => &cells[span],
        KvCells::F16(cells) => {
            let cells = &cells[span];
            buffer.resize(cells.len(), 0.0);
            let whole = cells.len() / V::WIDTH * V::WIDTH;
            for first in (0..whole).step_by(V::WIDTH) {
                // SAFETY: as the caller promised; both have `V::WIDTH` values from here on.
                unsafe {
                    let wide = V::widen(cells.as_ptr().add(first));
                    wide.store(buffer.as_mut_ptr().add(first));
                }
            }
            for (single, cell) in buffer.iter_mut().zip(cells).skip(whole) {
                *single = half_to_f32(cell.to_bits());
            }
            buffer
        }
    }
}

/// The first values of the keys `[head_dim, size]` as rows `[size, shared]`.
#[inline(always)]
fn turned<'a>(keys: &[f32], size: usize, shared: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
    buffer.resize(size * shared, 0.0);
    for first in (0..shared).step_by(LINE) {
        let count = LINE.min(shared - first);
        for (place, row) in buffer.chunks_exact_mut(shared).enumerate() {
            let column = keys[first * size + place..].iter().step_by(size);
            for (value, key) in row[first..first + count].iter_mut().zip(column) {
                *value = *key;
            }
        }
    }
    buffer
}

/// Let the `N` lines from `line` on meet a block.
///
/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn meet<V: Vector, C: Cell, const N: usize>(
    task: Task<'_>,
    line: usize,
    block: Block<'_, C>,
    state: &mut State,
) {
    let (size, dim) = (task.call.layout.block_size, task.call.layout.head_dim);
    let seen: [Seen; N] = from_fn(|i| task.seen(line + i, block.start));
    if seen.iter().all(|seen| seen.nothing()) {
        return;
    }
    let queries = from_fn(|i| &task.call.q[task.place(line + i) * dim..][..dim]);
    let scores = &mut state.scores[..N * size];
    scores.fill(0.0);
    // SAFETY: as the caller promised.
    unsafe { add_products::<V, C, N>(lines(scores, size), queries, block.keys) };
    if V::FUSED {
        task.call.scoring.apply::<true>(scores);
    } else {
        task.call.scoring.apply::<false>(scores);
    }
    let dim = task.call.layout.value_dim();
    let sums = &mut state.sums[line * dim..(line + N) * dim];
    for i in (0..N).filter(|i| !seen[*i].nothing()) {
        let scores = &mut scores[i * size..(i + 1) * size];
        let sums = &mut sums[i * dim..(i + 1) * dim];
        if V::FUSED {
            state.running[line + i].weigh::<true>(scores, seen[i], sums);
        } else {
            state.running[line + i].weigh::<false>(scores, seen[i], sums);
        }
    }
    let weights = |i: usize| &scores[i * size..][seen[i].from..seen[i].to];
    let values = |i: usize| &block.values[seen[i].from * dim..seen[i].to * dim];
    if seen.iter().all(|other| *other == seen[0]) {
        // SAFETY: as the caller promised.
        return unsafe { add_products::<V, C, N>(lines(sums, dim), from_fn(weights), values(0)) };
    }
    for (i, sums) in sums.chunks_exact_mut(dim).enumerate() {
        if !seen[i].nothing() {
            // SAFETY: as the caller promised.
            unsafe { add_products::<V, C, 1>([sums], [weights(i)], values(i)) };
        }
    }
}

/// `N` lines of `width` values each.
#[inline(always)]
fn lines<const N: usize>(values: &mut [f32], width: usize) -> [&mut [f32]; N] {
    let mut rest = values;
    from_fn(|_| rest.split_off_mut(..width).unwrap_or_default())
}

/// Write the results: sums by totals.
#[inline(always)]
fn write(task: Task<'_>, state: &State) {
    let dim = task.call.layout.value_dim();
    let lines = state.sums.chunks_exact(dim).zip(&state.running);
    for (line, (sums, running)) in lines.enumerate() {
        // SAFETY: the row and head exist with `dim` values, and no other task touches them.
        let out = unsafe { from_raw_parts_mut(task.call.out.add(task.place(line) * dim), dim) };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum / running.total();
        }
    }
}
