//! Two loops over a row of logits, written so that the compiler can vectorise them.

/// The largest value, or `None` for an empty row or one that holds a NaN.
pub(crate) fn largest(row: &[f32]) -> Option<f32> {
    const LANES: usize = 32;
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut broken = [false; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            best[lane] = if chunk[lane] > best[lane] {
                chunk[lane]
            } else {
                best[lane]
            };
            broken[lane] |= chunk[lane].is_nan();
        }
    }
    if row.is_empty() || broken.contains(&true) || rest.iter().any(|value| value.is_nan()) {
        return None;
    }
    Some(
        best.iter()
            .chain(rest)
            .copied()
            .fold(f32::NEG_INFINITY, f32::max),
    )
}

/// `out[i] = exp((row[i] - max) * scale)`; relative error below 3e-7, 0 where the result would be below 1e-37.
pub(crate) fn exp_shifted(row: &[f32], max: f32, scale: f32, out: &mut Vec<f32>) {
    out.clear();
    out.extend(
        row.iter()
            .map(|&value| exp_below_one((value - max) * scale)),
    );
}

/// exp for x <= 0: split off a power of two, then a polynomial on [-ln2/2, ln2/2] (Cephes' coefficients).
fn exp_below_one(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let bounded = if x > -85.0 { x } else { -85.0 };
    let shifted = bounded * std::f32::consts::LOG2_E + MAGIC;
    let power = shifted - MAGIC;
    let rest = (bounded - power * 0.693_359_4) + power * 2.121_944_4e-4;
    let poly = 1.987_569_1e-4_f32;
    let poly = poly * rest + 1.398_199_9e-3;
    let poly = poly * rest + 8.333_452e-3;
    let poly = poly * rest + 4.166_579_6e-2;
    let poly = poly * rest + 0.166_666_65;
    let poly = poly * rest + 0.5;
    let value = poly * rest * rest + rest + 1.0;
    let exponent = (shifted.to_bits() << 23).wrapping_add(0x3f80_0000);
    let result = value * f32::from_bits(exponent);
    if x > -85.0 { result } else { 0.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn exponential_matches_the_library() {
        let mut out = Vec::new();
        let row: Vec<f32> = (0..85_000).map(|i| -(i as f32) / 1000.0).collect();
        exp_shifted(&row, 0.0, 1.0, &mut out);
        for (x, y) in row.iter().zip(&out) {
            let exact = f64::from(*x).exp();
            assert!(
                (f64::from(*y) - exact).abs() <= exact * 3e-7,
                "{x}: {y} {exact}"
            );
        }
        exp_shifted(&[f32::NEG_INFINITY, -200.0], 0.0, 1.0, &mut out);
        assert_eq!(out, [0.0, 0.0]);
    }

    #[test]
    fn largest_finds_the_best_in_chunks_and_rest_and_sees_nan() {
        let mut row: Vec<f32> = (0..70).map(|i| i as f32).collect();
        assert_eq!(largest(&row), Some(69.0));
        row[3] = 100.0;
        assert_eq!(largest(&row), Some(100.0));
        for place in [5, 69] {
            let mut broken = row.clone();
            broken[place] = f32::NAN;
            assert_eq!(largest(&broken), None);
        }
        assert_eq!(largest(&[]), None);
    }
}
