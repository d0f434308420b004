//! Stop strings in a text that arrives in pieces.

/// Finds the first stop string, wherever the pieces are cut.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
    longest: usize,
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
    pub fn new(stops: Vec<String>) -> Self {
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Self {
            stops,
            held: String::new(),
            longest,
        }
    }

    /// Take the next piece. The match that begins first counts, and of those that begin together the one that ends
    /// first, which is the one that a reader of single characters would see.
    pub fn push(&mut self, piece: &str) -> StopStep {
        if self.longest == 0 {
            return StopStep {
                emit: piece.to_owned(),
                matched: None,
            };
        }
        self.held.push_str(piece);
        let mut step = StopStep::default();
        let mut keep_from = self.held.len();
        for (at, _) in self.held.char_indices() {
            let rest = &self.held[at..];
            if let Some(index) = self.complete(rest) {
                step.matched = Some(self.stops[index].clone());
                keep_from = at;
                break;
            }
            if self.may_begin(rest) {
                keep_from = at;
                break;
            }
        }
        step.emit.push_str(&self.held[..keep_from]);
        if step.matched.is_some() {
            self.held.clear();
        } else {
            self.held.drain(..keep_from);
        }
        step
    }

    /// The text is over: what was held back is no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The shortest stop string at the start of a text.
    fn complete(&self, text: &str) -> Option<usize> {
        let stops = self.stops.iter().enumerate();
        let found = stops.filter(|(_, stop)| !stop.is_empty() && text.starts_with(stop.as_str()));
        let shortest = found.min_by_key(|(_, stop)| stop.len());
        shortest.map(|(index, _)| index)
    }

    /// Whether a text that is no match may become one.
    fn may_begin(&self, text: &str) -> bool {
        text.len() < self.longest && self.stops.iter().any(|stop| stop.starts_with(text))
    }
}
