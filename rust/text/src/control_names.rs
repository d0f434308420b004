//! The names of a vocabulary's control tokens, and whether a text holds or could complete one.

use std::collections::HashSet;

use crate::vocab::{Kind, Vocab};

/// All names, ready to be searched for.
#[derive(Debug, Default)]
pub(crate) struct ControlNames {
    /// Longest first.
    names: Vec<String>,
    /// Their first characters, sorted.
    first: Vec<char>,
    /// Their proper endings.
    endings: HashSet<String>,
    /// Bytes of the longest.
    longest: usize,
}

impl ControlNames {
    pub fn new(vocab: &Vocab) -> Self {
        let tokens = vocab
            .iter()
            .filter(|(_, token)| token.kind == Kind::Control);
        let names = tokens.map(|(_, token)| token.text.clone());
        let mut names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        names.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
        let mut first: Vec<char> = names
            .iter()
            .filter_map(|name| name.chars().next())
            .collect();
        first.sort_unstable();
        first.dedup();
        let endings = names.iter().flat_map(|name| {
            let starts = name.char_indices().skip(1);
            starts.map(|(start, _)| name[start..].to_owned())
        });
        Self {
            endings: endings.collect(),
            longest: names.first().map_or(0, String::len),
            first,
            names,
        }
    }

    /// Bytes of the name that a text begins with.
    pub fn at_start(&self, text: &str) -> Option<usize> {
        self.may_begin(text)?;
        let name = self
            .names
            .iter()
            .find(|name| text.starts_with(name.as_str()));
        name.map(String::len)
    }

    /// Whether all of a text is the beginning of a name.
    pub fn is_beginning(&self, text: &str) -> bool {
        self.may_begin(text).is_some() && self.names.iter().any(|name| name.starts_with(text))
    }

    /// Bytes of the longest ending of a name that a text begins with.
    pub fn ending_at_start(&self, text: &str) -> Option<usize> {
        let ends = text
            .char_indices()
            .map(|(start, char)| start + char.len_utf8());
        let ends: Vec<usize> = ends.take_while(|end| *end < self.longest).collect();
        let longest = ends.into_iter().rev();
        longest
            .into_iter()
            .find(|&end| self.endings.contains(&text[..end]))
    }

    /// Whether all of a text lies inside a name, and is more than a word, which a template may well put there.
    pub fn is_inside(&self, text: &str) -> bool {
        text.len() < self.longest
            && text.contains(|char: char| !char.is_alphanumeric() && char != '_')
            && self.names.iter().any(|name| name.contains(text))
    }

    fn may_begin(&self, text: &str) -> Option<()> {
        let first = text.chars().next()?;
        self.first.binary_search(&first).ok().map(|_| ())
    }
}
