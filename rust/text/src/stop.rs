//! Stop strings in a text that arrives in pieces.

/// Finds the first stop string, wherever the pieces are cut.
#[derive(Debug)]
pub struct StopMatcher {
    /// Without empty ones, longest first: of those that end together the longest counts.
    stops: Vec<String>,
    /// The end of the text so far, if a stop string may begin with it.
    held: String,
}

/// What a piece of text brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStep {
    /// Text that is certainly no part of a stop string.
    pub emit: String,
    /// The stop string that was found; nothing after it is ever emitted.
    pub matched: Option<String>,
}

impl StopMatcher {
    /// Empty strings never match.
    #[must_use]
    pub fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        stops.sort_by_key(|stop| std::cmp::Reverse(stop.len()));
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Take the next piece. The stop string that is complete first counts, whatever the order of the list.
    pub fn push(&mut self, piece: &str) -> StopStep {
        let mut text = std::mem::take(&mut self.held);
        let before = text.len();
        text.push_str(piece);
        for (start, char) in piece.char_indices() {
            let end = before + start + char.len_utf8();
            if let Some(stop) = self.ending(&text[..end]) {
                return StopStep {
                    emit: text[..end - stop.len()].to_owned(),
                    matched: Some(stop.to_owned()),
                };
            }
        }
        let kept = self.beginning(&text);
        self.held = text.split_off(text.len() - kept);
        StopStep {
            emit: text,
            matched: None,
        }
    }

    /// The text is over: what was held back is no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The longest stop string that a text ends with.
    fn ending(&self, text: &str) -> Option<&str> {
        let mut stops = self.stops.iter();
        stops
            .find(|stop| text.ends_with(stop.as_str()))
            .map(String::as_str)
    }

    /// Bytes at the end of a text with which a stop string may begin: the most of them.
    fn beginning(&self, text: &str) -> usize {
        let lengths = self.stops.iter().filter_map(|stop| {
            let ends = stop.char_indices().map(|(end, _)| end).rev();
            ends.into_iter().find(|&end| text.ends_with(&stop[..end]))
        });
        lengths.max().unwrap_or(0)
    }
}
