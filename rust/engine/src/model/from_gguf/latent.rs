//! Latent attention from GGUF metadata.

use super::super::description::LatentShape;
use super::keys::Keys;
use crate::EngineError;

/// The sizes, in families that have it.
pub(super) fn latent(keys: Keys) -> Result<Option<LatentShape>, EngineError> {
    if !keys.family.latent {
        return Ok(None);
    }
    let rotated = keys.size("rope.dimension_count")?;
    // Older files say the sizes of a head where newer ones say those of a latent.
    let of_head = |newer, older| match keys.optional_size(newer)? {
        Some(size) => Ok(size),
        None => keys.size(older),
    };
    let key = of_head("attention.key_length_mla", "attention.key_length")?;
    Ok(Some(LatentShape {
        query_rank: keys.optional_size("attention.q_lora_rank")?,
        rank: keys.size("attention.kv_lora_rank")?,
        plain: key.saturating_sub(rotated),
        rotated,
        value: of_head("attention.value_length_mla", "attention.value_length")?,
    }))
}

/// Scale of the scores: where positions are stretched, larger by the square of `YaRN`'s factor for all values.
pub(super) fn scale(keys: Keys, shape: LatentShape) -> Result<f32, EngineError> {
    let plain = 1.0 / ((shape.plain + shape.rotated) as f32).sqrt();
    let weight = keys.number("rope.scaling.yarn_log_multiplier")?;
    let (Some(weight), Some(factor)) = (weight, keys.number("rope.scaling.factor")?) else {
        return Ok(plain);
    };
    let stretched = factor > 1.0;
    let magnitude = if stretched {
        1.0 + weight * factor.ln()
    } else {
        1.0
    };
    Ok(plain * magnitude.powi(2))
}
