//! Byte-level BPE as a GGUF file describes it.

use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab as Ids};
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, Tokenizer as Inner};

use crate::literals::{Literals, Piece, added};
use crate::pre_tokenizer::pre_tokenizer;
use crate::sentencepiece::SPACE;
use crate::vocab::{Kind, Vocab};
use crate::{GgufVocab, Specials, TextError};

/// Names of pre-tokenisers whose models were trained on NFC text.
const COMPOSED: [&str; 4] = ["qwen2", "qwen35", "deepseek-r1-qwen", "f2llmv2"];

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
        let mut inner = Inner::new(model(source, vocab, |bpe| bpe.ignore_merges(whole_pieces))?);
        inner.with_pre_tokenizer(Some(cuts));
        if composes(source.pre.as_deref()) {
            set_normalizer(&mut inner, NFC)?;
        }
        Ok(Self::around(inner, vocab))
    }

    /// Of Gemma 4: over characters with U+2581 for spaces, with bytes for those that the vocabulary has not.
    pub fn spaced(source: &GgufVocab, vocab: &Vocab) -> Result<Self, TextError> {
        let mut inner = Inner::new(model(source, vocab, |bpe| bpe.byte_fallback(true))?);
        let failed = |error: tokenizers::Error| TextError::InvalidTokenizer(error.to_string());
        set_normalizer(
            &mut inner,
            Replace::new(" ", SPACE.to_string()).map_err(failed)?,
        )?;
        let lines = SplitPattern::Regex(r"\n+".to_owned());
        inner.with_pre_tokenizer(Some(Split::new(lines, Isolated, false).map_err(failed)?));
        Ok(Self::around(inner, vocab))
    }

    fn around(inner: Inner, vocab: &Vocab) -> Self {
        Self {
            inner,
            user_defined: added(vocab, false),
            all_added: added(vocab, true),
        }
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

fn model(
    source: &GgufVocab,
    vocab: &Vocab,
    with: impl FnOnce(BpeBuilder) -> BpeBuilder,
) -> Result<BPE, TextError> {
    let tokens = vocab
        .iter()
        .filter(|(_, token)| token.kind != Kind::Control);
    let tokens = tokens.map(|(id, token)| (token.text.clone(), id));
    let builder = BPE::builder().vocab_and_merges(tokens.collect::<Ids>(), merges(source, vocab)?);
    let model = with(builder).build();
    model.map_err(|error| TextError::InvalidTokenizer(error.to_string()))
}

fn set_normalizer(
    inner: &mut Inner,
    normalizer: impl Into<NormalizerWrapper>,
) -> Result<(), TextError> {
    let set = inner.with_normalizer(Some(normalizer));
    set.map(|_| ())
        .map_err(|error| TextError::InvalidTokenizer(error.to_string()))
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
