//! All tokens by id, with the bytes that they stand for.

use std::collections::HashMap;

use crate::sentencepiece::SPACE;
use crate::turn_ends::TURN_ENDS;
use crate::{GgufVocab, TextError};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    /// Never part of a text that is shown.
    Control,
    /// Found in a text before all else.
    UserDefined,
    Unused,
    /// One byte, written `<0xNN>`.
    Byte,
}

/// How the text of a normal token maps to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// One character for each byte, as GPT-2 has it.
    ByteLevel,
    /// UTF-8 with U+2581 for spaces.
    SentencePiece,
    /// UTF-8 with `##` before what continues a word.
    WordPiece,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub text: String,
    pub bytes: Vec<u8>,
    pub kind: Kind,
}

impl Token {
    pub fn new(text: String, kind: Kind, alphabet: Alphabet) -> Self {
        let bytes = match kind {
            // Padding of the vocabulary to a round size says nothing either.
            Kind::Control | Kind::Unused => Vec::new(),
            Kind::UserDefined if alphabet == Alphabet::SentencePiece => spaced(&text),
            Kind::UserDefined => text.clone().into_bytes(),
            Kind::Byte => byte(&text).map_or_else(Vec::new, |byte| vec![byte]),
            Kind::Normal => match alphabet {
                Alphabet::ByteLevel => {
                    let bytes = text.chars().map(byte_of);
                    let bytes = bytes.collect::<Option<Vec<u8>>>();
                    bytes.unwrap_or_else(|| text.clone().into_bytes())
                }
                Alphabet::SentencePiece => spaced(&text),
                Alphabet::WordPiece => match text.strip_prefix("##") {
                    Some(rest) => rest.as_bytes().to_vec(),
                    None => format!(" {text}").into_bytes(),
                },
            },
        };
        Self { text, bytes, kind }
    }
}

/// All tokens; ids without a token are `None`.
#[derive(Debug)]
pub(crate) struct Vocab {
    tokens: Vec<Option<Token>>,
    /// Ids of the control tokens by their texts.
    control: HashMap<String, u32>,
}

impl Vocab {
    pub fn new(tokens: Vec<Option<Token>>) -> Self {
        let ids = (0..).zip(&tokens);
        let control = ids.filter_map(|(id, token): (u32, _)| {
            let token = token.as_ref()?;
            (token.kind == Kind::Control).then(|| (token.text.clone(), id))
        });
        let control = control.collect();
        Self { tokens, control }
    }

    pub fn from_gguf(vocab: &GgufVocab, alphabet: Alphabet) -> Result<Self, TextError> {
        let types = vocab.token_types.as_deref();
        if let Some(types) = types
            && types.len() != vocab.tokens.len()
        {
            let (types, tokens) = (types.len(), vocab.tokens.len());
            let text = format!("{types} token types for {tokens} tokens");
            return Err(TextError::InvalidTokenizer(text));
        }
        let steering = [vocab.bos, vocab.eos, vocab.eot, vocab.eom];
        let tokens = vocab.tokens.iter().enumerate().map(|(id, text)| {
            let declared = steering.iter().flatten().any(|&one| one as usize == id);
            let kind = match types.map_or(1, |types| types[id]) {
                _ if declared => Kind::Control,
                // The unknown token must not come out of a text that spells it.
                2 | 3 => Kind::Control,
                // Some converters mark the end of a turn so, which a user's text must not reach.
                4 if TURN_ENDS.contains(&text.as_str()) => Kind::Control,
                4 => Kind::UserDefined,
                5 => Kind::Unused,
                6 => Kind::Byte,
                _ => Kind::Normal,
            };
            Some(Token::new(text.clone(), kind, alphabet))
        });
        Ok(Self::new(tokens.collect()))
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn get(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)?.as_ref()
    }

    /// The id of a control token.
    pub fn control_id(&self, text: &str) -> Option<u32> {
        self.control.get(text).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Token)> {
        let tokens = (0..).zip(&self.tokens);
        tokens.filter_map(|(id, token)| Some((id, token.as_ref()?)))
    }
}

fn spaced(text: &str) -> Vec<u8> {
    text.replace(SPACE, " ").into_bytes()
}

/// The byte that `<0xNN>` writes.
pub(crate) fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2 && !digits.starts_with('+'))
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The byte of a character in the alphabet of GPT-2: printable Latin-1 characters stand for themselves, the others
/// follow from U+0100 on.
fn byte_of(char: char) -> Option<u8> {
    let code = u32::from(char);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Alphabet, Kind, Token, byte, byte_of};

    #[test]
    fn the_byte_alphabet_reaches_every_byte_once() {
        let mut bytes: Vec<u8> = ('\0'..'\u{200}').filter_map(byte_of).collect();
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('ł'), Some(0xa0));
        bytes.sort_unstable();
        assert!(bytes.into_iter().eq(0..=255));
    }

    #[test]
    fn tokens_know_their_bytes() {
        let bytes = |text: &str, kind, alphabet| Token::new(text.to_owned(), kind, alphabet).bytes;
        assert_eq!(bytes("Ġé", Kind::Normal, Alphabet::ByteLevel), b" \xe9");
        assert_eq!(
            bytes("é", Kind::UserDefined, Alphabet::ByteLevel),
            "é".as_bytes()
        );
        assert_eq!(
            bytes("▁é", Kind::Normal, Alphabet::SentencePiece),
            " é".as_bytes()
        );
        assert_eq!(
            bytes("<0xE9>", Kind::Byte, Alphabet::SentencePiece),
            b"\xe9"
        );
        assert_eq!(bytes("<s>", Kind::Control, Alphabet::SentencePiece), b"");
        assert_eq!(bytes("##ing", Kind::Normal, Alphabet::WordPiece), b"ing");
        assert_eq!(byte("<0x+1>"), None);
    }
}
