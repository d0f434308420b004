//! An encoder's description from the `config.json` of a Hugging Face model.

use serde_json::Value;

use super::description::{EncoderDescription, EncoderStyle, Looks};
use crate::EngineError;
use crate::model::invalid;

/// Every `model_type` that is an encoder here.
pub(super) const FAMILIES: [&str; 5] =
    ["bert", "roberta", "xlm-roberta", "camembert", "modernbert"];

/// Read the configuration; what would change the outputs and is not supported is refused by name.
pub(crate) fn describe(config: &Value) -> Result<EncoderDescription, EngineError> {
    let fields = Fields(config);
    let model_type = fields.text("model_type")?;
    let layers = fields.size("num_hidden_layers")?;
    let modern = model_type == "modernbert";
    let style = if modern {
        fields.modern(layers)?
    } else {
        fields.bert(model_type)?
    };
    fields.check_activation(if modern {
        "hidden_activation"
    } else {
        "hidden_act"
    })?;
    let (eps_key, eps) = if modern {
        ("norm_eps", 1e-5)
    } else {
        ("layer_norm_eps", 1e-12)
    };
    let named = config["_name_or_path"].as_str();
    EncoderDescription {
        architecture: model_type.to_owned(),
        name: named.filter(|name| !name.is_empty()).map(str::to_owned),
        layers,
        hidden: fields.size("hidden_size")?,
        heads: fields.size("num_attention_heads")?,
        feed_forward: fields.size("intermediate_size")?,
        vocab: fields.size("vocab_size")?,
        context_length: context_length(&style, fields.size("max_position_embeddings")?)?,
        norm_eps: fields.number(eps_key)?.unwrap_or(eps),
        style,
    }
    .checked()
}

/// `RoBERTa`'s rows up to the padding token's belong to no token of a text.
fn context_length(style: &EncoderStyle, positions: usize) -> Result<usize, EngineError> {
    let EncoderStyle::Bert {
        padding: Some(padding),
        ..
    } = style
    else {
        return Ok(positions);
    };
    positions.checked_sub(*padding as usize + 1).ok_or_else(|| {
        invalid(format!(
            "{positions} positions do not reach beyond padding token {padding}"
        ))
    })
}

/// Typed look-ups with errors that name the key.
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn get<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, EngineError> {
        let value = &self.0[key];
        if value.is_null() {
            return Ok(None);
        }
        let read = read(value);
        read.map(Some)
            .ok_or_else(|| invalid(format!("config.json: {key} is not {kind}")))
    }

    fn text(&self, key: &str) -> Result<&'a str, EngineError> {
        self.get(key, "text", Value::as_str)?
            .ok_or_else(|| missing(key))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        let size = |value: &Value| usize::try_from(value.as_u64()?).ok();
        self.get(key, "a whole number", size)
    }

    fn size(&self, key: &str) -> Result<usize, EngineError> {
        self.optional_size(key)?.ok_or_else(|| missing(key))
    }

    fn number(&self, key: &str) -> Result<Option<f32>, EngineError> {
        self.get(key, "a number", |value| {
            value.as_f64().map(|number| number as f32)
        })
    }

    fn flag(&self, key: &str) -> Result<bool, EngineError> {
        Ok(self
            .get(key, "true or false", Value::as_bool)?
            .unwrap_or(false))
    }

    fn check_activation(&self, key: &str) -> Result<(), EngineError> {
        match self.0[key].as_str() {
            None | Some("gelu") => Ok(()),
            Some(other) => Err(EngineError::UnsupportedModel(format!(
                "activation {other:?} is not supported in encoders; supported: gelu"
            ))),
        }
    }

    fn bert(&self, model_type: &str) -> Result<EncoderStyle, EngineError> {
        if let Some(other) = self.0["position_embedding_type"].as_str()
            && other != "absolute"
        {
            return Err(EngineError::UnsupportedModel(format!(
                "position_embedding_type {other:?} is not supported; supported: absolute"
            )));
        }
        if self.flag("is_decoder")? {
            let text = "is_decoder: an encoder that was made a decoder is not supported";
            return Err(EngineError::UnsupportedModel(text.to_owned()));
        }
        let padding = if model_type == "bert" {
            None
        } else {
            let padding = self.optional_size("pad_token_id")?.unwrap_or(1);
            let padding = u32::try_from(padding).ok();
            Some(
                padding
                    .ok_or_else(|| invalid("config.json: pad_token_id is no token".to_owned()))?,
            )
        };
        Ok(EncoderStyle::Bert {
            positions: self.size("max_position_embeddings")?,
            token_types: self.optional_size("type_vocab_size")?.unwrap_or(2),
            padding,
        })
    }

    fn modern(&self, layers: usize) -> Result<EncoderStyle, EngineError> {
        let local = Looks {
            reach: Some(self.optional_size("local_attention")?.unwrap_or(128) / 2),
            theta: self.theta("sliding_attention", "local_rope_theta", 10_000.0)?,
        };
        let global = Looks {
            reach: None,
            theta: self.theta("full_attention", "global_rope_theta", 160_000.0)?,
        };
        let windowed = self.windowed(layers)?.into_iter();
        let attention = windowed.map(|windowed| if windowed { local } else { global });
        Ok(EncoderStyle::Modern {
            attention: attention.collect(),
            norm_bias: self.flag("norm_bias")?,
            attention_bias: self.flag("attention_bias")?,
            feed_forward_bias: self.flag("mlp_bias")?,
        })
    }

    /// Which layers have a window: as listed, or all but every n-th.
    fn windowed(&self, layers: usize) -> Result<Vec<bool>, EngineError> {
        let Some(types) = self.0["layer_types"].as_array() else {
            let period = self
                .optional_size("global_attn_every_n_layers")?
                .unwrap_or(3);
            if period == 0 || layers > 1 << 16 {
                return Err(invalid(format!(
                    "every layer of {period} layers is global, of {layers}"
                )));
            }
            return Ok((0..layers)
                .map(|layer| !layer.is_multiple_of(period))
                .collect());
        };
        let types = types.iter().map(|kind| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(EngineError::UnsupportedModel(format!(
                "layer type {kind} is not supported in encoders"
            ))),
        });
        types.collect()
    }

    /// The newer style keeps theta in `rope_parameters`, by kind of layer.
    fn theta(&self, kind: &str, older: &str, usual: f32) -> Result<f32, EngineError> {
        let rope = Fields(&self.0["rope_parameters"][kind]);
        match rope.0["rope_type"].as_str() {
            None | Some("default") => {}
            Some(other) => {
                return Err(EngineError::UnsupportedModel(format!(
                    "rope scaling {other:?} is not supported in encoders; supported: default"
                )));
            }
        }
        let newer = rope.number("rope_theta")?;
        Ok(newer.or(self.number(older)?).unwrap_or(usual))
    }
}

