//! Activations as integers: 8 bits in groups of 32 with one scale.

use crate::{Pool, SimdLevel};

/// Values that share a scale.
pub(crate) const GROUP: usize = 32;
/// Values that share an entry of the finer sums.
const HALF: usize = GROUP / 2;
/// Adding this leaves the nearest integer (ties to even) in the low bits of a float.
const ROUNDER: f32 = 12_582_912.0;
/// Fewer values than this are not worth a change of thread.
const PARALLEL: usize = 1 << 15;

/// Rows of quantised activations; reused from call to call.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    cols: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    half_sums: Vec<f32>,
}

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub values: &'a [i8],
    /// One for each `GROUP` values.
    pub scales: &'a [f32],
    /// For each group of the weights, the sum of its values times their scale.
    pub sums: &'a [f32],
}

/// The parts of a row, to be written: values, scales, sums of groups and of their halves.
type Parts<'a> = (&'a mut [i8], &'a mut [f32], &'a mut [f32], &'a mut [f32]);

impl Activations {
    /// Quantise `x [m, cols]`; `cols` is a multiple of `GROUP`.
    pub fn quantise(&mut self, pool: &Pool, x: &[f32], cols: usize, level: SimdLevel) {
        let groups = x.len() / GROUP;
        self.cols = cols;
        self.values.resize(x.len(), 0);
        self.scales.resize(groups, 0.0);
        self.sums.resize(groups, 0.0);
        self.half_sums.resize(groups * 2, 0.0);
        let rows = x.len() / cols;
        let share = if x.len() < PARALLEL {
            rows
        } else {
            rows.div_ceil(pool.threads())
        };
        let share = share.max(1) * cols;
        let values = self.values.chunks_mut(share);
        let scales = self.scales.chunks_mut(share / GROUP);
        let sums = self.sums.chunks_mut(share / GROUP);
        let halves = self.half_sums.chunks_mut(share / HALF);
        let parts = values.zip(scales).zip(sums.zip(halves));
        let parts = parts.zip(x.chunks(share));
        let parts = parts.map(|(((values, scales), (sums, halves)), x)| {
            std::sync::Mutex::new(Some((x, (values, scales, sums, halves))))
        });
        let parts: Vec<_> = parts.collect();
        pool.run(parts.len(), &|index| {
            let part = parts[index].lock().ok().and_then(|mut part| part.take());
            if let Some((x, parts)) = part {
                quantise(x, parts, level);
            }
        });
    }

    /// A row, for weights in groups of 16 or 32.
    #[inline(always)]
    pub fn row(&self, row: usize, group: usize) -> Row<'_> {
        let (start, end) = (row * self.cols, (row + 1) * self.cols);
        let sums = if group == GROUP {
            &self.sums
        } else {
            &self.half_sums
        };
        Row {
            values: &self.values[start..end],
            scales: &self.scales[start / GROUP..end / GROUP],
            sums: &sums[start / group..end / group],
        }
    }
}

