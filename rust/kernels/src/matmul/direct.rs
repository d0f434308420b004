//! Blocks of common types, rearranged into tiles without decoding every weight.

use crate::BlockType;

/// The low four bits of four weights.
const LOW: u32 = 0x0f0f_0f0f;
/// The low two bits of four weights.
const TWO: u32 = 0x0303_0303;
/// Four times the bias of weights that take a byte.
const BYTE_BIASES: u32 = 0x8080_8080;
/// Words of a block that has the most, 256 weights of six bits.
const MOST: usize = 48;

/// What one row has in the vectors of a block's groups: one word of each, in their order.
pub(super) type Words = [u32; MOST];
/// Writes the words of a block.
pub(super) type Rearrange = fn(&[u8], &mut Words);

/// How blocks of this type are rearranged, if there is a short way.
pub(super) fn rearrange(ty: BlockType) -> Option<Rearrange> {
    Some(match ty {
        BlockType::Q4_0 | BlockType::IQ4NL => |block, words| copy(&block[2..], words),
        BlockType::Q4_1 => |block, words| copy(&block[4..], words),
        BlockType::Q8_0 => q8_0,
        BlockType::Q4K => q4_k,
        BlockType::Q6K => q6_k,
        _ => return None,
    })
}

/// The `N` words from byte `at` on.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8], at: usize) -> [u32; N] {
    let (words, _) = bytes[at..at + 4 * N].as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

/// The low halves of the bytes are the first half of the weights, as in tiles.
fn copy(bytes: &[u8], out: &mut Words) {
    out[..4].copy_from_slice(&words::<4>(bytes, 0));
}

fn q8_0(block: &[u8], out: &mut Words) {
    let weights = words::<8>(block, 2);
    out[..8].copy_from_slice(&weights.map(|word| word ^ BYTE_BIASES));
}

/// The low halves of 32 bytes are one group, the high halves the next.
fn q4_k(block: &[u8], out: &mut Words) {
    let (groups, _) = out.as_chunks_mut::<8>();
    for (part, groups) in groups.iter_mut().take(4).enumerate() {
        let both = words::<8>(block, 16 + 32 * part);
        for v in 0..4 {
            let (first, second) = (both[v], both[v + 4]);
            groups[v] = first & LOW | (second & LOW) << 4;
            groups[v + 4] = first >> 4 & LOW | second & !LOW;
        }
    }
}

/// Groups of 16: two words with the low four bits of each weight, then one with the others.
fn q6_k(block: &[u8], out: &mut Words) {
    let (groups, _) = out.as_chunks_mut::<3>();
    for (number, group) in groups.iter_mut().enumerate() {
        let (run, half) = (number / 2, number % 2 * 16);
        let (part, quarter) = (run / 4, run % 4);
        let low = words::<4>(block, part * 64 + quarter % 2 * 32 + half);
        let low = low.map(|word| word >> (quarter / 2 * 4) & LOW);
        let high = words::<4>(block, 128 + part * 32 + half);
        let high = high.map(|word| word >> (2 * quarter) & TWO);
        *group = [
            low[0] | low[2] << 4,
            low[1] | low[3] << 4,
            high[0] | high[1] << 2 | high[2] << 4 | high[3] << 6,
        ];
    }
}
