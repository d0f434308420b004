//! What the engine says to its owner: text of a step, and how a request ended.

use cortex_text::Piece;

/// Why a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token or a stop string.
    Stop,
    /// The model has called tools, and waits for what they say.
    ToolCalls,
    /// `max_tokens` were generated.
    Length,
    /// The owner cancelled.
    Cancelled,
    /// The engine could not go on; the text says why.
    Error(String),
}

/// How one request ended, with its counts and times.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Why.
    pub reason: FinishReason,
    /// The stop string that ended it, if one did.
    pub stop_string: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Generated tokens, an end-of-sequence token included.
    pub completion_tokens: usize,
    /// Those of them that made thoughts.
    pub reasoning_tokens: usize,
    /// Prompt tokens that were not computed because a cached prefix held them.
    pub cached_tokens: usize,
    /// From submit to the first step that worked on it.
    pub queue_seconds: f64,
    /// From there to the first generated token.
    pub prefill_seconds: f64,
    /// From the first to the last generated token.
    pub decode_seconds: f64,
}

/// How likely a token was, by the model's own distribution: before biases, penalties, mask and temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token that came out, or that stands in the prompt.
    pub token: u32,
    /// Natural logarithm of its probability, -9999 for none at all; absent for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The most likely tokens, the best first, as many as were asked for.
    pub top: Vec<(u32, f32)>,
}

/// The embeddings of one request, in the order of its texts, each of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// Values of one embedding.
    pub dimensions: usize,
    /// `[texts, dimensions]`.
    pub values: Vec<f32>,
}

/// What one engine step made for one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The id that `submit` gave.
    pub request: u64,
    /// Text that may be shown, of an answer that is not taken apart.
    pub text: String,
    /// Parts of one that is.
    pub pieces: Vec<Piece>,
    /// Generated tokens that this event stands for; over all events they add up to `completion_tokens`.
    pub tokens: u32,
    /// One for each of `tokens` if the request asked for them.
    pub logprobs: Vec<TokenLogprob>,
    /// One for each token of the prompt, on the first event of a request that asked for them.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// What an embedding request asked for, on its last event.
    pub vectors: Option<Vectors>,
    /// Set on the last event of a request.
    pub ending: Option<Ending>,
}
