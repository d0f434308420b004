//! The exact GELU, `x * Φ(x)` with the error function, alone and as a gate.

use std::f32::consts::FRAC_1_SQRT_2;

use crate::math::{exp, multiply_add};
use crate::norm::shared_rows;
use crate::simd::simd_level;
use crate::{KernelError, Pool, SimdLevel, shape};

/// `erf(x) / x - 1` in powers of `x²`, for `x²` up to 1: a Chebyshev fit, wrong by less than 1e-8 there.
const SMALL: [f32; 7] = [
    0.128_379_17,
    -0.376_126_26,
    0.112_835_97,
    -0.026_854_329,
    0.005_189_312,
    -0.000_801_885_56,
    0.000_078_824_974,
];
/// `-ln(1 - erf(x))` in powers of `x` from 1 to 4, where `1 - erf(x)` is less than f32 can tell from 0.
const LARGE: [f32; 9] = [
    -0.000_303_212_96,
    1.130_166_6,
    0.631_937_1,
    0.109_978_24,
    -0.026_364_718,
    0.004_740_222_4,
    -0.000_592_769_53,
    0.000_045_590_623,
    -0.000_001_614_061_6,
];

/// `out = gelu(x + bias)` for every row of `x [m, f]`.
///
/// # Errors
/// If sizes do not fit together.
pub fn gelu(
    pool: &Pool,
    x: &[f32],
    f: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    shape::rows("x", x.len(), f)?;
    shape::same("out", x.len(), out.len())?;
    shape::same("bias", f, bias.map_or(f, <[f32]>::len))?;
    let level = simd_level();
    shared_rows(pool, (x, f), (out, f), &|x, out| {
        activate(level, x, f, bias, out);
    });
    Ok(())
}

/// `out [m, f] = gelu(gate) * up` for `gate_up [m, 2 f]`, the gates of a row before its ups.
///
/// # Errors
/// If sizes do not fit together.
pub fn gelu_mul(
    pool: &Pool,
    gate_up: &[f32],
    f: usize,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let both = shape::product("2 * f", 2, f)?;
    let rows = shape::rows("out", out.len(), f)?;
    let len = shape::product("gate_up", rows, both)?;
    shape::same("gate_up", len, gate_up.len())?;
    let level = simd_level();
    shared_rows(pool, (gate_up, both), (out, f), &|gate_up, out| {
        gate(level, gate_up, f, out);
    });
    Ok(())
}

fn activate(level: SimdLevel, x: &[f32], f: usize, bias: Option<&[f32]>, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { activate_avx2(x, f, bias, out) };
    }
    let _ = level;
    activate_plain::<false>(x, f, bias, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn activate_avx2(x: &[f32], f: usize, bias: Option<&[f32]>, out: &mut [f32]) {
    activate_plain::<true>(x, f, bias, out);
}

#[inline(always)]
fn activate_plain<const FUSED: bool>(x: &[f32], f: usize, bias: Option<&[f32]>, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(f).zip(out.chunks_exact_mut(f)) {
        match bias {
            Some(bias) => {
                for ((out, x), bias) in out.iter_mut().zip(x).zip(bias) {
                    *out = exact::<FUSED>(x + bias);
                }
            }
            None => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = exact::<FUSED>(*x);
                }
            }
        }
    }
}

fn gate(level: SimdLevel, gate_up: &[f32], f: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= SimdLevel::Avx2 {
        // SAFETY: the processor has AVX2 and FMA.
        return unsafe { gate_avx2(gate_up, f, out) };
    }
    let _ = level;
    gate_plain::<false>(gate_up, f, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn gate_avx2(gate_up: &[f32], f: usize, out: &mut [f32]) {
    gate_plain::<true>(gate_up, f, out);
}

#[inline(always)]
fn gate_plain<const FUSED: bool>(gate_up: &[f32], f: usize, out: &mut [f32]) {
    for (gate_up, out) in gate_up.chunks_exact(2 * f).zip(out.chunks_exact_mut(f)) {
        let (gate, up) = gate_up.split_at(f);
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = exact::<FUSED>(*gate) * up;
        }
    }
}

#[inline(always)]
fn exact<const FUSED: bool>(x: f32) -> f32 {
    0.5 * x * (1.0 + erf::<FUSED>(x * FRAC_1_SQRT_2))
}

/// The error function to 8e-8, without a branch.
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    let size = x.abs();
    let near = multiply_add::<FUSED>(size, polynomial::<FUSED, 7>(size * size, &SMALL), size);
    let bounded = if size < 4.0 { size } else { 4.0 };
    let far = 1.0 - exp::<FUSED>(-polynomial::<FUSED, 9>(bounded, &LARGE));
    let value = if size < 1.0 { near } else { far };
    // A NaN is in no range and must come through.
    let value = if x.is_nan() { x } else { value };
    value.copysign(x)
}

#[inline(always)]
fn polynomial<const FUSED: bool, const N: usize>(x: f32, factors: &[f32; N]) -> f32 {
    let mut sum = factors[N - 1];
    for factor in factors[..N - 1].iter().rev() {
        sum = multiply_add::<FUSED>(sum, x, *factor);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its series, which converges fast enough below 4 in f64.
    fn series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn the_error_function_is_right_to_the_last_digits() {
        for step in -3999..=3999 {
            let x = step as f32 / 1000.0;
            let expected = series(f64::from(x));
            for found in [erf::<true>(x), erf::<false>(x)] {
                let error = (f64::from(found) - expected).abs();
                assert!(error < 1.5e-7, "erf({x}) is {found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_line_are_what_they_should_be() {
        for (x, expected) in [(0.0, 0.0), (4.0, 1.0), (f32::INFINITY, 1.0), (-9.0, -1.0)] {
            assert_eq!(erf::<true>(x), expected);
            assert_eq!(erf::<false>(x), expected);
        }
        assert!(erf::<true>(f32::NAN).is_nan() && exact::<false>(f32::NAN).is_nan());
        assert_eq!(exact::<true>(30.0), 30.0);
        assert_eq!(exact::<true>(-30.0), 0.0);
    }
}
