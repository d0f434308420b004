//! Quantised weights in tiles: 16 rows side by side, four columns of each row together.
//!
//! A group of 16 or 32 columns is a number of 64-byte vectors. Vector `v` holds for each of the 16 rows the four
//! columns `4v..4v+4`; with four-bit weights, which may be codes of a table, its low halves hold these and its high halves those of vector
//! `v + n/2`. Weights are stored without sign, `bias` more than they are; only types without offsets have a bias.

use std::sync::Mutex;

use super::TILE;
use super::memory::Piece;
use super::numbers::Numbers;
use crate::quant::{self, Decode, Integers};
use crate::{BlockType, KernelError, Pool};

/// Columns that lie together.
const CHUNK: usize = 4;
/// The bias of weights that take a byte.
const BYTE_BIAS: i32 = 128;

/// A quantised `[rows, cols]`.
#[derive(Debug)]
pub(crate) struct IntegerTiles {
    pub rows: usize,
    pub cols: usize,
    /// Columns that share a scale: 16 or 32.
    pub group: usize,
    /// Whether two weights share a byte.
    pub nibbles: bool,
    pub bias: i32,
    table: Option<Table>,
    weights: Piece<u8>,
    scales: Numbers,
    /// Added to `weight * scale`.
    offsets: Option<Numbers>,
}

/// One tile; scales and offsets are those of all tiles, from `first` on `16 * groups` belong to it.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    pub weights: &'a [u8],
    pub scales: &'a Numbers,
    pub offsets: Option<&'a Numbers>,
    pub first: usize,
    pub groups: usize,
    pub group: usize,
    pub nibbles: bool,
    pub bias: i32,
    /// What half bytes stand for, if not for themselves.
    pub table: Option<&'a Table>,
}

/// Weights, `bias` more than they are.
pub(crate) type Table = [u8; 16];

/// What the weights of a type look like.
struct Form {
    group: usize,
    nibbles: bool,
    bias: i32,
    has_offsets: bool,
}

fn form(ty: BlockType) -> Form {
    let (group, nibbles, bias, has_offsets) = match ty {
        BlockType::Q4_0 => (32, true, 8, false),
        BlockType::Q4_1 | BlockType::Q4K => (32, true, 0, true),
        BlockType::Q2K => (16, true, 0, true),
        BlockType::Q3K => (16, true, 4, false),
        BlockType::Q5_0 => (32, false, 16, false),
        BlockType::MXFP4 => (32, true, 16, false),
        BlockType::IQ4NL | BlockType::IQ4XS => (32, true, BYTE_BIAS, false),
        BlockType::Q5_1 | BlockType::Q5K => (32, false, 0, true),
        BlockType::Q6K => (16, false, 32, false),
        _ => (32, false, BYTE_BIAS, false),
    };
    Form {
        group,
        nibbles,
        bias,
        has_offsets,
    }
}

/// The table of a type whose half bytes are codes: the last 16 bytes of a block are 32 of these.
fn table(ty: BlockType, decode: Decode, bias: i32) -> Option<Table> {
    if !matches!(ty, BlockType::MXFP4 | BlockType::IQ4NL | BlockType::IQ4XS) {
        return None;
    }
    let mut block = vec![0; ty.block_bytes()];
    for (code, byte) in block.iter_mut().rev().take(16).rev().enumerate() {
        *byte = code as u8;
    }
    let mut integers = Integers::new();
    decode(&block, &mut integers);
    let first = ty.block_len() - 32;
    Some(std::array::from_fn(|code| {
        (i32::from(integers.values[first + code]) + bias) as u8
    }))
}

/// Most bytes that a matrix takes: its scales may fit half precision, which only its values tell.
pub(crate) fn packed_bytes(ty: BlockType, rows: usize, cols: usize) -> u64 {
    let Form {
        group,
        nibbles,
        has_offsets,
        ..
    } = form(ty);
    let padded = rows.div_ceil(TILE).saturating_mul(TILE) as u64;
    // Blocks of 32 bring numbers in half precision; those of 256 multiply theirs.
    let number = if ty.block_len() == 32 && ty != BlockType::MXFP4 {
        2
    } else {
        4
    };
    let numbers = (cols / group) as u64 * number * if has_offsets { 2 } else { 1 };
    let weights = if nibbles { cols / 2 } else { cols } as u64;
    padded.saturating_mul(weights.saturating_add(numbers))
}

