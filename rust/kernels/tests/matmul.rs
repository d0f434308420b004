//! Products of packed weights against plain arithmetic on the decoded values.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{BlockType, PackedMatrix, Pool, Precision, Scratch, SimdLevel, dequantize};

const TYPES: [BlockType; 16] = [
    BlockType::F32,
    BlockType::F16,
    BlockType::BF16,
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
    BlockType::Q2K,
    BlockType::Q3K,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
    BlockType::IQ4NL,
    BlockType::IQ4XS,
    BlockType::MXFP4,
];
const COLS: usize = 512;

/// Random numbers; the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 31) as f32 * 2.0 - 1.0
    }
}

/// Where the half-precision numbers of a block are.
fn halves(ty: BlockType) -> &'static [usize] {
    match ty {
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q2K => &[80, 82],
        BlockType::Q3K => &[108],
        BlockType::Q6K => &[208],
        BlockType::MXFP4 => &[],
        _ => &[0],
    }
}

/// Random blocks whose scales are ordinary numbers.
fn blocks(ty: BlockType, values: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..ty.bytes_for(values).unwrap())
        .map(|_| random.next() as u8)
        .collect();
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        match ty {
            BlockType::F32 => block.copy_from_slice(&random.float().to_le_bytes()),
            BlockType::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(random.float()).to_le_bytes());
            }
            BlockType::MXFP4 => block[0] = 120 + (random.next() % 8) as u8,
            _ => {
                for &at in halves(ty) {
                    let number = half::f16::from_f32(random.float() * 0.1);
                    block[at..at + 2].copy_from_slice(&number.to_le_bytes());
                }
            }
        }
    }
    bytes
}

struct Case {
    matrix: PackedMatrix,
    values: Vec<f32>,
}

fn case(ty: BlockType, rows: usize, pool: &Pool) -> Case {
    let mut random = Random(ty as u64 + 1);
    let bytes = blocks(ty, rows * COLS, &mut random);
    let mut values = vec![0.0; rows * COLS];
    dequantize(ty, &bytes, &mut values).unwrap();
    let matrix = PackedMatrix::pack(ty, rows, COLS, &bytes, pool).unwrap();
    Case { matrix, values }
}

fn inputs(m: usize) -> Vec<f32> {
    let mut random = Random(7);
    (0..m * COLS).map(|_| random.float()).collect()
}

fn product(matrix: &PackedMatrix, pool: &Pool, x: &[f32]) -> Vec<f32> {
    let m = x.len() / COLS;
    let mut out = vec![f32::NAN; m * matrix.rows()];
    matrix
        .matmul(pool, x, m, &mut out, &mut Scratch::default())
        .unwrap();
    out
}

/// Products in f64, and how large the terms of each are together.
fn reference(values: &[f32], x: &[f32]) -> Vec<(f64, f64)> {
    let terms = |x: &[f32], row: &[f32]| {
        let terms = x
            .iter()
            .zip(row)
            .map(|(x, weight)| f64::from(*x) * f64::from(*weight));
        terms.fold((0.0, 0.0), |(sum, size): (f64, f64), term| {
            (sum + term, size + term.abs())
        })
    };
    let rows = x
        .chunks(COLS)
        .flat_map(|x| values.chunks(COLS).map(move |row| (x, row)));
    rows.map(|(x, row)| terms(x, row)).collect()
}

#[test]
fn exact_products_are_those_of_the_decoded_values() {
    let pool = Pool::new(2);
    for ty in TYPES {
        let Case { mut matrix, values } = case(ty, 35, &pool);
        matrix.set_precision(Precision::Exact);
        let x = inputs(3);
        for level in SimdLevel::available() {
            matrix.set_level(level);
            let found = product(&matrix, &pool, &x);
            for (found, (expected, size)) in found.iter().zip(reference(&values, &x)) {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= 1e-6 * size,
                    "{ty:?} {level:?}: {found} instead of {expected}"
                );
            }
        }
    }
}

