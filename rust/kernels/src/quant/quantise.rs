//! Numbers to blocks: `Q8_0`, `Q4_K` and `Q6_K`.
//!
//! `Q8_0` rounds as the reference does, bit for bit. The K-quants have no single right answer: scales are searched for
//! the smallest square error, and the numbers are rounded with the scales as stored.

use half::f16;

use super::half_to_f32;
use crate::{BlockType, KernelError, shape};

/// Scales that are tried around the plain one, in each direction.
const TRIES: i32 = 4;

/// Encode all of `src` into `dst`, which is as long as its blocks.
///
/// # Errors
/// If `src` is not whole blocks, `dst` has another length, or the type is not one of the three.
pub fn quantize(ty: BlockType, src: &[f32], dst: &mut [u8]) -> Result<(), KernelError> {
    let values = src.len();
    let bytes = ty
        .bytes_for(values)
        .ok_or(KernelError::PartialBlock { ty, values })?;
    shape::same("destination bytes", bytes, dst.len())?;
    let encode = match ty {
        BlockType::Q8_0 => q8_0,
        BlockType::Q4K => q4_k,
        BlockType::Q6K => q6_k,
        _ => return Err(KernelError::Unsupported { ty }),
    };
    let blocks = dst.chunks_exact_mut(ty.block_bytes());
    for (x, block) in src.chunks_exact(ty.block_len()).zip(blocks) {
        encode(x, block);
    }
    Ok(())
}

fn q8_0(x: &[f32], block: &mut [u8]) {
    let scale = largest(x) / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, x) in block[2..].iter_mut().zip(x) {
        // Halves away from zero.
        *byte = (x * inverse).round() as i8 as u8;
    }
}

/// Four bits with a scale and a minimum for each 32, of six bits each.
fn q4_k(x: &[f32], block: &mut [u8]) {
    let fits: [[f32; 2]; 8] = std::array::from_fn(|run| fit_range(&x[run * 32..][..32]));
    let units: [f32; 2] = std::array::from_fn(|number| {
        let most = fits.iter().map(|fit| fit[number]).fold(0.0, f32::max);
        stored_half(most / 63.0, &mut block[2 * number..][..2])
    });
    let steps = fits.map(|fit| [0, 1].map(|number| step(fit[number], units[number], 0, 63) as u8));
    for (run, [scale, minimum]) in steps.into_iter().enumerate() {
        let packed = &mut block[4..16];
        if run < 4 {
            packed[run] |= scale;
            packed[run + 4] |= minimum;
        } else {
            packed[run + 4] = scale & 15 | minimum << 4;
            packed[run - 4] |= scale >> 4 << 6;
            packed[run] |= minimum >> 4 << 6;
        }
    }
    for (run, x) in x.chunks_exact(32).enumerate() {
        let scale = units[0] * f32::from(steps[run][0]);
        let minimum = units[1] * f32::from(steps[run][1]);
        let bytes = &mut block[16 + run / 2 * 32..][..32];
        for (byte, x) in bytes.iter_mut().zip(x) {
            let code = step(x + minimum, scale, 0, 15) as u8;
            *byte |= if run % 2 == 0 { code } else { code << 4 };
        }
    }
}

/// Six bits with a scale of eight bits for each 16.
fn q6_k(x: &[f32], block: &mut [u8]) {
    let scales: [f32; 16] = std::array::from_fn(|run| fit_scale(&x[run * 16..][..16], 32));
    let unit = stored_half(largest(&scales) / 127.0, &mut block[208..210]);
    let steps = scales.map(|scale| step(scale, unit, -127, 127) as i8);
    for (byte, step) in block[192..208].iter_mut().zip(steps) {
        *byte = step as u8;
    }
    for (i, x) in x.iter().enumerate() {
        let scale = unit * f32::from(steps[i / 16]);
        let code = (step(*x, scale, -32, 31) + 32) as u8;
        let (part, quarter, lane) = (i / 128, i / 32 % 4, i % 32);
        block[part * 64 + quarter % 2 * 32 + lane] |= (code & 15) << (4 * (quarter / 2));
        block[128 + part * 32 + lane] |= code >> 4 << (2 * quarter);
    }
}

/// Scale and minimum, neither negative, so that `scale * code - minimum` with codes of four bits is near `x`.
fn fit_range(x: &[f32]) -> [f32; 2] {
    let low = x.iter().copied().fold(0.0, f32::min);
    let high = x.iter().copied().fold(0.0, f32::max);
    let plain = (high - low) / 15.0;
    if plain == 0.0 {
        return [0.0, -low];
    }
    let mut best = ([plain, -low], range_error(x, [plain, -low]));
    for attempt in -TRIES..=TRIES {
        let scale = plain * (1.0 + attempt as f32 * 0.03);
        let refined = least_squares(x, [scale, -low]);
        let error = range_error(x, refined);
        if error < best.1 {
            best = (refined, error);
        }
    }
    best.0
}

/// The best scale and minimum for the codes that these give.
fn least_squares(x: &[f32], [scale, minimum]: [f32; 2]) -> [f32; 2] {
    let (mut sum_x, mut sum_code, mut sum_square, mut sum_product) = (0.0, 0.0, 0.0, 0.0);
    for x in x {
        let code = step(x + minimum, scale, 0, 15) as f32;
        sum_x += x;
        sum_code += code;
        sum_square += code * code;
        sum_product += code * x;
    }
    let count = x.len() as f32;
    let determinant = count * sum_square - sum_code * sum_code;
    if determinant <= 0.0 {
        return [scale, minimum];
    }
    let slope = (count * sum_product - sum_code * sum_x) / determinant;
    let offset = (sum_square * sum_x - sum_code * sum_product) / determinant;
    if offset > 0.0 {
        return [sum_product / sum_square, 0.0];
    }
    [slope, -offset]
}

fn range_error(x: &[f32], [scale, minimum]: [f32; 2]) -> f32 {
    let errors = x.iter().map(|x| {
        let code = step(x + minimum, scale, 0, 15) as f32;
        (scale * code - minimum - x).powi(2)
    });
    errors.sum()
}

/// A scale, negative if need be, so that `scale * code` with codes from `-half` to `half - 1` is near `x`.
fn fit_scale(x: &[f32], half: i32) -> f32 {
    // The code of the largest value has the longer side.
    let extreme = x.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    let plain = extreme.unwrap_or(0.0) / -half as f32;
    let error = |scale: f32| -> f32 {
        let errors = x.iter().map(|x| {
            let code = step(*x, scale, -half, half - 1) as f32;
            (scale * code - x).powi(2)
        });
        errors.sum()
    };
    let tries = (-TRIES..=TRIES).map(|attempt| plain * (1.0 + attempt as f32 * 0.01));
    let tries = tries.map(|scale| (scale, error(scale)));
    tries
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0.0, |(scale, _)| scale)
}

/// The integer nearest to `x / unit` within bounds; 0 for no unit.
fn step(x: f32, unit: f32, least: i32, most: i32) -> i32 {
    if unit == 0.0 {
        return 0;
    }
    ((x / unit).round() as i32).clamp(least, most)
}

/// Write a number in half precision; gives what was stored.
fn stored_half(value: f32, to: &mut [u8]) -> f32 {
    let bits = f16::from_f32(value).to_bits();
    to.copy_from_slice(&bits.to_le_bytes());
    half_to_f32(bits)
}

fn largest(x: &[f32]) -> f32 {
    x.iter().map(|x| x.abs()).fold(0.0, f32::max)
}
