//! Norms and the gated activation against plain arithmetic in f64.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{KernelError, Pool, add_rms_norm, rms_norm, silu_mul};
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
    fn gates_open_by_their_sigmoid((gate_up, f) in (1..4usize, 1..70usize).prop_flat_map(|(m, f)| {
        (prop::collection::vec(-60.0..60.0f32, 2 * m * f), Just(f))
    })) {
        let mut out = vec![f32::NAN; gate_up.len() / 2];
        silu_mul(&Pool::new(1), &gate_up, f, &mut out).unwrap();
        let expected: Vec<f64> = gate_up.chunks_exact(2 * f).flat_map(|row| {
            let (gate, up) = row.split_at(f);
            gate.iter().zip(up).map(|(gate, up)| {
                let gate = f64::from(*gate);
                gate / (1.0 + (-gate).exp()) * f64::from(*up)
            })
        }).collect();
        prop_assert!(close(&out, &expected));
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
        silu_mul(&Pool::new(threads), x, width / 2, &mut out).unwrap();
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
    assert!(silu_mul(&pool, &[0.0; 11], 3, &mut out).is_err());
    assert!(silu_mul(&pool, &[0.0; 12], 4, &mut out).is_err());
    assert!(silu_mul(&pool, &[0.0; 12], 0, &mut out).is_err());
    assert!(silu_mul(&pool, &[], usize::MAX, &mut []).is_err());
    assert_eq!(out, [7.0; 6]);
}
