//! Marking the names of control tokens in users' text, so that they stay text when the rendered whole is tokenised.
//!
//! The marks are two Unicode noncharacters that the conversation does not have, one before and one behind each name.
//! The beginning of a name at the end of a string and the ending of one at its start are marked too, because the
//! template or another string may complete them. A template that compares, trims or searches strings sees their
//! characters as they are. In the rendered text a name is the template's own unless a mark touches it from outside;
//! what lies between two of those and holds a mark is plain text as a whole.

use serde_json::Value as Json;

use super::RenderInput;
use crate::control_names::ControlNames;
use crate::{Specials, TextError, Tokenizer};

/// Where the marks are taken from.
pub(super) const NONCHARACTERS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

pub(super) struct Marks<'a> {
    open: char,
    close: char,
    names: &'a ControlNames,
}

impl<'a> Marks<'a> {
    pub fn new(tokenizer: &'a Tokenizer, input: &RenderInput) -> Result<Self, TextError> {
        let used = |mark: char| {
            let arguments = input.kwargs.into_iter().flatten();
            has(input.messages, mark)
                || input.tools.is_some_and(|tools| has(tools, mark))
                || arguments
                    .into_iter()
                    .any(|(key, value)| key.contains(mark) || has(value, mark))
        };
        let mut free = NONCHARACTERS.filter(|&mark| !used(mark));
        let (Some(open), Some(close)) = (free.next(), free.next()) else {
            let text = "the conversation holds too many Unicode noncharacters".to_owned();
            return Err(TextError::Render(text));
        };
        Ok(Self {
            open,
            close,
            names: tokenizer.control_names(),
        })
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
        if self.names.is_inside(text) {
            *text = format!("{}{text}{}", self.open, self.close);
            return;
        }
        let mut marked = String::with_capacity(text.len() + 8);
        let mut at = 0;
        if let Some(ending) = self.names.ending_at_start(text)
            && self.names.at_start(text).is_none()
        {
            self.wrap(&text[..ending], &mut marked);
            at = ending;
        }
        while let Some(char) = text[at..].chars().next() {
            let rest = &text[at..];
            let end = if self.names.is_beginning(rest) {
                Some(rest.len())
            } else {
                self.names.at_start(rest)
            };
            if let Some(end) = end {
                self.wrap(&rest[..end], &mut marked);
                at += end;
            } else {
                marked.push(char);
                at += char.len_utf8();
            }
        }
        *text = marked;
    }

    fn wrap(&self, name: &str, marked: &mut String) {
        marked.push(self.open);
        marked.push_str(name);
        marked.push(self.close);
    }

    /// Cut the rendered text into what the template wrote and what holds a user's name of a control token.
    pub fn split<'t>(&self, text: &'t str) -> Vec<(&'t str, Specials)> {
        if !self.is_marked(text) {
            return vec![(text, Specials::Parse)];
        }
        let mut pieces = Vec::new();
        // Where the piece of the template begins, and where the text after its last control token does.
        let (mut start, mut between, mut at) = (0, 0, 0);
        while let Some(char) = text[at..].chars().next() {
            let Some(name) = self.own_name(text, at) else {
                at += char.len_utf8();
                continue;
            };
            if self.is_marked(&text[between..at]) {
                pieces.push((&text[start..between], Specials::Parse));
                pieces.push((&text[between..at], Specials::AsText));
                start = at;
            }
            at += name;
            between = at;
        }
        if self.is_marked(&text[between..]) {
            pieces.push((&text[start..between], Specials::Parse));
            pieces.push((&text[between..], Specials::AsText));
        } else {
            pieces.push((&text[start..], Specials::Parse));
        }
        pieces.retain(|(piece, _)| !piece.is_empty());
        pieces
    }

    /// Bytes of the template's own control token at a place.
    fn own_name(&self, text: &str, at: usize) -> Option<usize> {
        let name = self.names.at_start(&text[at..])?;
        let touched = text[..at].ends_with(self.open) || text[at + name..].starts_with(self.close);
        (!touched).then_some(name)
    }

    fn is_marked(&self, text: &str) -> bool {
        text.contains([self.open, self.close])
    }

    pub fn unmark(&self, text: &str) -> String {
        text.replace([self.open, self.close], "")
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
