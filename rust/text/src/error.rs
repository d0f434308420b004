//! What can go wrong with text.

/// Why a tokenizer or chat template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The tokenizer is of a kind that is not supported; the text names it and says what is.
    #[error("unsupported tokenizer: {0}")]
    UnsupportedTokenizer(String),
    /// The tokenizer's own data contradict each other or are incomplete.
    #[error("invalid tokenizer: {0}")]
    InvalidTokenizer(String),
    /// A text could not be tokenised.
    #[error("cannot tokenise the text: {0}")]
    Encode(String),
    /// A text cannot be as short as it must be.
    #[error("the text has at least {fewest} tokens; at most {most} are taken")]
    TooLong {
        /// Fewest tokens that it can have.
        fewest: usize,
        /// Most that are taken.
        most: usize,
    },
    /// The chat template cannot be parsed or used.
    #[error("invalid chat template: {0}")]
    InvalidTemplate(String),
    /// The chat template refused the conversation or failed on it.
    #[error("the chat template failed: {0}")]
    Render(String),
}
