//! The matrices of a layer's experts, however a file stores them: one tensor each, all behind each other, with gates
//! before ups or in turns, as floats or as MXFP4 in two tensors.

use cortex_kernels::{BlockType, PackedMatrix};

use super::description::{Description, ExpertsShape, invalid};
use super::family::Stored;
use super::roles::Role;
use super::tensors::TensorReader;
use super::transposed::{Pick, transposed};
use crate::EngineError;

/// Matrices of all experts, and what is added to their results.
pub(crate) struct ExpertWeights {
    pub gate_up: Vec<PackedMatrix>,
    /// `[2 * width]` each.
    pub gate_up_bias: Option<Vec<Vec<f32>>>,
    pub down: Vec<PackedMatrix>,
    /// `[hidden]` each.
    pub down_bias: Option<Vec<Vec<f32>>>,
}

/// Values of an MXFP4 block, and the bytes that hold them.
const BLOCK: usize = 32;
const CODES: usize = BLOCK / 2;

impl ExpertWeights {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        model: &Description,
        shape: ExpertsShape,
    ) -> Result<Self, EngineError> {
        let (hidden, count, width) = (model.hidden, shape.count, shape.width);
        if shape.stored == Stored::InTurns {
            return Self::in_turns(reader, layer, hidden, shape);
        }
        if reader.has(Role::ExpertsGateUp, layer) {
            return Ok(Self {
                gate_up: reader.all_experts(
                    Role::ExpertsGateUp,
                    layer,
                    count,
                    [2 * width, hidden],
                )?,
                gate_up_bias: None,
                down: reader.all_experts(Role::ExpertsDown, layer, count, [hidden, width])?,
                down_bias: None,
            });
        }
        let mut each = |role, sizes| reader.experts(role, layer, count, sizes);
        let gates = each(Role::ExpertGate, [width, hidden])?;
        let ups = each(Role::ExpertUp, [width, hidden])?;
        let down = each(Role::ExpertDown, [hidden, width])?;
        let mut table = |role, len| reader.optional_table(role, layer, [count, len]);
        let gate_bias = table(Role::ExpertGateBias, width)?;
        let up_bias = table(Role::ExpertUpBias, width)?;
        let down_bias = table(Role::ExpertDownBias, hidden)?;
        let gate_up_bias = match (gate_bias, up_bias) {
            (None, None) => None,
            (Some(gate), Some(up)) => Some(stacked(&gate, &up, width)),
            _ => {
                let text = format!("layer {layer}: only one of gate and up has a bias");
                return Err(invalid(text));
            }
        };
        Ok(Self {
            gate_up: fused(gates.into_iter().zip(ups))?,
            gate_up_bias,
            down,
            down_bias: down_bias.map(|bias| rows(&bias, hidden)),
        })
    }

    /// Gate and up are the even and odd outputs of one tensor.
    fn in_turns(
        reader: &mut TensorReader,
        layer: usize,
        hidden: usize,
        shape: ExpertsShape,
    ) -> Result<Self, EngineError> {
        let (count, width) = (shape.count, shape.width);
        let both = 2 * width;
        let bias = reader.optional_table(Role::ExpertsGateUpBias, layer, [count, both])?;
        let down_bias = reader.optional_table(Role::ExpertsDownBias, layer, [count, hidden])?;
        let mut read = |role, sizes, picks: &[Pick]| read(reader, role, layer, count, sizes, picks);
        let halves = [Pick { first: 0, step: 2 }, Pick { first: 1, step: 2 }];
        let gate_up = read(Role::ExpertsGateUp, [both, hidden], &halves)?;
        let all = [Pick { first: 0, step: 1 }];
        let down = read(Role::ExpertsDown, [hidden, width], &all)?;
        Ok(Self {
            gate_up,
            gate_up_bias: bias.map(|bias| {
                let rows = bias.chunks_exact(both);
                rows.map(|row| halves.map(|half| half.of(row).collect::<Vec<_>>()).concat())
                    .collect()
            }),
            down,
            down_bias: down_bias.map(|bias| rows(&bias, hidden)),
        })
    }
}

