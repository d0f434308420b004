//! Byte-level BPE as a GGUF file describes it.

use tokenizers::Tokenizer as Inner;
use tokenizers::models::bpe::{BPE, Vocab as Ids};
use tokenizers::normalizers::unicode::NFC;

use crate::literals::{Literals, Piece, added};
use crate::pre_tokenizer::pre_tokenizer;
use crate::vocab::{Kind, Vocab};
use crate::{GgufVocab, Specials, TextError};

/// Names of pre-tokenisers whose models were trained on NFC text.
const COMPOSED: [&str; 3] = ["qwen2", "qwen35", "deepseek-r1-qwen"];

/// Everything that encoding needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct GgufBpe {
    inner: Inner,
    /// Tokens that are found in a text before all else, without and with the control tokens.
    user_defined: Literals,
    all_added: Literals,
}

impl GgufBpe {
    pub fn new(source: &GgufVocab, vocab: &Vocab) -> Result<Self, TextError> {
        let (cuts, whole_pieces) = pre_tokenizer(source.pre.as_deref())?;
        let tokens = vocab
            .iter()
            .filter(|(_, token)| token.kind != Kind::Control);
        let tokens = tokens.map(|(id, token)| (token.text.clone(), id));
        let model = BPE::builder()
            .vocab_and_merges(tokens.collect::<Ids>(), merges(source, vocab)?)
            .ignore_merges(whole_pieces)
            .build()
            .map_err(|error| TextError::InvalidTokenizer(error.to_string()))?;
        let mut inner = Inner::new(model);
        inner.with_pre_tokenizer(Some(cuts));
        if composes(source.pre.as_deref()) {
            let composed = inner.with_normalizer(Some(NFC));
            composed.map_err(|error| TextError::InvalidTokenizer(error.to_string()))?;
        }
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

/// Whether models with this pre-tokeniser see texts in NFC.
pub(crate) fn composes(pre: Option<&str>) -> bool {
    pre.is_some_and(|pre| COMPOSED.contains(&pre))
}

/// The merges as pairs, without those that make a control token.
fn merges(source: &GgufVocab, vocab: &Vocab) -> Result<Vec<(String, String)>, TextError> {
    let merges = source.merges.iter().map(|merge| {
        // The space between the two is the first one after the first character: a token may be a space itself.
        let after = merge.chars().next().map_or(0, char::len_utf8);
        let at = merge.get(after..).and_then(|rest| rest.find(' '));
        let at = at.ok_or_else(|| TextError::InvalidTokenizer(format!("merge {merge:?}")))? + after;
        Ok((merge[..at].to_owned(), merge[at + 1..].to_owned()))
    });
    // Text never becomes a control token, neither by merges nor as a whole piece.
    let plain = |text: &str| vocab.control_id(text).is_none();
    let mut merges = merges.collect::<Result<Vec<_>, TextError>>()?;
    merges.retain(|(left, right)| plain(left) && plain(right) && plain(&format!("{left}{right}")));
    Ok(merges)
}
