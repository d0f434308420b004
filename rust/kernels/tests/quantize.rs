//! Blocks made of numbers: near them, and `Q8_0` as the reference makes them.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{BlockType, PackedMatrix, Pool, dequantize, quantize};

/// About normally distributed numbers; the same every time.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 9_u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count)
        .map(|_| (0..6).map(|_| uniform()).sum::<f32>() * 0.05)
        .collect()
}

fn there_and_back(ty: BlockType, x: &[f32]) -> Vec<f32> {
    let mut blocks = vec![0; ty.bytes_for(x.len()).unwrap()];
    quantize(ty, x, &mut blocks).unwrap();
    let mut back = vec![0.0; x.len()];
    dequantize(ty, &blocks, &mut back).unwrap();
    back
}

/// Root of the mean square error by that of the numbers.
fn error(x: &[f32], back: &[f32]) -> f32 {
    let wrong: f32 = x.iter().zip(back).map(|(a, b)| (a - b).powi(2)).sum();
    let size: f32 = x.iter().map(|a| a * a).sum();
    (wrong / size).sqrt()
}

#[test]
fn errors_are_those_of_the_bits() {
    let x = numbers(256 * 64);
    for (ty, most) in [
        (BlockType::Q8_0, 0.006),
        (BlockType::Q6K, 0.018),
        (BlockType::Q4K, 0.075),
    ] {
        let found = error(&x, &there_and_back(ty, &x));
        assert!(found < most && found > most / 3.0, "{ty:?}: {found}");
    }
}

#[test]
fn one_sided_and_empty_runs_keep_their_values() {
    for ty in [BlockType::Q8_0, BlockType::Q6K, BlockType::Q4K] {
        assert_eq!(there_and_back(ty, &[0.0; 256]), [0.0; 256]);
        for sign in [1.0, -1.0] {
            let x: Vec<f32> = numbers(256)
                .iter()
                .map(|x| sign * (x.abs() + 0.2))
                .collect();
            assert!(error(&x, &there_and_back(ty, &x)) < 0.03, "{ty:?} {sign}");
        }
    }
}

#[test]
fn eight_bits_are_the_references() {
    let mut x = vec![0.0; 32];
    x[..5].copy_from_slice(&[12.7, 0.05, -0.05, 0.15, -12.7]);
    let mut block = vec![0; 34];
    quantize(BlockType::Q8_0, &x, &mut block).unwrap();
    // Half of a tenth as a half-precision number; ties go away from zero.
    assert_eq!(block[..2], half::f16::from_f32(0.1).to_le_bytes());
    let values: Vec<i8> = block[2..7].iter().map(|byte| *byte as i8).collect();
    assert_eq!(values[0], 127);
    assert_eq!(values[4], -127);
}

#[test]
fn a_matrix_is_quantised_as_it_is_packed() {
    let pool = Pool::new(2);
    let x = numbers(35 * 512);
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    for ty in [BlockType::Q8_0, BlockType::Q6K, BlockType::Q4K] {
        let matrix = PackedMatrix::pack_as(ty, BlockType::F32, 35, 512, &bytes, &pool).unwrap();
        let expected = there_and_back(ty, &x);
        for (row, expected) in expected.chunks(512).enumerate() {
            let mut found = vec![0.0; 512];
            matrix.row(row, &mut found).unwrap();
            assert_eq!(found, expected, "{ty:?}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(quantize(BlockType::Q4K, &[0.0; 32], &mut [0; 144]).is_err());
    assert!(quantize(BlockType::Q8_0, &[0.0; 32], &mut [0; 33]).is_err());
    assert!(quantize(BlockType::Q4_0, &[0.0; 32], &mut [0; 18]).is_err());
}
