//! Weight matrices in a kernel layout.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::matmul::{
    Activations, FloatTiles, IntegerTiles, Lanes, TILE, Target, float_products, integer_products,
    packed_bytes, rows_at_once,
};
use crate::simd::simd_level;
use crate::{BlockType, KernelError, Pool, Scratch, SimdLevel, dequantize, quantize, shape};

/// Tasks for each thread: enough that a thread which the system takes away does not hold up the others.
pub(crate) const TASKS_PER_THREAD: usize = 4;
/// Multiplications below which a product is computed by the calling thread alone.
pub(crate) const ALONE: usize = 1 << 17;

/// Outputs from which on the rows of the results are too far apart to be written tile by tile.
const WIDE: usize = 8192;
/// Tiles that are computed before their results are written, where there are so many outputs.
const TOGETHER: usize = 8;

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations of quantised weights are rounded to 8 bits in groups of 32.
    #[default]
    Fast,
    /// Weights are dequantised and products accumulated in f32.
    Exact,
}

/// A weight `[rows, cols]`, row-major in meaning.
#[derive(Debug)]
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    precision: Precision,
    level: SimdLevel,
    parts: Vec<Part>,
}

/// Rows of one type.
#[derive(Debug)]
enum Part {
    Integer(IntegerTiles),
    Float(FloatTiles),
}

impl Part {
    fn rows(&self) -> usize {
        match self {
            Self::Integer(tiles) => tiles.rows,
            Self::Float(tiles) => tiles.rows,
        }
    }

    fn tiles(&self) -> usize {
        match self {
            Self::Integer(tiles) => tiles.tiles(),
            Self::Float(tiles) => tiles.tiles(),
        }
    }
}

/// Everything that the tasks of one product share.
pub(crate) struct Product<'a> {
    pub matrix: &'a PackedMatrix,
    /// All rows of the input, and as integers if the matrix needs them.
    pub x: &'a [f32],
    pub quantised: &'a Activations,
    /// Those that are multiplied.
    pub m: Range<usize>,
    pub out: Output,
}

/// Where results go. Each task writes other columns or rows.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub start: *mut f32,
    pub rows: usize,
}

// SAFETY: tasks write disjoint elements, and nobody reads before all are done.
unsafe impl Sync for Output {}

impl Output {
    /// Where the results of a tile go: the first of these outputs, as many as there are.
    fn target(&self, outputs: &Range<usize>) -> Target {
        Target {
            start: self.start.wrapping_add(outputs.start),
            stride: self.rows,
            count: TILE.min(outputs.len()),
        }
    }

    /// Write the results of row `m` to all of these outputs.
    fn write_all(&self, m: usize, outputs: &Range<usize>, results: &[f32]) {
        let count = outputs.len().min(results.len());
        // SAFETY: these outputs of row `m` are inside the buffer, and belong to this task alone.
        unsafe {
            let start = self.start.add(m * self.rows + outputs.start);
            start.copy_from_nonoverlapping(results.as_ptr(), count);
        }
    }

    /// Write the results of row `m` to the first of these outputs, as many as there are.
    fn write(&self, m: usize, outputs: &Range<usize>, lanes: &Lanes) {
        let count = TILE.min(outputs.len());
        let first = outputs.start;
        // SAFETY: `first + count` outputs of row `m` are inside the buffer, and belong to this task alone.
        unsafe {
            let start = self.start.add(m * self.rows + first);
            if count == TILE {
                start.cast::<Lanes>().write_unaligned(*lanes);
            } else {
                start.copy_from_nonoverlapping(lanes.as_ptr(), count);
            }
        }
    }
}