fn quantise(x: &[f32], parts: Parts<'_>, level: SimdLevel) {
    match level {
        // SAFETY: the level says what the processor has.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { quantise_avx512(x, parts) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { quantise_avx2(x, parts) },
        _ => quantise_groups(x, parts, largest, round),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
fn quantise_avx512(x: &[f32], parts: Parts<'_>) {
    use super::rounding;
    quantise_groups(
        x,
        parts,
        |x| rounding::largest(x),
        |x, inverse, values| rounding::round(x, inverse, values),
    );
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn quantise_avx2(x: &[f32], parts: Parts<'_>) {
    quantise_groups(x, parts, largest, round);
}

#[inline(always)]
fn quantise_groups(
    x: &[f32],
    (values, scales, sums, halves): Parts<'_>,
    largest: impl Fn(&[f32; GROUP]) -> f32,
    round: impl Fn(&[f32; GROUP], f32, &mut [i8; GROUP]) -> [i32; 2],
) {
    let (x, _) = x.as_chunks::<GROUP>();
    let (values, _) = values.as_chunks_mut::<GROUP>();
    let (halves, _) = halves.as_chunks_mut::<2>();
    let sums = sums.iter_mut().zip(halves);
    for (((x, values), scale), (sum, halves)) in x.iter().zip(values).zip(scales).zip(sums) {
        let largest = largest(x);
        *scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let [first, second] = round(x, inverse, values);
        *sum = (first + second) as f32 * *scale;
        *halves = [first as f32 * *scale, second as f32 * *scale];
    }
}

/// Largest absolute value, found as the integer that its bits are: without a branch, and what is not a number
/// stays the largest.
#[inline(always)]
fn largest(x: &[f32; GROUP]) -> f32 {
    let bits = x.iter().map(|x| x.to_bits() & 0x7fff_ffff);
    f32::from_bits(bits.fold(0, u32::max))
}

/// Write the integers nearest to `x * inverse` (ties to even); returns the sums of both halves.
#[inline(always)]
fn round(x: &[f32; GROUP], inverse: f32, values: &mut [i8; GROUP]) -> [i32; 2] {
    let mut total = [0; GROUP];
    for ((value, total), x) in values.iter_mut().zip(&mut total).zip(x) {
        let rounded = (x * inverse + ROUNDER).to_bits() as i32 - ROUNDER.to_bits() as i32;
        *value = rounded as i8;
        *total = i32::from(*value);
    }
    let (first, second) = total.split_at(HALF);
    [first.iter().sum(), second.iter().sum()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_within_half_a_step_and_sums_are_theirs() {
        let x: Vec<f32> = (0..192).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        for level in SimdLevel::available() {
            let mut quantised = Activations::default();
            quantised.quantise(&Pool::new(2), &x, 96, level);
            assert_eq!(quantised.values.len(), 192);
            for (index, x) in x.chunks(96).enumerate() {
                let row = quantised.row(index, GROUP);
                for (i, x) in x.iter().enumerate() {
                    let step = row.scales[i / GROUP];
                    assert!((f32::from(row.values[i]) * step - x).abs() <= step * 0.5001);
                }
                for group in [HALF, GROUP] {
                    for (i, sum) in quantised.row(index, group).sums.iter().enumerate() {
                        let values = &row.values[i * group..][..group];
                        let total: i32 = values.iter().map(|&value| i32::from(value)).sum();
                        assert_eq!(*sum, total as f32 * row.scales[i * group / GROUP]);
                    }
                }
            }
        }
    }

    #[test]
    fn all_levels_round_alike() {
        let mut x: Vec<f32> = (0..256).map(|i| (i as f32 * 0.9).cos() * 0.3).collect();
        // With the largest at 127, halves of a step are ties.
        x[..4].copy_from_slice(&[127.0, 2.5, 3.5, -0.5]);
        let quantised = SimdLevel::available().map(|level| {
            let mut quantised = Activations::default();
            quantised.quantise(&Pool::new(1), &x, 256, level);
            quantised
        });
        let quantised: Vec<_> = quantised.collect();
        assert_eq!(quantised[0].values[..4], [127, 2, 4, 0]);
        for other in &quantised {
            assert_eq!(other.values, quantised[0].values);
            assert_eq!(other.scales, quantised[0].scales);
            assert_eq!(other.sums, quantised[0].sums);
            assert_eq!(other.half_sums, quantised[0].half_sums);
        }
    }

    #[test]
    fn zeros_stay_zero_and_nonsense_is_seen() {
        let mut quantised = Activations::default();
        let mut x = vec![0.0; 64];
        x[40] = f32::NAN;
        quantised.quantise(&Pool::new(1), &x, 64, SimdLevel::Scalar);
        let row = quantised.row(0, GROUP);
        assert_eq!(row.scales[0], 0.0);
        assert!(row.values[..32].iter().all(|value| *value == 0));
        assert!(row.scales[1].is_nan());
    }
}
