//! What encoders need, against plain arithmetic in f64: layer norm, the exact GELU, attention in both directions.
#![allow(clippy::unwrap_used)]

use std::ops::Range;

use cortex_kernels::{FullAttention, KernelError, Pool, gelu, gelu_mul, layer_norm};
use proptest::prelude::*;

fn random(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn randoms(seed: u64, len: usize) -> Vec<f32> {
    let mut seed = seed;
    (0..len).map(|_| random(&mut seed)).collect()
}

/// Largest difference.
fn off(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |worst, (found, expected)| {
        worst.max((f64::from(*found) - expected).abs())
    })
}

fn plain_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let rows = x.chunks_exact(weight.len()).flat_map(|row| {
        let values: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let scale = 1.0 / (variance / values.len() as f64 + eps).sqrt();
        let parts = values.into_iter().zip(weight).zip(bias);
        parts.map(move |((x, weight), bias)| {
            (x - mean) * scale * f64::from(*weight) + f64::from(*bias)
        })
    });
    rows.collect()
}

#[test]
fn layer_norm_has_mean_variance_weight_and_bias() {
    for (rows, width) in [(1, 1), (3, 7), (5, 64), (2, 771)] {
        let x: Vec<f32> = randoms(1, rows * width)
            .iter()
            .map(|x| x * 4.0 + 2.5)
            .collect();
        let (weight, bias) = (randoms(2, width), randoms(3, width));
        let mut out = vec![f32::NAN; x.len()];
        let pool = Pool::new(1);
        layer_norm(&pool, &x, &weight, Some(&bias), 1e-5, &mut out).unwrap();
        assert!(off(&out, &plain_norm(&x, &weight, &bias, 1e-5)) < 3e-6);
        layer_norm(&pool, &x, &weight, None, 1e-5, &mut out).unwrap();
        assert!(off(&out, &plain_norm(&x, &weight, &vec![0.0; width], 1e-5)) < 3e-6);
    }
}

/// `x * Φ(x)`, the integral of the bell curve by Simpson's rule.
fn plain_gelu(x: f64) -> f64 {
    let steps = 2_000;
    let step = x / f64::from(steps);
    let bell = |t: f64| (-t * t / 2.0).exp();
    let inner = (1..steps).map(|i| {
        let factor = if i % 2 == 1 { 4.0 } else { 2.0 };
        factor * bell(f64::from(i) * step)
    });
    let integral = (bell(0.0) + inner.sum::<f64>() + bell(x)) * step / 3.0;
    x * (0.5 + integral / (2.0 * std::f64::consts::PI).sqrt())
}

#[test]
fn gelu_is_the_exact_one() {
    let x: Vec<f32> = (-600..=600).map(|i| i as f32 / 100.0).collect();
    let mut out = vec![f32::NAN; x.len()];
    gelu(&Pool::new(1), &x, x.len(), None, &mut out).unwrap();
    let expected: Vec<f64> = x.iter().map(|x| plain_gelu(f64::from(*x))).collect();
    // Two units in the last place of 6.
    assert!(off(&out, &expected) < 1e-6);
    let tanh = |x: f64| {
        let inside = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        0.5 * x * (1.0 + inside.tanh())
    };
    let other: Vec<f64> = x.iter().map(|x| tanh(f64::from(*x))).collect();
    assert!(
        off(&out, &other) > 1e-4,
        "this test could not tell them apart"
    );
}

#[test]
fn a_bias_comes_before_the_gelu_and_a_gate_multiplies_after_it() {
    let (rows, f) = (3, 37);
    let (x, bias) = (randoms(4, rows * f), randoms(5, f));
    let mut out = vec![f32::NAN; x.len()];
    gelu(&Pool::new(1), &x, f, Some(&bias), &mut out).unwrap();
    let sums = x.chunks_exact(f).flat_map(|row| row.iter().zip(&bias));
    let expected: Vec<f64> = sums
        .map(|(x, bias)| plain_gelu(f64::from(x + bias)))
        .collect();
    assert!(off(&out, &expected) < 4e-7);

    let gate_up = randoms(6, 2 * rows * f);
    gelu_mul(&Pool::new(1), &gate_up, f, &mut out).unwrap();
    let rows = gate_up.chunks_exact(2 * f).map(|row| row.split_at(f));
    let expected: Vec<f64> = rows
        .flat_map(|(gate, up)| gate.iter().zip(up))
        .map(|(gate, up)| plain_gelu(f64::from(*gate)) * f64::from(*up))
        .collect();
    assert!(off(&out, &expected) < 4e-7);
}

