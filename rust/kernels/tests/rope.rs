//! Rotary embedding against rotations in f64.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{KernelError, rope_interleaved, rope_neox};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    heads: usize,
    head_dim: usize,
    pairs: usize,
    x: Vec<f32>,
    /// `[tokens, pairs]`.
    angles: Vec<f64>,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (0..5usize, 1..4usize, 1..70usize, 0..40usize);
    sizes.prop_flat_map(|(tokens, heads, head_dim, pairs)| {
        let pairs = pairs.min(head_dim / 2);
        let values = prop::collection::vec(-9.0..9.0f32, tokens * heads * head_dim);
        let angles = prop::collection::vec(-7.0..7.0, tokens * pairs);
        (values, angles).prop_map(move |(x, angles)| Case {
            heads,
            head_dim,
            pairs,
            x,
            angles,
        })
    })
}

impl Case {
    fn tables(&self) -> (Vec<f32>, Vec<f32>) {
        let cos = self.angles.iter().map(|angle| angle.cos() as f32);
        let sin = self.angles.iter().map(|angle| angle.sin() as f32);
        (cos.collect(), sin.collect())
    }

    /// The result when pair `i` of a head is at the places that `pair` says.
    fn rotated(&self, pair: impl Fn(usize) -> (usize, usize)) -> Vec<f64> {
        let mut out: Vec<f64> = self.x.iter().map(|x| f64::from(*x)).collect();
        for (number, head) in out.chunks_exact_mut(self.head_dim).enumerate() {
            let token = number / self.heads;
            for i in 0..self.pairs {
                let (sin, cos) = self.angles[token * self.pairs + i].sin_cos();
                let (first, second) = pair(i);
                let (a, b) = (head[first], head[second]);
                head[first] = a * cos - b * sin;
                head[second] = a * sin + b * cos;
            }
        }
        out
    }
}

fn close(found: &[f32], expected: &[f64]) -> bool {
    let mut both = found.iter().zip(expected);
    both.all(|(found, expected)| (f64::from(*found) - expected).abs() < 5e-6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pairs_turn_by_their_angle(case in cases()) {
        let (cos, sin) = case.tables();
        let mut halves = case.x.clone();
        rope_neox(&mut halves, case.heads, case.head_dim, &cos, &sin).unwrap();
        prop_assert!(close(&halves, &case.rotated(|i| (i, i + case.pairs))));
        let mut neighbours = case.x.clone();
        rope_interleaved(&mut neighbours, case.heads, case.head_dim, &cos, &sin).unwrap();
        prop_assert!(close(&neighbours, &case.rotated(|i| (2 * i, 2 * i + 1))));
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused(
        (len, heads, head_dim) in (0..40usize, 0..4usize, 0..9usize),
        (cos, sin) in (0..20usize, 0..20usize),
    ) {
        let mut x = vec![1.0; len];
        let width = heads * head_dim;
        let tokens = len.checked_div(width).unwrap_or(0);
        let whole = width > 0 && tokens * width == len && cos == sin;
        let fits = whole && (tokens == 0 || (cos % tokens == 0 && 2 * (cos / tokens) <= head_dim));
        let (cos, sin) = (vec![0.5; cos], vec![0.5; sin]);
        let result = rope_neox(&mut x, heads, head_dim, &cos, &sin);
        prop_assert_eq!(result.is_ok(), fits, "{:?}", result);
        prop_assert!(result.is_ok() || x.iter().all(|x| *x == 1.0));
        prop_assert_eq!(result, rope_interleaved(&mut x, heads, head_dim, &cos, &sin));
    }
}

#[test]
fn more_pairs_than_a_head_has_are_named() {
    let result = rope_neox(&mut [0.0; 4], 1, 4, &[0.0; 3], &[0.0; 3]);
    let (what, index, len) = ("rotary pair", 3, 2);
    assert_eq!(result, Err(KernelError::OutOfRange { what, index, len }));
}
