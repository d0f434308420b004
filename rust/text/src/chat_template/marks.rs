//! Marking the names of control tokens in users' text, so that they stay text when the rendered whole is tokenised.
//!
//! The mark is a Unicode noncharacter that the conversation does not have. It goes behind the first character of
//! every name, and of every beginning of a name at the end of a string, which another string might complete. What
//! lies between two control tokens of the template and holds a mark is a user's text as a whole.

use serde_json::Value as Json;

use super::RenderInput;
use crate::{Specials, TextError, Tokenizer};

pub(super) struct Marks<'a> {
    mark: char,
    /// Names of the control tokens, longest first.
    names: Vec<&'a str>,
    /// The first characters of the names.
    first: Vec<char>,
}

impl<'a> Marks<'a> {
    pub fn new(tokenizer: &'a Tokenizer, input: &RenderInput) -> Result<Self, TextError> {
        let used = |mark: char| {
            has(input.messages, mark)
                || input.tools.is_some_and(|tools| has(tools, mark))
                || input
                    .kwargs
                    .is_some_and(|kwargs| kwargs.values().any(|value| has(value, mark)))
        };
        let mark = ('\u{fdd0}'..='\u{fdef}').find(|&mark| !used(mark));
        let mark = mark.ok_or_else(|| {
            TextError::Render("the conversation holds every Unicode noncharacter".to_owned())
        })?;
        let mut names: Vec<&str> = tokenizer
            .control_texts()
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
        let mut first: Vec<char> = names
            .iter()
            .filter_map(|name| name.chars().next())
            .collect();
        first.sort_unstable();
        first.dedup();
        Ok(Self { mark, names, first })
    }

    /// Mark every string, also those that are keys.
    pub fn mark(&self, value: &mut Json) {
        match value {
            Json::String(text) => self.mark_text(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.mark(item)),
            Json::Object(fields) => {
                let old = std::mem::take(fields);
                for (mut key, mut value) in old {
                    self.mark_text(&mut key);
                    self.mark(&mut value);
                    fields.insert(key, value);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    fn mark_text(&self, text: &mut String) {
        if !text.contains(self.first.as_slice()) {
            return;
        }
        let mut marked = String::with_capacity(text.len() + 8);
        for (at, char) in text.char_indices() {
            marked.push(char);
            if self.first.binary_search(&char).is_ok() && self.is_dangerous(&text[at..]) {
                marked.push(self.mark);
            }
        }
        *text = marked;
    }

    /// Whether a text begins with a name, or is the beginning of one.
    fn is_dangerous(&self, text: &str) -> bool {
        self.names
            .iter()
            .any(|name| text.starts_with(name) || name.starts_with(text))
    }

    /// Cut the rendered text into what the template wrote and what holds a user's name of a control token.
    pub fn split<'t>(&self, text: &'t str) -> Vec<(&'t str, Specials)> {
        if !text.contains(self.mark) {
            return vec![(text, Specials::Parse)];
        }
        let mut pieces = Vec::new();
        // Where the piece of the template begins, and where the text after its last control token does.
        let (mut start, mut between, mut at) = (0, 0, 0);
        while at < text.len() {
            let Some(name) = self.name_at(&text[at..]) else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            if text[between..at].contains(self.mark) {
                pieces.push((&text[start..between], Specials::Parse));
                pieces.push((&text[between..at], Specials::AsText));
                start = at;
            }
            at += name;
            between = at;
        }
        if text[between..].contains(self.mark) {
            pieces.push((&text[start..between], Specials::Parse));
            pieces.push((&text[between..], Specials::AsText));
        } else {
            pieces.push((&text[start..], Specials::Parse));
        }
        pieces.retain(|(piece, _)| !piece.is_empty());
        pieces
    }

    fn name_at(&self, text: &str) -> Option<usize> {
        let first = text.chars().next()?;
        self.first.binary_search(&first).ok()?;
        let name = self.names.iter().find(|name| text.starts_with(**name));
        name.map(|name| name.len())
    }

    pub fn unmark(&self, text: &str) -> String {
        text.replace(self.mark, "")
    }
}

fn has(value: &Json, mark: char) -> bool {
    match value {
        Json::String(text) => text.contains(mark),
        Json::Array(items) => items.iter().any(|item| has(item, mark)),
        Json::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains(mark) || has(value, mark)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}
