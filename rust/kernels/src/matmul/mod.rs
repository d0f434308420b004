//! Products with weights that stay as they are stored: tiles of 16 outputs, side by side for the vector units.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod direct;
mod dispatch;
mod float_tiles;
#[cfg(target_arch = "x86_64")]
mod float_vectors;
mod integer_tiles;
mod memory;
mod numbers;
mod packing;
mod peak;
#[cfg(target_arch = "x86_64")]
mod rounding;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vectors;

pub(crate) use activations::Activations;
pub(crate) use dispatch::{Target, integer_products, rows_at_once};
pub(crate) use float_tiles::{FloatTiles, float_products};
pub(crate) use integer_tiles::{IntegerTiles, packed_bytes};
pub(crate) use memory::Piece;
pub(crate) use peak::multiply_adds;

/// Outputs of one tile.
pub(crate) const TILE: usize = 16;

/// The results of a few inputs for one tile.
pub(crate) type Lanes = [f32; TILE];