/// For each expert its matrix `[outputs, inputs]`, the picks of its outputs behind each other. Floats are stored
/// `[experts, inputs, outputs]`, MXFP4 as blocks and scales of `[experts, outputs, inputs / 32]`.
fn read(
    reader: &mut TensorReader,
    role: Role,
    layer: usize,
    count: usize,
    [outputs, inputs]: [usize; 2],
    picks: &[Pick],
) -> Result<Vec<PackedMatrix>, EngineError> {
    let sizes = [outputs / picks.len(), inputs];
    if reader.has(role, layer) {
        let (ty, data) = reader.floats(role, layer, &[count, inputs, outputs])?;
        let size = ty.block_bytes();
        let expert = |data: &[u8]| {
            let parts = picks.iter().map(|pick| {
                let part = transposed(data, outputs, size, *pick);
                reader.pack_bytes(role, layer, ty, &part, sizes)
            });
            fuse(parts.collect::<Result<_, _>>()?)
        };
        let experts = data.chunks_exact(inputs * outputs * size);
        return experts.map(expert).collect();
    }
    if !inputs.is_multiple_of(BLOCK) {
        let text = format!("layer {layer}: {inputs} values are not whole blocks");
        return Err(invalid(text));
    }
    let groups = inputs / BLOCK;
    let blocks = reader.raw(role, "_blocks", layer, &[count, outputs, groups, CODES])?;
    let scales = reader.raw(role, "_scales", layer, &[count, outputs, groups])?;
    let expert = |(blocks, scales): (&[u8], &[u8])| {
        let parts = picks.iter().map(|pick| {
            let rows = blocks
                .chunks_exact(groups * CODES)
                .zip(scales.chunks_exact(groups));
            let rows = rows.skip(pick.first).step_by(pick.step);
            let part = rows.flat_map(|(codes, scales)| mxfp4(codes, scales));
            let part: Vec<u8> = part.collect();
            reader.pack_bytes(role, layer, BlockType::MXFP4, &part, sizes)
        });
        fuse(parts.collect::<Result<_, _>>()?)
    };
    let blocks = blocks.chunks_exact(outputs * groups * CODES);
    let experts = blocks.zip(scales.chunks_exact(outputs * groups));
    experts.map(expert).collect()
}

/// Codes of neighbouring values and a scale for each block, as the blocks that the kernels take: a block's scale,
/// then bytes whose low halves are its first codes and whose high halves are its last.
fn mxfp4(codes: &[u8], scales: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(codes.len() + scales.len());
    for (codes, scale) in codes.chunks_exact(CODES).zip(scales) {
        let code = |place: usize| codes[place / 2] >> (4 * (place % 2)) & 15;
        out.push(*scale);
        out.extend((0..CODES).map(|place| code(place) | code(place + CODES) << 4));
    }
    out
}

fn fuse(parts: Vec<PackedMatrix>) -> Result<PackedMatrix, EngineError> {
    PackedMatrix::fuse(parts).map_err(|error| invalid(error.to_string()))
}

fn fused(
    pairs: impl Iterator<Item = (PackedMatrix, PackedMatrix)>,
) -> Result<Vec<PackedMatrix>, EngineError> {
    pairs.map(|(gate, up)| fuse(vec![gate, up])).collect()
}

fn rows(table: &[f32], width: usize) -> Vec<Vec<f32>> {
    table.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

fn stacked(gate: &[f32], up: &[f32], width: usize) -> Vec<Vec<f32>> {
    let pairs = gate.chunks_exact(width).zip(up.chunks_exact(width));
    pairs.map(|(gate, up)| [gate, up].concat()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use super::*;

    #[test]
    fn blocks_hold_the_values_of_neighbouring_codes() {
        const VALUES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        let code = |place: usize| (place * 7 + place / 5) % 16;
        let codes: Vec<u8> = (0..CODES * 2)
            .map(|byte| (code(2 * byte) | code(2 * byte + 1) << 4) as u8)
            .collect();
        let mut found = vec![0.0; 2 * BLOCK];
        let blocks = mxfp4(&codes, &[127, 125]);
        cortex_kernels::dequantize(BlockType::MXFP4, &blocks, &mut found).unwrap();
        for (place, found) in found.iter().enumerate() {
            let sign = if code(place) < 8 { 1.0 } else { -1.0 };
            let scale = if place < BLOCK { 1.0 } else { 0.25 };
            assert_eq!(*found, sign * VALUES[code(place) % 8] * scale, "{place}");
        }
    }
}
