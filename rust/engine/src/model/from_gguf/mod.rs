//! A description from the metadata of a GGUF file.

mod experts;
mod keys;
mod latent;
mod layers;
mod recurrent;
mod rope;

use cortex_weights::Gguf;

use super::description::{Description, Multipliers, layer_count, unsupported};
use super::family;
use crate::EngineError;
use keys::Keys;

/// Read the metadata; what would change the outputs and is not supported is refused by name.
pub(crate) fn describe(gguf: &Gguf) -> Result<Description, EngineError> {
    let architecture = gguf.architecture()?;
    let family = family::of_gguf(architecture)?;
    let keys = Keys {
        gguf,
        architecture,
        family,
    };
    let hidden = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let latent = latent::latent(keys)?;
    let head_dim = match latent {
        Some(latent) => latent.rank.saturating_add(latent.rotated),
        None => head_dim(keys, hidden, heads)?,
    };
    let ropes = rope::ropes(keys, latent.map_or(head_dim, |latent| latent.rotated))?;
    let further = keys.optional_size("nextn_predict_layers")?.unwrap_or(0);
    let layers = layer_count(keys.size("block_count")?.saturating_sub(further))?;
    let experts = experts::experts(keys)?;
    Description {
        architecture: architecture.to_owned(),
        name: gguf.get_str("general.name")?.map(str::to_owned),
        layers: layers::layers(keys, layers, ropes.len())?,
        hidden,
        heads,
        kv_heads: match latent {
            Some(_) => 1,
            None => keys
                .optional_size("attention.head_count_kv")?
                .unwrap_or(heads),
        },
        head_dim,
        latent,
        feed_forward: match (keys.optional_size("feed_forward_length")?, experts) {
            (Some(width), _) => width,
            // No layer is without them.
            (None, Some(experts)) => experts.width,
            (None, None) => return Err(keys.missing("feed_forward_length")),
        },
        experts,
        vocab: keys.vocab()?,
        context_length: keys.size("context_length")?,
        norm_eps: keys.needed("attention.layer_norm_rms_epsilon")?,
        // The files hold the weights as they are used.
        norm_offset: 0.0,
        norms: family.norms,
        attention_scale: match latent {
            Some(latent) => latent::scale(keys, latent)?,
            None => attention_scale(keys, layers, hidden, heads, head_dim)?,
        },
        attention_softcap: softcap(keys, "attn_logit_softcapping")?,
        final_softcap: softcap(keys, "final_logit_softcapping")?,
        ropes,
        activation: family.activation,
        multipliers: multipliers(keys, hidden)?,
        tied_head: gguf.tensor("output.weight").is_none(),
        query_key_norm: family.query_key_norm,
        recurrent: recurrent::recurrent(keys)?,
        attention_gate: family.attention_gate,
        sinks: family.sinks,
        query_key_value_bias: family.bias,
    }
    .checked()
}

fn head_dim(keys: Keys, hidden: usize, heads: usize) -> Result<usize, EngineError> {
    let per_head = hidden.checked_div(heads).unwrap_or(0);
    let head_dim = keys
        .optional_size("attention.key_length")?
        .unwrap_or(per_head);
    let values = keys.optional_size("attention.value_length")?;
    if values.is_some_and(|values| values != head_dim) {
        return Err(unsupported(format!(
            "{}: keys and values differ in size",
            keys.architecture
        )));
    }
    Ok(head_dim)
}

fn attention_scale(
    keys: Keys,
    layers: usize,
    hidden: usize,
    heads: usize,
    head_dim: usize,
) -> Result<f32, EngineError> {
    let values = if keys.family.gguf_wide_scale == Some(layers) {
        hidden as f32 / heads as f32
    } else {
        head_dim as f32
    };
    let given = keys.number("attention.scale")?;
    Ok(given.unwrap_or(1.0 / values.sqrt()))
}

/// The files leave a softcap out where it is the family's usual one, and say 0 where there is none.
fn softcap(keys: Keys, key: &str) -> Result<Option<f32>, EngineError> {
    let usual = keys.family.default(key).map(|value| value as f32);
    let cap = keys.number(key)?.or(usual);
    Ok(cap.filter(|&cap| cap != 0.0))
}

fn multipliers(keys: Keys, hidden: usize) -> Result<Multipliers, EngineError> {
    if keys.family.scaled_embedding {
        return Ok(Multipliers {
            embedding: (hidden as f32).sqrt(),
            ..Multipliers::ONE
        });
    }
    let one = |key| Ok::<_, EngineError>(keys.number(key)?.unwrap_or(1.0));
    Ok(Multipliers {
        embedding: one("embedding_scale")?,
        residual: one("residual_scale")?,
        logits: 1.0 / one("logit_scale")?,
    })
}
