//! A layer part in place of attention: projections, a short convolution, the gated delta rule, and a gated norm.

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};
use cortex_kernels::{
    DeltaSequence, Gate, GatedDelta, PackedMatrix, Precision, causal_convolution,
};

use super::attention::Pass;
use super::description::{Description, RecurrentShape};
use super::kv_cache::KvCache;
use super::operations::{MatMul, matrix, values};
use super::roles::Role;
use super::router::sigmoid;
use super::states::{LayerState, States};
use super::tensors::TensorReader;
use crate::EngineError;

/// Weights of one layer's part.
pub(crate) struct GatedDeltaNet {
    shape: RecurrentShape,
    /// Queries, keys, values and output gates.
    projection: PackedMatrix,
    columns: Columns,
    /// What a token says of correction and decay.
    rates: PackedMatrix,
    rate_columns: RateColumns,
    /// `[kernel, width]`.
    convolution: Vec<f32>,
    /// How fast each head forgets.
    speed: Vec<f32>,
    /// Added to what a token says of it.
    speed_bias: Vec<f32>,
    norm: Vec<f32>,
    output: PackedMatrix,
    /// Where the output takes each value head.
    places: Vec<usize>,
}

/// Pieces of equal size in a row.
struct Pieces {
    starts: Vec<usize>,
    size: usize,
}

impl Pieces {
    fn new(starts: impl Iterator<Item = usize>, size: usize) -> Self {
        Self {
            starts: starts.collect(),
            size,
        }
    }

    /// All in one.
    fn whole(first: usize, size: usize) -> Self {
        Self::new(std::iter::once(first), size)
    }

    fn of<'a>(&self, row: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        self.starts
            .iter()
            .map(|&start| &row[start..start + self.size])
    }
}

/// Where a row of the projection has what.
struct Columns {
    query: Pieces,
    key: Pieces,
    value: Pieces,
    gate: Pieces,
}

impl Columns {
    /// Each kind by itself; `places` are those of the value heads.
    fn apart(delta: &GatedDelta, places: &[usize]) -> Self {
        let keys = delta.key_heads * delta.key_dim;
        let size = delta.value_dim;
        let heads = |first| Pieces::new(places.iter().map(|place| first + place * size), size);
        Self {
            query: Pieces::whole(0, keys),
            key: Pieces::whole(keys, keys),
            value: heads(2 * keys),
            gate: heads(2 * keys + places.len() * size),
        }
    }

    /// Everything of a key head behind each other.
    fn grouped(delta: &GatedDelta) -> Self {
        let (count, keys) = (delta.key_heads, delta.key_dim);
        let values = delta.value_heads / count * delta.value_dim;
        let stride = 2 * keys + 2 * values;
        let pieces = |first, size| Pieces::new((0..count).map(|head| first + head * stride), size);
        Self {
            query: pieces(0, keys),
            key: pieces(keys, keys),
            value: pieces(2 * keys, values),
            gate: pieces(2 * keys + values, values),
        }
    }
}

/// Where a row has what it says of correction and decay.
struct RateColumns {
    correction: Pieces,
    decay: Pieces,
}

impl RateColumns {
    /// Each by itself; `places` are those of the value heads.
    fn apart(places: &[usize]) -> Self {
        Self {
            correction: Pieces::new(places.iter().copied(), 1),
            decay: Pieces::new(places.iter().map(|place| places.len() + place), 1),
        }
    }

    /// Both of a key head behind each other.
    fn grouped(delta: &GatedDelta) -> Self {
        let (count, size) = (delta.key_heads, delta.value_heads / delta.key_heads);
        let pieces = |first| Pieces::new((0..count).map(|head| first + 2 * head * size), size);
        Self {
            correction: pieces(0),
            decay: pieces(size),
        }
    }
}

