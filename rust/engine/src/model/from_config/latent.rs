//! Latent attention from a `config.json`.

use super::super::description::LatentShape;
use super::super::rope::yarn_magnitude;
use super::keys::Config;
use super::rope::parameters;
use crate::EngineError;

/// The sizes, in families that have it.
pub(super) fn latent(config: Config) -> Result<Option<LatentShape>, EngineError> {
    if !config.family.latent {
        return Ok(None);
    }
    Ok(Some(LatentShape {
        query_rank: config.optional_size("q_lora_rank")?,
        rank: config.size("kv_lora_rank")?,
        plain: config.size("qk_nope_head_dim")?,
        rotated: config.size("qk_rope_head_dim")?,
        value: config.size("v_head_dim")?,
    }))
}

/// Scale of the scores: where positions are stretched, larger by the square of `YaRN`'s factor for all values.
pub(super) fn scale(config: Config, shape: LatentShape) -> Result<f32, EngineError> {
    let plain = 1.0 / ((shape.plain + shape.rotated) as f32).sqrt();
    let rope = parameters(config);
    let kind = match rope.optional_text("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.optional_text("type")?,
    };
    let weight = rope.number("mscale_all_dim")?.unwrap_or(0.0);
    if weight == 0.0 || matches!(kind, None | Some("default")) {
        return Ok(plain);
    }
    let factor = rope.needed("factor")?;
    Ok(plain * yarn_magnitude(factor, weight).powi(2))
}