thread_local! {
    /// The decoded tile, where weights are not multiplied as they are stored.
    static DECODED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// The results of some rows for a few tiles.
    static BESIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl PackedMatrix {
    /// Convert `src`, the blocks of a row-major matrix.
    ///
    /// # Errors
    /// If sizes do not fit together or the type has no decoder.
    pub fn pack(
        ty: BlockType,
        rows: usize,
        cols: usize,
        src: &[u8],
        pool: &Pool,
    ) -> Result<Self, KernelError> {
        shape::positive("rows", rows)?;
        shape::positive("cols", cols)?;
        if !cols.is_multiple_of(ty.block_len()) {
            return Err(KernelError::PartialBlock { ty, values: cols });
        }
        let values = shape::product("matrix", rows, cols)?;
        let bytes = ty
            .bytes_for(values)
            .ok_or(KernelError::TooLarge { what: "matrix" })?;
        shape::same("matrix bytes", bytes, src.len())?;
        let part = match IntegerTiles::pack(ty, rows, cols, src, pool)? {
            Some(tiles) => Part::Integer(tiles),
            None => Part::Float(FloatTiles::pack(ty, rows, cols, src)?),
        };
        Ok(Self {
            rows,
            cols,
            precision: Precision::default(),
            level: simd_level(),
            parts: vec![part],
        })
    }

    /// Convert a matrix of another type, quantised to `ty` on the way: `Q8_0`, `Q4_K` or `Q6_K`.
    ///
    /// # Errors
    /// As `pack` and `quantize`.
    pub fn pack_as(
        ty: BlockType,
        from: BlockType,
        rows: usize,
        cols: usize,
        src: &[u8],
        pool: &Pool,
    ) -> Result<Self, KernelError> {
        let size = shape::product("matrix", rows, cols)?;
        let sized = |ty: BlockType| {
            ty.bytes_for(cols)
                .ok_or(KernelError::PartialBlock { ty, values: cols })
        };
        let (row, packed_row) = (sized(from)?, sized(ty)?);
        shape::same(
            "matrix bytes",
            shape::product("matrix", rows, row)?,
            src.len(),
        )?;
        let mut blocks = vec![0; size / cols * packed_row];
        let jobs = src.chunks(row.max(1)).zip(blocks.chunks_mut(packed_row));
        let jobs: Vec<_> = jobs.map(|job| Mutex::new(Some(job))).collect();
        let outcome = Mutex::new(Ok(()));
        pool.run(jobs.len(), &|index| {
            let job = jobs[index].lock().ok().and_then(|mut job| job.take());
            let Some((src, blocks)) = job else { return };
            let mut values = vec![0.0; cols];
            let done = dequantize(from, src, &mut values);
            let done = done.and_then(|()| quantize(ty, &values, blocks));
            if let (Err(error), Ok(mut outcome)) = (done, outcome.lock()) {
                *outcome = Err(error);
            }
        });
        outcome
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)?;
        Self::pack(ty, rows, cols, &blocks, pool)
    }

    /// Stack matrices over the same input; their types may differ.
    ///
    /// # Errors
    /// If there is none, or their widths differ.
    pub fn fuse(parts: Vec<Self>) -> Result<Self, KernelError> {
        let cols = parts.first().map_or(0, |part| part.cols);
        shape::positive("parts", cols)?;
        let mut fused = Self {
            rows: 0,
            cols,
            precision: Precision::default(),
            level: simd_level(),
            parts: Vec::new(),
        };
        for part in parts {
            shape::same("cols", cols, part.cols)?;
            fused.rows += part.rows;
            fused.parts.extend(part.parts);
        }
        Ok(fused)
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let bytes = self.parts.iter().map(|part| match part {
            Part::Integer(tiles) => tiles.bytes(),
            Part::Float(tiles) => tiles.bytes(),
        });
        bytes.sum()
    }

    /// Most bytes that a matrix of this type and size will hold.
    pub fn bytes_for(ty: BlockType, rows: usize, cols: usize) -> u64 {
        let float = ty.block_len() == 1;
        let padded = rows.div_ceil(TILE).saturating_mul(TILE) as u64;
        if float {
            padded.saturating_mul((cols as u64).saturating_mul(ty.block_bytes() as u64))
        } else {
            packed_bytes(ty, rows, cols)
        }
    }

    /// Choose how products with this matrix are computed.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Compute with these instructions, or the best that the processor has below them.
    pub fn set_level(&mut self, level: SimdLevel) {
        let possible = SimdLevel::available().filter(|available| *available <= level);
        self.level = possible.last().unwrap_or(SimdLevel::Scalar);
    }

    /// `x [m, cols] -> out [m, rows]`.
    ///
    /// # Errors
    /// If sizes do not fit together.
    pub fn matmul(
        &self,
        pool: &Pool,
        x: &[f32],
        m: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), KernelError> {
        shape::same("x", shape::product("x", m, self.cols)?, x.len())?;
        shape::same("out", shape::product("out", m, self.rows)?, out.len())?;
        if self.multiplies_integers() {
            let quantised = &mut scratch.activations;
            quantised.quantise(pool, x, self.cols, self.level);
        }
        let product = Product {
            matrix: self,
            x,
            m: 0..m,
            quantised: &scratch.activations,
            out: Output {
                start: out.as_mut_ptr(),
                rows: self.rows,
            },
        };
        let tiles = self.tiles();
        let alone = x.len().saturating_mul(self.rows) < ALONE || pool.threads() == 1;
        let tasks = if alone {
            1
        } else {
            tiles.min(pool.threads() * TASKS_PER_THREAD)
        };
        pool.run(tasks, &|task| {
            product.tiles(tiles * task / tasks..tiles * (task + 1) / tasks);
        });
        Ok(())
    }

    /// Tiles of all parts.
    pub(crate) fn tiles(&self) -> usize {
        self.parts.iter().map(Part::tiles).sum()
    }

    /// Whether products need the input as integers.
    pub(crate) fn multiplies_integers(&self) -> bool {
        let integer = |part: &Part| matches!(part, Part::Integer(_));
        self.precision == Precision::Fast && self.parts.iter().any(integer)
    }

    /// The instructions that products use.
    pub(crate) fn level(&self) -> SimdLevel {
        self.level
    }

    /// The exact values of a row.
    ///
    /// # Errors
    /// If there is no such row, or `out` is not as wide as one.
    pub fn row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        shape::same("out", self.cols, out.len())?;
        let mut first = 0;
        for part in &self.parts {
            if row < first + part.rows() {
                match part {
                    Part::Integer(tiles) => tiles.row(row - first, out),
                    Part::Float(tiles) => tiles.row(row - first, out),
                }
                return Ok(());
            }
            first += part.rows();
        }
        Err(KernelError::OutOfRange {
            what: "row",
            index: row,
            len: self.rows,
        })
    }
}

