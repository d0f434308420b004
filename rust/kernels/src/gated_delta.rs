//! Linear attention by the gated delta rule (Yang et al., 2024), token by token: a matrix for each head that forgets,
//! corrects what it says of a key, and is asked; and the short causal convolution before it.
//!
//! A state goes through the tokens of its sequence in order, so results do not depend on how these are cut into steps.

use std::slice::from_raw_parts_mut;
use std::sync::Mutex;

use crate::math::{exp, multiply_add, sum_of_squares};
use crate::simd::simd_level;
use crate::{KernelError, Pool, SimdLevel, shape};

/// Added to the squared length of queries and keys before they are brought to length 1.
const LENGTH_EPS: f32 = 1e-6;

/// Heads of one layer. Key head `h / (value_heads / key_heads)` serves value head `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatedDelta {
    /// Heads of queries and keys; divides `value_heads`.
    pub key_heads: usize,
    /// Heads of values, each with a state.
    pub value_heads: usize,
    /// Values of a query or key.
    pub key_dim: usize,
    /// Values of a value.
    pub value_dim: usize,
}

/// The tokens of one sequence and its state.
pub struct DeltaSequence<'a> {
    /// First row of its tokens.
    pub start: usize,
    /// Rows.
    pub len: usize,
    /// `[value_heads, key_dim, value_dim]`, as it was after the token before the first.
    pub state: &'a mut [f32],
}

/// The rows that all tasks of a call read, and where they write.
struct Call<'a> {
    shape: GatedDelta,
    rows: &'a [f32],
    correction: &'a [f32],
    decay: &'a [f32],
    out: *mut f32,
    level: SimdLevel,
}

// SAFETY: tasks write disjoint elements of `out`, and nobody reads it before all are done.
unsafe impl Sync for Call<'_> {}

impl GatedDelta {
    /// Values of queries, keys and values of a token.
    pub fn width(&self) -> usize {
        2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim
    }

    /// Values of a state.
    pub fn state_len(&self) -> usize {
        self.value_heads * self.key_dim * self.value_dim
    }

    /// `rows` are `[t, width]`, queries, keys and values behind each other; queries and keys become of length 1, and
    /// queries are divided by the root of `key_dim` besides. `correction` and `decay` are `[t, value_heads]`: how far a
    /// state goes to the new value, and what stays of it. `out` is `[t, value_heads, value_dim]`.
    ///
    /// # Errors
    /// If sizes do not fit together or a row does not exist.
    pub fn run(
        &self,
        pool: &Pool,
        rows: &mut [f32],
        (correction, decay): (&[f32], &[f32]),
        sequences: &mut [DeltaSequence<'_>],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let tokens = self.check(rows, (correction, decay), sequences, out)?;
        let level = simd_level();
        let keys = self.key_heads * self.key_dim;
        for row in rows.chunks_exact_mut(self.width()) {
            let (queries, rest) = row.split_at_mut(keys);
            let factor = 1.0 / (self.key_dim as f32).sqrt();
            for query in queries.chunks_exact_mut(self.key_dim) {
                unit(level, query, factor);
            }
            for key in rest[..keys].chunks_exact_mut(self.key_dim) {
                unit(level, key, 1.0);
            }
        }
        debug_assert_eq!(tokens * self.width(), rows.len());
        let call = Call {
            shape: *self,
            rows,
            correction,
            decay,
            out: out.as_mut_ptr(),
            level,
        };
        let size = self.key_dim * self.value_dim;
        let tasks = sequences.iter_mut().flat_map(|sequence| {
            let (start, len) = (sequence.start, sequence.len);
            let heads = sequence.state.chunks_exact_mut(size).enumerate();
            heads.map(move |(head, state)| Mutex::new(Some((start, len, head, state))))
        });
        let tasks: Vec<_> = tasks.collect();
        pool.run(tasks.len(), &|number| {
            let task = tasks[number].lock().ok().and_then(|mut task| task.take());
            if let Some((start, len, head, state)) = task {
                call.head(start, len, head, state);
            }
        });
        Ok(())
    }

    fn check(
        &self,
        rows: &[f32],
        (correction, decay): (&[f32], &[f32]),
        sequences: &[DeltaSequence<'_>],
        out: &[f32],
    ) -> Result<usize, KernelError> {
        shape::positive("key_dim", self.key_dim)?;
        shape::positive("value_dim", self.value_dim)?;
        shape::positive(
            "heads",
            shape::rows("value_heads", self.value_heads, self.key_heads)?,
        )?;
        let tokens = shape::rows("rows", rows.len(), self.width())?;
        shape::same("correction", tokens * self.value_heads, correction.len())?;
        shape::same("decay", correction.len(), decay.len())?;
        shape::same("out", correction.len() * self.value_dim, out.len())?;
        let mut taken = vec![false; tokens];
        for sequence in sequences {
            shape::same("state", self.state_len(), sequence.state.len())?;
            let end = sequence.start.saturating_add(sequence.len);
            let own = taken.get_mut(sequence.start..end);
            let own = own.ok_or(KernelError::OutOfRange {
                what: "row of a sequence",
                index: end,
                len: tokens,
            })?;
            if own.contains(&true) {
                return Err(KernelError::Shared { what: "row" });
            }
            own.fill(true);
        }
        Ok(tokens)
    }
}

impl Call<'_> {
    /// Let the state of one head go through the tokens of a sequence.
    fn head(&self, start: usize, len: usize, head: usize, state: &mut [f32]) {
        let GatedDelta {
            key_heads,
            value_heads,
            key_dim,
            value_dim,
        } = self.shape;
        let key_head = head / (value_heads / key_heads);
        let mut memory = vec![0.0; value_dim];
        for token in start..start + len {
            let row = &self.rows[token * self.shape.width()..][..self.shape.width()];
            let at = |first: usize, len: usize| &row[first..first + len];
            let place = token * value_heads + head;
            // SAFETY: the row and head exist with `value_dim` values, and no other task touches them.
            let out = unsafe { from_raw_parts_mut(self.out.add(place * value_dim), value_dim) };
            let token = Token {
                query: at(key_head * key_dim, key_dim),
                key: at((key_heads + key_head) * key_dim, key_dim),
                value: at(2 * key_heads * key_dim + head * value_dim, value_dim),
                correction: self.correction[place],
                decay: self.decay[place],
            };
            advance(self.level, &token, state, &mut memory, out);
        }
    }
}

/// What one token brings to one state.
struct Token<'a> {
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    correction: f32,
    decay: f32,
}