/// Where a file has each value head; here those that share a key head are neighbours.
fn places(delta: &GatedDelta, tiled: bool) -> Vec<usize> {
    let each = delta.value_heads / delta.key_heads;
    let place = |head: usize| {
        if tiled {
            head % each * delta.key_heads + head / each
        } else {
            head
        }
    };
    (0..delta.value_heads).map(place).collect()
}

impl GatedDeltaNet {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        model: &Description,
        shape: RecurrentShape,
    ) -> std::result::Result<Self, EngineError> {
        let delta = shape.delta;
        let (hidden, heads) = (model.hidden, delta.value_heads);
        let outputs = heads * delta.value_dim;
        let parts = [
            (Role::DeltaQueryKeyValue, delta.width()),
            (Role::DeltaGate, outputs),
        ];
        let places = places(&delta, reader.is_tiled());
        let columns = if reader.has(Role::DeltaQueryKeyValue, layer) {
            Columns::apart(&delta, &places)
        } else {
            Columns::grouped(&delta)
        };
        let rates = [(Role::DeltaCorrection, heads), (Role::DeltaDecay, heads)];
        let rate_columns = if reader.has(Role::DeltaCorrection, layer) {
            RateColumns::apart(&places)
        } else {
            RateColumns::grouped(&delta)
        };
        let mut rates = reader.stacked(&rates, Role::DeltaRates, layer, hidden)?;
        // Errors of the decay would add up over the tokens.
        rates.set_precision(Precision::Exact);
        let mut by_head = |role| {
            let vector = reader.vector(role, layer, heads)?;
            Ok::<Vec<f32>, EngineError>(places.iter().map(|&place| vector[place]).collect())
        };
        let speed = by_head(Role::DeltaSpeed)?;
        let speed_bias = by_head(Role::DeltaSpeedBias)?;
        // GGUF files have what the decay is computed with, the others its logarithm.
        let speed = if reader.is_gguf() {
            speed.into_iter().map(std::ops::Neg::neg).collect()
        } else {
            speed.into_iter().map(f32::exp).collect()
        };
        Ok(Self {
            shape,
            projection: reader.stacked(&parts, Role::DeltaProjection, layer, hidden)?,
            columns,
            rates,
            rate_columns,
            convolution: convolution(reader, layer, shape, &places)?,
            speed,
            speed_bias,
            norm: reader.vector(Role::DeltaNorm, layer, delta.value_dim)?,
            output: reader.matrix(Role::DeltaOutput, layer, [hidden, outputs])?,
            places,
        })
    }

    /// The matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        [&self.projection, &self.rates, &self.output].into_iter()
    }

    /// `[t, hidden] -> [t, hidden]`; the layer's states of the batch's sequences go on.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        x: &Tensor,
        cache: &KvCache,
        layer: usize,
    ) -> Result<Tensor> {
        let states = cache
            .states()
            .ok_or_else(|| Error::msg("the cache keeps no states"))?;
        let work = pass.work;
        let product = |x: &Tensor, weight| x.apply_op1_no_bwd(&MatMul { work, weight });
        let fused = product(x, &self.projection)?;
        let rates = product(x, &self.rates)?;
        let mixed = fused.apply_op2_no_bwd(
            &rates,
            &GoOn {
                weights: self,
                pass,
                states,
                layer,
            },
        )?;
        product(&mixed, &self.output)
    }
}

/// The weights of the convolution by token; the files have them by channel.
fn convolution(
    reader: &mut TensorReader,
    layer: usize,
    shape: RecurrentShape,
    places: &[usize],
) -> std::result::Result<Vec<f32>, EngineError> {
    let (delta, kernel) = (shape.delta, shape.kernel);
    let sizes = if reader.is_gguf() {
        vec![delta.width(), kernel]
    } else {
        vec![delta.width(), 1, kernel]
    };
    let by_channel = reader.table(Role::DeltaConvolution, layer, &sizes)?;
    let size = delta.value_dim;
    let first = delta.width() - places.len() * size;
    let values = places.iter().flat_map(|place| {
        let start = first + place * size;
        start..start + size
    });
    let channels: Vec<usize> = (0..first).chain(values).collect();
    let by_token = (0..kernel).flat_map(|token| channels.iter().map(move |at| at * kernel + token));
    Ok(by_token.map(|at| by_channel[at]).collect())
}

