//! Quantised blocks as integers with scales: what every quantised type decodes to.

mod k_quants;
mod plain;
mod quantise;
mod tables;

use crate::BlockType;

pub use quantise::quantize;

/// Values of the largest block.
pub(crate) const LARGEST: usize = 256;
/// Values that share an entry of `scales` and `offsets`; types with longer groups repeat the entry.
pub(crate) const GROUP: usize = 16;

/// One decoded block: value `i` is `values[i] * scales[i / 16] + offsets[i / 16]` in f32, bit for bit.
pub(crate) struct Integers {
    pub values: [i8; LARGEST],
    pub scales: [f32; LARGEST / GROUP],
    pub offsets: [f32; LARGEST / GROUP],
    /// What the scales are made of, unless the type's are `Single`.
    pub scale_factors: Factors,
    /// What the offsets are made of, likewise.
    pub offset_factors: Factors,
}

/// Numbers that are a small integer times a unit which the whole block shares.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    /// Bits of a half-precision number.
    pub unit: u16,
    pub steps: [i8; LARGEST / GROUP],
}

impl Factors {
    const ZERO: Self = Self {
        unit: 0,
        steps: [0; LARGEST / GROUP],
    };

    /// The products.
    fn write(&self, out: &mut [f32; LARGEST / GROUP]) {
        let unit = half_to_f32(self.unit);
        for (out, step) in out.iter_mut().zip(self.steps) {
            *out = unit * step as f32;
        }
    }
}

/// What the scales and offsets of a type are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberKind {
    /// Half-precision numbers: the units, without steps.
    Half,
    /// Any numbers.
    Single,
    /// Units times steps.
    Factored,
}

/// What the scales and offsets of a quantised type are.
pub(crate) fn number_kind(ty: BlockType) -> NumberKind {
    match ty {
        BlockType::MXFP4 => NumberKind::Single,
        _ if ty.block_len() == LARGEST => NumberKind::Factored,
        _ => NumberKind::Half,
    }
}

/// Reads one block.
pub(crate) type Decode = fn(&[u8], &mut Integers);

impl Integers {
    /// Zeros. An offset of -0.0 adds nothing, not even to the sign of a zero.
    pub fn new() -> Self {
        Self {
            values: [0; LARGEST],
            scales: [0.0; LARGEST / GROUP],
            offsets: [-0.0; LARGEST / GROUP],
            scale_factors: Factors::ZERO,
            offset_factors: Factors::ZERO,
        }
    }

    /// The scale of a block of 32 is in its first two bytes.
    fn scaled(&mut self, block: &[u8]) {
        self.scale_factors.unit = half_bits(block, 0);
        self.scales[..2].fill(half_to_f32(self.scale_factors.unit));
    }

    /// The offset of a block of 32 is in the next two bytes.
    fn shifted(&mut self, block: &[u8]) {
        self.offset_factors.unit = half_bits(block, 2);
        self.offsets[..2].fill(half_to_f32(self.offset_factors.unit));
    }

    /// Multiply the factors of a block that has scales only.
    fn scaled_by(&mut self, unit: u16, steps: [i8; LARGEST / GROUP]) {
        self.scale_factors = Factors { unit, steps };
        self.scale_factors.write(&mut self.scales);
    }

    /// Subtract a minimum: a step of these times a unit.
    fn less(&mut self, unit: u16, steps: [i8; LARGEST / GROUP]) {
        let unit = unit ^ 0x8000;
        self.offset_factors = Factors { unit, steps };
        self.offset_factors.write(&mut self.offsets);
    }

    /// The values as f32.
    pub fn write(&self, out: &mut [f32]) {
        let groups = self.scales.iter().zip(&self.offsets);
        let values = self.values.chunks_exact(GROUP).zip(out.chunks_mut(GROUP));
        for ((scale, offset), (values, out)) in groups.zip(values) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = *value as f32 * scale + offset;
            }
        }
    }
}

/// How blocks of this type are read, if it is quantised and supported.
pub(crate) fn decoder(ty: BlockType) -> Option<Decode> {
    Some(match ty {
        BlockType::Q4_0 => plain::q4_0,
        BlockType::Q4_1 => plain::q4_1,
        BlockType::Q5_0 => plain::q5_0,
        BlockType::Q5_1 => plain::q5_1,
        BlockType::Q8_0 => plain::q8_0,
        BlockType::Q2K => k_quants::q2_k,
        BlockType::Q3K => k_quants::q3_k,
        BlockType::Q4K => k_quants::q4_k,
        BlockType::Q5K => k_quants::q5_k,
        BlockType::Q6K => k_quants::q6_k,
        BlockType::IQ4NL => tables::iq4_nl,
        BlockType::IQ4XS => tables::iq4_xs,
        BlockType::MXFP4 => tables::mxfp4,
        _ => return None,
    })
}

/// How the scales and offsets of blocks are read, and nothing else, of types that can be rearranged undecoded.
pub(crate) fn scales(ty: BlockType) -> Option<Decode> {
    Some(match ty {
        BlockType::Q4_0 | BlockType::Q8_0 | BlockType::IQ4NL => |block, out| out.scaled(block),
        BlockType::Q4_1 => |block, out| {
            out.scaled(block);
            out.shifted(block);
        },
        BlockType::Q4K => k_quants::scales_and_mins,
        BlockType::Q6K => k_quants::q6_k_scales,
        _ => return None,
    })
}

/// The bits of the half-precision number at byte `at`.
fn half_bits(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// A half-precision number, NaNs with the bits they have.
///
/// Without a branch, so that a loop of it becomes vector code: the mantissa and exponent move to their place, and a
/// product rescales the exponent, subnormal numbers included.
#[inline(always)]
pub(crate) fn half_to_f32(half: u16) -> f32 {
    const RESCALE: f32 = f32::from_bits((127 + 112) << 23);
    let (sign, magnitude) = ((half as u32 & 0x8000) << 16, half as u32 & 0x7fff);
    let finite = (f32::from_bits(magnitude << 13) * RESCALE).to_bits();
    let infinite = magnitude << 13 | 0x7f80_0000;
    let bits = if magnitude < 0x7c00 { finite } else { infinite };
    f32::from_bits(bits | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_precision_number_is_exact() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (half_to_f32(bits), half::f16::from_bits(bits).to_f32());
            if expected.is_nan() {
                let (sign, mantissa) = (bits as u32 >> 15, bits as u32 & 0x3ff);
                assert_eq!(found.to_bits(), sign << 31 | 0x7f80_0000 | mantissa << 13);
            } else {
                assert_eq!(found.to_bits(), expected.to_bits(), "{bits:#x}");
            }
        }
    }
}
