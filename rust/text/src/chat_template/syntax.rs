//! The tags of a template and the tokens in them, by their places in its text.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name,
    /// A number or a text.
    Literal,
    /// An opening bracket.
    Open,
    /// A closing bracket.
    Close,
    Operator,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub at: Range<usize>,
}

/// `{% … %}` or `{{ … }}`.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub block: bool,
    pub tokens: Vec<Token>,
}

impl Tag {
    /// The texts of the first tokens.
    pub fn starts_with(&self, source: &str, words: &[&str]) -> bool {
        let tokens = self.tokens.iter().map(|token| &source[token.at.clone()]);
        self.block && tokens.take(words.len()).eq(words.iter().copied())
    }
}

/// All tags, without comments and what is raw; stops where the syntax is wrong, which the parser will say better.
pub(super) fn tags(source: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let open = at + found;
        at = match source.as_bytes().get(open + 1) {
            Some(b'#') => match source[open..].find("#}") {
                Some(end) => open + end + 2,
                None => break,
            },
            Some(&kind @ (b'%' | b'{')) => {
                let block = kind == b'%';
                let Some((tokens, end)) = tokens(source, open + 2, block) else {
                    break;
                };
                let tag = Tag { block, tokens };
                let raw = tag.starts_with(source, &["raw"]) && tag.tokens.len() == 1;
                if raw {
                    let Some(end) = end_of_raw(source, end) else {
                        break;
                    };
                    end
                } else {
                    tags.push(tag);
                    end
                }
            }
            _ => open + 1,
        };
    }
    tags
}

/// Where `{% endraw %}` ends.
fn end_of_raw(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let open = at + source[at..].find("{%")?;
        let rest = source[open + 2..]
            .trim_start_matches(['-', '+'])
            .trim_start();
        if rest.starts_with("endraw") {
            return source[open..].find("%}").map(|end| open + end + 2);
        }
        at = open + 2;
    }
}

/// The tokens of a tag from its inside on, and where the tag ends.
fn tokens(source: &str, from: usize, block: bool) -> Option<(Vec<Token>, usize)> {
    let end = if block { "%}" } else { "}}" };
    let mut tokens: Vec<Token> = Vec::new();
    let (mut at, mut depth) = (from, 0_usize);
    if source[at..].starts_with(['-', '+']) {
        at += 1;
    }
    loop {
        let rest = &source[at..];
        let char = rest.chars().next()?;
        let marked = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        if depth == 0 && (rest.starts_with(end) || marked.starts_with(end)) {
            return Some((tokens, at + rest.find(end)? + 2));
        }
        let (kind, length) = match char {
            char if char.is_whitespace() => {
                at += char.len_utf8();
                continue;
            }
            '\'' | '"' => (Kind::Literal, quoted(rest, char)?),
            '0'..='9' => (Kind::Literal, number(rest)),
            char if is_word(char) => {
                let end = rest.find(|char| !is_word(char));
                (Kind::Name, end.unwrap_or(rest.len()))
            }
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            _ => {
                let double = ["**", "//", "==", "!=", "<=", ">="];
                let long = double.iter().any(|double| rest.starts_with(double));
                (Kind::Operator, if long { 2 } else { char.len_utf8() })
            }
        };
        match kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1)?,
            _ => {}
        }
        tokens.push(Token {
            kind,
            at: at..at + length,
        });
        at += length;
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Bytes of a number; a point belongs to it only before a digit.
fn number(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest.find(|char| !is_word(char)).unwrap_or(rest.len())
    };
    let end = digits(0);
    let rest = &text[end..];
    let fraction = rest
        .strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()));
    let end = if fraction { digits(end + 1) } else { end };
    let exponent = text[..end].ends_with(['e', 'E']) && !text.starts_with("0x");
    match text[end..].strip_prefix(['-', '+']) {
        Some(rest) if exponent && rest.starts_with(|char: char| char.is_ascii_digit()) => {
            digits(end + 1)
        }
        _ => end,
    }
}

/// Bytes of a text with its quotes.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            char if char == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}
