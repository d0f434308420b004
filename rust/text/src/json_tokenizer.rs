//! A tokenizer as `tokenizer.json` describes it, and the facts beside it.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::Tokenizer as Inner;

use crate::vocab::{Alphabet, Kind, Token, Vocab};
use crate::{Specials, TextError};

/// Encodes with and without control tokens.
#[derive(Debug)]
pub(crate) struct JsonTokenizer {
    parsing: Inner,
    /// The same one, for which control tokens in a text are text.
    plain: Inner,
}

/// What is known beside the encoding.
pub(crate) struct Facts {
    pub vocab: Vocab,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub strips_leading_space: bool,
}

impl JsonTokenizer {
    pub fn new(tokenizer: &[u8], config: Option<&[u8]>) -> Result<(Self, Facts), TextError> {
        let invalid = |what: &str, error: &dyn std::fmt::Display| {
            TextError::InvalidTokenizer(format!("{what}: {error}"))
        };
        let json: Value =
            serde_json::from_slice(tokenizer).map_err(|error| invalid("tokenizer.json", &error))?;
        let config: Value = config
            .map_or(Ok(Value::Null), serde_json::from_slice)
            .map_err(|error| invalid("tokenizer_config.json", &error))?;
        let mut parsing =
            Inner::from_bytes(tokenizer).map_err(|error| invalid("tokenizer.json", &error))?;
        // Truncation and padding are for training; a prompt is never cut in silence.
        parsing
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| invalid("tokenizer.json", &error))?;
        let mut plain = parsing.clone();
        plain.set_encode_special_tokens(true);
        let vocab = vocab(&parsing, alphabet(&json))?;
        let named = |key: &str| {
            let text = &config[key];
            let text = text.as_str().or_else(|| text["content"].as_str());
            text.and_then(|text| parsing.token_to_id(text))
        };
        let facts = Facts {
            bos: named("bos_token"),
            eos: named("eos_token"),
            strips_leading_space: strips_leading_space(&json["decoder"]),
            vocab,
        };
        Ok((Self { parsing, plain }, facts))
    }

    /// The ids of a text; `whole` adds what the file wants before and after a prompt.
    pub fn encode(
        &self,
        text: &str,
        specials: Specials,
        whole: bool,
    ) -> Result<Vec<u32>, TextError> {
        let inner = match specials {
            Specials::Parse => &self.parsing,
            Specials::AsText => &self.plain,
        };
        let encoding = inner.encode_fast(text, whole);
        let encoding = encoding.map_err(|error| TextError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn vocab(inner: &Inner, alphabet: Alphabet) -> Result<Vocab, TextError> {
    let added: HashMap<u32, bool> = inner
        .get_added_tokens_decoder()
        .into_iter()
        .map(|(id, token)| (id, token.special))
        .collect();
    let texts = inner.get_vocab(true);
    let size = texts.values().max().map_or(0, |&id| id as usize + 1);
    if size > 2 * texts.len() + 100_000 {
        let text = format!("{} tokens with ids up to {}", texts.len(), size - 1);
        return Err(TextError::InvalidTokenizer(text));
    }
    let mut tokens = vec![None; size];
    for (text, id) in texts {
        let kind = match added.get(&id) {
            Some(true) => Kind::Control,
            Some(false) => Kind::UserDefined,
            None if alphabet == Alphabet::SentencePiece && crate::vocab::byte(&text).is_some() => {
                Kind::Byte
            }
            None => Kind::Normal,
        };
        tokens[id as usize] = Some(Token::new(text, kind, alphabet));
    }
    Ok(Vocab::new(tokens))
}

fn alphabet(json: &Value) -> Alphabet {
    if json["model"]["type"] == "WordPiece" {
        Alphabet::WordPiece
    } else if steps(&json["decoder"]).any(|step| step["type"] == "ByteLevel") {
        Alphabet::ByteLevel
    } else {
        Alphabet::SentencePiece
    }
}

fn strips_leading_space(decoder: &Value) -> bool {
    steps(decoder).any(|step| match step["type"].as_str() {
        Some("Strip") => step["content"] == " " && step["start"].as_u64().is_some_and(|n| n > 0),
        Some("Metaspace") => step["prepend_scheme"] != "never" && step["add_prefix_space"] != false,
        _ => false,
    })
}

/// A decoder's steps: those of a sequence, or itself.
fn steps(decoder: &Value) -> impl Iterator<Item = &Value> {
    let one = std::slice::from_ref(decoder);
    decoder["decoders"]
        .as_array()
        .map_or(one, Vec::as_slice)
        .iter()
}
