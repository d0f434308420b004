//! Integer products in plain code: the reference of the others.

use super::activations::{GROUP, Row, SUM_GROUP};
use super::integer_tiles::Tile;
use super::{Lanes, TILE};

/// The products of one tile with one row.
pub(super) fn products(tile: &Tile<'_>, row: Row<'_>, out: &mut Lanes) {
    *out = [0.0; TILE];
    for group in 0..tile.groups {
        let first = group * tile.group;
        let sums = &row.sums[first / SUM_GROUP..][..tile.group / SUM_GROUP];
        let sum: i32 = sums.iter().sum();
        let values = &row.values[first..first + tile.group];
        for (lane, out) in out.iter_mut().enumerate() {
            let mut total = -tile.bias * sum;
            for (col, value) in values.iter().enumerate() {
                total += tile.weight(lane, first + col) * i32::from(*value);
            }
            let number = tile.first + group * TILE + lane;
            let mut part = total as f32 * tile.scales.get(number);
            if let Some(offsets) = tile.offsets {
                part += offsets.get(number) * sum as f32;
            }
            *out += part * row.scales[first / GROUP];
        }
    }
}