impl Product<'_> {
    /// Compute the tiles of a range, counted over all parts.
    pub fn tiles(&self, range: Range<usize>) {
        let (mut before, mut rows) = (0, 0);
        for part in &self.matrix.parts {
            let end = before + part.tiles();
            let own = range.start.clamp(before, end)..range.end.clamp(before, end);
            let step = self.rows_at_once(part);
            for m in self.m.clone().step_by(step) {
                let x = m..self.m.end.min(m + step);
                let integer = match part {
                    Part::Integer(tiles) if self.matrix.precision == Precision::Fast => Some(tiles),
                    _ => None,
                };
                if let Some(tiles) = integer.filter(|tiles| tiles.rows >= WIDE && x.len() > 1) {
                    let own = own.start - before..own.end - before;
                    BESIDE.with_borrow_mut(|beside| self.wide(tiles, rows, own, &x, beside));
                    continue;
                }
                for tile in own.clone() {
                    let index = tile - before;
                    let out = rows + index * TILE..rows + part.rows();
                    self.tile(part, index, x.clone(), out);
                }
            }
            before = end;
            rows += part.rows();
        }
    }

    /// Compute tiles of a part whose outputs begin at `first`, a few at a time beside each other, then copied: rows of
    /// results that are far apart, often by a multiple of a page, drive each other out of the cache if every tile
    /// writes a few bytes of each.
    fn wide(
        &self,
        tiles: &IntegerTiles,
        first: usize,
        own: Range<usize>,
        x: &Range<usize>,
        beside: &mut Vec<f32>,
    ) {
        let stride = TOGETHER * TILE;
        beside.resize(x.len() * stride, 0.0);
        for start in own.clone().step_by(TOGETHER) {
            let end = own.end.min(start + TOGETHER);
            for index in start..end {
                let target = Target {
                    // Kernels count rows from that of the whole product.
                    start: beside
                        .as_mut_ptr()
                        .wrapping_add((index - start) * TILE)
                        .wrapping_sub(x.start * stride),
                    stride,
                    count: TILE,
                };
                let level = self.matrix.level;
                // SAFETY: the buffer has a place for each of these rows and tiles, and is this thread's own.
                unsafe {
                    integer_products(
                        level,
                        &tiles.tile(index),
                        self.quantised,
                        x.clone(),
                        &target,
                    );
                }
            }
            let outputs = first + start * TILE..first + tiles.rows.min(end * TILE);
            for (m, results) in x.clone().zip(beside.chunks_exact(stride)) {
                self.out.write_all(m, &outputs, results);
            }
        }
    }

    /// Rows of `x` with which all tiles of a part are multiplied before the next rows are.
    fn rows_at_once(&self, part: &Part) -> usize {
        match part {
            Part::Integer(_) if self.matrix.precision == Precision::Fast => {
                rows_at_once(self.matrix.cols)
            }
            // A tile is decoded once for all rows.
            _ => self.m.len().max(1),
        }
    }

    /// Compute the products of one tile with some rows; `out` begins with its outputs and ends with its part's.
    fn tile(&self, part: &Part, index: usize, x: Range<usize>, out: Range<usize>) {
        let level = self.matrix.level;
        match part {
            Part::Integer(tiles) if self.matrix.precision == Precision::Fast => {
                let target = self.out.target(&out);
                // SAFETY: these outputs belong to this task alone.
                unsafe { integer_products(level, &tiles.tile(index), self.quantised, x, &target) };
            }
            Part::Integer(tiles) => DECODED.with_borrow_mut(|tile| {
                tiles.decode(index, tile);
                float_products(level, tile, self.rows_of(&x), |m, lanes| {
                    self.out.write(x.start + m, &out, lanes);
                });
            }),
            Part::Float(tiles) => tiles.products(level, index, self.rows_of(&x), |m, lanes| {
                self.out.write(x.start + m, &out, lanes);
            }),
        }
    }

    /// The values of some rows of the input.
    fn rows_of(&self, rows: &Range<usize>) -> &[f32] {
        let cols = self.matrix.cols;
        &self.x[rows.start * cols..rows.end * cols]
    }
}
