//! What Jinja2 understands and its Rust relative does not, said in words that it does.
//!
//! - `{% generation %}` marks what a model trains on; for rendering it is a block like any other.
//! - `%` may have a text on its left: it becomes a filter, unless its right side is a plain number.
//! - Macros that use `varargs` or `kwargs` get them as parameters, and are called by a method that sorts arguments.

use std::collections::BTreeMap;
use std::ops::Range;

use super::operators::{REMAINDER, REST, SPREAD};
use super::syntax::{Kind, Tag, Token, tags};

/// The template with all of that rewritten.
pub(super) fn rewrite(source: &str) -> String {
    let tags = tags(source);
    let mut edits = Edits::default();
    for tag in &tags {
        generation(source, tag, &mut edits);
        for place in 0..tag.tokens.len() {
            remainder(source, &tag.tokens, place, &mut edits);
        }
    }
    macros(source, &tags, &mut edits);
    edits.apply(source)
}

/// What stands in the place of stretches of the source.
#[derive(Default)]
struct Edits(BTreeMap<usize, (usize, String)>);

impl Edits {
    fn replace(&mut self, at: Range<usize>, text: &str) {
        let (end, before) = self.0.entry(at.start).or_insert((at.start, String::new()));
        *end = at.end.max(*end);
        before.push_str(text);
    }

    fn insert(&mut self, at: usize, text: &str) {
        self.replace(at..at, text);
    }

    fn apply(self, source: &str) -> String {
        let mut text = String::with_capacity(source.len());
        let mut at = 0;
        for (start, (end, new)) in self.0 {
            text.push_str(&source[at..start]);
            text.push_str(&new);
            at = end;
        }
        text.push_str(&source[at..]);
        text
    }
}

fn generation(source: &str, tag: &Tag, edits: &mut Edits) {
    let [token] = tag.tokens.as_slice() else {
        return;
    };
    match &source[token.at.clone()] {
        "generation" if tag.block => edits.replace(token.at.clone(), "if true"),
        "endgeneration" if tag.block => edits.replace(token.at.clone(), "endif"),
        _ => {}
    }
}

/// Words that are no operands.
const WORDS: [&str; 17] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "set",
    "do",
    "for",
    "with",
    "call",
    "filter",
    "recursive",
    "print",
    "macro",
];

fn remainder(source: &str, tokens: &[Token], place: usize, edits: &mut Edits) {
    let text = |place: usize| &source[tokens[place].at.clone()];
    if text(place) != "%" || place == 0 {
        return;
    }
    let left = left_of(source, tokens, place);
    let Some(right) = right_of(source, tokens, place) else {
        return;
    };
    let plain = tokens[place - 1].kind != Kind::Literal || !text(place - 1).ends_with(['\'', '"']);
    if plain && right == place + 1 && text(right).starts_with(|char: char| char.is_ascii_digit()) {
        return;
    }
    edits.insert(tokens[left].at.start, "(");
    edits.replace(tokens[place].at.clone(), &format!(")|{REMAINDER}("));
    edits.insert(tokens[right].at.end, ")");
}

/// Whether a value may end with a token.
fn ends_value(source: &str, token: &Token) -> bool {
    match token.kind {
        Kind::Literal | Kind::Close => true,
        Kind::Name => !WORDS.contains(&&source[token.at.clone()]),
        Kind::Open | Kind::Operator => false,
    }
}

/// The first token of the product that is divided.
fn left_of(source: &str, tokens: &[Token], place: usize) -> usize {
    let mut first = place;
    let mut depth = 0_usize;
    for at in (0..place).rev() {
        let token = &tokens[at];
        match token.kind {
            Kind::Close => depth += 1,
            Kind::Open if depth == 0 => break,
            Kind::Open => depth -= 1,
            _ if depth > 0 => {}
            Kind::Name if WORDS.contains(&&source[token.at.clone()]) => break,
            Kind::Name | Kind::Literal => {}
            Kind::Operator => match &source[token.at.clone()] {
                "." | "|" | "*" | "/" | "//" | "**" | "%" => {}
                "-" if at == 0 || !ends_value(source, &tokens[at - 1]) => {}
                _ => break,
            },
        }
        first = at;
    }
    first
}

/// The last token of the one value that it is divided by.
fn right_of(source: &str, tokens: &[Token], place: usize) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map(|token| &source[token.at.clone()]);
    let mut at = place + 1;
    loop {
        while text(at).is_some_and(|text| text == "-") {
            at += 1;
        }
        at = end_of_operand(tokens, at)?;
        loop {
            match text(at + 1) {
                Some("." | "|") => at = end_of_operand(tokens, at + 2)?,
                Some("(" | "[") => at = end_of_operand(tokens, at + 1)?,
                _ => break,
            }
        }
        if text(at + 1) != Some("**") {
            return Some(at);
        }
        at += 2;
    }
}

/// The last token of a name, a literal or what stands in brackets.
fn end_of_operand(tokens: &[Token], first: usize) -> Option<usize> {
    match tokens.get(first)?.kind {
        Kind::Name | Kind::Literal => return Some(first),
        Kind::Close | Kind::Operator => return None,
        Kind::Open => {}
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(first) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Declare what macros use without declaring it, and have those macros called by `spread`.
fn macros(source: &str, tags: &[Tag], edits: &mut Edits) {
    let mut changed = Vec::new();
    for (number, tag) in tags.iter().enumerate() {
        let begins = tag.starts_with(source, &["macro"]) && tag.tokens.len() >= 4;
        if !begins || names_rest(source, tag) || !uses_rest(source, &tags[number..]) {
            continue;
        }
        let close = &tag.tokens[tag.tokens.len() - 1];
        let first = tag.tokens.len() == 4;
        let comma = if first { "" } else { ", " };
        edits.insert(
            close.at.start,
            &format!("{comma}{}=(), {}={{}}", REST[0], REST[1]),
        );
        changed.push(&source[tag.tokens[1].at.clone()]);
    }
    if changed.is_empty() {
        return;
    }
    for tag in tags
        .iter()
        .filter(|tag| !tag.starts_with(source, &["macro"]))
    {
        for (place, pair) in tag.tokens.windows(2).enumerate() {
            let called = changed.contains(&&source[pair[0].at.clone()])
                && &source[pair[1].at.clone()] == "(";
            let attribute =
                place > 0 && matches!(&source[tag.tokens[place - 1].at.clone()], "." | "|");
            if called && !attribute {
                edits.insert(pair[0].at.end, &format!(".{SPREAD}"));
            }
        }
    }
}

/// Whether the macro that the first tag begins uses a name that it does not declare.
fn uses_rest(source: &str, tags: &[Tag]) -> bool {
    let mut depth = 0_usize;
    for tag in tags {
        depth += usize::from(tag.starts_with(source, &["macro"]));
        depth -= usize::from(tag.starts_with(source, &["endmacro"]));
        if depth == 0 {
            return false;
        }
        if names_rest(source, tag) {
            return true;
        }
    }
    false
}

fn names_rest(source: &str, tag: &Tag) -> bool {
    let mut tokens = tag.tokens.iter();
    tokens.any(|token| REST.contains(&&source[token.at.clone()]))
}
