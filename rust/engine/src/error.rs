//! Everything that can go wrong in the engine, one enum; the bindings map each variant to one Python class.

use cortex_weights::{ErrorKind, WeightsError};
use thiserror::Error;

/// Errors of loading a model and of submitting requests to it.
#[derive(Debug, Clone, Error)]
pub enum EngineError {
    /// There is no file or folder at the path.
    #[error("{0}")]
    SourceNotFound(String),
    /// A model file is cut short, lies about its sizes, or is no model file.
    #[error("{0}")]
    ModelFileInvalid(String),
    /// Architecture, tokenizer, quantisation or scaling that the engine does not have; the text says what it has.
    #[error("{0}")]
    UnsupportedModel(String),
    /// The chat template refused or could not render the conversation.
    #[error("{0}")]
    TemplateFailed(String),
    /// A field is out of range.
    #[error("{field}: {reason}")]
    InvalidField {
        /// Name of the field as the caller knows it.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt and the answer asked for do not fit the context.
    #[error(
        "{prompt_tokens} prompt tokens and an answer of up to {max_tokens} do not fit the context of {limit} tokens"
    )]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that may be generated, as asked.
        max_tokens: usize,
        /// Context length as limited by the model and the KV memory.
        limit: usize,
    },
    /// A text that is far too long, refused before it is tokenised.
    #[error(
        "The prompt has at least {fewest} tokens; the model takes {limit} and an answer of at least one."
    )]
    PromptTooLong {
        /// Fewest tokens that it can have.
        fewest: usize,
        /// Most that are taken.
        limit: usize,
    },
    /// A text to embed is longer than the model reads.
    #[error("input {input} has {tokens} tokens; the model reads at most {limit}")]
    InputTooLong {
        /// Its place among the texts, from 0 on.
        input: usize,
        /// Its tokens.
        tokens: usize,
        /// Most tokens of a text.
        limit: usize,
    },
    /// The model cannot be asked for this.
    #[error("{0}")]
    WrongKind(&'static str),
    /// As many requests wait as may wait.
    #[error("{waiting} requests are in the engine; it takes {limit}")]
    QueueFull {
        /// Requests not yet ended.
        waiting: usize,
        /// Most that are taken: running plus waiting.
        limit: usize,
    },
    /// The load was cancelled by its owner.
    #[error("the load was cancelled")]
    LoadCancelled,
    /// The engine thread failed or was closed.
    #[error("{0}")]
    EngineFailed(String),
}

impl EngineError {
    /// A refused field.
    pub(crate) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidField {
            field,
            reason: reason.into(),
        }
    }
}

impl From<WeightsError> for EngineError {
    fn from(error: WeightsError) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::SourceNotFound(error.to_string()),
            ErrorKind::Unsupported => Self::UnsupportedModel(error.to_string()),
            ErrorKind::Invalid => Self::ModelFileInvalid(error.to_string()),
        }
    }
}