struct Texts {
    shape: FullAttention,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Texts {
    fn new(shape: FullAttention, rows: usize) -> Self {
        let len = rows * shape.heads * shape.head_dim;
        let q = randoms(7, len).iter().map(|q| q * 3.0).collect();
        let (k, v) = (randoms(8, len), randoms(9, len));
        Self { shape, q, k, v }
    }

    fn attend(&self, threads: usize, texts: &[Range<usize>]) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        let pool = Pool::new(threads);
        self.shape
            .run(&pool, &self.q, &self.k, &self.v, texts, &mut out)
            .unwrap();
        out
    }

    /// One head of one token, in f64.
    fn plain(&self, text: &Range<usize>, row: usize, head: usize) -> Vec<f64> {
        let FullAttention {
            heads,
            head_dim: dim,
            scale,
            reach,
        } = self.shape;
        let at = |x: &[f32], row: usize| -> Vec<f64> {
            let start = (row * heads + head) * dim;
            x[start..start + dim]
                .iter()
                .map(|x| f64::from(*x))
                .collect()
        };
        let query = at(&self.q, row);
        let seen = text
            .clone()
            .filter(|other| reach.is_none_or(|reach| row.abs_diff(*other) <= reach));
        let weights: Vec<(usize, f64)> = seen
            .map(|other| {
                let key = at(&self.k, other);
                let score: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                (other, (score * f64::from(scale)).exp())
            })
            .collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut sum = vec![0.0; dim];
        for (other, weight) in weights {
            for (sum, value) in sum.iter_mut().zip(at(&self.v, other)) {
                *sum += weight / total * value;
            }
        }
        sum
    }
}

fn shape(heads: usize, head_dim: usize, reach: Option<usize>) -> FullAttention {
    FullAttention {
        heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        reach,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_token_sees_its_text_as_far_as_it_reaches(
        lengths in prop::collection::vec(0..150usize, 1..4),
        heads in 1..4usize,
        dim in prop::sample::select(vec![1, 8, 16, 20, 33, 64]),
        reach in prop::option::of(0..90usize),
    ) {
        let rows: usize = lengths.iter().sum();
        let mut start = 0;
        let texts: Vec<Range<usize>> = lengths.iter().map(|len| {
            start += len;
            start - len..start
        }).collect();
        let all = Texts::new(shape(heads, dim, reach), rows);
        let out = all.attend(2, &texts);
        for text in &texts {
            let alone = all.attend(1, std::slice::from_ref(text));
            for row in text.clone() {
                for head in 0..heads {
                    let span = (row * heads + head) * dim..(row * heads + head + 1) * dim;
                    prop_assert_eq!(&out[span.clone()], &alone[span.clone()]);
                    prop_assert!(off(&out[span], &all.plain(text, row, head)) < 3e-6);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let texts = Texts::new(shape(2, 8, None), 4);
    let run = |shape: FullAttention, k: &[f32], first: Range<usize>, second: Range<usize>| {
        let (mut out, ranges) = (vec![0.0; texts.q.len()], [first, second]);
        shape.run(&Pool::new(1), &texts.q, k, &texts.v, &ranges, &mut out)
    };
    let good = texts.shape;
    assert!(run(good, &texts.k, 0..4, 4..4).is_ok());
    assert!(run(good, &texts.k[1..], 0..4, 4..4).is_err());
    let empty = FullAttention { heads: 0, ..good };
    assert!(run(empty, &texts.k, 0..4, 4..4).is_err());
    let beyond = run(good, &texts.k, 0..4, 4..5).unwrap_err();
    assert!(matches!(beyond, KernelError::OutOfRange { .. }));
    let twice = run(good, &texts.k, 0..3, 2..4).unwrap_err();
    assert!(matches!(twice, KernelError::Shared { .. }));
    let (pool, mut out) = (Pool::new(1), [0.0; 4]);
    assert!(layer_norm(&pool, &[1.0; 4], &[1.0; 2], Some(&[0.0]), 1e-5, &mut out).is_err());
    assert!(gelu(&pool, &[1.0; 4], 2, Some(&[0.0; 3]), &mut out).is_err());
    assert!(gelu(&pool, &[1.0; 4], 0, None, &mut out).is_err());
    assert!(gelu_mul(&pool, &[1.0; 4], 4, &mut out).is_err());
}