fn missing(key: &str) -> EngineError {
    invalid(format!("config.json: {key} is missing"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn config(model_type: &str) -> Value {
        json!({
            "model_type": model_type, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 512
        })
    }

    fn with(model_type: &str, key: &str, value: Value) -> Result<EncoderDescription, EngineError> {
        let mut config = config(model_type);
        config[key] = value;
        describe(&config)
    }

    #[test]
    fn the_two_styles_of_modernbert_say_the_same() {
        let older = with("modernbert", "global_attn_every_n_layers", json!(3)).unwrap();
        let mut newer = config("modernbert");
        newer["layer_types"] = json!([
            "full_attention",
            "sliding_attention",
            "sliding_attention",
            "full_attention"
        ]);
        newer["rope_parameters"] = json!({
            "full_attention": {"rope_type": "default", "rope_theta": 160_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}
        });
        assert_eq!(describe(&newer).unwrap().style, older.style);
    }

    #[test]
    fn roberta_loses_the_positions_up_to_its_padding() {
        assert_eq!(
            with("xlm-roberta", "pad_token_id", json!(1))
                .unwrap()
                .context_length,
            510
        );
        assert_eq!(
            with("bert", "pad_token_id", json!(1))
                .unwrap()
                .context_length,
            512
        );
        assert!(with("roberta", "pad_token_id", json!(511)).is_err());
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (model_type, key, value, word) in [
            ("bert", "hidden_act", json!("relu"), "relu"),
            (
                "bert",
                "position_embedding_type",
                json!("relative_key"),
                "relative_key",
            ),
            ("bert", "is_decoder", json!(true), "is_decoder"),
            ("modernbert", "hidden_activation", json!("silu"), "silu"),
            (
                "modernbert",
                "layer_types",
                json!(["linear_attention"]),
                "linear_attention",
            ),
            (
                "modernbert",
                "rope_parameters",
                json!({"full_attention": {"rope_type": "yarn"}}),
                "yarn",
            ),
        ] {
            let error = with(model_type, key, value).unwrap_err();
            assert!(matches!(error, EngineError::UnsupportedModel(_)), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn contradictions_are_errors_of_the_file() {
        for (model_type, key, value) in [
            ("bert", "num_attention_heads", json!(0)),
            ("bert", "num_attention_heads", json!(5)),
            ("bert", "vocab_size", json!("many")),
            ("bert", "layer_norm_eps", json!(0.0)),
            ("bert", "num_hidden_layers", json!(1_u64 << 40)),
            ("modernbert", "num_hidden_layers", json!(1_u64 << 40)),
            ("modernbert", "global_attn_every_n_layers", json!(0)),
            ("modernbert", "layer_types", json!(["full_attention"])),
            ("modernbert", "global_rope_theta", json!(-1.0)),
            ("modernbert", "hidden_size", json!(12)),
        ] {
            let error = with(model_type, key, value).unwrap_err();
            assert!(
                matches!(error, EngineError::ModelFileInvalid(_)),
                "{key}: {error}"
            );
        }
    }
}
