//! Rearranging blocks into tiles.

use std::sync::Mutex;

use super::TILE;
use super::direct::{self, Rearrange, Words};
use super::integer_tiles::{CHUNK, Form, Store, Table};
use super::memory::Piece;
use super::numbers::{Factored, Numbers};
use crate::quant::{self, Decode, Factors, Integers, NumberKind};
use crate::{BlockType, Pool};

/// Columns of the largest group.
const LARGEST: usize = 32;
/// The low four bits of four weights.
const LOW: u32 = 0x0f0f_0f0f;

/// Numbers that are being written.
pub(super) enum Draft {
    Half(Piece<u16>),
    Single(Vec<f32>),
    Factored(Factored),
}

/// Those of one tile.
enum Part<'a> {
    Half(&'a mut [u16]),
    Single(&'a mut [f32]),
    Factored(&'a mut [i8], &'a mut [u16]),
}

impl Draft {
    /// So many zeros; `shared` groups of factored numbers share their units. `None` if there is no room.
    pub fn zeros(kind: NumberKind, len: usize, shared: usize) -> Option<Self> {
        Some(match kind {
            NumberKind::Half => Self::Half(Piece::zeros(len)?),
            NumberKind::Single => Self::Single(vec![0.0; len]),
            NumberKind::Factored => Self::Factored(Factored::zeros(len, shared)?),
        })
    }

    /// `None` if there is no room.
    pub fn finish(self) -> Option<Numbers> {
        match self {
            Self::Half(bits) => Some(Numbers::Half(bits)),
            Self::Single(values) => Numbers::new(&values),
            Self::Factored(factored) => Some(Numbers::Factored(factored)),
        }
    }

    fn tiles(&mut self, tiles: usize) -> Vec<Part<'_>> {
        match self {
            Self::Half(bits) => {
                let size = bits.len() / tiles;
                bits.chunks_mut(size).map(Part::Half).collect()
            }
            Self::Single(values) => {
                let size = values.len() / tiles;
                values.chunks_mut(size).map(Part::Single).collect()
            }
            Self::Factored(Factored { steps, units, .. }) => {
                let (step, unit) = (steps.len() / tiles, units.len() / tiles);
                let parts = steps.chunks_mut(step).zip(units.chunks_mut(unit));
                parts
                    .map(|(steps, units)| Part::Factored(steps, units))
                    .collect()
            }
        }
    }
}

impl Part<'_> {
    /// Write the numbers of a lane for the groups of block `block`; number `i` of the block is `values[i * every]`.
    fn write(
        &mut self,
        (block, groups, lane): (usize, usize, usize),
        values: &[f32],
        factors: &Factors,
    ) {
        let every = quant::LARGEST / quant::GROUP / groups;
        let first = block * groups;
        match self {
            Self::Half(bits) => bits[block * TILE + lane] = factors.unit,
            Self::Single(numbers) => numbers[block * TILE + lane] = values[0],
            Self::Factored(steps, units) => {
                units[block * TILE + lane] = factors.unit;
                for (group, step) in factors.steps.iter().step_by(every).enumerate() {
                    steps[(first + group) * TILE + lane] = *step;
                }
            }
        }
    }
}

/// Writes the tiles of a type.
pub(super) struct Writer {
    ty: BlockType,
    decode: Decode,
    /// The short way, and how scales and offsets are read beside it.
    direct: Option<(Rearrange, Decode)>,
    /// The code of each biased weight.
    codes: Option<Box<[u8; 256]>>,
    form: Form,
}

/// A tile to be written: its blocks, weights, scales and offsets.
type Job<'a> = (&'a [u8], &'a mut [u8], Part<'a>, Option<Part<'a>>);

impl Writer {
    pub fn new(ty: BlockType, decode: Decode, table: Option<&Table>, form: Form) -> Self {
        let codes = table.map(|table| {
            let mut codes = Box::new([0; 256]);
            // The first code of a weight that has two.
            for (code, weight) in table.iter().enumerate().rev() {
                codes[usize::from(*weight)] = code as u8;
            }
            codes
        });
        Self {
            ty,
            decode,
            direct: direct::rearrange(ty).zip(quant::scales(ty)),
            codes,
            form,
        }
    }

