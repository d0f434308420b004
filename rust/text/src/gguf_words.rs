//! `WordPiece` as a GGUF file describes it: U+2581 before a word's first piece instead of `##` before the others.

use tokenizers::Tokenizer as Inner;
use tokenizers::models::bpe::Vocab as Ids;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use crate::literals::{Literals, Piece, added};
use crate::sentencepiece::SPACE;
use crate::vocab::{Kind, Vocab};
use crate::{GgufVocab, Specials, TextError};

/// Everything that encoding needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct GgufWords {
    inner: Inner,
    /// Tokens that are found in a text before all else, without and with the control tokens.
    user_defined: Literals,
    all_added: Literals,
}

/// The same vocabulary as `tokenizer.json` writes it, with the tokens that frame a text in the usual places.
pub(crate) fn words(source: &GgufVocab) -> GgufVocab {
    let token = |text: &String| match text.strip_prefix(SPACE) {
        Some(word) => word.to_owned(),
        None if text.starts_with('[') && text.ends_with(']') => text.clone(),
        None => format!("##{text}"),
    };
    GgufVocab {
        tokens: source.tokens.iter().map(token).collect(),
        bos: source.cls.or(source.bos),
        eos: source.sep.or(source.eos),
        add_eos: source.add_eos.or(Some(true)),
        ..source.clone()
    }
}

impl GgufWords {
    /// Of what `words` has made.
    pub fn new(source: &GgufVocab, vocab: &Vocab) -> Result<Self, TextError> {
        let invalid = |text: String| TextError::InvalidTokenizer(text);
        let unknown = source.unk.and_then(|id| vocab.get(id));
        let unknown =
            unknown.ok_or_else(|| invalid("the file names no unknown token".to_owned()))?;
        let tokens = vocab
            .iter()
            .filter(|(_, token)| token.kind != Kind::Control || token.text == unknown.text);
        let tokens = tokens.map(|(id, token)| (token.text.clone(), id));
        let model = WordPiece::builder()
            .vocab(tokens.collect::<Ids>())
            .unk_token(unknown.text.clone())
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let mut inner = Inner::new(model);
        let lowercase = source.lowercase.unwrap_or(true);
        inner
            .with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))
            .map_err(|error| invalid(error.to_string()))?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        Ok(Self {
            inner,
            user_defined: added(vocab, false),
            all_added: added(vocab, true),
        })
    }

    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>, TextError> {
        let added = match specials {
            Specials::Parse => &self.all_added,
            Specials::AsText => &self.user_defined,
        };
        let mut ids = Vec::new();
        for piece in added.split(text) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(text) => {
                    let encoding = self.inner.encode_fast(text, false);
                    let encoding =
                        encoding.map_err(|error| TextError::Encode(error.to_string()))?;
                    ids.extend_from_slice(encoding.get_ids());
                }
            }
        }
        Ok(ids)
    }
}
