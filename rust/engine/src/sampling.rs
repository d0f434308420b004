//! What one request asks of the sampler, checked once at the door.

use crate::EngineError;
use crate::grammar::CompiledGrammar;

/// How to choose tokens and when to end; the neutral values change nothing.
#[derive(Debug, Clone)]
pub struct SamplingParams {
    /// Most tokens to generate; at least 1.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the k best; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keep the smallest set whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens with at least this share of the best one's probability; 0 keeps all.
    pub min_p: f32,
    /// Makes the outcome repeatable, whatever else is in the batch; `None` draws a fresh seed.
    pub seed: Option<u64>,
    /// Subtracted from a token's logit for each time it was generated.
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of a token that was generated.
    pub presence_penalty: f32,
    /// Divides (or multiplies, below zero) the logits of tokens in the prompt or the answer; 1 is off.
    pub repetition_penalty: f32,
    /// Strings that end the answer; they are not shown.
    pub stop: Vec<String>,
    /// No end-of-sequence token and no stop string counts before this many tokens.
    pub min_tokens: usize,
    /// End-of-sequence tokens do not end the answer.
    pub ignore_eos: bool,
    /// Tokens that end the answer as an end-of-sequence token does, also with `ignore_eos`.
    pub stop_token_ids: Vec<u32>,
    /// Added to the logits of these tokens before everything else.
    pub logit_bias: Vec<(u32, f32)>,
    /// Report the log probability of each generated token and of so many alternatives, from the raw distribution.
    pub logprobs: Option<usize>,
    /// The same for the prompt's tokens; such a prompt is computed whole, without prefix hits. `max_tokens` may be 0.
    pub prompt_logprobs: Option<usize>,
    /// What the answer must look like.
    pub grammar: Option<CompiledGrammar>,
    /// Prompts share their cached beginnings only with those of the same salt.
    pub cache_salt: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            max_tokens: 16,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            seed: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repetition_penalty: 1.0,
            stop: Vec::new(),
            min_tokens: 0,
            ignore_eos: false,
            stop_token_ids: Vec::new(),
            logit_bias: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
            grammar: None,
            cache_salt: 0,
        }
    }
}

/// Most stop strings a request may carry, and the longest of them in bytes.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 4096;
/// Most stop tokens and biased tokens of a request.
const MAX_STOP_TOKENS: usize = 256;
const MAX_BIASES: usize = 4096;
/// Most alternatives of a token.
const MAX_LOGPROBS: usize = 20;

impl SamplingParams {
    /// Greedy decoding of at most `max_tokens` tokens.
    pub fn greedy(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Refuse values that mean nothing; tokens are those of a vocabulary of this size.
    ///
    /// # Errors
    /// `InvalidField` naming the first field that is out of range.
    pub fn check(&self, vocab: usize) -> Result<(), EngineError> {
        if self.max_tokens == 0 && self.prompt_logprobs.is_none() {
            return Err(EngineError::field("max_tokens", "must be at least 1"));
        }
        if self.min_tokens > self.max_tokens {
            return Err(EngineError::field(
                "min_tokens",
                "must not be above max_tokens",
            ));
        }
        if self.top_k == Some(0) {
            return Err(EngineError::field(
                "top_k",
                "must be at least 1; leave it out to keep all",
            ));
        }
        in_range("temperature", self.temperature, 0.0, 100.0)?;
        in_range("top_p", self.top_p, f32::MIN_POSITIVE, 1.0)?;
        in_range("min_p", self.min_p, 0.0, 1.0)?;
        in_range("frequency_penalty", self.frequency_penalty, -100.0, 100.0)?;
        in_range("presence_penalty", self.presence_penalty, -100.0, 100.0)?;
        in_range("repetition_penalty", self.repetition_penalty, 1e-3, 1e3)?;
        self.check_logprobs()?;
        self.check_tokens(vocab)?;
        self.check_stops()
    }

    fn check_logprobs(&self) -> Result<(), EngineError> {
        let asked = [
            ("logprobs", self.logprobs),
            ("prompt_logprobs", self.prompt_logprobs),
        ];
        for (field, count) in asked {
            if count.is_some_and(|count| count > MAX_LOGPROBS) {
                let reason = format!("at most {MAX_LOGPROBS} alternatives are given");
                return Err(EngineError::field(field, reason));
            }
        }
        Ok(())
    }

    fn check_tokens(&self, vocab: usize) -> Result<(), EngineError> {
        let biased = self.logit_bias.iter().map(|(token, _)| token);
        at_most("logit_bias", self.logit_bias.len(), MAX_BIASES)?;
        known("logit_bias", biased, vocab)?;
        at_most("stop_token_ids", self.stop_token_ids.len(), MAX_STOP_TOKENS)?;
        known("stop_token_ids", self.stop_token_ids.iter(), vocab)?;
        let mut biases = self.logit_bias.iter();
        biases.try_for_each(|&(_, bias)| in_range("logit_bias", bias, -100.0, 100.0))
    }

    fn check_stops(&self) -> Result<(), EngineError> {
        if self.stop.len() > MAX_STOPS {
            let reason = format!("{} strings; at most {MAX_STOPS} are taken", self.stop.len());
            return Err(EngineError::field("stop", reason));
        }
        for stop in &self.stop {
            if stop.is_empty() || stop.len() > MAX_STOP_BYTES {
                let reason = format!("each string must have 1 to {MAX_STOP_BYTES} bytes");
                return Err(EngineError::field("stop", reason));
            }
        }
        Ok(())
    }
}

fn at_most(field: &'static str, count: usize, most: usize) -> Result<(), EngineError> {
    if count <= most {
        return Ok(());
    }
    let reason = format!("{count} tokens; at most {most} are taken");
    Err(EngineError::field(field, reason))
}

fn known<'a>(
    field: &'static str,
    mut tokens: impl Iterator<Item = &'a u32>,
    vocab: usize,
) -> Result<(), EngineError> {
    let Some(token) = tokens.find(|token| **token as usize >= vocab) else {
        return Ok(());
    };
    let reason = format!("token {token} is not in the vocabulary of {vocab}");
    Err(EngineError::field(field, reason))
}

fn in_range(field: &'static str, value: f32, low: f32, high: f32) -> Result<(), EngineError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(EngineError::field(
        field,
        format!("{value} is not between {low} and {high}"),
    ))
}
