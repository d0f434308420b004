//! Types whose four bits index a table: `IQ4_NL`, `IQ4_XS`, `MXFP4`.

use super::{Integers, half_bits};

const UNEVEN: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) fn iq4_nl(block: &[u8], out: &mut Integers) {
    out.scaled(block);
    look_up(&block[2..18], &UNEVEN, &mut out.values[..32]);
}

pub(super) fn iq4_xs(block: &[u8], out: &mut Integers) {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let step = |i: usize| {
        let low = block[4 + i / 2] >> (4 * (i % 2)) & 15;
        (low | ((high >> (2 * i) & 3) << 4) as u8) as i8 - 32
    };
    out.scaled_by(half_bits(block, 0), std::array::from_fn(|i| step(i / 2)));
    for i in 0..8 {
        let values = &mut out.values[32 * i..][..32];
        look_up(&block[8 + 16 * i..][..16], &UNEVEN, values);
    }
}

pub(super) fn mxfp4(block: &[u8], out: &mut Integers) {
    // Half of two to the power of the exponent, as the table has doubled values.
    let bits = match block[0] {
        tiny @ 0..2 => 0x0020_0000 << tiny,
        exponent => (exponent as u32 - 1) << 23,
    };
    out.scales[..2].fill(f32::from_bits(bits));
    look_up(&block[1..17], &E2M1, &mut out.values[..32]);
}

fn look_up(bytes: &[u8], table: &[i8; 16], values: &mut [i8]) {
    let (first, second) = values.split_at_mut(16);
    for ((byte, first), second) in bytes.iter().zip(first).zip(second) {
        *first = table[(byte & 15) as usize];
        *second = table[(byte >> 4) as usize];
    }
}
