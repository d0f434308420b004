//! Text to token ids and back.

use crate::control_names::ControlNames;
use crate::gguf_bpe::{GgufBpe, composes};
use crate::gguf_words::{GgufWords, words};
use crate::json_tokenizer::JsonTokenizer;
use crate::longest_piece::longest_piece;
use crate::pre_tokenizer::adds_bos;
use crate::sentencepiece::SentencePiece;
use crate::turn_ends::turn_ends;
use crate::vocab::{Alphabet, Kind, Vocab};
use crate::{GgufVocab, TextError};

/// What the names of control tokens mean inside a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// They are the tokens, as in what a chat template writes.
    Parse,
    /// They are plain text, as in what a user writes.
    AsText,
}

#[derive(Debug)]
enum Encoder {
    Bpe(Box<GgufBpe>),
    SentencePiece(Box<SentencePiece>),
    Words(Box<GgufWords>),
    Json(Box<JsonTokenizer>),
}

/// A tokenizer of one model.
#[derive(Debug)]
pub struct Tokenizer {
    encoder: Encoder,
    vocab: Vocab,
    control: ControlNames,
    bos: Option<u32>,
    eos: Vec<u32>,
    /// What goes before and after a prompt.
    prefix: Option<u32>,
    suffix: Option<u32>,
    strips_leading_space: bool,
    /// Most bytes of a text that one token stands for, where there is such a number.
    longest_piece: Option<usize>,
}

impl Tokenizer {
    /// From the `tokenizer.ggml.*` keys of a GGUF file.
    ///
    /// # Errors
    /// A kind or pre-tokeniser that is not known, or contradictory data.
    pub fn from_gguf(source: &GgufVocab) -> Result<Self, TextError> {
        match source.model.as_str() {
            "gpt2" => Self::from_bpe(source),
            "gemma4" => Self::from_spaced_bpe(source),
            "llama" => Self::from_pieces(source),
            "bert" => Self::from_words(source),
            other => {
                let text = format!("kind {other:?}; known are gpt2, gemma4, llama and bert");
                Err(TextError::UnsupportedTokenizer(text))
            }
        }
    }

    fn from_bpe(source: &GgufVocab) -> Result<Self, TextError> {
        let vocab = Vocab::from_gguf(source, Alphabet::ByteLevel)?;
        let pre = source.pre.as_deref();
        let encoder = Encoder::Bpe(Box::new(GgufBpe::new(source, &vocab)?));
        let longest = longest_piece(&vocab, Alphabet::ByteLevel, composes(pre));
        Self::framed(source, vocab, encoder, (adds_bos(pre), longest))
    }

    fn from_spaced_bpe(source: &GgufVocab) -> Result<Self, TextError> {
        let vocab = Vocab::from_gguf(source, Alphabet::SentencePiece)?;
        let encoder = Encoder::Bpe(Box::new(GgufBpe::spaced(source, &vocab)?));
        let longest = longest_piece(&vocab, Alphabet::SentencePiece, false);
        Self::framed(source, vocab, encoder, (true, longest))
    }

    fn from_pieces(source: &GgufVocab) -> Result<Self, TextError> {
        let vocab = Vocab::from_gguf(source, Alphabet::SentencePiece)?;
        let space = source.add_space_prefix.unwrap_or(true);
        let scores = source.scores.as_deref();
        let scores = scores
            .ok_or_else(|| TextError::InvalidTokenizer("the tokens have no scores".to_owned()))?;
        let pieces = SentencePiece::new(&vocab, scores, source.unk, space)?;
        let longest = longest_piece(&vocab, Alphabet::SentencePiece, false);
        let encoder = Encoder::SentencePiece(Box::new(pieces));
        Ok(Self {
            strips_leading_space: space,
            ..Self::framed(source, vocab, encoder, (true, longest))?
        })
    }

    fn from_words(source: &GgufVocab) -> Result<Self, TextError> {
        let source = &words(source);
        let vocab = Vocab::from_gguf(source, Alphabet::WordPiece)?;
        let encoder = Encoder::Words(Box::new(GgufWords::new(source, &vocab)?));
        Ok(Self {
            strips_leading_space: true,
            ..Self::framed(source, vocab, encoder, (true, None))?
        })
    }

    /// With what goes before and after a prompt: BOS by default or not; and the longest piece.
    fn framed(
        source: &GgufVocab,
        vocab: Vocab,
        encoder: Encoder,
        (adds_bos, longest_piece): (bool, Option<usize>),
    ) -> Result<Self, TextError> {
        check_specials(source, &vocab)?;
        let declared = [source.eos, source.eot, source.eom];
        Ok(Self {
            encoder,
            eos: turn_ends(&vocab, declared.into_iter().flatten()),
            bos: source.bos,
            prefix: source.bos.filter(|_| source.add_bos.unwrap_or(adds_bos)),
            suffix: source.eos.filter(|_| source.add_eos.unwrap_or(false)),
            strips_leading_space: false,
            longest_piece,
            control: ControlNames::new(&vocab),
            vocab,
        })
    }

