//! The dense feed-forward part: `down(activation(gate(x)) * up(x))`.

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor};
use cortex_kernels::PackedMatrix;

use super::description::Activation;
use super::operations::{MatMul, Workspace, matrix, values};
use super::roles::Role;
use super::tensors::TensorReader;
use crate::EngineError;

/// Weights of one layer's part.
pub(crate) struct FeedForward {
    gate_up: PackedMatrix,
    gate_up_bias: Option<Vec<f32>>,
    down: PackedMatrix,
    /// Of the last product.
    pub bias: Option<Vec<f32>>,
}

/// The tensors of a dense part.
pub(crate) struct Roles {
    gated: [Role; 2],
    whole: Role,
    down: Role,
    biases: Option<([Role; 2], Role)>,
}

/// Of the layers without experts.
pub(crate) const DENSE: Roles = Roles {
    gated: [Role::Gate, Role::Up],
    whole: Role::GateUp,
    down: Role::Down,
    biases: Some(([Role::GateBias, Role::UpBias], Role::DownBias)),
};
/// Of the expert that every token visits.
pub(crate) const SHARED: Roles = Roles {
    gated: [Role::SharedGate, Role::SharedUp],
    whole: Role::SharedUp,
    down: Role::SharedDown,
    biases: None,
};

impl FeedForward {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        [hidden, width]: [usize; 2],
        roles: &Roles,
    ) -> std::result::Result<Self, EngineError> {
        let gated = roles.gated.map(|role| (role, width));
        let (mut gate_up_bias, mut bias) = (None, None);
        if let Some((parts, last)) = roles.biases {
            gate_up_bias = reader.stacked_vectors(&parts.map(|role| (role, width)), None, layer)?;
            bias = reader.optional_vector(last, layer, hidden)?;
        }
        Ok(Self {
            gate_up: reader.stacked(&gated, roles.whole, layer, hidden)?,
            gate_up_bias,
            down: reader.matrix(roles.down, layer, [hidden, width])?,
            bias,
        })
    }

    /// The matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        [&self.gate_up, &self.down].into_iter()
    }

    /// `[t, hidden] -> [t, hidden]`, without the last bias.
    pub fn forward(&self, work: &Workspace, activation: Activation, x: &Tensor) -> Result<Tensor> {
        let weight = &self.gate_up;
        let gate_up = x.apply_op1_no_bwd(&MatMul { work, weight })?;
        let gated = gate_up.apply_op1_no_bwd(&Gated {
            work,
            activation,
            bias: self.gate_up_bias.as_deref(),
            width: self.down.cols(),
        })?;
        let weight = &self.down;
        gated.apply_op1_no_bwd(&MatMul { work, weight })
    }
}

/// `[m, 2f] -> activation(gate) * up [m, f]`.
struct Gated<'a> {
    work: &'a Workspace,
    activation: Activation,
    bias: Option<&'a [f32]>,
    width: usize,
}

impl CustomOp1 for Gated<'_> {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let gate_up = values(storage, layout, self.name())?;
        let mut out = vec![0.0; gate_up.len() / 2];
        let pool = &self.work.pool;
        let gate = self.activation.gate();
        let bias = self.bias;
        cortex_kernels::gated(pool, gate, gate_up, bias, self.width, &mut out)
            .map_err(Error::wrap)?;
        Ok(matrix(out, self.width))
    }
}

impl Activation {
    /// As the kernels call it.
    pub(crate) fn gate(self) -> cortex_kernels::Gate {
        match self {
            Self::Silu => cortex_kernels::Gate::Silu,
            Self::GeluTanh => cortex_kernels::Gate::GeluTanh,
            Self::Clamped { alpha, limit } => cortex_kernels::Gate::Clamped { alpha, limit },
        }
    }
}
