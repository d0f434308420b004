//! RMS norm, and shares of rows for the threads.

use std::sync::Mutex;

use crate::math::sum_of_squares;
use crate::simd::simd_level;
use crate::{KernelError, Pool, SimdLevel, shape};

/// Values below which a call is computed by the calling thread alone.
const ALONE: usize = 1 << 15;

/// `out = x / rms(x) * weight` for every row of `x [m, width]`.
pub fn rms_norm(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    shape::rows("x", x.len(), weight.len())?;
    shape::same("out", x.len(), out.len())?;
    let level = simd_level();
    shared_rows(pool, (x, weight.len()), (out, weight.len()), &|x, out| {
        norm(level, x, weight, eps, out);
    });
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

/// Call `work` for shares of rows of `x` and `out`, each given with its width.
pub(crate) fn shared_rows(
    pool: &Pool,
    (x, x_width): (&[f32], usize),
    (out, out_width): (&mut [f32], usize),
    work: &(dyn Fn(&[f32], &mut [f32]) + Sync),
) {
    let rows = out.len() / out_width;
    let threads = if x.len() < ALONE { 1 } else { pool.threads() };
    let share = rows.div_ceil(threads).max(1);
    if share >= rows {
        return work(x, out);
    }
    let parts = x
        .chunks(share * x_width)
        .zip(out.chunks_mut(share * out_width));
    let parts: Vec<_> = parts.map(|part| Mutex::new(Some(part))).collect();
    pool.run(parts.len(), &|index| {
        let part = parts[index].lock().ok().and_then(|mut part| part.take());
        if let Some((x, out)) = part {
            work(x, out);
        }
    });
}

fn norm(level: SimdLevel, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { norm_avx2(x, weight, eps, out) };
    }
    let _ = level;
    norm_plain::<false>(x, weight, eps, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn norm_avx2(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    norm_plain::<true>(x, weight, eps, out);
}

#[inline(always)]
fn norm_plain<const FUSED: bool>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let square = sum_of_squares::<FUSED>(x);
        let scale = 1.0 / (square / width as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}
