//! Attention in both directions, as encoders have it: every token of a text sees the others, before and after it.
//!
//! A task is one head and some queries of one text. It meets the keys of the text in blocks that are counted from
//! the text's own start, so a result depends on nothing else in the batch.

use std::array::from_fn;
use std::cell::RefCell;
use std::ops::Range;
use std::slice::from_raw_parts_mut;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use crate::attention_lines::{Running, Seen};
use crate::simd::simd_level;
use crate::vector::{Vector, add_products};
use crate::{KernelError, Pool, SimdLevel, shape};

/// Queries of one task; the keys are turned once for all of them.
const QUERIES: usize = 64;
/// Keys of one block.
const KEYS: usize = 64;
/// Queries that are computed together.
const TOGETHER: usize = 4;

/// Attention over whole texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FullAttention {
    /// Heads of queries, keys and values alike.
    pub heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Tokens that a token sees to each side of itself; `None` sees all.
    pub reach: Option<usize>,
}

/// What the tasks of one call share.
struct Call<'a> {
    shape: FullAttention,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: *mut f32,
}

// SAFETY: tasks write disjoint elements of `out`, and nobody reads it before all are done.
unsafe impl Sync for Call<'_> {}

/// Some queries of one text: `first..first + count` of it.
struct Task<'a> {
    call: &'a Call<'a>,
    text: &'a Range<usize>,
    first: usize,
    count: usize,
    head: usize,
}

