//! Quantised weights in tiles: 16 rows side by side, four columns of each row together.
//!
//! A group of 16 or 32 columns is a number of 64-byte vectors. Vector `v` holds for each of the 16 rows the four
//! columns `4v..4v+4`. Where the low four bits of two weights share a byte, the low halves are of vector `v`, the high
//! halves of vector `v + n/2`; further bits follow the group's vectors: see `Store`. Weights are stored without sign,
//! `bias` more than they are; only types without offsets have a bias.

use super::TILE;
use super::memory::Piece;
use super::numbers::Numbers;
use super::packing::{Draft, Writer};
use crate::quant::{self, Decode, Integers, NumberKind};
use crate::{BlockType, KernelError, Pool};

/// Columns that lie together.
pub(super) const CHUNK: usize = 4;
/// The bias of weights that take a byte.
const BYTE_BIAS: i32 = 128;

/// How the weights of a group are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// A byte each.
    Bytes,
    /// Four bits each.
    Nibbles,
    /// Four bits each, which are codes of a table.
    Codes,
    /// Four bits each, then a vector with the fifth: 64 bits, one for each byte, for vector 0, then for vector 1, ...
    Fives,
    /// Four bits each, then a vector whose bytes have bits 2v and 2v + 1 for vector v.
    Sixes,
}

impl Store {
    /// Bytes of a group of so many columns, for all 16 rows.
    pub fn bytes(self, group: usize) -> usize {
        match self {
            Self::Bytes => group * TILE,
            Self::Nibbles | Self::Codes => group * TILE / 2,
            Self::Fives => group * TILE * 5 / 8,
            Self::Sixes => group * TILE * 6 / 8,
        }
    }

    /// Whether two weights share a byte.
    fn shares(self) -> bool {
        self != Self::Bytes
    }
}

/// What the weights of a type look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// Columns that share a scale: 16 or 32.
    pub group: usize,
    pub store: Store,
    /// A power of two, or zero.
    pub bias: i32,
    has_offsets: bool,
}

/// A quantised `[rows, cols]`.
#[derive(Debug)]
pub(crate) struct IntegerTiles {
    pub rows: usize,
    pub cols: usize,
    form: Form,
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
    pub form: Form,
    /// What half bytes stand for, if not for themselves.
    pub table: Option<&'a Table>,
}

/// Weights, `bias` more than they are.
pub(crate) type Table = [u8; 16];

fn form(ty: BlockType) -> Form {
    let (group, store, bias, has_offsets) = match ty {
        BlockType::Q4_0 => (32, Store::Nibbles, 8, false),
        BlockType::Q4_1 | BlockType::Q4K => (32, Store::Nibbles, 0, true),
        BlockType::Q2K => (16, Store::Nibbles, 0, true),
        BlockType::Q3K => (16, Store::Nibbles, 4, false),
        BlockType::Q5_0 => (32, Store::Fives, 16, false),
        BlockType::Q5_1 | BlockType::Q5K => (32, Store::Fives, 0, true),
        BlockType::Q6K => (16, Store::Sixes, 32, false),
        BlockType::MXFP4 => (32, Store::Codes, 16, false),
        BlockType::IQ4NL | BlockType::IQ4XS => (32, Store::Codes, BYTE_BIAS, false),
        _ => (32, Store::Bytes, BYTE_BIAS, false),
    };
    Form {
        group,
        store,
        bias,
        has_offsets,
    }
}

/// The table of a type whose half bytes are codes: the last 16 bytes of a block are 32 of these.
fn table(ty: BlockType, decode: Decode, form: Form) -> Option<Table> {
    if form.store != Store::Codes {
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
        (i32::from(integers.values[first + code]) + form.bias) as u8
    }))
}

/// Most bytes that a matrix takes; some scales may fit half precision, which only their values tell.
pub(crate) fn packed_bytes(ty: BlockType, rows: usize, cols: usize) -> u64 {
    let form = form(ty);
    let groups = (rows.div_ceil(TILE) as u64).saturating_mul((cols / form.group) as u64);
    let sets = if form.has_offsets { 2 } else { 1 };
    // Bytes of 16 numbers; the units of factored ones are shared by the groups of a block.
    let number = match quant::number_kind(ty) {
        NumberKind::Half => 32,
        NumberKind::Single => 64,
        NumberKind::Factored => 16 + 32 * form.group / ty.block_len(),
    };
    groups.saturating_mul((form.store.bytes(form.group) + number * sets) as u64)
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
        let groups = rows.div_ceil(TILE) * (cols / form.group);
        let large = || KernelError::TooLarge { what: "matrix" };
        // Zero rows fill the last tile: their scale is zero.
        let size = groups.checked_mul(form.store.bytes(form.group));
        let mut weights = size.and_then(Piece::zeros).ok_or_else(large)?;
        let shared = ty.block_len() / form.group;
        let kind = quant::number_kind(ty);
        let draft = || Draft::zeros(kind, groups * TILE, shared);
        let mut scales = draft().ok_or_else(large)?;
        let mut offsets = if form.has_offsets {
            Some(draft().ok_or_else(large)?)
        } else {
            None
        };
        let table = table(ty, decode, form);
        let writer = Writer::new(ty, decode, table.as_ref(), form);
        let blocks = src.chunks(TILE * (src.len() / rows));
        writer.tiles(pool, blocks, (&mut weights, &mut scales, offsets.as_mut()));
        let offsets = offsets.map(|offsets| offsets.finish().ok_or_else(large));
        Ok(Some(Self {
            rows,
            cols,
            form,
            table,
            weights,
            scales: scales.finish().ok_or_else(large)?,
            offsets: offsets.transpose()?,
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
        let groups = self.cols / self.form.group;
        let size = self.weights.len() / self.tiles();
        Tile {
            weights: &self.weights[index * size..][..size],
            scales: &self.scales,
            offsets: self.offsets.as_ref(),
            first: index * TILE * groups,
            groups,
            form: self.form,
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
        let (size, store) = (self.form.group, self.form.store);
        let bytes = store.bytes(size);
        let group = &self.weights[col / size * bytes..][..bytes];
        let (vector, vectors) = (col % size / CHUNK, size / CHUNK);
        // Among the 64 bytes of a vector.
        let place = lane * CHUNK + col % CHUNK;
        if !store.shares() {
            return i32::from(group[vector * TILE * CHUNK + place]);
        }
        let half = vectors / 2;
        let byte = group[vector % half * TILE * CHUNK + place];
        let low = if vector < half { byte & 15 } else { byte >> 4 };
        let further = &group[half * TILE * CHUNK..];
        let weight = match store {
            Store::Fives => low | (further[vector * 8 + place / 8] >> (place % 8) & 1) << 4,
            Store::Sixes => low | (further[place] >> (2 * vector) & 3) << 4,
            _ => self.table.map_or(low, |table| table[usize::from(low)]),
        };
        i32::from(weight)
    }

    fn value(&self, lane: usize, col: usize) -> f32 {
        let form = self.form;
        let number = self.first + col / form.group * TILE + lane;
        let product = (self.weight(lane, col) - form.bias) as f32 * self.scales.get(number);
        // An offset of -0.0 would add nothing.
        self.offsets
            .map_or(product, |offsets| product + offsets.get(number))
    }
}
