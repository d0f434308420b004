//! Layers with a state, from GGUF metadata.

use cortex_kernels::GatedDelta;

use super::super::description::{RecurrentShape, invalid};
use super::keys::Keys;
use crate::EngineError;

/// What the layers with a state are; `None` in a family without.
pub(super) fn recurrent(keys: Keys) -> Result<Option<RecurrentShape>, EngineError> {
    if !keys.family.recurrent {
        return Ok(None);
    }
    let (heads, values) = (
        keys.size("ssm.time_step_rank")?,
        keys.size("ssm.inner_size")?,
    );
    if heads == 0 || !values.is_multiple_of(heads) {
        return Err(invalid(format!(
            "{values} values of a state do not divide among {heads} heads"
        )));
    }
    Ok(Some(RecurrentShape {
        delta: GatedDelta {
            key_heads: keys.size("ssm.group_count")?,
            value_heads: heads,
            key_dim: keys.size("ssm.state_size")?,
            value_dim: values / heads,
        },
        kernel: keys.size("ssm.conv_kernel")?,
    }))
}

/// Which layers have a state in place of attention: as the file says for each, or all but the last of an interval.
pub(super) fn layers(keys: Keys, layers: usize) -> Result<Vec<bool>, EngineError> {
    if !keys.family.recurrent {
        return Ok(vec![false; layers]);
    }
    let key = keys.key("attention.recurrent_layers");
    if keys.gguf.is_array(&key) {
        let mut listed = keys.gguf.arr_bool(&key)?.unwrap_or_default();
        if listed.len() < layers {
            let found = listed.len();
            return Err(invalid(format!(
                "{key} has {found} values for {layers} layers"
            )));
        }
        // Those that guess further tokens come last.
        listed.truncate(layers);
        return Ok(listed);
    }
    let key = "full_attention_interval";
    let usual = keys.family.default(key).map(|interval| interval as usize);
    let interval = keys.optional_size(key)?.or(usual).unwrap_or(0);
    if interval == 0 {
        return Err(invalid(format!("{} is 0", keys.key(key))));
    }
    Ok((1..=layers)
        .map(|layer| !layer.is_multiple_of(interval))
        .collect())
}
