//! Fixed texts to be found inside a longer one, longest first.

use std::collections::HashMap;

use crate::vocab::{Kind, Vocab};

/// A set of fixed texts, each with the id of its token.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    ids: HashMap<String, u32>,
    /// Lengths in bytes of the texts that start with a byte, longest first.
    lengths: HashMap<u8, Vec<usize>>,
}

/// A stretch of a text that has been searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Token(u32),
}

impl Literals {
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut literals = Self::default();
        for (text, id) in tokens {
            let Some(&first) = text.as_bytes().first() else {
                continue;
            };
            literals.ids.insert(text.to_owned(), id);
            let lengths = literals.lengths.entry(first).or_default();
            if let Err(at) = lengths.binary_search_by(|length| text.len().cmp(length)) {
                lengths.insert(at, text.len());
            }
        }
        literals
    }

    /// Cut at every occurrence, leftmost first and there the longest.
    pub fn split<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let Some((length, id)) = self.at(text, at) else {
                at += 1;
                continue;
            };
            if start < at {
                pieces.push(Piece::Text(&text[start..at]));
            }
            pieces.push(Piece::Token(id));
            at += length;
            start = at;
        }
        if start < text.len() {
            pieces.push(Piece::Text(&text[start..]));
        }
        pieces
    }

    /// Length in bytes and id of the longest one that starts there.
    pub fn at(&self, text: &str, at: usize) -> Option<(usize, u32)> {
        let lengths = self.lengths.get(&text.as_bytes()[at])?;
        lengths.iter().find_map(|&length| {
            let id = self.ids.get(text.get(at..at + length)?)?;
            Some((length, *id))
        })
    }
}

/// The tokens that are found in a text before all else.
pub(crate) fn added(vocab: &Vocab, control: bool) -> Literals {
    let tokens = vocab.iter().filter(|(_, token)| {
        token.kind == Kind::UserDefined || control && token.kind == Kind::Control
    });
    Literals::new(tokens.map(|(id, token)| (token.text.as_str(), id)))
}

#[cfg(test)]
mod tests {
    use super::{Literals, Piece};

    #[test]
    fn the_longest_of_the_leftmost_wins() {
        let literals = Literals::new([("<a", 1), ("<a>", 2), ("é", 3), ("", 4)]);
        let pieces = literals.split("x<a>é<ay");
        let expected = [
            Piece::Text("x"),
            Piece::Token(2),
            Piece::Token(3),
            Piece::Token(1),
            Piece::Text("y"),
        ];
        assert_eq!(pieces, expected);
        assert_eq!(Literals::default().split(""), []);
    }
}