/// Memory that tasks reuse.
#[derive(Default)]
struct State {
    /// `[head_dim, KEYS]`.
    keys: Vec<f32>,
    /// `[KEYS, head_dim]`.
    values: Vec<f32>,
    /// `[queries, head_dim]`: sums of weighted values.
    sums: Vec<f32>,
    running: Vec<Running>,
    /// `[TOGETHER, KEYS]`.
    scores: Vec<f32>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

impl FullAttention {
    /// `q`, `k`, `v` and `out` are `[t, heads, head_dim]`; `texts` are the rows of each text. Rows of no text are
    /// not written.
    ///
    /// # Errors
    /// If sizes do not fit together, a row does not exist, or the texts are not in order or overlap.
    pub fn run(
        &self,
        pool: &Pool,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        texts: &[Range<usize>],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let width = shape::product("heads * head_dim", self.heads, self.head_dim)?;
        let rows = shape::rows("q", q.len(), width)?;
        shape::same("k", q.len(), k.len())?;
        shape::same("v", q.len(), v.len())?;
        shape::same("out", q.len(), out.len())?;
        check(texts, rows)?;
        let call = Call {
            shape: *self,
            q,
            k,
            v,
            out: out.as_mut_ptr(),
        };
        let parts = texts.iter().flat_map(|text| {
            let firsts = (0..text.len()).step_by(QUERIES);
            firsts.map(move |first| (text, first))
        });
        let parts: Vec<_> = parts.collect();
        let level = simd_level();
        pool.run(parts.len() * self.heads, &|number| {
            let (text, first) = parts[number / self.heads];
            let task = Task {
                call: &call,
                text,
                first,
                count: QUERIES.min(text.len() - first),
                head: number % self.heads,
            };
            STATE.with_borrow_mut(|state| task.run(level, state));
        });
        Ok(())
    }
}

fn check(texts: &[Range<usize>], rows: usize) -> Result<(), KernelError> {
    let mut before = 0;
    for text in texts {
        if text.start < before || text.end < text.start {
            return Err(KernelError::Shared { what: "text row" });
        }
        before = text.end;
    }
    if before > rows {
        let (what, index, len) = ("text row", before, rows);
        return Err(KernelError::OutOfRange { what, index, len });
    }
    Ok(())
}

impl Task<'_> {
    fn run(&self, level: SimdLevel, state: &mut State) {
        match level {
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

    /// Where the values of a token of the text begin.
    fn start(&self, token: usize) -> usize {
        let shape = &self.call.shape;
        ((self.text.start + token) * shape.heads + self.head) * shape.head_dim
    }

    /// What the query `line` sees of the keys.
    fn sees(&self, line: usize) -> Range<usize> {
        let (place, len) = (self.first + line, self.text.len());
        match self.call.shape.reach {
            Some(reach) => {
                place.saturating_sub(reach)..place.saturating_add(reach).saturating_add(1).min(len)
            }
            None => 0..len,
        }
    }

    /// The same, of the block of keys that begins at `start`.
    fn seen(&self, line: usize, start: usize) -> Seen {
        let sees = self.sees(line);
        Seen {
            from: sees.start.saturating_sub(start).min(KEYS),
            to: sees.end.saturating_sub(start).min(KEYS),
        }
    }

    /// Turn the keys of a block and gather its values; what is beyond the text stays as it was and is not seen.
    fn gather(&self, start: usize, state: &mut State) {
        let dim = self.call.shape.head_dim;
        state.keys.resize(dim * KEYS, 0.0);
        state.values.resize(KEYS * dim, 0.0);
        let count = KEYS.min(self.text.len() - start);
        for place in 0..count {
            let from = self.start(start + place);
            let column = state.keys[place..].iter_mut().step_by(KEYS);
            for (cell, key) in column.zip(&self.call.k[from..from + dim]) {
                *cell = *key;
            }
            state.values[place * dim..(place + 1) * dim]
                .copy_from_slice(&self.call.v[from..from + dim]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn with_avx512(task: &Task<'_>, state: &mut State) {
    // SAFETY: this is compiled for AVX-512.
    unsafe { attend::<__m512>(task, state) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(task: &Task<'_>, state: &mut State) {
    // SAFETY: this is compiled for AVX2.
    unsafe { attend::<__m256>(task, state) }
}

/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn attend<V: Vector>(task: &Task<'_>, state: &mut State) {
    let dim = task.call.shape.head_dim;
    state.sums.clear();
    state.sums.resize(task.count * dim, 0.0);
    state.running.clear();
    state.running.resize(task.count, Running::START);
    state.scores.resize(TOGETHER * KEYS, 0.0);
    let (from, to) = (task.sees(0).start, task.sees(task.count - 1).end);
    for start in (from / KEYS * KEYS..to).step_by(KEYS) {
        task.gather(start, state);
        for line in (0..task.count).step_by(TOGETHER) {
            // SAFETY: as the caller promised.
            unsafe {
                match task.count - line {
                    1 => meet::<V, 1>(task, line, start, state),
                    2 => meet::<V, 2>(task, line, start, state),
                    3 => meet::<V, 3>(task, line, start, state),
                    _ => meet::<V, TOGETHER>(task, line, start, state),
                }
            }
        }
    }
    write(task, state);
}

/// Let the `N` queries from `line` on meet the block of keys that begins at `start`.
///
/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
unsafe fn meet<V: Vector, const N: usize>(
    task: &Task<'_>,
    line: usize,
    start: usize,
    state: &mut State,
) {
    let dim = task.call.shape.head_dim;
    let seen: [Seen; N] = from_fn(|i| task.seen(line + i, start));
    if seen.iter().all(|seen| seen.nothing()) {
        return;
    }
    let queries = from_fn(|i| &task.call.q[task.start(task.first + line + i)..][..dim]);
    let scores = &mut state.scores[..N * KEYS];
    scores.fill(0.0);
    let mut rest = &mut *scores;
    let lines = from_fn(|_| rest.split_off_mut(..KEYS).unwrap_or_default());
    // SAFETY: as the caller promised.
    unsafe { add_products::<V, f32, N>(lines, queries, &state.keys) };
    for score in scores.iter_mut() {
        *score *= task.call.shape.scale;
    }
    let sums = state.sums[line * dim..(line + N) * dim].chunks_exact_mut(dim);
    for (i, sums) in sums.enumerate().filter(|(i, _)| !seen[*i].nothing()) {
        let Seen { from, to } = seen[i];
        let scores = &mut scores[i * KEYS..(i + 1) * KEYS];
        let running = &mut state.running[line + i];
        if V::FUSED {
            running.weigh::<true>(scores, seen[i], sums);
        } else {
            running.weigh::<false>(scores, seen[i], sums);
        }
        let values = &state.values[from * dim..to * dim];
        // SAFETY: as the caller promised.
        unsafe { add_products::<V, f32, 1>([sums], [&scores[from..to]], values) };
    }
}

/// Write the results: sums by totals.
#[inline(always)]
fn write(task: &Task<'_>, state: &State) {
    let dim = task.call.shape.head_dim;
    let lines = state.sums.chunks_exact(dim).zip(&state.running);
    for (line, (sums, running)) in lines.enumerate() {
        // SAFETY: the row and head exist with `dim` values, and no other task touches them.
        let out = unsafe {
            let start = task.call.out.add(task.start(task.first + line));
            from_raw_parts_mut(start, dim)
        };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum / running.total();
        }
    }
}
