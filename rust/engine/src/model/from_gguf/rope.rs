//! Rotary positions from GGUF metadata.

use super::super::description::unsupported;
use super::super::rope::{
    LongScaling, Rope, RopeScaling, YarnScaling, long_magnitude, yarn_magnitude,
};
use super::super::tensors::{LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS};
use super::keys::Keys;
use crate::EngineError;

/// Base of layers with a window, in families where they have their own and the file does not say it.
const LOCAL_THETA: f32 = 10_000.0;

/// The ropes of a model; with two the second is that of layers with a window.
pub(super) fn ropes(keys: Keys, head_dim: usize) -> Result<Vec<Rope>, EngineError> {
    let rope = Rope {
        kind: keys.family.gguf_rope,
        theta: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
        dims: keys
            .optional_size("rope.dimension_count")?
            .unwrap_or(head_dim),
        scaling: scaling(keys)?,
    };
    if !keys.family.local_rope {
        return Ok(vec![rope]);
    }
    let local = Rope {
        theta: keys.number("rope.freq_base_swa")?.unwrap_or(LOCAL_THETA),
        scaling: RopeScaling::None,
        ..rope.clone()
    };
    Ok(vec![rope, local])
}

fn scaling(keys: Keys) -> Result<RopeScaling, EngineError> {
    if let Some(long) = long(keys)? {
        return Ok(long);
    }
    let kind = keys.gguf.get_str(&keys.key("rope.scaling.type"))?;
    let older = keys.number("rope.scale_linear")?;
    let factors = keys.numbers(ROPE_FACTORS)?;
    match (kind, factors) {
        (None | Some("none"), Some(factors)) => Ok(RopeScaling::Factors(factors)),
        (None | Some("none"), None) => Ok(older.map_or(RopeScaling::None, RopeScaling::Linear)),
        (Some("linear"), None) => Ok(RopeScaling::Linear(keys.needed("rope.scaling.factor")?)),
        (Some("yarn"), None) => yarn(keys),
        (Some(other), _) => Err(unsupported(format!(
            "rope scaling {other:?} is not supported; supported: none, linear, yarn, rope_freqs.weight"
        ))),
    }
}

fn yarn(keys: Keys) -> Result<RopeScaling, EngineError> {
    let factor = keys.needed("rope.scaling.factor")?;
    let implied = yarn_magnitude(factor, 1.0) / scaled_already(keys, factor)?;
    let given = keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let number = |key, usual| Ok::<_, EngineError>(keys.number(key)?.unwrap_or(usual));
    Ok(RopeScaling::Yarn(YarnScaling {
        factor,
        original_context: keys.size("rope.scaling.original_context_length")? as f32,
        beta_fast: number("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: number("rope.scaling.yarn_beta_slow", 1.0)?,
        truncate: keys.family.whole_ramps,
        magnitude: given * implied,
    }))
}

/// The part of `YaRN`'s factor that the scale of the scores has in place of queries and keys.
fn scaled_already(keys: Keys, factor: f32) -> Result<f32, EngineError> {
    let weight = keys.number("rope.scaling.yarn_log_multiplier")?;
    match weight.filter(|&weight| weight != 0.0) {
        None => Ok(1.0),
        // The factor that would be divided has the same weight.
        Some(_) if keys.family.latent => Ok(yarn_magnitude(factor, 1.0)),
        Some(weight) => Ok(yarn_magnitude(factor, weight)),
    }
}

/// The tensors of `LongRoPE`, if the file has them.
fn long(keys: Keys) -> Result<Option<RopeScaling>, EngineError> {
    let factors = (keys.numbers(SHORT_FACTORS)?, keys.numbers(LONG_FACTORS)?);
    let (Some(short), Some(long)) = factors else {
        return Ok(None);
    };
    let context = keys.size("context_length")?;
    let original = keys
        .optional_size("rope.scaling.original_context_length")?
        .unwrap_or(context);
    let implied = long_magnitude(context as f32 / original as f32, original);
    Ok(Some(RopeScaling::Long(LongScaling {
        short,
        long,
        original_context: original,
        magnitude: keys.number("rope.scaling.attn_factor")?.unwrap_or(implied),
    })))
}
