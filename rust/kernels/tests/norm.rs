//! Norms and gated activations against plain arithmetic in f64.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{Gate, KernelError, Pool, add_rms_norm, gated, rms_norm, softcap};
use proptest::prelude::*;

fn plain_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let rows = x.chunks_exact(weight.len()).flat_map(|row| {
        let squares = row.iter().map(|x| f64::from(*x).powi(2));
        let mean = squares.sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + f64::from(eps)).sqrt();
        let values = row.iter().zip(weight);
        values.map(move |(x, weight)| f64::from(*x) * scale * f64::from(*weight))
    });
    rows.collect()
}

fn close(found: &[f32], expected: &[f64]) -> bool {
    let near = |(found, expected): (&f32, &f64)| {
        (f64::from(*found) - expected).abs() <= 2e-6 * expected.abs().max(1e-6)
    };
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

/// Rows of the same width, and weights for it.
fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1..5usize, 1..100usize).prop_flat_map(|(rows, width)| {
        let value = -30.0..30.0f32;
        (
            prop::collection::vec(value, rows * width),
            prop::collection::vec(-2.0..2.0f32, width),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_norm_is_that_of_its_row((x, weight) in rows(), eps in 1e-6..1e-2f32) {
        let mut out = vec![f32::NAN; x.len()];
        rms_norm(&Pool::new(1), &x, &weight, eps, &mut out).unwrap();
        prop_assert!(close(&out, &plain_norm(&x, &weight, eps)));
    }

    #[test]
    fn a_residual_takes_the_sum_and_the_norm_is_of_the_sum((x, weight) in rows(), more in -9.0..9.0f32) {
        let mut residual: Vec<f32> = x.iter().rev().map(|x| x + more).collect();
        let sums: Vec<f32> = residual.iter().zip(&x).map(|(a, b)| a + b).collect();
        let mut out = vec![f32::NAN; x.len()];
        add_rms_norm(&Pool::new(1), &mut residual, &x, &weight, 1e-5, &mut out).unwrap();
        prop_assert_eq!(&residual, &sums);
        prop_assert!(close(&out, &plain_norm(&sums, &weight, 1e-5)));
    }

    #[test]
    fn a_gate_lets_its_part_through((gate_up, f, bias) in (1..5usize, 1..50usize).prop_flat_map(|(m, f)| {
        let bias = prop::option::of(prop::collection::vec(-2.0..2.0f32, 2 * f));
        (prop::collection::vec(-30.0..30.0f32, 2 * m * f), Just(f), bias)
    })) {
        for gate in [Gate::Silu, Gate::Sigmoid, Gate::GeluTanh, Gate::Clamped { alpha: 1.7, limit: 7.0 }] {
            let mut out = vec![f32::NAN; gate_up.len() / 2];
            gated(&Pool::new(1), gate, &gate_up, bias.as_deref(), f, &mut out).unwrap();
            let expected = gate_up.chunks_exact(2 * f).flat_map(|row| {
                let value = |place: usize| f64::from(row[place] + bias.as_ref().map_or(0.0, |bias| bias[place]));
                (0..f).map(move |place| plain_gate(gate, value(place), value(f + place))).collect::<Vec<_>>()
            });
            for (found, expected) in out.iter().zip(expected) {
                let off = (f64::from(*found) - expected).abs();
                prop_assert!(off <= 4e-6 * expected.abs() + 1e-6, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_softcap_is_a_tangent(x in prop::collection::vec(-90.0..90.0f32, 1..70), cap in 0.5..60.0f32) {
        let mut capped = x.clone();
        softcap(&mut capped, cap);
        for (found, x) in capped.iter().zip(&x) {
            let (x, cap) = (f64::from(*x), f64::from(cap));
            prop_assert!((f64::from(*found) - cap * (x / cap).tanh()).abs() <= 5e-7 * cap);
        }
    }
}

fn plain_gate(gate: Gate, value: f64, up: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match gate {
        Gate::Silu => value * sigmoid(value) * up,
        Gate::Sigmoid => sigmoid(value) * up,
        Gate::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (value + 0.044_715 * value.powi(3));
            0.5 * value * (1.0 + inner.tanh()) * up
        }
        Gate::Clamped { alpha, limit } => {
            let (alpha, limit) = (f64::from(alpha), f64::from(limit));
            let value = value.min(limit);
            value * sigmoid(alpha * value) * (up.clamp(-limit, limit) + 1.0)
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others_nor_on_the_threads() {
    let (rows, width) = (37, 1200);
    let x: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.71).sin()).collect();
    let weight: Vec<f32> = (0..width).map(|i| (i as f32 * 0.3).cos()).collect();
    let norm = |threads, x: &[f32]| {
        let mut out = vec![f32::NAN; x.len()];
        rms_norm(&Pool::new(threads), x, &weight, 1e-5, &mut out).unwrap();
        out
    };
    let gate = |threads, x: &[f32]| {
        let mut out = vec![f32::NAN; x.len() / 2];
        gated(
            &Pool::new(threads),
            Gate::Silu,
            x,
            None,
            width / 2,
            &mut out,
        )
        .unwrap();
        out
    };
    let (norms, gated) = (norm(1, &x), gate(1, &x));
    for threads in [2, 3, 8] {
        assert_eq!(norm(threads, &x), norms);
        assert_eq!(gate(threads, &x), gated);
    }
    for (row, x) in x.chunks_exact(width).enumerate() {
        assert_eq!(norm(1, x), norms[row * width..][..width]);
        assert_eq!(gate(1, x), gated[row * width / 2..][..width / 2]);
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_and_nothing_is_written() {
    let pool = Pool::new(1);
    let mut out = [7.0; 6];
    assert!(rms_norm(&pool, &[0.0; 6], &[1.0; 4], 1e-5, &mut out).is_err());
    assert!(rms_norm(&pool, &[0.0; 8], &[1.0; 4], 1e-5, &mut out).is_err());
    assert!(matches!(
        rms_norm(&pool, &[], &[], 1e-5, &mut out),
        Err(KernelError::Zero { .. })
    ));
    let mut residual = [3.0; 6];
    assert!(add_rms_norm(&pool, &mut residual, &[1.0; 3], &[1.0; 3], 1e-5, &mut out).is_err());
    assert!(
        add_rms_norm(
            &pool,
            &mut residual,
            &[1.0; 6],
            &[1.0; 3],
            1e-5,
            &mut out[..3]
        )
        .is_err()
    );
    assert_eq!(residual, [3.0; 6]);
    assert!(gated(&pool, Gate::Silu, &[0.0; 11], None, 3, &mut out).is_err());
    assert!(gated(&pool, Gate::Silu, &[0.0; 12], None, 4, &mut out).is_err());
    assert!(gated(&pool, Gate::Silu, &[0.0; 12], None, 0, &mut out).is_err());
    assert!(gated(&pool, Gate::Silu, &[], None, usize::MAX, &mut []).is_err());
    assert_eq!(out, [7.0; 6]);
}