    /// Write all tiles; `blocks` are those of each.
    pub fn tiles<'a>(
        &self,
        pool: &Pool,
        blocks: impl ExactSizeIterator<Item = &'a [u8]>,
        (weights, scales, offsets): (&mut [u8], &mut Draft, Option<&mut Draft>),
    ) {
        let tiles = blocks.len();
        let mut offsets = offsets.map(|offsets| offsets.tiles(tiles).into_iter());
        let weights = weights.chunks_mut(weights.len() / tiles);
        let parts = blocks.zip(weights).zip(scales.tiles(tiles));
        let jobs = parts.map(|((blocks, weights), scales)| {
            let offsets = offsets.as_mut().and_then(Iterator::next);
            Mutex::new(Some((blocks, weights, scales, offsets)))
        });
        let jobs: Vec<Mutex<Option<Job<'_>>>> = jobs.collect();
        pool.run(jobs.len(), &|tile| {
            let job = jobs[tile].lock().ok().and_then(|mut job| job.take());
            if let Some(job) = job {
                self.tile(job);
            }
        });
    }

    /// Write the rows of one tile, block after block of all of them, so that what is written stays in the cache.
    fn tile(&self, (blocks, weights, mut scales, mut offsets): Job<'_>) {
        let size = self.form.store.bytes(self.form.group);
        let groups = self.ty.block_len() / self.form.group;
        let (row, bytes) = (weights.len() / size / groups, self.ty.block_bytes());
        let mut integers = Integers::new();
        let mut words: Words = [0; _];
        let decode = self.direct.map_or(self.decode, |(_, scales)| scales);
        for (block, weights) in weights.chunks_exact_mut(size * groups).enumerate() {
            for (lane, blocks) in blocks.chunks_exact(row * bytes).enumerate() {
                let source = &blocks[block * bytes..][..bytes];
                decode(source, &mut integers);
                let at = (block, groups, lane);
                scales.write(at, &integers.scales, &integers.scale_factors);
                if let Some(offsets) = &mut offsets {
                    offsets.write(at, &integers.offsets, &integers.offset_factors);
                }
                if let Some((rearrange, _)) = self.direct {
                    rearrange(source, &mut words);
                    let (vectors, _) = weights.as_chunks_mut::<CHUNK>();
                    let places = vectors.iter_mut().skip(lane).step_by(TILE);
                    for (place, word) in places.zip(&words) {
                        *place = word.to_le_bytes();
                    }
                    continue;
                }
                let values = integers.values.chunks_exact(self.form.group);
                for (weights, values) in weights.chunks_exact_mut(size).zip(values) {
                    self.group(values, lane, weights);
                }
            }
        }
    }

    /// Write a group of one row.
    fn group(&self, values: &[i8], lane: usize, weights: &mut [u8]) {
        let mut words = [0; LARGEST / CHUNK];
        let words = &mut words[..values.len() / CHUNK];
        let bias = self.form.bias as u8;
        let (chunks, _) = values.as_chunks::<CHUNK>();
        for (word, values) in words.iter_mut().zip(chunks) {
            let biased = values.map(|value| (value as u8).wrapping_add(bias));
            let stored = match &self.codes {
                Some(codes) => biased.map(|weight| codes[usize::from(weight)]),
                None => biased,
            };
            *word = u32::from_le_bytes(stored);
        }
        let (vectors, _) = weights.as_chunks_mut::<CHUNK>();
        if self.form.store == Store::Bytes {
            for (vector, word) in words.iter().enumerate() {
                vectors[vector * TILE + lane] = word.to_le_bytes();
            }
            return;
        }
        let (first, second) = words.split_at(words.len() / 2);
        for (vector, (first, second)) in first.iter().zip(second).enumerate() {
            let both = first & LOW | (second & LOW) << 4;
            vectors[vector * TILE + lane] = both.to_le_bytes();
        }
        let further = first.len() * TILE;
        match self.form.store {
            Store::Fives => {
                for (vector, word) in words.iter().enumerate() {
                    let place = vector * 8 + lane / 2;
                    let bits = fifth_bits(*word) << (lane % 2 * 4);
                    vectors[further + place / CHUNK][place % CHUNK] |= bits;
                }
            }
            Store::Sixes => {
                let bits = words.iter().enumerate();
                let bits = bits.fold(0, |all, (vector, word)| {
                    all | (word >> 4 & 0x0303_0303) << (2 * vector)
                });
                vectors[further + lane] = bits.to_le_bytes();
            }
            _ => {}
        }
    }
}

/// Bit 4 of each byte, the first byte's lowest.
fn fifth_bits(word: u32) -> u8 {
    let bits = word >> 4 & 0x0101_0101;
    (bits | bits >> 7 | bits >> 14 | bits >> 21) as u8 & 15
}
