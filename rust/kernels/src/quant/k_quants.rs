//! Blocks of 256 values whose scales are quantised too: `Q2_K` to `Q6_K`.

use std::array::from_fn;

use super::{Integers, half_bits};

/// Values whose bits lie in the same bytes.
const RUN: usize = 32;

pub(super) fn q2_k(block: &[u8], out: &mut Integers) {
    out.scaled_by(half_bits(block, 80), from_fn(|i| (block[i] & 15) as i8));
    out.less(half_bits(block, 82), from_fn(|i| (block[i] >> 4) as i8));
    pairs(&block[16..80], out, |two, _, _| two);
}

pub(super) fn q3_k(block: &[u8], out: &mut Integers) {
    let (mask, packed) = (&block[..32], &block[96..108]);
    let steps = from_fn(|i| {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        (low | high << 4) as i8 - 32
    });
    out.scaled_by(half_bits(block, 108), steps);
    pairs(&block[32..96], out, |two, lane, run| {
        two - 4 * (1 - (mask[lane] >> run & 1) as i8)
    });
}

pub(super) fn q4_k(block: &[u8], out: &mut Integers) {
    scales_and_mins(block, out);
    nibbles(&block[16..144], out, |nibble, _, _| nibble);
}

pub(super) fn q5_k(block: &[u8], out: &mut Integers) {
    scales_and_mins(block, out);
    let high = &block[16..48];
    nibbles(&block[48..176], out, |nibble, lane, run| {
        nibble | ((high[lane] >> run & 1) << 4) as i8
    });
}

pub(super) fn q6_k(block: &[u8], out: &mut Integers) {
    q6_k_scales(block, out);
    for (run, values) in out.values.chunks_exact_mut(RUN).enumerate() {
        let (part, quarter) = (run / 4, run % 4);
        let low = &block[part * 64 + quarter % 2 * RUN..][..RUN];
        let high = &block[128 + part * RUN..][..RUN];
        for ((value, low), high) in values.iter_mut().zip(low).zip(high) {
            let (low, high) = (low >> (4 * (quarter / 2)) & 15, high >> (2 * quarter) & 3);
            *value = (low | high << 4) as i8 - 32;
        }
    }
}

pub(super) fn q6_k_scales(block: &[u8], out: &mut Integers) {
    out.scaled_by(half_bits(block, 208), from_fn(|i| block[192 + i] as i8));
}

/// Sets each value to what `value` makes of two bits, its byte of 32 and its run.
fn pairs(bytes: &[u8], out: &mut Integers, value: impl Fn(i8, usize, usize) -> i8) {
    for (run, values) in out.values.chunks_exact_mut(RUN).enumerate() {
        let bytes = &bytes[run / 4 * RUN..][..RUN];
        for (lane, (out, byte)) in values.iter_mut().zip(bytes).enumerate() {
            *out = value((byte >> (2 * (run % 4)) & 3) as i8, lane, run);
        }
    }
}

/// Sets each value to what `value` makes of four bits, its byte of 32 and its run.
fn nibbles(bytes: &[u8], out: &mut Integers, value: impl Fn(i8, usize, usize) -> i8) {
    for (run, values) in out.values.chunks_exact_mut(RUN).enumerate() {
        let bytes = &bytes[run / 2 * RUN..][..RUN];
        for (lane, (out, byte)) in values.iter_mut().zip(bytes).enumerate() {
            *out = value((byte >> (4 * (run % 2)) & 15) as i8, lane, run);
        }
    }
}

/// Eight scales and eight minima of six bits each in twelve bytes.
pub(super) fn scales_and_mins(block: &[u8], out: &mut Integers) {
    const FOUR: u32 = 0x0f0f_0f0f;
    const UPPER: u32 = 0x3030_3030;
    let word = |at: usize| u32::from_le_bytes(from_fn(|i| block[at + i]));
    let (first, second, third) = (word(4), word(8), word(12));
    // Of the last four, two bits are above those of the first four.
    let scales = [first & (FOUR | UPPER), third & FOUR | first >> 2 & UPPER];
    let minima = [
        second & (FOUR | UPPER),
        third >> 4 & FOUR | second >> 2 & UPPER,
    ];
    let steps = |words: [u32; 2]| from_fn(|i| (words[i / 8] >> (i / 2 % 4 * 8)) as i8);
    out.scaled_by(half_bits(block, 0), steps(scales));
    out.less(half_bits(block, 2), steps(minima));
}
