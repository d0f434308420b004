//! Layers with a state, and the gates of attention beside them, from a `config.json`.

use cortex_kernels::GatedDelta;

use super::super::description::RecurrentShape;
use super::keys::Config;
use crate::EngineError;

/// What the layers with a state are; `None` in a family without.
pub(super) fn recurrent(config: Config) -> Result<Option<RecurrentShape>, EngineError> {
    if !config.family.recurrent {
        return Ok(None);
    }
    Ok(Some(RecurrentShape {
        delta: GatedDelta {
            key_heads: config.size("linear_num_key_heads")?,
            value_heads: config.size("linear_num_value_heads")?,
            key_dim: config.size("linear_key_head_dim")?,
            value_dim: config.size("linear_value_head_dim")?,
        },
        kernel: config.size("linear_conv_kernel_dim")?,
    }))
}

/// Whether heads of attention have gates.
pub(super) fn attention_gate(config: Config) -> Result<bool, EngineError> {
    let gate = config.family.attention_gate;
    Ok(gate && config.flag("attn_output_gate")?.unwrap_or(true))
}