#[test]
fn fast_products_are_off_by_the_rounding_of_activations_only() {
    let pool = Pool::new(2);
    for ty in TYPES {
        let Case { mut matrix, values } = case(ty, 35, &pool);
        let x = inputs(5);
        let mut first: Option<Vec<f32>> = None;
        for level in SimdLevel::available() {
            matrix.set_level(level);
            let found = product(&matrix, &pool, &x);
            let expected = reference(&values, &x);
            for (found, (expected, size)) in found.iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= 0.004 * size,
                    "{ty:?} {level:?}: {found} instead of {expected}"
                );
            }
            // The integers are the same; only the order of a few additions differs.
            let scalar = first.get_or_insert_with(|| found.clone());
            for ((found, scalar), (_, size)) in found.iter().zip(scalar).zip(&expected) {
                assert!(
                    f64::from((found - *scalar).abs()) <= 1e-6 * size,
                    "{ty:?} {level:?}"
                );
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others_nor_on_the_threads() {
    for ty in TYPES {
        let Case { mut matrix, .. } = case(ty, 300, &Pool::new(1));
        let x = inputs(27);
        for precision in [Precision::Fast, Precision::Exact] {
            matrix.set_precision(precision);
            for level in SimdLevel::available() {
                matrix.set_level(level);
                let together = product(&matrix, &Pool::new(3), &x);
                for (x, together) in x.chunks(COLS).zip(together.chunks(300)) {
                    assert_eq!(
                        product(&matrix, &Pool::new(1), x),
                        together,
                        "{ty:?} {level:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_come_back_bit_for_bit() {
    let pool = Pool::new(2);
    for ty in TYPES {
        let Case { matrix, values } = case(ty, 35, &pool);
        for (row, expected) in values.chunks(COLS).enumerate() {
            let mut found = vec![0.0; COLS];
            matrix.row(row, &mut found).unwrap();
            let same = found
                .iter()
                .zip(expected)
                .all(|(found, expected)| found == expected);
            assert!(same, "{ty:?} row {row}");
        }
        assert!(matrix.row(35, &mut vec![0.0; COLS]).is_err());
    }
}

#[test]
fn stacked_matrices_of_several_types_compute_as_one() {
    let pool = Pool::new(2);
    let parts = [
        (BlockType::Q4_1, 35),
        (BlockType::F32, 16),
        (BlockType::Q6K, 7),
    ];
    let x = inputs(3);
    let mut expected = vec![Vec::new(); 3];
    let mut packed = Vec::new();
    for (ty, rows) in parts {
        let Case { matrix, .. } = case(ty, rows, &pool);
        for (expected, part) in expected
            .iter_mut()
            .zip(product(&matrix, &pool, &x).chunks(rows))
        {
            expected.extend_from_slice(part);
        }
        packed.push(matrix);
    }
    let fused = PackedMatrix::fuse(packed).unwrap();
    assert_eq!((fused.rows(), fused.cols()), (58, COLS));
    assert_eq!(product(&fused, &pool, &x), expected.concat());
}

#[test]
fn weights_take_the_bytes_that_the_file_has() {
    let pool = Pool::new(1);
    for (ty, most) in [
        (BlockType::Q4_0, 1.0),
        (BlockType::Q4_1, 1.0),
        (BlockType::Q5_0, 1.0),
        (BlockType::Q5_1, 1.0),
        (BlockType::Q8_0, 1.0),
        (BlockType::IQ4NL, 1.0),
        (BlockType::Q6K, 1.0),
        // A byte for each six-bit scale.
        (BlockType::Q4K, 1.03),
        (BlockType::Q5K, 1.03),
        (BlockType::IQ4XS, 1.02),
    ] {
        let Case { matrix, values } = case(ty, 64, &pool);
        let ratio = matrix.bytes() as f64 / ty.bytes_for(values.len()).unwrap() as f64;
        assert!((1.0..=most).contains(&ratio), "{ty:?} {ratio}");
    }
}

#[test]
fn the_size_is_known_before_a_matrix_is_packed() {
    let pool = Pool::new(1);
    for ty in TYPES {
        let Case { matrix, .. } = case(ty, 35, &pool);
        let (bytes, most) = (matrix.bytes() as u64, PackedMatrix::bytes_for(ty, 35, COLS));
        assert!(
            bytes <= most && 2 * bytes > most,
            "{ty:?}: {bytes} of {most}"
        );
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let pool = Pool::new(1);
    assert!(PackedMatrix::pack(BlockType::Q4_0, 1, 33, &[0; 18], &pool).is_err());
    assert!(PackedMatrix::pack(BlockType::Q4_0, 2, 32, &[0; 18], &pool).is_err());
    assert!(PackedMatrix::pack(BlockType::Q4_0, 0, 32, &[], &pool).is_err());
    assert!(PackedMatrix::pack(BlockType::TQ1_0, 1, 256, &[0; 54], &pool).is_err());
    let Case { matrix, .. } = case(BlockType::Q4_0, 4, &pool);
    let mut scratch = Scratch::default();
    assert!(
        matrix
            .matmul(&pool, &[0.0; 5], 1, &mut [0.0; 4], &mut scratch)
            .is_err()
    );
    assert!(
        matrix
            .matmul(&pool, &[0.0; COLS], 1, &mut [0.0; 3], &mut scratch)
            .is_err()
    );
}

#[test]
fn a_matrix_with_very_many_outputs_gives_all_of_them() {
    let Case { matrix, .. } = case(BlockType::Q4_0, 8_209, &Pool::new(2));
    let x = inputs(27);
    let together = product(&matrix, &Pool::new(2), &x);
    for (x, together) in x.chunks(COLS).zip(together.chunks(8_209)) {
        assert_eq!(product(&matrix, &Pool::new(1), x), together);
    }
}
