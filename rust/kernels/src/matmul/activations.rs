//! Activations as integers: 8 bits in groups of 32 with one scale.
//!
//! Rows lie in panels of as many as a kernel takes at once. For each group a panel holds the values of its first row,
//! then those of the next, and beside them one number of each row after the other, so that a kernel reads on and on.

use std::sync::Mutex;

use crate::{Pool, SimdLevel};

/// Values that share a scale.
pub(crate) const GROUP: usize = 32;
/// Values that share an entry of the finer sums.
const HALF: usize = GROUP / 2;
/// The most rows of a panel.
pub(crate) const MOST: usize = 12;
/// Adding this leaves the nearest integer (ties to even) in the low bits of a float.
const ROUNDER: f32 = 12_582_912.0;
/// Fewer values than this are not worth a change of thread.
const PARALLEL: usize = 1 << 15;

/// Rows of quantised activations; reused from call to call.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    cols: usize,
    level: SimdLevel,
    values: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    half_sums: Vec<f32>,
    totals: Vec<i32>,
    half_totals: Vec<i32>,
}

/// The rows of a panel, `M` of them: entry `m` of a group is that of row `m`.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// `[groups][M][32]`
    pub values: &'a [i8],
    /// `[groups][M]`
    pub scales: &'a [f32],
    /// `[groups][M]`: sums of values, times their scale.
    pub sums: &'a [f32],
    /// `[2 * groups][M]`: the same of half groups.
    pub half_sums: &'a [f32],
    /// `[groups][M]`: sums of values, negative.
    pub totals: &'a [i32],
    /// `[2 * groups][M]`: the same of half groups.
    pub half_totals: &'a [i32],
}

/// The same, to be written.
struct Parts<'a> {
    values: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    half_sums: &'a mut [f32],
    totals: &'a mut [i32],
    half_totals: &'a mut [i32],
}