    /// From the content of `tokenizer.json` and, if there is one, `tokenizer_config.json` beside it.
    ///
    /// # Errors
    /// Not valid, or of a kind that is not known.
    pub fn from_json(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Self, TextError> {
        let (json, facts) = JsonTokenizer::new(tokenizer, config)?;
        Ok(Self {
            encoder: Encoder::Json(Box::new(json)),
            eos: turn_ends(&facts.vocab, facts.eos.into_iter()),
            bos: facts.bos,
            prefix: None,
            suffix: None,
            strips_leading_space: facts.strips_leading_space,
            longest_piece: facts.longest_piece,
            control: ControlNames::new(&facts.vocab),
            vocab: facts.vocab,
        })
    }

    /// The ids of a text, without anything that goes before or after a prompt.
    ///
    /// # Errors
    /// The vocabulary cannot express the text.
    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>, TextError> {
        match &self.encoder {
            Encoder::Bpe(bpe) => bpe.encode(text, specials),
            Encoder::SentencePiece(pieces) => pieces.encode(text, specials),
            Encoder::Words(words) => words.encode(text, specials),
            Encoder::Json(json) => json.encode(text, specials, false),
        }
    }

    /// The ids of a whole prompt: with the tokens that the model wants before and after it.
    ///
    /// # Errors
    /// The vocabulary cannot express the text.
    pub fn encode_prompt(&self, text: &str, specials: Specials) -> Result<Vec<u32>, TextError> {
        if let Encoder::Json(json) = &self.encoder {
            return json.encode(text, specials, true);
        }
        let mut ids: Vec<u32> = self.prefix.into_iter().collect();
        ids.extend(self.encode(text, specials)?);
        ids.extend(self.suffix);
        Ok(ids)
    }

    /// Fewest tokens that a text of so many bytes can have; 0 where the tokenizer gives no bound. Takes no time.
    #[must_use]
    pub fn fewest_tokens(&self, bytes: usize) -> usize {
        self.longest_piece
            .map_or(0, |longest| bytes.div_ceil(longest))
    }

    /// Refuse a text of so many bytes that cannot have as few tokens as `most`.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn check_length(&self, bytes: usize, most: Option<usize>) -> Result<(), TextError> {
        let fewest = self.fewest_tokens(bytes);
        match most {
            Some(most) if fewest > most => Err(TextError::TooLong { fewest, most }),
            _ => Ok(()),
        }
    }

    /// The text of ids; control tokens and unknown ids are left out, and what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes = ids.iter().filter_map(|&id| self.token_bytes(id));
        let bytes = bytes.flatten().copied().collect::<Vec<u8>>();
        let stripped = bytes
            .strip_prefix(b" ")
            .filter(|_| self.strips_leading_space);
        String::from_utf8_lossy(stripped.unwrap_or(&bytes)).into_owned()
    }

    /// The text of ids with the names of control tokens where they stand.
    #[must_use]
    pub fn spell(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter_map(|&id| self.vocab.get(id));
        let bytes = tokens.flat_map(|token| match token.kind {
            Kind::Control => token.text.as_bytes(),
            _ => token.bytes.as_slice(),
        });
        String::from_utf8_lossy(&bytes.copied().collect::<Vec<u8>>()).into_owned()
    }

    /// Whether a token stands for this text, or has it as its name.
    #[must_use]
    pub fn has_token(&self, text: &str) -> bool {
        let mut tokens = self.vocab.iter();
        tokens.any(|(_, token)| token.text == text)
    }

    /// How the vocabulary writes a token.
    #[must_use]
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.vocab.get(id).map(|token| token.text.clone())
    }

    /// Raw bytes of a token; empty for a control token, none for an id outside of the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.vocab.get(id).map(|token| token.bytes.as_slice())
    }

    /// The id of a control token.
    #[must_use]
    pub fn control_id(&self, text: &str) -> Option<u32> {
        self.vocab.control_id(text)
    }

    /// The names of the control tokens.
    pub(crate) fn control_names(&self) -> &ControlNames {
        &self.control
    }

    /// Beginning of a sequence.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Every id that ends an answer; the declared end of a sequence first.
    #[must_use]
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// Whether the token steers the model and is never part of a text.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab
            .get(id)
            .is_some_and(|token| token.kind == Kind::Control)
    }

    /// One more than the largest id.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Whether a space at the very start of decoded text is the tokenizer's own.
    #[must_use]
    pub fn strips_leading_space(&self) -> bool {
        self.strips_leading_space
    }
}

fn check_specials(source: &GgufVocab, vocab: &Vocab) -> Result<(), TextError> {
    for id in [source.bos, source.eos, source.eot, source.eom]
        .into_iter()
        .flatten()
    {
        if vocab.get(id).is_none() {
            let text = format!("special token {id} is not among the {} tokens", vocab.len());
            return Err(TextError::InvalidTokenizer(text));
        }
    }
    Ok(())
}
