//! Integer products in plain code: the reference of the others.

use super::activations::{GROUP, Panel};
use super::integer_tiles::Tile;
use super::{Lanes, TILE};

/// The products of one tile with row `m` of a panel of `rows`.
pub(super) fn products(
    tile: &Tile<'_>,
    panel: &Panel<'_>,
    (m, rows): (usize, usize),
    out: &mut Lanes,
) {
    *out = [0.0; TILE];
    let size = tile.form.group;
    for group in 0..tile.groups {
        let first = group * size;
        let at = first / GROUP * rows + m;
        let values = &panel.values[at * GROUP + first % GROUP..][..size];
        let sum = if size == GROUP {
            panel.sums[at]
        } else {
            panel.half_sums[group * rows + m]
        };
        for (lane, out) in out.iter_mut().enumerate() {
            let mut total = 0;
            for (col, value) in values.iter().enumerate() {
                let weight = tile.weight(lane, first + col) - tile.form.bias;
                total += weight * i32::from(*value);
            }
            let number = tile.first + group * TILE + lane;
            *out += total as f32 * tile.scales.get(number) * panel.scales[at];
            if let Some(offsets) = tile.offsets {
                *out += offsets.get(number) * sum;
            }
        }
    }
}
