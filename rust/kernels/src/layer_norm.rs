//! Layer norm: mean and variance of each row, in two passes.

use crate::math::{multiply_add, sum};
use crate::norm::shared_rows;
use crate::simd::simd_level;
use crate::{KernelError, Pool, SimdLevel, shape};

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias` for every row of `x [m, width]`.
///
/// # Errors
/// If sizes do not fit together.
pub fn layer_norm(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let width = weight.len();
    shape::rows("x", x.len(), width)?;
    shape::same("out", x.len(), out.len())?;
    shape::same("bias", width, bias.map_or(width, <[f32]>::len))?;
    let level = simd_level();
    shared_rows(pool, (x, width), (out, width), &|x, out| {
        norm(level, x, weight, bias, eps, out);
    });
    Ok(())
}

fn norm(
    level: SimdLevel,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if level >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { norm_avx2(x, weight, bias, eps, out) };
    }
    let _ = level;
    norm_plain::<false>(x, weight, bias, eps, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn norm_avx2(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    norm_plain::<true>(x, weight, bias, eps, out);
}

#[inline(always)]
fn norm_plain<const FUSED: bool>(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum(x) / width as f32;
        let variance = squares_about::<FUSED>(x, mean) / width as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x - mean) * scale * weight;
        }
        if let Some(bias) = bias {
            for (out, bias) in out.iter_mut().zip(bias) {
                *out += bias;
            }
        }
    }
}

/// The sum of squared distances from `mean` in 16 lanes and then over them.
#[inline(always)]
fn squares_about<const FUSED: bool>(x: &[f32], mean: f32) -> f32 {
    let mut lanes = [0.0; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = multiply_add::<FUSED>(*x - mean, *x - mean, *lane);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = multiply_add::<FUSED>(*x - mean, *x - mean, *lane);
    }
    lanes.iter().sum()
}