impl IntegerTiles {
    /// Rearrange the blocks of a row-major matrix; `None` for a type that is not quantised.
    pub fn pack(
        ty: BlockType,
        rows: usize,
        cols: usize,
        src: &[u8],
        pool: &Pool,
    ) -> Result<Option<Self>, KernelError> {
        let Some(decode) = quant::decoder(ty) else {
            return Ok(None);
        };
        let form = form(ty);
        let (tiles, groups) = (rows.div_ceil(TILE), cols / form.group);
        let row_bytes = if form.nibbles { cols / 2 } else { cols };
        let large = || KernelError::TooLarge { what: "matrix" };
        let size = (tiles * TILE).checked_mul(row_bytes);
        // Zero rows fill the last tile: their scale is zero.
        let mut weights = size.and_then(Piece::zeros).ok_or_else(large)?;
        let mut scales = vec![0.0; tiles * TILE * groups];
        let mut offsets = vec![0.0; if form.has_offsets { scales.len() } else { 0 }];
        let table = table(ty, decode, form.bias);
        let writer = Writer {
            ty,
            decode,
            table,
            form,
        };
        let blocks = src.chunks(TILE * (src.len() / rows));
        writer.tiles(pool, blocks, (&mut weights, &mut scales, &mut offsets));
        let offsets = if writer.form.has_offsets {
            Some(Numbers::new(&offsets).ok_or_else(large)?)
        } else {
            None
        };
        Ok(Some(Self {
            rows,
            cols,
            group: writer.form.group,
            nibbles: writer.form.nibbles,
            bias: writer.form.bias,
            table,
            weights,
            scales: Numbers::new(&scales).ok_or_else(large)?,
            offsets,
        }))
    }

    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    pub fn bytes(&self) -> usize {
        let offsets = self.offsets.as_ref().map_or(0, Numbers::bytes);
        self.weights.bytes() + self.scales.bytes() + offsets
    }

    pub fn tile(&self, index: usize) -> Tile<'_> {
        let groups = self.cols / self.group;
        let size = self.weights.len() / self.tiles();
        Tile {
            weights: &self.weights[index * size..][..size],
            scales: &self.scales,
            offsets: self.offsets.as_ref(),
            first: index * TILE * groups,
            groups,
            group: self.group,
            nibbles: self.nibbles,
            bias: self.bias,
            table: self.table.as_ref(),
        }
    }

    /// The exact values of a row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let tile = self.tile(row / TILE);
        for (col, out) in out.iter_mut().enumerate() {
            *out = tile.value(row % TILE, col);
        }
    }

    /// The exact values of a tile: `[cols, 16]`.
    pub fn decode(&self, index: usize, out: &mut Vec<f32>) {
        let tile = self.tile(index);
        out.clear();
        for col in 0..self.cols {
            out.extend((0..TILE).map(|lane| tile.value(lane, col)));
        }
    }
}

impl Tile<'_> {
    /// The stored weight, `bias` more than it is.
    pub fn weight(&self, lane: usize, col: usize) -> i32 {
        let (group, col) = (col / self.group, col % self.group);
        let (at, high) = place(lane, col, self.group, self.nibbles);
        let bytes = self.group * TILE / if self.nibbles { 2 } else { 1 };
        let byte = self.weights[group * bytes + at];
        let code = match (self.nibbles, high) {
            (false, _) => byte,
            (true, false) => byte & 15,
            (true, true) => byte >> 4,
        };
        i32::from(self.table.map_or(code, |table| table[usize::from(code)]))
    }

    fn value(&self, lane: usize, col: usize) -> f32 {
        let number = self.first + col / self.group * TILE + lane;
        let product = (self.weight(lane, col) - self.bias) as f32 * self.scales.get(number);
        // An offset of -0.0 would add nothing.
        self.offsets
            .map_or(product, |offsets| product + offsets.get(number))
    }
}

