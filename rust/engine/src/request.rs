//! One request inside the engine: its counts and times, its text, and when it ends.

use std::sync::Arc;
use std::time::Instant;

use cortex_text::{Detokenizer, StopMatcher, Tokenizer};

use crate::token_counts::TokenCounts;
use crate::{Ending, Event, FinishReason, SamplingParams};

/// A request as it was submitted.
#[derive(Debug)]
pub(crate) struct Request {
    pub id: u64,
    pub prompt: Arc<[u32]>,
    pub params: SamplingParams,
    pub seed: u64,
    pub submitted: Instant,
}

/// A request that the scheduler knows.
pub(crate) struct Active {
    pub request: Request,
    pub counts: Option<TokenCounts>,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    generated: usize,
    cached_tokens: usize,
    started: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

/// What ends a request, before its times are known.
struct Outcome {
    reason: FinishReason,
    stop_string: Option<String>,
}

impl Active {
    pub fn new(request: Request, tokenizer: &Arc<Tokenizer>) -> Self {
        Self {
            counts: TokenCounts::for_request(&request.params, &request.prompt),
            detokenizer: Detokenizer::new(Arc::clone(tokenizer)),
            stops: StopMatcher::new(request.params.stop.clone()),
            request,
            generated: 0,
            cached_tokens: 0,
            started: None,
            first_token: None,
            last_token: None,
        }
    }

    /// A step works on the request; the first one ends its time in the queue.
    pub fn start(&mut self, now: Instant, cached_tokens: usize) {
        if self.started.is_none() {
            self.started = Some(now);
            self.cached_tokens = cached_tokens;
        }
    }

    /// Position that the next token will have.
    pub fn position(&self) -> usize {
        self.request.prompt.len() + self.generated
    }

    /// Whether end-of-sequence tokens must not come out yet.
    pub fn must_go_on(&self) -> bool {
        self.generated < self.request.params.min_tokens && !self.request.params.ignore_eos
    }

    /// Take a token; the event has an ending if it was the last.
    pub fn take(&mut self, token: u32, ends_sequence: bool, now: Instant) -> Event {
        self.generated += 1;
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        if let Some(counts) = &mut self.counts {
            counts.add(token);
        }
        let ends_sequence = ends_sequence && !self.request.params.ignore_eos;
        let piece = if ends_sequence {
            self.detokenizer.finish()
        } else {
            self.detokenizer.push(token)
        };
        let mut text = String::new();
        let stopped = self.show(&piece, &mut text);
        let outcome = match stopped {
            Some(stop) => Some(Outcome {
                reason: FinishReason::Stop,
                stop_string: Some(stop),
            }),
            None if ends_sequence => Some(self.flush(FinishReason::Stop, "", &mut text)),
            None if self.generated >= self.request.params.max_tokens => {
                let rest = self.detokenizer.finish();
                Some(self.flush(FinishReason::Length, &rest, &mut text))
            }
            None => None,
        };
        self.event(text, 1, outcome)
    }

    /// Pass text by the stop strings; the stop that was found, if one was.
    fn show(&mut self, piece: &str, text: &mut String) -> Option<String> {
        if self.generated <= self.request.params.min_tokens {
            text.push_str(piece);
            return None;
        }
        let step = self.stops.push(piece);
        text.push_str(&step.emit);
        step.matched
    }

    /// Show what was held back; a stop string in it still counts.
    fn flush(&mut self, reason: FinishReason, rest: &str, text: &mut String) -> Outcome {
        if let Some(stop) = self.show(rest, text) {
            return Outcome {
                reason: FinishReason::Stop,
                stop_string: Some(stop),
            };
        }
        text.push_str(&self.stops.finish());
        Outcome {
            reason,
            stop_string: None,
        }
    }

    /// End without a token: cancelled, or the engine cannot go on.
    pub fn end(&mut self, reason: FinishReason) -> Event {
        let outcome = Outcome {
            reason,
            stop_string: None,
        };
        self.event(String::new(), 0, Some(outcome))
    }

    fn event(&self, text: String, tokens: u32, outcome: Option<Outcome>) -> Event {
        Event {
            request: self.request.id,
            text,
            tokens,
            ending: outcome.map(|outcome| self.ending(outcome)),
        }
    }

    fn ending(&self, outcome: Outcome) -> Ending {
        let submitted = self.request.submitted;
        let started = self.started.unwrap_or_else(Instant::now);
        let first = self.first_token.unwrap_or_else(Instant::now);
        let last = self.last_token.unwrap_or(first);
        let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        Ending {
            reason: outcome.reason,
            stop_string: outcome.stop_string,
            prompt_tokens: self.request.prompt.len(),
            completion_tokens: self.generated,
            cached_tokens: self.cached_tokens,
            queue_seconds: seconds(submitted, started),
            prefill_seconds: seconds(started, first),
            decode_seconds: seconds(first, last),
        }
    }
}