/// Everything between the products: `fused, rates -> [t, value heads * value size]`.
struct GoOn<'a> {
    weights: &'a GatedDeltaNet,
    pass: Pass<'a>,
    states: &'a RefCell<States>,
    layer: usize,
}

impl CustomOp2 for GoOn<'_> {
    fn name(&self) -> &'static str {
        "gated-delta-net"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let fused = values(s1, l1, self.name())?;
        let rates = values(s2, l2, self.name())?;
        let mut states = self.states.borrow_mut();
        let parts = self.pass.batch.parts();
        let taken = parts.map(|part| states.take(part.first_block, self.layer));
        let mut taken = taken.collect::<Result<Vec<_>>>()?;
        let out = self.go_on(fused, rates, &mut taken)?;
        for (part, state) in self.pass.batch.parts().zip(taken) {
            states.put(part.first_block, self.layer, state)?;
        }
        let width = self.weights.output.cols();
        Ok(matrix(self.finish(fused, out)?, width))
    }
}

impl GoOn<'_> {
    /// Convolution and delta rule.
    fn go_on(&self, fused: &[f32], rates: &[f32], states: &mut [LayerState]) -> Result<Vec<f32>> {
        let net = self.weights;
        let delta = net.shape.delta;
        let mut rows = self.projected(fused);
        let mut sequences = Vec::with_capacity(states.len());
        for (part, state) in self.pass.batch.parts().zip(states) {
            let width = delta.width();
            let own = &mut rows[part.row * width..][..part.len * width];
            causal_convolution(own, &net.convolution, width, &mut state.history)
                .map_err(Error::wrap)?;
            sequences.push(DeltaSequence {
                start: part.row,
                len: part.len,
                state: &mut state.memory,
            });
        }
        let (correction, decay) = self.rates(rates);
        let mut out = vec![0.0; decay.len() * delta.value_dim];
        let pool = &self.pass.work.pool;
        delta
            .run(
                pool,
                &mut rows,
                (&correction, &decay),
                &mut sequences,
                &mut out,
            )
            .map_err(Error::wrap)?;
        Ok(out)
    }

    /// Queries, keys and values of each token.
    fn projected(&self, fused: &[f32]) -> Vec<f32> {
        let net = self.weights;
        let Columns {
            query, key, value, ..
        } = &net.columns;
        let tokens = self.pass.batch.len();
        let mut rows = Vec::with_capacity(tokens * net.shape.delta.width());
        for row in fused.chunks_exact(net.projection.rows()) {
            for pieces in [query, key, value] {
                pieces
                    .of(row)
                    .for_each(|piece| rows.extend_from_slice(piece));
            }
        }
        rows
    }

    /// How far each head's state goes to the new value, and what stays of it.
    fn rates(&self, rates: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let net = self.weights;
        let RateColumns { correction, decay } = &net.rate_columns;
        let (mut corrections, mut decays) = (Vec::new(), Vec::new());
        for row in rates.chunks_exact(net.rates.rows()) {
            corrections.extend(correction.of(row).flatten().map(|x| sigmoid(*x)));
            let heads = net.speed.iter().zip(&net.speed_bias);
            let said = decay.of(row).flatten().zip(heads);
            decays.extend(said.map(|(x, (speed, bias))| (-speed * softplus(x + bias)).exp()));
        }
        (corrections, decays)
    }

    /// Norm each head's values, and multiply them by the gates.
    fn finish(&self, fused: &[f32], out: Vec<f32>) -> Result<Vec<f32>> {
        let net = self.weights;
        let (pool, width) = (&self.pass.work.pool, net.output.cols());
        let mut normed = vec![0.0; out.len()];
        let eps = self.pass.shape.norm_eps;
        cortex_kernels::rms_norm(pool, &out, &net.norm, eps, &mut normed).map_err(Error::wrap)?;
        let mut pairs = Vec::with_capacity(2 * out.len());
        let rows = fused.chunks_exact(net.projection.rows());
        for (row, normed) in rows.zip(normed.chunks_exact(width)) {
            let gate = net.columns.gate.of(row);
            gate.for_each(|piece| pairs.extend_from_slice(piece));
            pairs.extend_from_slice(normed);
        }
        let mut out = out;
        cortex_kernels::gated(pool, Gate::Silu, &pairs, None, width, &mut out)
            .map_err(Error::wrap)?;
        if net.places.is_sorted() {
            return Ok(out);
        }
        let mut placed = normed;
        let size = net.norm.len();
        for (row, placed) in out.chunks_exact(width).zip(placed.chunks_exact_mut(width)) {
            for (head, place) in row.chunks_exact(size).zip(&net.places) {
                placed[place * size..][..size].copy_from_slice(head);
            }
        }
        Ok(placed)
    }
}

