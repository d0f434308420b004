//! Blocks to f32, bit for bit as the reference does it.

use crate::{BlockType, KernelError, quant, shape};

/// Decode all of `src` into `dst`. F32, F16 and BF16 keep the bits of NaNs; any bytes are valid blocks.
///
/// # Errors
/// If `dst` is not whole blocks, `src` is not as long as they are, or the type has no decoder.
pub fn dequantize(ty: BlockType, src: &[u8], dst: &mut [f32]) -> Result<(), KernelError> {
    let values = dst.len();
    let bytes = ty
        .bytes_for(values)
        .ok_or(KernelError::PartialBlock { ty, values })?;
    shape::same("source bytes", bytes, src.len())?;
    match ty {
        BlockType::F32 => each(src, dst, f32::from_le_bytes),
        BlockType::F16 => each(src, dst, |b| quant::half_to_f32(u16::from_le_bytes(b))),
        BlockType::BF16 => each(src, dst, |b| {
            f32::from_bits((u16::from_le_bytes(b) as u32) << 16)
        }),
        _ => {
            let decode = quant::decoder(ty).ok_or(KernelError::Unsupported { ty })?;
            let mut integers = quant::Integers::new();
            let blocks = src.chunks_exact(ty.block_bytes());
            for (block, out) in blocks.zip(dst.chunks_exact_mut(ty.block_len())) {
                decode(block, &mut integers);
                integers.write(out);
            }
        }
    }
    Ok(())
}

fn each<const N: usize>(src: &[u8], dst: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = src.as_chunks::<N>();
    for (value, bytes) in dst.iter_mut().zip(chunks) {
        *value = decode(*bytes);
    }
}
