//! A tokenizer as `tokenizer.json` describes it, and the facts beside it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokenizers::{Encoding, Tokenizer as Inner};

use crate::literals::{Literals, Piece};
use crate::longest_piece::{composing, longest_piece};
use crate::vocab::{Alphabet, Kind, Token, Vocab};
use crate::{Specials, TextError};

/// Encodes with and without control tokens.
#[derive(Debug)]
pub(crate) struct JsonTokenizer {
    parsing: Inner,
    /// The same one, for which control tokens in a text are text.
    plain: Inner,
    /// Texts and ids of the control tokens that no text may become; the unknown token is not among them.
    names: Literals,
    control: HashSet<u32>,
}

/// What is known beside the encoding.
pub(crate) struct Facts {
    pub vocab: Vocab,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub strips_leading_space: bool,
    pub longest_piece: Option<usize>,
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
        mark_special(&mut parsing, &config).map_err(|error| invalid("tokenizer.json", &error))?;
        let mut plain = parsing.clone();
        plain.set_encode_special_tokens(true);
        let alphabet = alphabet(&json);
        let vocab = vocab(&parsing, alphabet)?;
        let (names, control) = control(&vocab, unknown(&parsing, &json["model"]));
        let id = |key: &str| {
            let text = named(&config, key);
            text.and_then(|text| parsing.token_to_id(text))
        };
        let facts = Facts {
            bos: id("bos_token"),
            eos: id("eos_token"),
            strips_leading_space: strips_leading_space(&json["decoder"]),
            longest_piece: composing(&json)
                .and_then(|composing| longest_piece(&vocab, alphabet, composing)),
            vocab,
        };
        let tokenizer = Self {
            parsing,
            plain,
            names,
            control,
        };
        Ok((tokenizer, facts))
    }

    /// The ids of a text; `whole` adds what the file wants before and after a prompt.
    pub fn encode(
        &self,
        text: &str,
        specials: Specials,
        whole: bool,
    ) -> Result<Vec<u32>, TextError> {
        let encoding = match specials {
            Specials::Parse => self.parsing.encode_fast(text, whole).map_err(refused)?,
            Specials::AsText => {
                let encoding = self.plain.encode_fast(text, false).map_err(refused)?;
                let encoding = if self.is_plain(&encoding) {
                    encoding
                } else {
                    self.encode_names(text)?
                };
                let whole = self.plain.post_process(encoding, None, whole);
                whole.map_err(refused)?
            }
        };
        Ok(encoding.get_ids().to_vec())
    }

    /// A text with names that the model itself takes for control tokens (unigram does): each name is cut in two.
    fn encode_names(&self, text: &str) -> Result<Encoding, TextError> {
        let mut parts = Vec::new();
        let mut start = 0;
        let mut at = 0;
        for piece in self.names.split(text) {
            let length = match piece {
                Piece::Text(piece) => piece.len(),
                Piece::Token(_) => {
                    let first = text[at..].chars().next().map_or(0, char::len_utf8);
                    parts.push(&text[start..at + first]);
                    start = at + first;
                    self.names.at(text, at).map_or(first, |(length, _)| length)
                }
            };
            at += length;
        }
        parts.push(&text[start..]);
        let encodings = parts
            .into_iter()
            .map(|part| self.plain.encode_fast(part, false));
        let encodings = encodings.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let encoding = Encoding::merge(encodings, false);
        if self.is_plain(&encoding) {
            return Ok(encoding);
        }
        let text = "the text spells a control token, which only a template may write";
        Err(TextError::Encode(text.to_owned()))
    }

    fn is_plain(&self, encoding: &Encoding) -> bool {
        !encoding
            .get_ids()
            .iter()
            .any(|id| self.control.contains(id))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn refused(error: tokenizers::Error) -> TextError {
    TextError::Encode(error.to_string())
}

/// Texts and ids of the control tokens that no text may become.
fn control(vocab: &Vocab, unknown: Option<u32>) -> (Literals, HashSet<u32>) {
    let control = vocab
        .iter()
        .filter(|&(id, token)| token.kind == Kind::Control && Some(id) != unknown);
    let control: Vec<(&str, u32)> = control
        .map(|(id, token)| (token.text.as_str(), id))
        .collect();
    let ids = control.iter().map(|&(_, id)| id).collect();
    (Literals::new(control), ids)
}

/// The text of a token that `tokenizer_config.json` names, as a string or an object.
fn named<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    let text = &config[key];
    text.as_str().or_else(|| text["content"].as_str())
}

/// What begins or ends a sequence is special, even where the file forgets to say so.
fn mark_special(inner: &mut Inner, config: &Value) -> tokenizers::Result<()> {
    let names = ["bos_token", "eos_token"].map(|key| named(config, key));
    let tokens = inner.get_added_tokens_decoder().into_values();
    let tokens = tokens.filter(|token| names.contains(&Some(token.content.as_str())));
    let tokens: Vec<_> = tokens.map(|token| token.special(true)).collect();
    inner.add_special_tokens(tokens).map(|_| ())
}

/// The token for what the model does not know, which any text may become.
fn unknown(inner: &Inner, model: &Value) -> Option<u32> {
    if let Some(text) = model["unk_token"].as_str() {
        return inner.token_to_id(text);
    }
    u32::try_from(model["unk_id"].as_u64()?).ok()
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
