//! The shape from the config.json of a safetensors model.

use serde_json::Value;

use crate::error::WeightsError;
use crate::model::SafetensorsModel;
use crate::shape::{LayerKv, ModelShape, layer_count};

const RECURRENT: &str = "linear_attention";
const SLIDING: &str = "sliding_attention";
/// Families that read texts whole.
const ENCODERS: [&str; 5] = ["bert", "roberta", "xlm-roberta", "camembert", "modernbert"];
const FULL: &str = "full_attention";

pub(super) fn read(model: &SafetensorsModel) -> Result<ModelShape, WeightsError> {
    let model_type = model.model_type()?;
    // Multimodal models nest the language model's configuration.
    let nested = model
        .config
        .get("text_config")
        .filter(|text| text.is_object());
    let config = Config {
        root: nested.unwrap_or(&model.config),
        model_type,
    };
    let layers = layer_count(config.required("num_hidden_layers")?)?;
    let hidden = config.required("hidden_size")?;
    let heads = config.required("num_attention_heads")?;
    let head_dim = config.head_dim(hidden, heads)?;
    let layer_kv = config.layer_kv(layers, heads, head_dim)?;
    let dense = config.optional("intermediate_size")?;
    let experts = config.optional("moe_intermediate_size")?;
    Ok(ModelShape {
        architecture: model_type.to_owned(),
        name: model
            .config
            .get("_name_or_path")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        layers,
        hidden,
        feed_forward: dense
            .into_iter()
            .chain(experts)
            .max()
            .ok_or_else(|| missing("intermediate_size"))?,
        heads,
        kv_heads: layer_kv
            .iter()
            .map(|layer| layer.kv_heads)
            .max()
            .unwrap_or(0),
        head_dim,
        vocab: config.required("vocab_size")?,
        encoder: config.encoder(),
        context_length: config.required("max_position_embeddings")?,
        layer_kv,
    })
}

struct Config<'a> {
    root: &'a Value,
    model_type: &'a str,
}

impl Config<'_> {
    fn encoder(&self) -> bool {
        ENCODERS.contains(&self.model_type)
    }

    /// A whole number; null counts as absent, as published configurations mean it.
    fn optional(&self, key: &str) -> Result<Option<usize>, WeightsError> {
        match self.root.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().map(usize::try_from) {
                Some(Ok(number)) => Ok(Some(number)),
                _ => Err(WeightsError::WrongType {
                    key: key.to_owned(),
                    expected: "a whole number",
                    found: shown(value),
                }),
            },
        }
    }

    fn required(&self, key: &str) -> Result<usize, WeightsError> {
        self.optional(key)?.ok_or_else(|| missing(key))
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, WeightsError> {
        if let Some(rank) = self.optional("kv_lora_rank")? {
            // Queries and results are in the space of the latent.
            return Ok(rank.saturating_add(self.optional("qk_rope_head_dim")?.unwrap_or(0)));
        }
        if let Some(dim) = self.optional("head_dim")? {
            return Ok(dim);
        }
        hidden
            .checked_div(heads)
            .filter(|dim| dim * heads == hidden)
            .ok_or_else(|| {
                WeightsError::Malformed(format!("{hidden} values do not divide into {heads} heads"))
            })
    }

    fn layer_kv(
        &self,
        layers: usize,
        heads: usize,
        head_dim: usize,
    ) -> Result<Vec<LayerKv>, WeightsError> {
        let kinds = self.kinds(layers)?;
        let latent = self.optional("kv_lora_rank")?;
        let rotary = self.optional("qk_rope_head_dim")?.unwrap_or(0);
        let kv_heads = self.optional("num_key_value_heads")?.unwrap_or(heads);
        let layer = |kind| {
            let (kv_heads, key_dim, value_dim) = match latent {
                Some(rank) => (1, rank.saturating_add(rotary), 0),
                None => (kv_heads, head_dim, head_dim),
            };
            let none = kind == Kind::Recurrent || self.encoder();
            LayerKv {
                kv_heads: if none { 0 } else { kv_heads },
                key_dim,
                value_dim,
            }
        };
        Ok(kinds.into_iter().map(layer).collect())
    }

    /// What each layer is: 1. as `layer_types` says, 2. by interval in hybrids, 3. one with attention.
    fn kinds(&self, layers: usize) -> Result<Vec<Kind>, WeightsError> {
        if let Some(types) = self.root.get("layer_types").and_then(Value::as_array) {
            return named_kinds(types, layers);
        }
        if let Some(interval) = self
            .optional("full_attention_interval")?
            .filter(|&interval| interval > 1)
        {
            let kind = |layer: usize| {
                if (layer + 1).is_multiple_of(interval) {
                    Kind::Attention
                } else {
                    Kind::Recurrent
                }
            };
            return Ok((0..layers).map(kind).collect());
        }
        Ok(vec![Kind::Attention; layers])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With a window or without one: the cache keeps all tokens for both.
    Attention,
    Recurrent,
}

fn named_kinds(types: &[Value], layers: usize) -> Result<Vec<Kind>, WeightsError> {
    if types.len() != layers {
        return Err(WeightsError::Malformed(format!(
            "layer_types has {} entries for {layers} layers",
            types.len()
        )));
    }
    let kind = |value: &Value| match value.as_str() {
        Some(FULL | SLIDING) => Ok(Kind::Attention),
        Some(RECURRENT) => Ok(Kind::Recurrent),
        _ => Err(WeightsError::Unsupported(format!(
            "layer_types has {}; {FULL}, {SLIDING} and {RECURRENT} are known",
            shown(value)
        ))),
    };
    types.iter().map(kind).collect()
}

fn missing(key: &str) -> WeightsError {
    WeightsError::MissingKey {
        key: key.to_owned(),
    }
}

/// A foreign value for a message, cut to a length that fits one.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
