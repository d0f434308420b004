//! Blocks of 256 values whose scales are quantised too: `Q2_K` to `Q6_K`.

use super::{Integers, half};

pub(super) fn q2_k(block: &[u8], out: &mut Integers) {
    let (d, min) = (half(block, 80), half(block, 82));
    for (i, byte) in block[..16].iter().enumerate() {
        out.scales[i] = d * (byte & 15) as f32;
        out.offsets[i] = -(min * (byte >> 4) as f32);
    }
    pairs(&block[16..80], |i, two, _, _| out.values[i] = two);
}

pub(super) fn q3_k(block: &[u8], out: &mut Integers) {
    let (mask, packed, d) = (&block[..32], &block[96..108], half(block, 108));
    for i in 0..16 {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        out.scales[i] = d * ((low | high << 4) as f32 - 32.0);
    }
    pairs(&block[32..96], |i, two, lane, bit| {
        out.values[i] = two - if mask[lane] >> bit & 1 == 0 { 4 } else { 0 };
    });
}

pub(super) fn q4_k(block: &[u8], out: &mut Integers) {
    scales_and_mins(block, out);
    nibbles(&block[16..144], |i, nibble, _, _| out.values[i] = nibble);
}

pub(super) fn q5_k(block: &[u8], out: &mut Integers) {
    scales_and_mins(block, out);
    let high = &block[16..48];
    nibbles(&block[48..176], |i, nibble, lane, bit| {
        out.values[i] = nibble | ((high[lane] >> bit & 1) << 4) as i8;
    });
}

pub(super) fn q6_k(block: &[u8], out: &mut Integers) {
    let d = half(block, 208);
    for (scale, byte) in out.scales.iter_mut().zip(&block[192..208]) {
        *scale = d * (*byte as i8) as f32;
    }
    for i in 0..256 {
        let (part, quarter, lane) = (i / 128, i / 32 % 4, i % 32);
        let low = block[part * 64 + quarter % 2 * 32 + lane] >> (4 * (quarter / 2)) & 15;
        let high = block[128 + part * 32 + lane] >> (2 * quarter) & 3;
        out.values[i] = (low | high << 4) as i8 - 32;
    }
}

/// Calls `value` with index, two bits, byte of 32 and number of the 32 values.
fn pairs(bytes: &[u8], mut value: impl FnMut(usize, i8, usize, usize)) {
    for i in 0..256 {
        let (part, lane, bit) = (i / 128, i % 32, i / 32);
        let two = bytes[part * 32 + lane] >> (2 * (bit % 4)) & 3;
        value(i, two as i8, lane, bit);
    }
}

/// Calls `value` with index, four bits, byte of 32 and number of the 32 values.
fn nibbles(bytes: &[u8], mut value: impl FnMut(usize, i8, usize, usize)) {
    for i in 0..256 {
        let (lane, bit) = (i % 32, i / 32);
        let nibble = bytes[bit / 2 * 32 + lane] >> (4 * (bit % 2)) & 15;
        value(i, nibble as i8, lane, bit);
    }
}

/// Eight scales and eight minima of six bits each in twelve bytes.
fn scales_and_mins(block: &[u8], out: &mut Integers) {
    let (d, min, packed) = (half(block, 0), half(block, 2), &block[4..16]);
    for i in 0..8 {
        let (scale, minimum) = if i < 4 {
            (packed[i] & 63, packed[i + 4] & 63)
        } else {
            let (low, first, second) = (packed[i + 4], packed[i - 4], packed[i]);
            (low & 15 | first >> 6 << 4, low >> 4 | second >> 6 << 4)
        };
        out.scales[2 * i..][..2].fill(d * scale as f32);
        out.offsets[2 * i..][..2].fill(-(min * minimum as f32));
    }
}
