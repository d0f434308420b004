//! The gated activation of a feed-forward part.

use crate::math::{exp, multiply_add, softcap as cap_all};
use crate::norm::shared_rows;
use crate::simd::simd_level;
use crate::{KernelError, Pool, SimdLevel, shape};

/// How a gate and what it lets through become one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// `gate * sigmoid(gate) * up`.
    Silu,
    /// `sigmoid(gate) * up`.
    Sigmoid,
    /// The Gaussian error unit of the gate by its tanh formula, times `up`.
    GeluTanh,
    /// `gate * sigmoid(alpha * gate) * (up + 1)`, the gate at most `limit`, and `up` within it on both sides.
    Clamped {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// Bound of gate and `up`.
        limit: f32,
    },
}

/// `out [m, f]` from `gate_up [m, 2 f]`, the gates of a row before its ups; `bias [2 f]` is added first.
///
/// # Errors
/// If sizes do not fit together.
pub fn gated(
    pool: &Pool,
    gate: Gate,
    gate_up: &[f32],
    bias: Option<&[f32]>,
    f: usize,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let both = shape::product("2 * f", 2, f)?;
    let rows = shape::rows("out", out.len(), f)?;
    let len = shape::product("gate_up", rows, both)?;
    shape::same("gate_up", len, gate_up.len())?;
    shape::same("bias", both, bias.map_or(both, <[f32]>::len))?;
    let level = simd_level();
    shared_rows(pool, (gate_up, both), (out, f), &|gate_up, out| {
        activate(level, gate, gate_up, bias, f, out);
    });
    Ok(())
}

/// Every value becomes `cap * tanh(value / cap)`.
pub fn softcap(values: &mut [f32], cap: f32) {
    #[cfg(target_arch = "x86_64")]
    if simd_level() >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { softcap_avx2(values, cap) };
    }
    cap_all::<false>(values, cap);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn softcap_avx2(values: &mut [f32], cap: f32) {
    cap_all::<true>(values, cap);
}

fn activate(
    level: SimdLevel,
    gate: Gate,
    gate_up: &[f32],
    bias: Option<&[f32]>,
    f: usize,
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if level >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { activate_avx2(gate, gate_up, bias, f, out) };
    }
    let _ = level;
    activate_plain::<false>(gate, gate_up, bias, f, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn activate_avx2(gate: Gate, gate_up: &[f32], bias: Option<&[f32]>, f: usize, out: &mut [f32]) {
    activate_plain::<true>(gate, gate_up, bias, f, out);
}

#[inline(always)]
fn activate_plain<const FUSED: bool>(
    gate: Gate,
    gate_up: &[f32],
    bias: Option<&[f32]>,
    f: usize,
    out: &mut [f32],
) {
    match gate {
        Gate::Silu => rows(gate_up, bias, f, out, silu::<FUSED>),
        Gate::Sigmoid => rows(gate_up, bias, f, out, sigmoid::<FUSED>),
        Gate::GeluTanh => rows(gate_up, bias, f, out, gelu_tanh::<FUSED>),
        Gate::Clamped { alpha, limit } => rows(gate_up, bias, f, out, |gate, up| {
            clamped::<FUSED>(gate, up, alpha, limit)
        }),
    }
}

/// Combine the values of each row.
#[inline(always)]
fn rows(
    gate_up: &[f32],
    bias: Option<&[f32]>,
    f: usize,
    out: &mut [f32],
    combine: impl Fn(f32, f32) -> f32,
) {
    let bias = bias.map(|bias| bias.split_at(f));
    for (gate_up, out) in gate_up.chunks_exact(2 * f).zip(out.chunks_exact_mut(f)) {
        let (gate, up) = gate_up.split_at(f);
        let pairs = out.iter_mut().zip(gate.iter().zip(up));
        match bias {
            None => {
                for (out, (gate, up)) in pairs {
                    *out = combine(*gate, *up);
                }
            }
            Some((gate_bias, up_bias)) => {
                let pairs = pairs.zip(gate_bias.iter().zip(up_bias));
                for ((out, (gate, up)), (gate_bias, up_bias)) in pairs {
                    *out = combine(gate + gate_bias, up + up_bias);
                }
            }
        }
    }
}

#[inline(always)]
fn silu<const FUSED: bool>(gate: f32, up: f32) -> f32 {
    gate / (1.0 + exp::<FUSED>(-gate)) * up
}

#[inline(always)]
fn sigmoid<const FUSED: bool>(gate: f32, up: f32) -> f32 {
    up / (1.0 + exp::<FUSED>(-gate))
}

/// `0.5 * (1 + tanh(u))` is `sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh<const FUSED: bool>(gate: f32, up: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769;
    let cubic = multiply_add::<FUSED>(gate * gate * gate, 0.044_715, gate);
    gate / (1.0 + exp::<FUSED>(-TWICE_ROOT * cubic)) * up
}

#[inline(always)]
fn clamped<const FUSED: bool>(gate: f32, up: f32, alpha: f32, limit: f32) -> f32 {
    let gate = gate.min(limit);
    let up = up.clamp(-limit, limit);
    gate / (1.0 + exp::<FUSED>(-alpha * gate)) * (up + 1.0)
}
