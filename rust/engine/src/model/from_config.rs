//! A description from the `config.json` of a Hugging Face model.

use serde_json::Value;

use super::description::{Activation, Description, invalid};
use super::family::{self, Window};
use super::rope::{Llama3Scaling, Rope, RopeKind, RopeScaling};
use crate::EngineError;

/// Read the configuration; what would change the outputs and is not supported is refused by name.
pub(crate) fn describe(config: &Value) -> Result<Description, EngineError> {
    let config = Config(config);
    let model_type = config.text("model_type")?;
    let family = family::of_config(model_type)?;
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let per_head = hidden.checked_div(heads).unwrap_or(0);
    let head_dim = config.optional_size("head_dim")?.unwrap_or(per_head);
    Description {
        architecture: model_type.to_owned(),
        name: config.0["_name_or_path"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        layers: config.size("num_hidden_layers")?,
        hidden,
        heads,
        kv_heads: config
            .optional_size("num_key_value_heads")?
            .unwrap_or(heads),
        head_dim,
        feed_forward: config.size("intermediate_size")?,
        vocab: config.size("vocab_size")?,
        context_length: config.size("max_position_embeddings")?,
        norm_eps: config.number("rms_norm_eps")?.unwrap_or(1e-6),
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        window: config.window(family.window)?,
        rope: Rope {
            kind: RopeKind::HalfSplit,
            theta: config.theta()?,
            dims: config.rotated(head_dim)?,
            scaling: config.scaling()?,
        },
        activation: config.activation()?,
        tied_head: config.flag("tie_word_embeddings")?.unwrap_or(false),
        query_key_norm: family.query_key_norm,
        query_key_value_bias: family.bias || config.flag("attention_bias")?.unwrap_or(false),
    }
    .checked()
}

/// Typed look-ups with errors that name the key.
struct Config<'a>(&'a Value);

impl<'a> Config<'a> {
    fn text(&self, key: &str) -> Result<&'a str, EngineError> {
        let value = self.0[key].as_str();
        value.ok_or_else(|| invalid(format!("config.json: {key} is missing or not text")))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        if self.0[key].is_null() {
            return Ok(None);
        }
        let size = self.0[key]
            .as_u64()
            .and_then(|size| usize::try_from(size).ok());
        let size =
            size.ok_or_else(|| invalid(format!("config.json: {key} is not a whole number")))?;
        Ok(Some(size))
    }

    fn size(&self, key: &str) -> Result<usize, EngineError> {
        let size = self.optional_size(key)?;
        size.ok_or_else(|| invalid(format!("config.json: {key} is missing")))
    }

    fn number(&self, key: &str) -> Result<Option<f32>, EngineError> {
        if self.0[key].is_null() {
            return Ok(None);
        }
        let number = self.0[key].as_f64();
        let number =
            number.ok_or_else(|| invalid(format!("config.json: {key} is not a number")))?;
        Ok(Some(number as f32))
    }

    fn needed(&self, key: &str) -> Result<f32, EngineError> {
        let number = self.number(key)?;
        number.ok_or_else(|| invalid(format!("config.json: {key} of the rope scaling is missing")))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        if self.0[key].is_null() {
            return Ok(None);
        }
        let flag = self.0[key].as_bool();
        flag.map(Some)
            .ok_or_else(|| invalid(format!("config.json: {key} is not true or false")))
    }

    /// The newer style keeps theta and scaling in `rope_parameters`.
    fn rope_parameters(&self) -> Config<'a> {
        let newer = &self.0["rope_parameters"];
        Config(if newer.is_null() {
            &self.0["rope_scaling"]
        } else {
            newer
        })
    }

    fn theta(&self) -> Result<f32, EngineError> {
        let inside = self.rope_parameters().number("rope_theta")?;
        Ok(inside.or(self.number("rope_theta")?).unwrap_or(10_000.0))
    }

    fn rotated(&self, head_dim: usize) -> Result<usize, EngineError> {
        let share = self.number("partial_rotary_factor")?;
        Ok(share.map_or(head_dim, |share| (head_dim as f32 * share) as usize))
    }

    fn scaling(&self) -> Result<RopeScaling, EngineError> {
        let rope = self.rope_parameters();
        if rope.0.is_null() {
            return Ok(RopeScaling::None);
        }
        let kind = rope.0["rope_type"].as_str().or(rope.0["type"].as_str());
        match kind {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear(rope.needed("factor")?)),
            Some("llama3") => Ok(RopeScaling::Llama3(Llama3Scaling {
                factor: rope.needed("factor")?,
                low_freq_factor: rope.needed("low_freq_factor")?,
                high_freq_factor: rope.needed("high_freq_factor")?,
                original_context: rope.needed("original_max_position_embeddings")?,
            })),
            Some(other) => Err(EngineError::UnsupportedModel(format!(
                "rope scaling {other:?} is not supported; supported: default, linear, llama3"
            ))),
        }
    }

    fn window(&self, meaning: Window) -> Result<Option<usize>, EngineError> {
        let window = self
            .optional_size("sliding_window")?
            .filter(|&window| window > 0);
        match meaning {
            Window::Always => Ok(window),
            Window::Switched if self.flag("use_sliding_window")?.unwrap_or(false) => {
                let text = "use_sliding_window: a window on some of the layers is not supported";
                Err(EngineError::UnsupportedModel(text.to_owned()))
            }
            Window::Never | Window::Switched => Ok(None),
        }
    }

    fn activation(&self) -> Result<Activation, EngineError> {
        match self.0["hidden_act"].as_str() {
            None | Some("silu" | "swish") => Ok(Activation::Silu),
            Some(other) => Err(EngineError::UnsupportedModel(format!(
                "activation {other:?} is not supported; supported: silu"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]
    use super::*;
    use serde_json::json;

    fn llama() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0
        })
    }

    fn with(key: &str, value: Value) -> Result<Description, EngineError> {
        let mut config = llama();
        config[key] = value;
        describe(&config)
    }

    #[test]
    fn both_styles_of_rope_keys_are_read() {
        let newer = with(
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": 5e5}),
        )
        .unwrap();
        assert_eq!(newer.rope.theta, 5e5);
        let older = with("rope_scaling", json!({"type": "linear", "factor": 2.0})).unwrap();
        assert_eq!(older.rope.scaling, RopeScaling::Linear(2.0));
        assert_eq!(older.rope.theta, 10_000.0);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (key, value, word) in [
            ("model_type", json!("mamba"), "mamba"),
            ("hidden_act", json!("relu2"), "relu2"),
            (
                "rope_scaling",
                json!({"type": "yarn", "factor": 4.0}),
                "yarn",
            ),
            ("partial_rotary_factor", json!(0.5), "rotation"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(matches!(error, EngineError::UnsupportedModel(_)), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn contradictions_are_errors_of_the_file() {
        for (key, value) in [
            ("num_attention_heads", json!(0)),
            ("num_key_value_heads", json!(3)),
            ("num_hidden_layers", json!(-4)),
            ("vocab_size", json!("many")),
            ("rms_norm_eps", json!(0.0)),
            ("head_dim", json!(1_u64 << 40)),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(
                matches!(error, EngineError::ModelFileInvalid(_)),
                "{key}: {error}"
            );
        }
    }
}
