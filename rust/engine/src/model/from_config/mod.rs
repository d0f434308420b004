//! A description from the `config.json` of a Hugging Face model.

mod experts;
mod keys;
mod latent;
mod layers;
mod recurrent;
mod rope;

use serde_json::Value;

use super::description::{Activation, Description, Multipliers, invalid, layer_count, unsupported};
use super::family;
use crate::EngineError;
use keys::Config;

/// Read the configuration; what would change the outputs and is not supported is refused by name.
pub(crate) fn describe(config: &Value) -> Result<Description, EngineError> {
    let model_type = config["model_type"].as_str();
    let model_type = model_type
        .ok_or_else(|| invalid("config.json: model_type is missing or not text".to_owned()))?;
    let family = family::of_config(model_type)?;
    let whole = Config {
        value: config,
        family,
    };
    let config = text_part(whole, model_type)?;
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let per_head = hidden.checked_div(heads).unwrap_or(0);
    let latent = latent::latent(config)?;
    let head_dim = match latent {
        Some(latent) => latent.rank.saturating_add(latent.rotated),
        None => config.optional_size("head_dim")?.unwrap_or(per_head),
    };
    let ropes = rope::ropes(config, latent.map_or(head_dim, |latent| latent.rotated))?;
    let layers = layer_count(config.size("num_hidden_layers")?)?;
    let experts = experts::experts(config)?;
    Description {
        architecture: model_type.to_owned(),
        name: config
            .optional_text("_name_or_path")?
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        layers: layers::layers(config, layers, ropes.len())?,
        hidden,
        heads,
        kv_heads: match latent {
            Some(_) => 1,
            None => config
                .optional_size("num_key_value_heads")?
                .unwrap_or(heads),
        },
        head_dim,
        latent,
        feed_forward: match (config.optional_size("intermediate_size")?, experts) {
            (Some(width), _) => width,
            // No layer is without them.
            (None, Some(experts)) => experts.width,
            (None, None) => return Err(keys::missing("intermediate_size")),
        },
        experts,
        vocab: config.size("vocab_size")?,
        context_length: config.size("max_position_embeddings")?,
        norm_eps: config.number("rms_norm_eps")?.unwrap_or(1e-6),
        norm_offset: if family.norm_offset { 1.0 } else { 0.0 },
        norms: family.norms,
        attention_scale: match latent {
            Some(latent) => latent::scale(config, latent)?,
            None => attention_scale(config, head_dim)?,
        },
        attention_softcap: config.number("attn_logit_softcapping")?,
        final_softcap: config.number("final_logit_softcapping")?,
        ropes,
        activation: activation(config)?,
        multipliers: multipliers(config, hidden)?,
        tied_head: config
            .flag("tie_word_embeddings")?
            .or(whole.flag("tie_word_embeddings")?)
            .unwrap_or(family.tied_head),
        query_key_norm: family.query_key_norm,
        recurrent: recurrent::recurrent(config)?,
        attention_gate: recurrent::attention_gate(config)?,
        sinks: family.sinks,
        query_key_value_bias: family.bias || config.flag("attention_bias")?.unwrap_or(false),
    }
    .checked()
}

/// The configuration of the text; models that also see have it under a key of its own.
fn text_part<'a>(whole: Config<'a>, model_type: &str) -> Result<Config<'a>, EngineError> {
    if whole.family.within != Some(model_type) {
        return Ok(whole);
    }
    let text = whole.part("text_config");
    if text.value.is_object() {
        return Ok(text);
    }
    Err(keys::missing("text_config"))
}

fn attention_scale(config: Config, head_dim: usize) -> Result<f32, EngineError> {
    if config.family.multipliers
        && let Some(scale) = config.number("attention_multiplier")?
    {
        return Ok(scale);
    }
    let scalar = config.number("query_pre_attn_scalar")?;
    Ok(1.0 / scalar.unwrap_or(head_dim as f32).sqrt())
}

fn multipliers(config: Config, hidden: usize) -> Result<Multipliers, EngineError> {
    if config.family.scaled_embedding {
        return Ok(Multipliers {
            embedding: (hidden as f32).sqrt(),
            ..Multipliers::ONE
        });
    }
    if !config.family.multipliers {
        return Ok(Multipliers::ONE);
    }
    let one = |key| Ok::<_, EngineError>(config.number(key)?.unwrap_or(1.0));
    Ok(Multipliers {
        embedding: one("embedding_multiplier")?,
        residual: one("residual_multiplier")?,
        logits: 1.0 / one("logits_scaling")?,
    })
}

fn activation(config: Config) -> Result<Activation, EngineError> {
    if let Activation::Clamped { alpha, limit } = config.family.activation {
        return Ok(Activation::Clamped {
            alpha: config.number("swiglu_alpha")?.unwrap_or(alpha),
            limit: config.number("swiglu_limit")?.unwrap_or(limit),
        });
    }
    let newer = config.optional_text("hidden_activation")?;
    let name = match newer {
        Some(name) => Some(name),
        None => config.optional_text("hidden_act")?,
    };
    match name {
        None => Ok(config.family.activation),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some(other) => Err(unsupported(format!(
            "activation {other:?} is not supported; supported: silu, gelu_pytorch_tanh"
        ))),
    }
}

#[cfg(test)]
mod tests;
