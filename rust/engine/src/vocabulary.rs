//! Tokenizer, chat template, end-of-sequence ids and sampling defaults, from the model file and the files beside it.

use std::sync::Arc;

use cortex_text::{ChatTemplate, GgufVocab, OutputFormat, TextError, Tokenizer, ToolFormat};
use cortex_weights::{Gguf, ModelFile};
use serde_json::Value;

use crate::defaults::published;
use crate::model::invalid;
use crate::{Defaults, EngineError};

/// Everything about text that a model brings along.
pub(crate) struct Vocabulary {
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
    /// Every id that ends a sequence, sorted.
    pub eos: Vec<u32>,
    /// How the model writes thoughts and calls.
    pub format: OutputFormat,
    pub defaults: Defaults,
}

impl Vocabulary {
    /// Read all sources; `template` goes before those of the model.
    pub fn read(file: &ModelFile, template: Option<&str>) -> Result<Self, EngineError> {
        let sidecars = Sidecars::read(file)?;
        let tokenizer = match file {
            ModelFile::Gguf(gguf) => {
                Tokenizer::from_gguf(&gguf_vocab(gguf)?).map_err(unsupported)?
            }
            ModelFile::Safetensors(_) => sidecars.tokenizer(file)?,
        };
        let source = match template {
            Some(template) => Some(template.to_owned()),
            None => sidecars.template(file)?,
        };
        let told = source.as_deref().unwrap_or_default();
        let format = OutputFormat::detect(told, |name| tokenizer.has_token(name));
        let template = source.map(|source| {
            let text = |id: Option<u32>| {
                id.and_then(|id| tokenizer.token_text(id))
                    .unwrap_or_default()
            };
            let eos = tokenizer.eos_ids().first().copied();
            ChatTemplate::new(&source, &text(tokenizer.bos()), &text(eos)).map_err(unsupported)
        });
        let template = template.transpose()?;
        let mut eos = tokenizer.eos_ids().to_vec();
        eos.extend(ids(&sidecars.generation["eos_token_id"]));
        if let ModelFile::Safetensors(model) = file {
            eos.extend(ids(&model.config["eos_token_id"]));
            eos.extend(ids(&model.config["text_config"]["eos_token_id"]));
        }
        let told = template.as_ref();
        eos.extend(told.and_then(|template| template.turn_end(&tokenizer)));
        if format.tools == Some(ToolFormat::Harmony) {
            // There it ends one message of several.
            let end = tokenizer.control_id("<|end|>");
            eos.retain(|&id| Some(id) != end);
        }
        eos.sort_unstable();
        eos.dedup();
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            template,
            eos,
            format,
            defaults: published(file, &sidecars.generation)?,
        })
    }
}

/// Whether the model brings a chat template.
pub(crate) fn has_template(file: &ModelFile) -> Result<bool, EngineError> {
    let template = Sidecars::read(file)?.template(file)?;
    Ok(template.is_some())
}

/// The small JSON files beside a model; `Null` where there is none.
struct Sidecars {
    generation: Value,
    tokenizer_config: Option<Vec<u8>>,
}

impl Sidecars {
    fn read(file: &ModelFile) -> Result<Self, EngineError> {
        Ok(Self {
            generation: json(file, "generation_config.json")?,
            tokenizer_config: file.sidecar("tokenizer_config.json")?,
        })
    }

    fn tokenizer(&self, file: &ModelFile) -> Result<Tokenizer, EngineError> {
        let json = file.sidecar("tokenizer.json")?;
        let json =
            json.ok_or_else(|| invalid("tokenizer.json is missing beside the model".to_owned()))?;
        Tokenizer::from_json(&json, self.tokenizer_config.as_deref()).map_err(unsupported)
    }

    /// The first of: the GGUF file's own, `chat_template.jinja`, `chat_template.json`, `tokenizer_config.json`.
    fn template(&self, file: &ModelFile) -> Result<Option<String>, EngineError> {
        if let ModelFile::Gguf(gguf) = file
            && let Some(template) = gguf.get_str("tokenizer.chat_template")?
        {
            return Ok(Some(template.to_owned()));
        }
        if let Some(bytes) = file.sidecar("chat_template.jinja")? {
            let text = String::from_utf8(bytes);
            return text
                .map(Some)
                .map_err(|_| invalid("chat_template.jinja is not valid UTF-8".to_owned()));
        }
        let separate = json(file, "chat_template.json")?;
        if let Some(template) = default_template(&separate["chat_template"]) {
            return Ok(Some(template));
        }
        let config = self
            .tokenizer_config
            .as_deref()
            .map(parse)
            .transpose()?
            .unwrap_or_default();
        Ok(default_template(&config["chat_template"]))
    }
}

/// A template, or the one named `default` of several.
fn default_template(value: &Value) -> Option<String> {
    if let Some(template) = value.as_str() {
        return Some(template.to_owned());
    }
    let named = value
        .as_array()?
        .iter()
        .find(|entry| entry["name"] == "default")?;
    named["template"].as_str().map(str::to_owned)
}

fn json(file: &ModelFile, name: &str) -> Result<Value, EngineError> {
    let Some(bytes) = file.sidecar(name)? else {
        return Ok(Value::Null);
    };
    parse(&bytes).map_err(|error| invalid(format!("{name}: {error}")))
}

fn parse(bytes: &[u8]) -> Result<Value, EngineError> {
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("not valid JSON: {error}")))
}

/// One id or a list of ids.
fn ids(value: &Value) -> Vec<u32> {
    let one = std::slice::from_ref(value);
    let all = value.as_array().map_or(one, Vec::as_slice);
    let ids = all.iter().filter_map(Value::as_u64);
    ids.filter_map(|id| u32::try_from(id).ok()).collect()
}

fn gguf_vocab(gguf: &Gguf) -> Result<GgufVocab, EngineError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let id = |name: &str| gguf.get_u32(&key(&format!("{name}_token_id")));
    let model = gguf.get_str(&key("model"))?;
    let model = model
        .ok_or_else(|| invalid("metadata key \"tokenizer.ggml.model\" is missing".to_owned()))?;
    let tokens = gguf.arr_str(&key("tokens"))?;
    Ok(GgufVocab {
        model: model.to_owned(),
        pre: gguf.get_str(&key("pre"))?.map(str::to_owned),
        tokens: tokens.ok_or_else(|| {
            invalid("metadata key \"tokenizer.ggml.tokens\" is missing".to_owned())
        })?,
        scores: gguf.arr_f32(&key("scores"))?,
        token_types: gguf.arr_i32(&key("token_type"))?,
        merges: gguf.arr_str(&key("merges"))?.unwrap_or_default(),
        bos: id("bos")?,
        eos: id("eos")?,
        unk: id("unknown")?,
        eot: id("eot")?,
        eom: id("eom")?,
        cls: id("cls")?,
        // The format has it misspelt.
        sep: id("seperator")?,
        lowercase: gguf.get_bool(&key("normalizer.lowercase"))?,
        add_bos: gguf.get_bool(&key("add_bos_token"))?,
        add_eos: gguf.get_bool(&key("add_eos_token"))?,
        add_space_prefix: gguf.get_bool(&key("add_space_prefix"))?,
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn unsupported(error: TextError) -> EngineError {
    EngineError::UnsupportedModel(error.to_string())
}
