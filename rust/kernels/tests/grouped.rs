//! Grouped products against the products of each matrix alone.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{BlockType, Group, PackedMatrix, Pool, Scratch, grouped_matmul};
use proptest::prelude::*;

const COLS: usize = 64;

/// A matrix of a type, from bytes that make sense in it.
fn matrix(ty: BlockType, rows: usize, seed: usize) -> PackedMatrix {
    let bytes: Vec<u8> = match ty {
        BlockType::F32 => (0..rows * COLS)
            .flat_map(|i| ((i * 7 + seed) as f32).sin().to_le_bytes())
            .collect(),
        _ => (0..rows * COLS / 32)
            .flat_map(|block| {
                // Q8_0: half precision 0.0156, then 32 weights.
                let weights = (0..32).map(move |i| ((block * 31 + i * 17 + seed * 5) % 255) as u8);
                [0x00, 0x24].into_iter().chain(weights)
            })
            .collect(),
    };
    PackedMatrix::pack(ty, rows, COLS, &bytes, &Pool::new(1)).unwrap()
}

fn input(m: usize) -> Vec<f32> {
    (0..m * COLS).map(|i| (i as f32 * 0.37).cos()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_group_is_its_own_product(
        sizes in prop::collection::vec(0..20usize, 1..7),
        rows in prop_oneof![Just(16usize), Just(48), Just(20), Just(200)],
        threads in 1..4usize,
        quantised in any::<bool>(),
    ) {
        let ty = if quantised { BlockType::Q8_0 } else { BlockType::F32 };
        let matrices: Vec<_> = (0..sizes.len()).map(|seed| matrix(ty, rows, seed)).collect();
        let m: usize = sizes.iter().sum();
        let x = input(m);
        let mut start = 0;
        let groups = matrices.iter().zip(&sizes).map(|(matrix, size)| {
            start += size;
            Group { matrix, rows: start - size..start }
        });
        let groups: Vec<_> = groups.collect();
        let (pool, mut scratch) = (Pool::new(threads), Scratch::default());
        let mut found = vec![f32::NAN; m * rows];
        grouped_matmul(&pool, &groups, &x, &mut found, &mut scratch).unwrap();
        for Group { matrix, rows: own } in &groups {
            let mut alone = vec![f32::NAN; own.len() * rows];
            let x = &x[own.start * COLS..own.end * COLS];
            matrix.matmul(&pool, x, own.len(), &mut alone, &mut scratch).unwrap();
            prop_assert_eq!(&found[own.start * rows..own.end * rows], &alone);
        }
    }
}

#[test]
fn groups_that_do_not_cover_the_input_are_refused() {
    let (a, b) = (matrix(BlockType::F32, 16, 1), matrix(BlockType::F32, 32, 2));
    let (x, mut out) = (input(4), vec![0.0; 64]);
    let mut run = |groups: &[Group<'_>]| {
        grouped_matmul(&Pool::new(1), groups, &x, &mut out, &mut Scratch::default())
    };
    let group = |matrix, rows| Group { matrix, rows };
    assert!(run(&[group(&a, 0..4)]).is_ok());
    assert!(run(&[group(&a, 0..2), group(&a, 2..4)]).is_ok());
    assert!(run(&[group(&a, 0..3)]).is_err());
    assert!(run(&[group(&a, 0..2), group(&a, 1..4)]).is_err());
    assert!(run(&[group(&a, 0..2), group(&b, 2..4)]).is_err());
    assert!(run(&[group(&a, 0..5)]).is_err());
    assert!(run(&[]).is_err());
}