fn advance(
    level: SimdLevel,
    token: &Token<'_>,
    state: &mut [f32],
    memory: &mut [f32],
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if level >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { advance_avx2(token, state, memory, out) };
    }
    let _ = level;
    advance_plain::<false>(token, state, memory, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn advance_avx2(token: &Token<'_>, state: &mut [f32], memory: &mut [f32], out: &mut [f32]) {
    advance_plain::<true>(token, state, memory, out);
}

/// Forget, say what is known of the key, correct it, answer the query.
#[inline(always)]
fn advance_plain<const FUSED: bool>(
    token: &Token<'_>,
    state: &mut [f32],
    memory: &mut [f32],
    out: &mut [f32],
) {
    let width = memory.len();
    memory.fill(0.0);
    for (row, key) in state.chunks_exact_mut(width).zip(token.key) {
        for (cell, known) in row.iter_mut().zip(&mut *memory) {
            *cell *= token.decay;
            *known = multiply_add::<FUSED>(*cell, *key, *known);
        }
    }
    for (known, value) in memory.iter_mut().zip(token.value) {
        *known = (value - *known) * token.correction;
    }
    out.fill(0.0);
    let rows = state.chunks_exact_mut(width);
    for ((row, key), query) in rows.zip(token.key).zip(token.query) {
        for ((cell, change), out) in row.iter_mut().zip(&*memory).zip(&mut *out) {
            *cell = multiply_add::<FUSED>(*key, *change, *cell);
            *out = multiply_add::<FUSED>(*cell, *query, *out);
        }
    }
}

/// Bring a vector to the length `factor`.
fn unit(level: SimdLevel, x: &mut [f32], factor: f32) {
    let square = if level == SimdLevel::Scalar {
        sum_of_squares::<false>(x)
    } else {
        sum_of_squares::<true>(x)
    };
    let scale = factor / (square + LENGTH_EPS).sqrt();
    for value in x {
        *value *= scale;
    }
}

/// `x [t, channels]` becomes `silu` of its causal convolution with `weights [kernel, channels]`, the last of which meets
/// the token itself. `history [kernel - 1, channels]` are the rows before the first, and then those before the next.
///
/// # Errors
/// If sizes do not fit together.
pub fn causal_convolution(
    x: &mut [f32],
    weights: &[f32],
    channels: usize,
    history: &mut [f32],
) -> Result<(), KernelError> {
    shape::rows("x", x.len(), channels)?;
    let kernel = shape::rows("weights", weights.len(), channels)?;
    shape::positive("kernel", kernel)?;
    shape::same("history", (kernel - 1) * channels, history.len())?;
    let mut rows = history.to_vec();
    rows.extend_from_slice(x);
    for (token, out) in x.chunks_exact_mut(channels).enumerate() {
        out.fill(0.0);
        let seen = rows[token * channels..].chunks_exact(channels);
        for (row, weights) in seen.zip(weights.chunks_exact(channels)) {
            for ((out, value), weight) in out.iter_mut().zip(row).zip(weights) {
                *out += value * weight;
            }
        }
        for value in out {
            *value /= 1.0 + exp::<false>(-*value);
        }
    }
    history.copy_from_slice(&rows[rows.len() - history.len()..]);
    Ok(())
}
