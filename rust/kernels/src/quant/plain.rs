//! Blocks of 32 values with one scale: `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`.

use super::Integers;

pub(super) fn q4_0(block: &[u8], out: &mut Integers) {
    out.scaled(block);
    nibbles(&block[2..18], out, |nibble, _| nibble as i8 - 8);
}

pub(super) fn q4_1(block: &[u8], out: &mut Integers) {
    out.scaled(block);
    out.shifted(block);
    nibbles(&block[4..20], out, |nibble, _| nibble as i8);
}

pub(super) fn q5_0(block: &[u8], out: &mut Integers) {
    out.scaled(block);
    let high = fifth_bits(block, 2);
    nibbles(&block[6..22], out, |nibble, i| {
        (nibble | high(i)) as i8 - 16
    });
}

pub(super) fn q5_1(block: &[u8], out: &mut Integers) {
    out.scaled(block);
    out.shifted(block);
    let high = fifth_bits(block, 4);
    nibbles(&block[8..24], out, |nibble, i| (nibble | high(i)) as i8);
}

pub(super) fn q8_0(block: &[u8], out: &mut Integers) {
    out.scaled(block);
    for (value, byte) in out.values.iter_mut().zip(&block[2..34]) {
        *value = *byte as i8;
    }
}

/// The low nibbles are the first half of the values, the high ones the second.
fn nibbles(bytes: &[u8], out: &mut Integers, value: impl Fn(u8, usize) -> i8) {
    for (i, byte) in bytes.iter().enumerate() {
        out.values[i] = value(byte & 15, i);
        out.values[i + 16] = value(byte >> 4, i + 16);
    }
}

/// Bit 4 of value `i`, from 32 bits at byte `at`.
fn fifth_bits(block: &[u8], at: usize) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    move |i| ((bits >> i & 1) << 4) as u8
}
