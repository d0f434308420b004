//! Tokens to text as they come, never splitting a character.

use std::sync::Arc;

use crate::Tokenizer;

/// The text of a growing sequence. Bytes that may still become a character wait for the next token.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    /// The beginning of a character; at most 3 bytes between calls.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// For text that continues a prompt: a leading space is kept.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
        }
    }

    /// What the next token makes certain; control tokens and unknown ids say nothing.
    pub fn push(&mut self, id: u32) -> String {
        if let Some(bytes) = self.tokenizer.token_bytes(id) {
            self.pending.extend_from_slice(bytes);
        }
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        // Each round takes a valid run and, if it is certainly wrong, the ill-formed run after it.
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => error,
            };
            let (valid, after) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(wrong) = error.error_len() else {
                rest = after;
                break;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &after[wrong..];
        }
        let kept = rest.len();
        self.pending.drain(..self.pending.len() - kept);
        text
    }

    /// What is left at the end: an unfinished character becomes one U+FFFD.
    pub fn finish(&mut self) -> String {
        let pending = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&pending).into_owned()
    }
}