/// Byte of a weight inside its group, and whether it is the byte's high half.
fn place(lane: usize, col: usize, group: usize, nibbles: bool) -> (usize, bool) {
    let (mut vector, chunks) = (col / CHUNK, group / CHUNK);
    let high = nibbles && vector >= chunks / 2;
    if high {
        vector -= chunks / 2;
    }
    (vector * TILE * CHUNK + lane * CHUNK + col % CHUNK, high)
}

/// The weights, scales and offsets of a tile or a matrix, to be written.
type Parts<'a> = (&'a mut [u8], &'a mut [f32], &'a mut [f32]);

struct Writer {
    ty: BlockType,
    decode: Decode,
    table: Option<Table>,
    form: Form,
}

impl Writer {
    /// Write all tiles; `blocks` are those of each.
    fn tiles<'a>(
        &self,
        pool: &Pool,
        blocks: impl ExactSizeIterator<Item = &'a [u8]>,
        (weights, scales, offsets): Parts<'_>,
    ) {
        let tiles = blocks.len();
        let mut offsets = offsets.chunks_mut((scales.len() / tiles).max(1));
        let parts = weights
            .chunks_mut(weights.len() / tiles)
            .zip(scales.chunks_mut(scales.len() / tiles))
            .zip(blocks);
        let parts = parts.map(|((weights, scales), blocks)| {
            let offsets = offsets.next().unwrap_or_default();
            Mutex::new(Some((blocks, (weights, scales, offsets))))
        });
        let parts: Vec<_> = parts.collect();
        pool.run(parts.len(), &|tile| {
            let part = parts[tile].lock().ok().and_then(|mut part| part.take());
            if let Some((blocks, parts)) = part {
                self.tile(blocks, parts);
            }
        });
    }

    /// Write the rows of one tile.
    fn tile(&self, blocks: &[u8], (weights, scales, offsets): Parts<'_>) {
        let groups = scales.len() / TILE;
        let row = groups * self.form.group / self.ty.block_len() * self.ty.block_bytes();
        for (lane, blocks) in blocks.chunks_exact(row).enumerate() {
            self.row(blocks, lane, (weights, scales, offsets));
        }
    }

    /// Write one row of blocks into its lane.
    fn row(&self, blocks: &[u8], lane: usize, (weights, scales, offsets): Parts<'_>) {
        let mut integers = Integers::new();
        let size = self.form.group;
        let group_bytes = size * TILE / if self.form.nibbles { 2 } else { 1 };
        let groups = self.ty.block_len() / size;
        for (block, bytes) in blocks.chunks_exact(self.ty.block_bytes()).enumerate() {
            (self.decode)(bytes, &mut integers);
            for part in 0..groups {
                let group = block * groups + part;
                let first = part * size;
                scales[group * TILE + lane] = integers.scales[first / quant::GROUP];
                if let Some(offset) = offsets.get_mut(group * TILE + lane) {
                    *offset = integers.offsets[first / quant::GROUP];
                }
                let weights = &mut weights[group * group_bytes..][..group_bytes];
                self.group(&integers.values[first..first + size], lane, weights);
            }
        }
    }

    fn group(&self, values: &[i8], lane: usize, weights: &mut [u8]) {
        for (col, value) in values.iter().enumerate() {
            let (at, high) = place(lane, col, self.form.group, self.form.nibbles);
            let weight = (i32::from(*value) + self.form.bias) as u8;
            let stored = self.table.map_or(weight, |table| code(&table, weight));
            weights[at] |= if high { stored << 4 } else { stored };
        }
    }
}

/// The first code that stands for a weight of the table.
fn code(table: &Table, weight: u8) -> u8 {
    let place = table.iter().position(|entry| *entry == weight);
    place.unwrap_or_default() as u8
}
