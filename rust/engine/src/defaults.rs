//! Sampling defaults that a model's publisher ships.

use cortex_weights::{Gguf, ModelFile};
use serde_json::Value;

use crate::{Defaults, EngineError};

/// For each value: what the GGUF file says (`general.sampling.*`), else `generation_config.json` beside the model.
pub(crate) fn published(file: &ModelFile, generation: &Value) -> Result<Defaults, EngineError> {
    let beside = of_generation_config(generation);
    let ModelFile::Gguf(gguf) = file else {
        return Ok(beside);
    };
    let own = of_gguf(gguf)?;
    Ok(Defaults {
        temperature: own.temperature.or(beside.temperature),
        top_k: own.top_k.or(beside.top_k),
        top_p: own.top_p.or(beside.top_p),
        min_p: own.min_p.or(beside.min_p),
        repetition_penalty: own.repetition_penalty.or(beside.repetition_penalty),
    })
}

fn of_gguf(gguf: &Gguf) -> Result<Defaults, EngineError> {
    let number = |name: &str| gguf.get_f32(&format!("general.sampling.{name}"));
    let top_k = gguf.get_i64("general.sampling.top_k")?;
    Ok(Defaults {
        temperature: number("temp")?,
        top_k: top_k.and_then(|k| usize::try_from(k).ok().filter(|&k| k > 0)),
        top_p: number("top_p")?,
        min_p: number("min_p")?,
        repetition_penalty: number("penalty_repeat")?,
    })
}

fn of_generation_config(generation: &Value) -> Defaults {
    let number = |key: &str| generation[key].as_f64().map(|number| number as f32);
    let greedy = generation["do_sample"] == Value::Bool(false);
    let top_k = generation["top_k"]
        .as_u64()
        .and_then(|k| usize::try_from(k).ok());
    Defaults {
        temperature: if greedy {
            Some(0.0)
        } else {
            number("temperature")
        },
        top_k: top_k.filter(|&k| k > 0),
        top_p: number("top_p"),
        min_p: number("min_p"),
        repetition_penalty: number("repetition_penalty"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// A GGUF file without tensors.
    fn file(entries: &[(&str, u32, [u8; 4])]) -> ModelFile {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend((entries.len() as u64).to_le_bytes());
        for (key, kind, value) in entries {
            bytes.extend((key.len() as u64).to_le_bytes());
            bytes.extend(key.as_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        ModelFile::Gguf(Gguf::parse(bytes).unwrap())
    }

    #[test]
    fn the_files_own_values_go_before_those_beside_it() {
        let (integer, float) = (5, 6);
        let beside =
            json!({"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05});
        let own = [
            ("general.sampling.temp", float, 1.0_f32.to_le_bytes()),
            ("general.sampling.top_k", integer, 64_i32.to_le_bytes()),
            ("general.sampling.min_p", float, 0.05_f32.to_le_bytes()),
        ];
        let expected = Defaults {
            temperature: Some(1.0),
            top_k: Some(64),
            top_p: Some(0.95),
            min_p: Some(0.05),
            repetition_penalty: Some(1.05),
        };
        assert_eq!(published(&file(&own), &beside).unwrap(), expected);
        let none = published(&file(&[]), &Value::Null).unwrap();
        assert_eq!(none, Defaults::default());
    }

    #[test]
    fn a_model_that_does_not_sample_is_greedy_and_no_limit_is_none() {
        let beside = json!({"do_sample": false, "temperature": 0.6, "top_k": 0});
        let own = [("general.sampling.top_k", 5, (-1_i32).to_le_bytes())];
        let defaults = published(&file(&own), &beside).unwrap();
        assert_eq!((defaults.temperature, defaults.top_k), (Some(0.0), None));
    }
}