/// Rows of the next panel, of so many that are left.
pub(crate) fn panel_rows(level: SimdLevel, left: usize) -> usize {
    match left {
        MOST.. if level == SimdLevel::Avx512 => MOST,
        8.. if level == SimdLevel::Avx512 => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

impl Activations {
    /// Quantise `x [m, cols]`; `cols` is a multiple of `GROUP`.
    pub fn quantise(&mut self, pool: &Pool, x: &[f32], cols: usize, level: SimdLevel) {
        self.quantise_parts(pool, x, (cols, level), &[x.len() / cols]);
    }

    /// Quantise `x [m, cols]`, parts of so many rows each for itself: a panel begins with each.
    pub fn quantise_parts(
        &mut self,
        pool: &Pool,
        x: &[f32],
        (cols, level): (usize, SimdLevel),
        parts: &[usize],
    ) {
        let groups = x.len() / GROUP;
        self.cols = cols;
        self.level = level;
        self.values.resize(x.len(), 0);
        self.scales.resize(groups, 0.0);
        self.sums.resize(groups, 0.0);
        self.half_sums.resize(2 * groups, 0.0);
        self.totals.resize(groups, 0);
        self.half_totals.resize(2 * groups, 0);
        let threads = if x.len() < PARALLEL {
            1
        } else {
            pool.threads()
        };
        let most_rows = (x.len() / cols).div_ceil(threads).next_multiple_of(MOST);
        let mut left = self.parts();
        let mut x = x;
        let mut shares = Vec::new();
        for &rows in parts {
            let (mut own, rest) = x.split_at(rows * cols);
            x = rest;
            if threads == 1 {
                let parts = left.split_off(own.len() / GROUP);
                quantise_rows(own, cols, parts, level);
                continue;
            }
            // Shares begin where panels do.
            let most = most_rows * cols;
            while !own.is_empty() {
                let (share, rest) = own.split_at(most.min(own.len()));
                own = rest;
                let parts = left.split_off(share.len() / GROUP);
                shares.push(Mutex::new(Some((share, parts))));
            }
        }
        pool.run(shares.len(), &|index| {
            let share = shares[index].lock().ok().and_then(|mut share| share.take());
            if let Some((x, parts)) = share {
                quantise_rows(x, cols, parts, level);
            }
        });
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts {
            values: &mut self.values,
            scales: &mut self.scales,
            sums: &mut self.sums,
            half_sums: &mut self.half_sums,
            totals: &mut self.totals,
            half_totals: &mut self.half_totals,
        }
    }

    /// The panel that begins at row `row`, and its rows; `left` rows there are from it on.
    #[inline(always)]
    pub fn panel(&self, row: usize, left: usize) -> (usize, Panel<'_>) {
        let rows = panel_rows(self.level, left);
        let (start, end) = (row * self.cols, (row + rows) * self.cols);
        let (first, last) = (start / GROUP, end / GROUP);
        let panel = Panel {
            values: &self.values[start..end],
            scales: &self.scales[first..last],
            sums: &self.sums[first..last],
            half_sums: &self.half_sums[2 * first..2 * last],
            totals: &self.totals[first..last],
            half_totals: &self.half_totals[2 * first..2 * last],
        };
        (rows, panel)
    }
}

impl<'a> Parts<'a> {
    /// Cut off the parts of so many groups.
    fn split_off(&mut self, groups: usize) -> Parts<'a> {
        Parts {
            values: self
                .values
                .split_off_mut(..groups * GROUP)
                .unwrap_or_default(),
            scales: self.scales.split_off_mut(..groups).unwrap_or_default(),
            sums: self.sums.split_off_mut(..groups).unwrap_or_default(),
            half_sums: self
                .half_sums
                .split_off_mut(..2 * groups)
                .unwrap_or_default(),
            totals: self.totals.split_off_mut(..groups).unwrap_or_default(),
            half_totals: self
                .half_totals
                .split_off_mut(..2 * groups)
                .unwrap_or_default(),
        }
    }
}

/// Fill the panels of some rows.
fn quantise_rows(x: &[f32], cols: usize, mut parts: Parts<'_>, level: SimdLevel) {
    let mut x = x;
    while !x.is_empty() {
        let rows = panel_rows(level, x.len() / cols);
        let (own, rest) = x.split_at(rows * cols);
        let mut panel = parts.split_off(own.len() / GROUP);
        for (m, x) in own.chunks_exact(cols).enumerate() {
            quantise(x, (m, rows), &mut panel, level);
        }
        x = rest;
    }
}

/// Row `m` of a panel of so many.
fn quantise(x: &[f32], place: (usize, usize), parts: &mut Parts<'_>, level: SimdLevel) {
    match level {
        // SAFETY: the level says what the processor has.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { quantise_avx512(x, place, parts) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { quantise_avx2(x, place, parts) },
        _ => quantise_groups(x, place, parts, largest, round),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
fn quantise_avx512(x: &[f32], place: (usize, usize), parts: &mut Parts<'_>) {
    use super::rounding;
    quantise_groups(
        x,
        place,
        parts,
        |x| rounding::largest(x),
        |x, inverse, values| rounding::round(x, inverse, values),
    );
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn quantise_avx2(x: &[f32], place: (usize, usize), parts: &mut Parts<'_>) {
    quantise_groups(x, place, parts, largest, round);
}

#[inline(always)]
fn quantise_groups(
    x: &[f32],
    (m, rows): (usize, usize),
    parts: &mut Parts<'_>,
    largest: impl Fn(&[f32; GROUP]) -> f32,
    round: impl Fn(&[f32; GROUP], f32, &mut [i8; GROUP]) -> [i32; 2],
) {
    let (x, _) = x.as_chunks::<GROUP>();
    let (values, _) = parts.values.as_chunks_mut::<GROUP>();
    for (group, x) in x.iter().enumerate() {
        let at = group * rows + m;
        let halves = [2 * group * rows + m, (2 * group + 1) * rows + m];
        let largest = largest(x);
        let scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let both = round(x, inverse, &mut values[at]);
        parts.scales[at] = scale;
        parts.totals[at] = -(both[0] + both[1]);
        parts.sums[at] = (both[0] + both[1]) as f32 * scale;
        for (half, total) in halves.into_iter().zip(both) {
            parts.half_totals[half] = -total;
            parts.half_sums[half] = total as f32 * scale;
        }
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

    fn quantised(x: &[f32], cols: usize, threads: usize, level: SimdLevel) -> Activations {
        let mut quantised = Activations::default();
        quantised.quantise(&Pool::new(threads), x, cols, level);
        quantised
    }

    /// Check the panels of `rows` rows against the values they were made of.
    fn check(x: &[f32], cols: usize, quantised: &Activations) {
        let rows = x.len() / cols;
        let mut row = 0;
        while row < rows {
            let (count, panel) = quantised.panel(row, rows - row);
            for (m, x) in x[row * cols..][..count * cols].chunks(cols).enumerate() {
                for (group, x) in x.chunks(GROUP).enumerate() {
                    let at = group * count + m;
                    let (scale, values) = (panel.scales[at], &panel.values[at * GROUP..][..GROUP]);
                    for (value, x) in values.iter().zip(x) {
                        assert!((f32::from(*value) * scale - x).abs() <= scale * 0.5001);
                    }
                    let total = |values: &[i8]| values.iter().map(|v| i32::from(*v)).sum::<i32>();
                    assert_eq!(panel.totals[at], -total(values));
                    assert_eq!(panel.sums[at], total(values) as f32 * scale);
                    for (half, values) in values.chunks(HALF).enumerate() {
                        let at = (2 * group + half) * count + m;
                        assert_eq!(panel.half_totals[at], -total(values));
                        assert_eq!(panel.half_sums[at], total(values) as f32 * scale);
                    }
                }
            }
            row += count;
        }
    }

    #[test]
    fn values_are_within_half_a_step_and_sums_are_theirs() {
        for rows in [1, 2, 3, 7, 11, 12, 13, 40, 360] {
            let x: Vec<f32> = (0..rows * 96)
                .map(|i| (i as f32 * 0.7).sin() * 3.0)
                .collect();
            for level in SimdLevel::available() {
                check(&x, 96, &quantised(&x, 96, 2, level));
            }
        }
    }

    #[test]
    fn all_levels_round_alike() {
        let mut x: Vec<f32> = (0..256).map(|i| (i as f32 * 0.9).cos() * 0.3).collect();
        // With the largest at 127, halves of a step are ties.
        x[..4].copy_from_slice(&[127.0, 2.5, 3.5, -0.5]);
        let first = quantised(&x, 256, 1, SimdLevel::Scalar);
        assert_eq!(first.values[..4], [127, 2, 4, 0]);
        for level in SimdLevel::available() {
            let other = quantised(&x, 256, 1, level);
            assert_eq!(other.values, first.values);
            assert_eq!(other.scales, first.scales);
            assert_eq!(other.sums, first.sums);
            assert_eq!(other.half_totals, first.half_totals);
        }
    }

    #[test]
    fn zeros_stay_zero_and_nonsense_is_seen() {
        let mut x = vec![0.0; 64];
        x[40] = f32::NAN;
        let quantised = quantised(&x, 64, 1, SimdLevel::Scalar);
        let (_, panel) = quantised.panel(0, 1);
        assert_eq!(panel.scales[0], 0.0);
        assert!(panel.values[..32].iter().all(|value| *value == 0));
        assert!(panel.scales[1].is_nan());
    }
}
