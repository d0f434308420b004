//! The text of one answer: tokens to characters, characters to parts, and stop strings in what is shown as text.

use std::sync::Arc;

use cortex_text::{
    Detokenizer, OutputParser, Piece, Seed, StopMatcher, TextEnd, Tokenizer, ToolFormat, Tools,
};

use crate::runner::Shared;

/// Tokens at a prompt's end that may hold the beginning of a thought.
const SEED_TOKENS: usize = 32;

/// What takes apart the answer to a conversation; none where there is nothing to tell apart.
pub(crate) fn parser(shared: &Shared, tools: Tools, prompt: &[u32]) -> Option<OutputParser> {
    let mut format = shared.format;
    if !tools.specs.is_empty() {
        // A template that knows no tools was told of them in the form that most models know.
        format.tools.get_or_insert(ToolFormat::ToolCall);
    }
    if format.reasoning.is_none() && tools.specs.is_empty() {
        return None;
    }
    let end = &prompt[prompt.len().saturating_sub(SEED_TOKENS)..];
    let seed = Seed::of_prompt(&shared.tokenizer.spell(end), &format);
    Some(OutputParser::new(format, tools, seed))
}

/// What may be shown since the last time.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Text of an answer that is not taken apart.
    pub text: String,
    /// Parts of one that is.
    pub pieces: Vec<Piece>,
    /// The stop string that was found; nothing after it counts.
    pub stopped: Option<String>,
}

/// An answer that comes token by token.
pub(crate) struct Answer {
    tokenizer: Arc<Tokenizer>,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    parser: Option<OutputParser>,
    thought_tokens: usize,
}

impl Answer {
    pub fn new(
        tokenizer: &Arc<Tokenizer>,
        stop: Vec<String>,
        parser: Option<OutputParser>,
    ) -> Self {
        Self {
            tokenizer: Arc::clone(tokenizer),
            detokenizer: Detokenizer::new(Arc::clone(tokenizer)),
            stops: StopMatcher::new(stop),
            parser,
            thought_tokens: 0,
        }
    }

    /// Take a token; stop strings count if `stops` says so.
    pub fn push(&mut self, token: u32, stops: bool, said: &mut Said) {
        self.thought_tokens += usize::from(self.is_thinking());
        let mut text = String::new();
        match self.control_name(token) {
            Some(name) => {
                text.push_str(&self.detokenizer.finish());
                text.push_str(&name);
            }
            None => text.push_str(&self.detokenizer.push(token)),
        }
        self.read(&text, stops, said);
    }

    /// A token that ends the answer is part of no text, though it may have ended a thought.
    pub fn end_token(&mut self) {
        self.thought_tokens += usize::from(self.is_thinking());
    }

    /// The answer is over: show what was held back; a stop string in it still counts.
    pub fn finish(&mut self, end: TextEnd, stops: bool, said: &mut Said) {
        let rest = self.detokenizer.finish();
        self.read(&rest, stops, said);
        if said.stopped.is_some() {
            return;
        }
        if let Some(parser) = &mut self.parser {
            let pieces = parser.finish(end);
            self.show(pieces, stops, said);
        }
        if said.stopped.is_none() {
            let held = self.stops.finish();
            self.say(held, said);
        }
    }

    /// Tokens that made thoughts.
    pub fn thought_tokens(&self) -> usize {
        self.thought_tokens
    }

    /// Tool calls that are complete.
    pub fn calls(&self) -> usize {
        self.parser.as_ref().map_or(0, OutputParser::calls)
    }

    /// Whether the only call that may be is complete.
    pub fn is_over(&self) -> bool {
        self.parser.as_ref().is_some_and(OutputParser::is_over)
    }

    fn is_thinking(&self) -> bool {
        self.parser.as_ref().is_some_and(OutputParser::thinking)
    }

    /// The name of a control token that means something to the parser; no text has the others.
    fn control_name(&self, token: u32) -> Option<String> {
        let parser = self.parser.as_ref()?;
        let name = self.tokenizer.token_text(token);
        name.filter(|name| self.tokenizer.is_control(token) && parser.holds(name))
    }

    fn read(&mut self, text: &str, stops: bool, said: &mut Said) {
        match &mut self.parser {
            Some(parser) => {
                let pieces = parser.push(text);
                self.show(pieces, stops, said);
            }
            None => self.pass(text, stops, said),
        }
    }

    /// Stop strings are looked for in text alone: one inside of a thought or a call is part of it.
    fn show(&mut self, pieces: Vec<Piece>, stops: bool, said: &mut Said) {
        for piece in pieces {
            if let Piece::Text(text) = piece {
                self.pass(&text, stops, said);
            } else {
                let held = self.stops.finish();
                self.say(held, said);
                said.pieces.push(piece);
            }
            if said.stopped.is_some() {
                return;
            }
        }
    }

    fn pass(&mut self, text: &str, stops: bool, said: &mut Said) {
        if !stops {
            return self.say(text.to_owned(), said);
        }
        let step = self.stops.push(text);
        self.say(step.emit, said);
        said.stopped = step.matched;
    }

    fn say(&self, text: String, said: &mut Said) {
        if self.parser.is_none() {
            said.text.push_str(&text);
        } else if !text.is_empty() {
            match said.pieces.last_mut() {
                Some(Piece::Text(last)) => last.push_str(&text),
                _ => said.pieces.push(Piece::Text(text)),
            }
        }
    }
}