/// `ln(1 + e^x)`.
fn softplus(x: f32) -> f32 {
    // Beyond it the two are equal in f32.
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELTA: GatedDelta = GatedDelta {
        key_heads: 2,
        value_heads: 4,
        key_dim: 1,
        value_dim: 1,
    };

    fn at(pieces: &Pieces) -> Vec<usize> {
        let row: Vec<f32> = (0..12).map(|column| column as f32).collect();
        let found = pieces.of(&row).flatten();
        found.map(|column| *column as usize).collect()
    }

    #[test]
    fn columns_are_found_in_both_orders() {
        let Columns {
            query,
            key,
            value,
            gate,
        } = Columns::apart(&DELTA, &[0, 1, 2, 3]);
        let apart = [&query, &key, &value, &gate].map(at);
        assert_eq!(
            apart,
            [vec![0, 1], vec![2, 3], vec![4, 5, 6, 7], vec![8, 9, 10, 11]]
        );
        let Columns {
            query,
            key,
            value,
            gate,
        } = Columns::grouped(&DELTA);
        let grouped = [&query, &key, &value, &gate].map(at);
        assert_eq!(
            grouped,
            [vec![0, 6], vec![1, 7], vec![2, 3, 8, 9], vec![4, 5, 10, 11]]
        );
        let RateColumns { correction, decay } = RateColumns::grouped(&DELTA);
        assert_eq!(
            (at(&correction), at(&decay)),
            (vec![0, 1, 4, 5], vec![2, 3, 6, 7])
        );
    }

    #[test]
    fn heads_of_a_key_head_become_neighbours() {
        let delta = GatedDelta {
            value_heads: 6,
            ..DELTA
        };
        assert_eq!(places(&delta, true), [0, 2, 4, 1, 3, 5]);
        assert_eq!(places(&delta, false), [0, 1, 2, 3, 4, 5]);
        let columns = Columns::apart(&DELTA, &places(&DELTA, true));
        assert_eq!(at(&columns.value), [4, 6, 5, 7]);
        let rates = RateColumns::apart(&places(&DELTA, true));
        assert_eq!(
            (at(&rates.correction), at(&rates.decay)),
            (vec![0, 2, 1, 3], vec![4, 6, 5, 7])
        );
    }

    #[test]
    fn softplus_is_smooth_where_it_changes_its_formula() {
        assert!((softplus(0.0) - std::f32::consts::LN_2).abs() < 1e-7);
        assert!((softplus(20.001) - softplus(19.999) - 0.002).abs() < 1e-5);
        assert!(softplus(-30.0) > 0.0 && softplus(200.0) == 200.0);
    }
}
