//! Arithmetic that the compiler turns into vector code.

use std::array::from_fn;

/// `a * b + c`, rounded once if the processor has such an instruction.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to about one unit in the last place; 0 below -87, infinity above 88.
///
/// Cody and Waite's reduction to `[-ln 2 / 2, ln 2 / 2]` and a polynomial, without a branch.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const ROUNDER: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let inside = x.clamp(-87.0, 88.0);
    let shifted = multiply_add::<FUSED>(inside, std::f32::consts::LOG2_E, ROUNDER);
    let power = shifted - ROUNDER;
    let rest = multiply_add::<FUSED>(power, -LN2_HIGH, inside);
    let rest = multiply_add::<FUSED>(power, -LN2_LOW, rest);
    let mut sum = 1.987_569_1e-4;
    for factor in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ] {
        sum = multiply_add::<FUSED>(sum, rest, factor);
    }
    let result = multiply_add::<FUSED>(sum * rest, rest, rest + 1.0);
    let exponent = (shifted.to_bits() << 23).wrapping_add(0x3f80_0000);
    let result = result * f32::from_bits(exponent);
    let result = if x < -87.0 { 0.0 } else { result };
    if x > 88.0 { f32::INFINITY } else { result }
}

/// Every value becomes `cap * tanh(value / cap)`, right to a few units in the last place of `cap`.
#[inline(always)]
pub(crate) fn softcap<const FUSED: bool>(values: &mut [f32], cap: f32) {
    let twice = 2.0 / cap;
    for value in values {
        let power = exp::<FUSED>(*value * twice);
        // At infinity the quotient is 0, as it should be.
        *value = cap - 2.0 * cap / (power + 1.0);
    }
}

/// The sum in 16 lanes and then over them: an order that vector code can keep.
#[inline(always)]
pub(crate) fn sum_of_squares<const FUSED: bool>(x: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = multiply_add::<FUSED>(*x, *x, *lane);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = multiply_add::<FUSED>(*x, *x, *lane);
    }
    lanes.iter().sum()
}

/// The sum in 16 lanes and then over them, as for [`sum_of_squares`].
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    halved(lanes, |a, b| a + b)
}

/// The largest of `x` and `least`; NaNs do not count.
#[inline(always)]
pub(crate) fn largest(x: &[f32], least: f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [least; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, *x);
    }
    halved(lanes, larger)
}

/// Combine the second half of the lanes with the first until one is left.
#[inline(always)]
fn halved(x: [f32; 16], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let x: [f32; 8] = from_fn(|i| combine(x[i], x[i + 8]));
    let x: [f32; 4] = from_fn(|i| combine(x[i], x[i + 4]));
    combine(combine(x[0], x[2]), combine(x[1], x[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_digits() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            for found in [exp::<true>(x), exp::<false>(x)] {
                let error = (f64::from(found) - expected).abs() / expected;
                assert!(error < 3e-7, "exp({x}) is {found}, not {expected}");
            }
        }
        assert_eq!(exp::<false>(0.0), 1.0);
        assert_eq!(exp::<false>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<false>(f32::INFINITY), f32::INFINITY);
        assert!(exp::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn softcaps_follow_the_tangent_and_end_at_the_cap() {
        for cap in [0.5, 6.0, 50.0_f32] {
            let mut values: Vec<f32> = (-400..=400).map(|step| step as f32 / 2.0).collect();
            let inputs = values.clone();
            softcap::<false>(&mut values, cap);
            for (found, x) in values.iter().zip(&inputs) {
                let expected = f64::from(cap) * (f64::from(*x) / f64::from(cap)).tanh();
                assert!((f64::from(*found) - expected).abs() < 5e-7 * f64::from(cap));
            }
        }
        let mut ends = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        softcap::<false>(&mut ends, 3.0);
        assert_eq!(ends[..2], [3.0, -3.0]);
        assert!(ends[2].is_nan());
    }

    #[test]
    fn squares_add_up_at_every_length() {
        for len in 0..50 {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = x.iter().map(|x| x * x).sum();
            assert_eq!(sum_of_squares::<false>(&x), expected);
        }
    }

    #[test]
    fn sums_and_maxima_count_every_value_at_every_length() {
        for len in 0..50u16 {
            let x: Vec<f32> = (0..len).map(|i| f32::from((i * 37 + 11) % len)).collect();
            assert_eq!(sum(&x), x.iter().sum());
            let expected = x.iter().fold(-1.0, |a: f32, b| a.max(*b));
            assert_eq!(largest(&x, -1.0), expected);
            assert_eq!(largest(&x, 99.0), 99.0);
        }
        assert_eq!(largest(&[f32::NAN, 1.0, f32::NAN], 0.0), 1.0);
    }
}
