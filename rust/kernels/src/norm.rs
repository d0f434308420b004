//! RMS norm and the gated activation.

use crate::{KernelError, Pool, shape};

/// `out = x / rms(x) * weight` for every row of `x [m, width]`.
pub fn rms_norm(
    _pool: &Pool,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    shape::rows("x", x.len(), weight.len())?;
    shape::same("out", x.len(), out.len())?;
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let square: f32 = x.iter().map(|v| v * v).sum();
        let scale = 1.0 / (square / width as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
    Ok(())
}

/// `residual += x`, then `out` is the norm of `residual`.
pub fn add_rms_norm(
    pool: &Pool,
    residual: &mut [f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    shape::rows("x", x.len(), weight.len())?;
    shape::same("residual", x.len(), residual.len())?;
    shape::same("out", x.len(), out.len())?;
    for (residual, x) in residual.iter_mut().zip(x) {
        *residual += x;
    }
    rms_norm(pool, residual, weight, eps, out)
}

/// `out [m, f] = silu(gate) * up` for `gate_up [m, 2 f]`, the gates of a row before its ups.
pub fn silu_mul(
    _pool: &Pool,
    gate_up: &[f32],
    f: usize,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let rows = shape::rows("out", out.len(), f)?;
    shape::same(
        "gate_up",
        shape::product("gate_up", 2 * rows, f)?,
        gate_up.len(),
    )?;
    for (gate_up, out) in gate_up.chunks_exact(2 * f).zip(out.chunks_exact_mut(f)) {
        let (gate, up) = gate_up.split_at(f);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + (-gate).exp()) * up;
        }
    }
    Ok(())
}
