//! Speed of products, for the shapes of a small model.
//!
//! `cargo bench -p cortex-kernels -- [TYPE] [THREADS] [ROUNDS]`. Weights of several layers are used in turn, so
//! that one row of activations reads from memory, as a decoder does. Cases take turns in every round; the median
//! and the best round are printed. GB/s counts the bytes of the weights, GMAC/s multiplications.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]

use std::time::Instant;

use cortex_kernels::{BlockType, PackedMatrix, Pool, Scratch, SimdLevel};

/// Outputs, inputs and the matrices of that shape that are used in turn.
const SHAPES: [(usize, usize, usize); 5] = [
    (576, 576, 30),
    (192, 576, 60),
    (1536, 576, 60),
    (576, 1536, 30),
    (49_152, 576, 1),
];
/// Rows of activations: one token, a small batch, a piece of a prompt.
const ROWS: [usize; 3] = [1, 8, 128];

struct Case {
    level: SimdLevel,
    m: usize,
    seconds: Vec<f64>,
}

struct Shape {
    matrices: Vec<PackedMatrix>,
    x: Vec<f32>,
    out: Vec<f32>,
}

impl Shape {
    fn new(ty: BlockType, (rows, cols, count): (usize, usize, usize), pool: &Pool) -> Self {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Below the exponents of half precision that mean infinity.
            (state >> 24) as u8 & 0x3b
        };
        let bytes: Vec<u8> = (0..ty.bytes_for(rows * cols).unwrap())
            .map(|_| byte())
            .collect();
        let pack = || PackedMatrix::pack(ty, rows, cols, &bytes, pool).unwrap();
        let most = ROWS.into_iter().max().unwrap_or(1);
        Self {
            matrices: std::iter::repeat_with(pack).take(count).collect(),
            x: (0..most * cols).map(|i| (i as f32 * 0.37).sin()).collect(),
            out: vec![0.0; most * rows],
        }
    }

    /// Seconds of one product with each matrix.
    fn time(&mut self, level: SimdLevel, m: usize, pool: &Pool, scratch: &mut Scratch) -> f64 {
        for matrix in &mut self.matrices {
            matrix.set_level(level);
        }
        let start = Instant::now();
        for matrix in &self.matrices {
            let (x, out) = (&self.x[..m * matrix.cols()], m * matrix.rows());
            matrix
                .matmul(pool, x, m, &mut self.out[..out], scratch)
                .unwrap();
        }
        start.elapsed().as_secs_f64()
    }
}

fn measure(ty: BlockType, dimensions: (usize, usize, usize), pool: &Pool, rounds: usize) {
    let mut shape = Shape::new(ty, dimensions, pool);
    let mut scratch = Scratch::default();
    let levels = SimdLevel::available().filter(|level| *level > SimdLevel::Scalar);
    let mut cases: Vec<Case> = levels
        .flat_map(|level| {
            ROWS.map(|m| Case {
                level,
                m,
                seconds: Vec::new(),
            })
        })
        .collect();
    for _ in 0..rounds {
        for case in &mut cases {
            let seconds = shape.time(case.level, case.m, pool, &mut scratch);
            case.seconds.push(seconds);
        }
    }
    for case in &mut cases {
        case.seconds.sort_by(f64::total_cmp);
        print(ty, dimensions, &shape, case);
    }
}

fn print(ty: BlockType, (rows, cols, count): (usize, usize, usize), shape: &Shape, case: &Case) {
    let bytes: usize = shape.matrices.iter().map(PackedMatrix::bytes).sum();
    let products = (rows * cols * count * case.m) as f64;
    let (best, median) = (case.seconds[0], case.seconds[case.seconds.len() / 2]);
    println!(
        "{:6} {rows:5}x{cols:<4} m={:<3} {:8} median {:6.1} GB/s {:6.1} GMAC/s   best {:6.1} GB/s {:6.1} GMAC/s",
        ty.name(),
        case.m,
        case.level.name(),
        bytes as f64 / median / 1e9,
        products / median / 1e9,
        bytes as f64 / best / 1e9,
        products / best / 1e9,
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds an option of its own.
    let mut words = arguments.iter().filter(|word| !word.starts_with("--"));
    let name = words.next().map_or("Q4_1", String::as_str);
    let ty = BlockType::all().find(|ty| ty.name() == name);
    let ty = ty.unwrap_or(BlockType::Q4_1);
    let threads = words.next().map_or(1, |word| word.parse().unwrap());
    let rounds = words.next().map_or(15, |word| word.parse().unwrap());
    let pool = Pool::new(threads);
    for dimensions in SHAPES {
        measure(ty, dimensions, &pool, rounds);
    }
}
