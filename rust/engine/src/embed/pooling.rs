//! How the states of a text's tokens become one vector, as the files beside a model declare it.

use cortex_weights::ModelFile;
use serde_json::Value;

use crate::EngineError;
use crate::model::invalid;

/// Which states make the vector of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// That of the first token.
    Cls,
    /// The mean of all.
    Mean,
    /// That of the last token.
    Last,
}

/// The keys of a pooling module that ask for one kind, and the newer name of the kind.
const MODES: [(&str, &str, Option<Pooling>); 6] = [
    ("pooling_mode_cls_token", "cls", Some(Pooling::Cls)),
    ("pooling_mode_mean_tokens", "mean", Some(Pooling::Mean)),
    ("pooling_mode_lasttoken", "lasttoken", Some(Pooling::Last)),
    ("pooling_mode_max_tokens", "max", None),
    (
        "pooling_mode_mean_sqrt_len_tokens",
        "mean_sqrt_len_tokens",
        None,
    ),
    ("pooling_mode_weightedmean_tokens", "weightedmean", None),
];

impl Pooling {
    /// What the model declares; `None` for one that declares nothing, which is no embedding model by itself.
    ///
    /// A GGUF file has `pooling_type`, a folder `modules.json` and the pooling module's own `config.json`. A vector is
    /// brought to length 1 whether or not the list of modules says so.
    ///
    /// # Errors
    /// `ModelFileInvalid`, `UnsupportedModel` for a module or a kind that is not known.
    pub(crate) fn declared(file: &ModelFile) -> Result<Option<Self>, EngineError> {
        match file {
            ModelFile::Gguf(gguf) => {
                let key = format!("{}.pooling_type", gguf.architecture()?);
                of_number(gguf.get_u32(&key)?)
            }
            ModelFile::Safetensors(_) => of_modules(file),
        }
    }
}

fn of_number(number: Option<u32>) -> Result<Option<Pooling>, EngineError> {
    match number {
        None | Some(0) => Ok(None),
        Some(1) => Ok(Some(Pooling::Mean)),
        Some(2) => Ok(Some(Pooling::Cls)),
        Some(3) => Ok(Some(Pooling::Last)),
        Some(other) => Err(EngineError::UnsupportedModel(format!(
            "pooling_type {other} is not supported; supported: 1 (mean), 2 (cls), 3 (last)"
        ))),
    }
}

fn of_modules(file: &ModelFile) -> Result<Option<Pooling>, EngineError> {
    let Some(modules) = read(file.sidecar("modules.json")?, "modules.json")? else {
        return Ok(None);
    };
    let modules = modules.as_array();
    let modules = modules.ok_or_else(|| invalid("modules.json is not a list".to_owned()))?;
    let mut pooling = None;
    for module in modules {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next() {
            Some("Transformer" | "Normalize") => {}
            Some("Pooling") => pooling = Some(of_module(file, module)?),
            _ => {
                return Err(EngineError::UnsupportedModel(format!(
                    "module {kind:?} of modules.json is not supported; supported: Transformer, Pooling, Normalize"
                )));
            }
        }
    }
    let missing = || invalid("modules.json has no pooling module".to_owned());
    pooling.ok_or_else(missing).map(Some)
}

fn of_module(file: &ModelFile, module: &Value) -> Result<Pooling, EngineError> {
    let folder = module["path"].as_str().unwrap_or_default();
    let name = format!("{folder}/config.json");
    let config = read(file.sidecar_in(folder, "config.json")?, &name)?;
    let config = config.ok_or_else(|| invalid(format!("{name} is missing beside the model")))?;
    of_config(&config)
}

fn of_config(config: &Value) -> Result<Pooling, EngineError> {
    let named = config["pooling_mode"].as_str();
    let asked = MODES
        .iter()
        .filter(|(flag, name, _)| config[flag] == Value::Bool(true) || named == Some(name));
    let asked: Vec<_> = asked.collect();
    if let [(_, _, Some(pooling))] = asked.as_slice() {
        return Ok(*pooling);
    }
    let found: Vec<&str> = asked.iter().map(|(_, name, _)| *name).collect();
    let found = named
        .filter(|_| found.is_empty())
        .map_or(found.join(" + "), str::to_owned);
    Err(EngineError::UnsupportedModel(format!(
        "pooling {found:?} is not supported; supported: cls, mean, lasttoken"
    )))
}

/// The most tokens of a text that the publisher allows, if the files say so.
pub(super) fn longest_text(file: &ModelFile) -> Result<Option<usize>, EngineError> {
    let name = "sentence_bert_config.json";
    let config = read(file.sidecar(name)?, name)?;
    let longest = config.and_then(|config| config["max_seq_length"].as_u64());
    Ok(longest
        .and_then(|longest| usize::try_from(longest).ok())
        .filter(|&longest| longest > 0))
}

fn read(bytes: Option<Vec<u8>>, name: &str) -> Result<Option<Value>, EngineError> {
    let value = bytes
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose();
    value.map_err(|error| invalid(format!("{name}: not valid JSON: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn both_styles_of_the_module_are_read() {
        let older = json!({"pooling_mode_cls_token": false, "pooling_mode_lasttoken": true});
        assert_eq!(of_config(&older).unwrap(), Pooling::Last);
        let newer = json!({"pooling_mode": "mean", "word_embedding_dimension": 8});
        assert_eq!(of_config(&newer).unwrap(), Pooling::Mean);
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        let both = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true});
        for (config, word) in [
            (both, "cls + mean"),
            (json!({"pooling_mode_max_tokens": true}), "max"),
            (json!({"pooling_mode": "attention"}), "attention"),
            (json!({}), "\"\""),
        ] {
            let error = of_config(&config).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(of_number(Some(3)).unwrap(), Some(Pooling::Last));
        assert_eq!(of_number(Some(0)).unwrap(), None);
        assert!(
            of_number(Some(4))
                .unwrap_err()
                .to_string()
                .contains("pooling_type 4")
        );
    }
}
