//! Speed of products, for the shapes of a small model.
//!
//! `cargo bench -p cortex-kernels --bench matmul -- [TYPE] [THREADS] [ROUNDS]`. Shapes whose rows are not whole
//! blocks of the type are left out. Matrices are used in turn, more of them
//! than a cache holds, so that one row of activations reads from memory, as a decoder does. Cases take turns in
//! every round. Each product is timed by itself, and the median and the tenth best of a hundred are printed: on a
//! busy machine the second is nearer to what the kernel can do. GB/s counts the bytes of the weights, GMAC/s multiplications.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]

use std::time::Instant;

use cortex_kernels::{BlockType, PackedMatrix, Pool, Scratch, SimdLevel};

/// Outputs and inputs.
const SHAPES: [(usize, usize); 5] = [
    (576, 576),
    (192, 576),
    (1536, 576),
    (576, 1536),
    (49_152, 576),
];
/// Weights of all matrices of a shape.
const WEIGHTS: usize = 100_000_000;
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
    fn new(ty: BlockType, (rows, cols): (usize, usize), pool: &Pool) -> Self {
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
            matrices: std::iter::repeat_with(pack)
                .take(WEIGHTS.div_ceil(rows * cols))
                .collect(),
            x: (0..most * cols).map(|i| (i as f32 * 0.37).sin()).collect(),
            out: vec![0.0; most * rows],
        }
    }

    /// Time a product with each matrix.
    fn time(&mut self, case: &mut Case, pool: &Pool, scratch: &mut Scratch) {
        for matrix in &mut self.matrices {
            matrix.set_level(case.level);
            let (x, out) = (case.m * matrix.cols(), case.m * matrix.rows());
            let start = Instant::now();
            matrix
                .matmul(pool, &self.x[..x], case.m, &mut self.out[..out], scratch)
                .unwrap();
            case.seconds.push(start.elapsed().as_secs_f64());
        }
    }
}

fn measure(ty: BlockType, dimensions: (usize, usize), pool: &Pool, rounds: usize) {
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
            shape.time(case, pool, &mut scratch);
        }
    }
    for case in &mut cases {
        case.seconds.sort_by(f64::total_cmp);
        print(ty, dimensions, &shape, case);
    }
}

fn print(ty: BlockType, (rows, cols): (usize, usize), shape: &Shape, case: &Case) {
    let bytes = shape.matrices[0].bytes();
    let products = (rows * cols * case.m) as f64;
    let samples = case.seconds.len();
    let (good, median) = (case.seconds[samples / 10], case.seconds[samples / 2]);
    println!(
        "{:6} {rows:5}x{cols:<4} m={:<3} {:8} median {:6.1} GB/s {:6.1} GMAC/s   good {:6.1} GB/s {:6.1} GMAC/s",
        ty.name(),
        case.m,
        case.level.name(),
        bytes as f64 / median / 1e9,
        products / median / 1e9,
        bytes as f64 / good / 1e9,
        products / good / 1e9,
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds an option of its own.
    let mut words = arguments.iter().filter(|word| !word.starts_with("--"));
    let name = words.next().map_or("Q4_1", String::as_str);
    let ty = BlockType::all().find(|ty| ty.name() == name);
    let ty = ty.unwrap();
    let threads = words.next().map_or(1, |word| word.parse().unwrap());
    let rounds = words.next().map_or(5, |word| word.parse().unwrap());
    let pool = Pool::new(threads);
    let fits = |(_, cols): &(usize, usize)| cols.is_multiple_of(ty.block_len());
    for dimensions in SHAPES.into_iter().filter(fits) {
        measure(ty, dimensions, &pool, rounds);
    }
}
