//! Histogram: how often measured values fell into fixed buckets.

/// Room for the buckets of any histogram, so that one is copied without allocating.
const MOST_BUCKETS: usize = 24;

/// Counts by upper bound. A value belongs to the first bucket whose bound is not below it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: [u64; MOST_BUCKETS],
    sum: f64,
}

impl Histogram {
    /// An empty one; `bounds` ascend, and there are fewer of them than `MOST_BUCKETS`.
    pub(crate) const fn new(bounds: &'static [f64]) -> Self {
        assert!(
            bounds.len() < MOST_BUCKETS,
            "no room for values above all bounds"
        );
        Self {
            bounds,
            counts: [0; MOST_BUCKETS],
            sum: 0.0,
        }
    }

    /// Count a value.
    pub(crate) fn observe(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// The highest value of each bucket but the last.
    pub fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// Values of each bucket alone; one more than there are bounds: the last is of those above all.
    pub fn counts(&self) -> &[u64] {
        &self.counts[..=self.bounds.len()]
    }

    /// All values together.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)]
    use super::*;

    #[test]
    fn a_value_is_counted_once_below_its_bound_and_one_above_all_too() {
        let mut histogram = Histogram::new(&[1.0, 2.0, 4.0]);
        for value in [0.0, 1.0, 1.5, 4.0, 4.5, 100.0] {
            histogram.observe(value);
        }
        assert_eq!(histogram.counts(), [2, 1, 1, 2]);
        assert_eq!((histogram.count(), histogram.sum()), (6, 111.0));
        assert_eq!(histogram.bounds().len() + 1, histogram.counts().len());
    }

    #[test]
    fn an_empty_one_has_its_buckets() {
        let histogram = Histogram::new(&[1.0]);
        assert_eq!(histogram.counts(), [0, 0]);
        assert_eq!((histogram.count(), histogram.sum()), (0, 0.0));
    }
}
