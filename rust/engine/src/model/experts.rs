//! Feed-forward parts of which every token visits a few: tokens are sorted by expert, so that each expert's weights
//! are read once for all of its tokens.
//!
//! What a token gets depends on nothing else in the batch: its experts are chosen from its own scores, products do not
//! depend on the other rows, and its parts are added in the order of choice.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Error, InplaceOp2, Layout, Result, Shape, Tensor};
use cortex_kernels::{Group, PackedMatrix, Precision, grouped_matmul};

use super::description::{Activation, Description, ExpertsShape};
use super::expert_weights::ExpertWeights;
use super::feed_forward::{FeedForward, SHARED};
use super::operations::{MatMul, Workspace, matrix, values, values_mut};
use super::roles::Role;
use super::router::{Visit, sigmoid};
use super::tensors::TensorReader;
use crate::EngineError;

/// Weights of one layer's experts.
pub(crate) struct Experts {
    shape: ExpertsShape,
    activation: Activation,
    router: PackedMatrix,
    router_bias: Option<Vec<f32>>,
    correction: Option<Vec<f32>>,
    weights: ExpertWeights,
    shared: Option<SharedPart>,
}

/// The expert that every token visits, and the row that gates it.
struct SharedPart {
    part: FeedForward,
    share: Option<PackedMatrix>,
}

impl Experts {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        model: &Description,
        shape: ExpertsShape,
    ) -> std::result::Result<Self, EngineError> {
        let (hidden, count) = (model.hidden, shape.count);
        let mut router = reader.matrix(Role::Router, layer, [count, hidden])?;
        // A rounded score could send a token to another expert.
        router.set_precision(Precision::Exact);
        Ok(Self {
            shape,
            activation: model.activation,
            router,
            router_bias: reader.optional_vector(Role::RouterBias, layer, count)?,
            correction: reader.optional_vector(Role::RouterCorrection, layer, count)?,
            weights: ExpertWeights::load(reader, layer, model, shape)?,
            shared: SharedPart::load(reader, layer, hidden, shape)?,
        })
    }

    /// The matrices.
    pub fn matrices(&self) -> Vec<&PackedMatrix> {
        let mut all = vec![&self.router];
        all.extend(self.weights.gate_up.iter().chain(&self.weights.down));
        if let Some(shared) = &self.shared {
            all.extend(shared.part.matrices().chain(&shared.share));
        }
        all
    }

    /// `[t, hidden] -> [t, hidden]`.
    pub fn forward(&self, work: &Workspace, x: &Tensor) -> Result<Tensor> {
        let routed = x.apply_op1_no_bwd(&Routed {
            work,
            experts: self,
        })?;
        let Some(shared) = &self.shared else {
            return Ok(routed);
        };
        let part = shared.part.forward(work, self.activation, x)?;
        if let Some(weight) = &shared.share {
            let share = x.apply_op1_no_bwd(&MatMul { work, weight })?;
            part.inplace_op2(&share, &Share)?;
        }
        routed + part
    }

    /// The visits of every token, `used` each.
    fn visits(&self, work: &Workspace, x: &[f32]) -> Result<Vec<Visit>> {
        let count = self.shape.count;
        let tokens = x.len() / self.router.cols();
        let mut scores = vec![0.0; tokens * count];
        let mut scratch = work.scratch.borrow_mut();
        self.router
            .matmul(&work.pool, x, tokens, &mut scores, &mut scratch)
            .map_err(Error::wrap)?;
        let mut visits = Vec::with_capacity(tokens * self.shape.used);
        for scores in scores.chunks_exact_mut(count) {
            if let Some(bias) = &self.router_bias {
                for (score, bias) in scores.iter_mut().zip(bias) {
                    *score += bias;
                }
            }
            let correction = self.correction.as_deref();
            let router = &self.shape.router;
            visits.extend(router.choose(scores, correction, self.shape.used));
        }
        Ok(visits)
    }
}

impl SharedPart {
    fn load(
        reader: &mut TensorReader,
        layer: usize,
        hidden: usize,
        shape: ExpertsShape,
    ) -> std::result::Result<Option<Self>, EngineError> {
        let Some(shared) = shape.shared else {
            return Ok(None);
        };
        let part = FeedForward::load(reader, layer, [hidden, shared.width], &SHARED)?;
        let share = shared.gated.then(|| {
            let mut share = reader.matrix(Role::SharedShare, layer, [1, hidden])?;
            share.set_precision(Precision::Exact);
            Ok::<_, EngineError>(share)
        });
        Ok(Some(Self {
            part,
            share: share.transpose()?,
        }))
    }
}

