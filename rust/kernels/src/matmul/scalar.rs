//! Integer products in plain code: the reference of the others.

use super::activations::{GROUP, Row};
use super::integer_tiles::Tile;
use super::{Lanes, TILE};

/// The products of one tile with one row.
pub(super) fn products(tile: &Tile<'_>, row: Row<'_>, out: &mut Lanes) {
    *out = [0.0; TILE];
    for (group, sum) in row.sums.iter().enumerate() {
        let first = group * tile.group;
        let values = &row.values[first..first + tile.group];
        for (lane, out) in out.iter_mut().enumerate() {
            let mut total = 0;
            for (col, value) in values.iter().enumerate() {
                total += tile.weight(lane, first + col) * i32::from(*value);
            }
            let number = tile.first + group * TILE + lane;
            let scale = tile.scales.get(number);
            let bias = -tile.bias as f32 * scale;
            let offset = tile.offsets.map_or(bias, |offsets| offsets.get(number));
            *out += total as f32 * scale * row.scales[first / GROUP];
            *out += offset * sum;
        }
    }
}
