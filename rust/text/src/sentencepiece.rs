//! `SentencePiece` BPE: neighbours join as long as their joint text is a token, best score first.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use crate::literals::{Literals, Piece, added};
use crate::vocab::{Kind, Vocab};
use crate::{Specials, TextError};

/// Stands for a space in the texts of tokens.
pub(crate) const SPACE: char = '\u{2581}';

/// Everything that encoding needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    /// Tokens that text may become, with their scores.
    pieces: HashMap<String, (u32, f32)>,
    bytes: HashMap<u8, u32>,
    unknown: Option<u32>,
    /// Tokens that are found in a text before all else, without and with the control tokens.
    user_defined: Literals,
    all_added: Literals,
    /// A space goes before the text and after every token that is found before all else.
    space_prefix: bool,
}

impl SentencePiece {
    pub fn new(
        vocab: &Vocab,
        scores: &[f32],
        unknown: Option<u32>,
        space_prefix: bool,
    ) -> Result<Self, TextError> {
        if scores.len() != vocab.len() {
            let (scores, tokens) = (scores.len(), vocab.len());
            let text = format!("{scores} scores for {tokens} tokens");
            return Err(TextError::InvalidTokenizer(text));
        }
        let (mut pieces, mut bytes) = (HashMap::new(), HashMap::new());
        for (id, token) in vocab.iter() {
            match token.kind {
                Kind::Normal | Kind::UserDefined => {
                    pieces.insert(token.text.clone(), (id, scores[id as usize]));
                }
                Kind::Byte => {
                    if let [byte] = token.bytes[..] {
                        bytes.insert(byte, id);
                    }
                }
                Kind::Control | Kind::Unused => {}
            }
        }
        Ok(Self {
            pieces,
            bytes,
            unknown,
            user_defined: added(vocab, false),
            all_added: added(vocab, true),
            space_prefix,
        })
    }

    pub fn encode(&self, text: &str, specials: Specials) -> Result<Vec<u32>, TextError> {
        let added = match specials {
            Specials::Parse => &self.all_added,
            Specials::AsText => &self.user_defined,
        };
        let mut ids = Vec::new();
        let mut prefix = self.space_prefix;
        for piece in added.split(text) {
            match piece {
                Piece::Token(id) => {
                    ids.push(id);
                    prefix = self.space_prefix;
                }
                Piece::Text(text) => {
                    let mut escaped = String::with_capacity(text.len() + SPACE.len_utf8());
                    escaped.extend(prefix.then_some(SPACE));
                    escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
                    self.merge(&escaped, &mut ids)?;
                    prefix = false;
                }
            }
        }
        Ok(ids)
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TextError> {
        let mut symbols = Symbols::new(text);
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.list.len() {
            queue.extend(self.pair(&symbols, right - 1, right));
        }
        while let Some(pair) = queue.pop() {
            if !symbols.join(&pair) {
                continue;
            }
            let symbol = &symbols.list[pair.left];
            let (previous, next) = (symbol.previous, symbol.next);
            if let Some(previous) = previous {
                queue.extend(self.pair(&symbols, previous, pair.left));
            }
            if let Some(next) = next {
                queue.extend(self.pair(&symbols, pair.left, next));
            }
        }
        for symbol in symbols.list.iter().filter(|symbol| symbol.length > 0) {
            self.push(&text[symbol.start..symbol.start + symbol.length], ids)?;
        }
        Ok(())
    }

    fn pair(&self, symbols: &Symbols, left: usize, right: usize) -> Option<Pair> {
        let (first, second) = (&symbols.list[left], &symbols.list[right]);
        let length = first.length + second.length;
        let text = &symbols.text[first.start..first.start + length];
        let &(_, score) = self.pieces.get(text)?;
        Some(Pair {
            score,
            left,
            right,
            length,
        })
    }

    /// The token of a text, else those of its bytes, else the unknown token.
    fn push(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TextError> {
        if let Some(&(id, _)) = self.pieces.get(text) {
            ids.push(id);
            return Ok(());
        }
        let bytes = text.bytes().map(|byte| self.bytes.get(&byte).copied());
        if let Some(bytes) = bytes.collect::<Option<Vec<u32>>>() {
            ids.extend(bytes);
            return Ok(());
        }
        let unknown = self.unknown.ok_or_else(|| {
            TextError::Encode(format!("the vocabulary has no token for {text:?}"))
        })?;
        ids.push(unknown);
        Ok(())
    }
}

/// A stretch of the text; without length once it has joined the one before it.
struct Symbol {
    start: usize,
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

struct Symbols<'a> {
    text: &'a str,
    list: Vec<Symbol>,
}

impl<'a> Symbols<'a> {
    fn new(text: &'a str) -> Self {
        let count = text.chars().count();
        let list = text.char_indices().enumerate();
        let list = list.map(|(index, (start, char))| Symbol {
            start,
            length: char.len_utf8(),
            previous: index.checked_sub(1),
            next: (index + 1 < count).then_some(index + 1),
        });
        Self {
            text,
            list: list.collect(),
        }
    }

    /// Whether both still were what they had been when the pair was found.
    fn join(&mut self, pair: &Pair) -> bool {
        let (left, right) = (self.list[pair.left].length, self.list[pair.right].length);
        if left == 0 || right == 0 || left + right != pair.length {
            return false;
        }
        let next = self.list[pair.right].next;
        self.list[pair.right].length = 0;
        self.list[pair.left].length = pair.length;
        self.list[pair.left].next = next;
        if let Some(next) = next {
            self.list[next].previous = Some(pair.left);
        }
        true
    }
}

/// Two neighbours whose joint text is a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let score = self.score.total_cmp(&other.score);
        score.then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