/// The visits of a batch, sorted by expert.
struct Plan {
    /// Rows of each expert in the sorted order.
    spans: Vec<Range<usize>>,
    /// Where each visit is in the sorted order.
    places: Vec<usize>,
}

impl Plan {
    fn new(visits: &[Visit], experts: usize) -> Self {
        let mut ends = vec![0; experts];
        for visit in visits {
            ends[visit.expert] += 1;
        }
        let mut start = 0;
        let spans = ends.into_iter().map(|count: usize| {
            start += count;
            start - count..start
        });
        let spans: Vec<Range<usize>> = spans.collect();
        let mut next: Vec<usize> = spans.iter().map(|span| span.start).collect();
        let places = visits.iter().map(|visit| {
            next[visit.expert] += 1;
            next[visit.expert] - 1
        });
        let places = places.collect();
        Self { spans, places }
    }

    /// Add each expert's bias to its rows.
    fn add(&self, biases: Option<&[Vec<f32>]>, rows: &mut [f32]) {
        for (span, bias) in self.spans.iter().zip(biases.unwrap_or_default()) {
            let width = bias.len();
            for row in rows[span.start * width..span.end * width].chunks_exact_mut(width) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
    }

    /// The experts that somebody visits, as groups of a product.
    fn groups<'a>(&self, matrices: &'a [PackedMatrix]) -> Vec<Group<'a>> {
        let pairs = self.spans.iter().zip(matrices);
        let visited = pairs.filter(|(span, _)| !span.is_empty());
        let groups = visited.map(|(span, matrix)| Group {
            matrix,
            rows: span.clone(),
        });
        groups.collect()
    }
}

/// `x [t, hidden] -> [t, hidden]`: the parts of the chosen experts by their shares.
struct Routed<'a> {
    work: &'a Workspace,
    experts: &'a Experts,
}

impl Routed<'_> {
    /// The experts' products for rows in the sorted order.
    fn products(&self, plan: &Plan, x: &[f32], rows: usize) -> Result<Vec<f32>> {
        let experts = self.experts;
        let pool = &self.work.pool;
        let mut scratch = self.work.scratch.borrow_mut();
        let width = experts.shape.width;
        let mut gate_up = vec![0.0; rows * 2 * width];
        let weights = &experts.weights;
        let groups = plan.groups(&weights.gate_up);
        grouped_matmul(pool, &groups, x, &mut gate_up, &mut scratch).map_err(Error::wrap)?;
        plan.add(weights.gate_up_bias.as_deref(), &mut gate_up);
        let mut gated = vec![0.0; rows * width];
        let gate = experts.activation.gate();
        cortex_kernels::gated(pool, gate, &gate_up, None, width, &mut gated)
            .map_err(Error::wrap)?;
        let mut out = vec![0.0; x.len()];
        let groups = plan.groups(&weights.down);
        grouped_matmul(pool, &groups, &gated, &mut out, &mut scratch).map_err(Error::wrap)?;
        plan.add(weights.down_bias.as_deref(), &mut out);
        Ok(out)
    }
}

impl CustomOp1 for Routed<'_> {
    fn name(&self) -> &'static str {
        "routed-experts"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(storage, layout, self.name())?;
        let hidden = self.experts.router.cols();
        let used = self.experts.shape.used;
        let visits = self.experts.visits(self.work, x)?;
        let plan = Plan::new(&visits, self.experts.shape.count);
        let mut sorted = vec![0.0; visits.len() * hidden];
        for (visit, &place) in plan.places.iter().enumerate() {
            let token = &x[visit / used * hidden..][..hidden];
            sorted[place * hidden..][..hidden].copy_from_slice(token);
        }
        let parts = self.products(&plan, &sorted, visits.len())?;
        let mut out = vec![0.0; x.len()];
        for (number, (visit, &place)) in visits.iter().zip(&plan.places).enumerate() {
            let token = &mut out[number / used * hidden..][..hidden];
            let part = &parts[place * hidden..][..hidden];
            for (sum, value) in token.iter_mut().zip(part) {
                *sum += visit.share * value;
            }
        }
        Ok(matrix(out, hidden))
    }
}

/// Multiplies each row by the sigmoid of its share.
struct Share;

impl InplaceOp2 for Share {
    fn name(&self) -> &'static str {
        "share"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        src: &CpuStorage,
        src_l: &Layout,
    ) -> Result<()> {
        let shares = values(src, src_l, self.name())?;
        let rows = values_mut(dst, dst_l, self.name())?;
        let width = rows.len() / shares.len().max(1);
        for (row, share) in rows.chunks_exact_mut(width.max(1)).zip(shares) {
            let share = sigmoid(*share);
            for value in row {
                *value *= share;
            }
        }
        Ok(())
    }
}
