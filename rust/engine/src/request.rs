//! One request inside the engine: its counts and times, its text, and when it ends.

use std::sync::Arc;
use std::time::Instant;

use cortex_text::{OutputParser, TextEnd, Tokenizer};

use crate::answer::{Answer, Said};
use crate::grammar::Constraint;
use crate::logprobs::Scorer;
use crate::token_counts::TokenCounts;
use crate::{Ending, Event, FinishReason, SamplingParams, Timings, TokenLogprob};

/// A request as it was submitted.
#[derive(Debug)]
pub(crate) struct Request {
    pub id: u64,
    pub prompt: Arc<[u32]>,
    pub params: SamplingParams,
    /// Takes the answer apart; none for plain text.
    pub parser: Option<OutputParser>,
    pub seed: u64,
    pub submitted: Instant,
}

/// A request that the scheduler knows.
pub(crate) struct Active {
    pub request: Request,
    pub counts: Option<TokenCounts>,
    pub constraint: Option<Constraint>,
    answer: Answer,
    generated: usize,
    /// Log probabilities of the prompt's tokens that were computed and not yet told.
    prompt_logprobs: Vec<TokenLogprob>,
    /// How many were computed; the prompt's first token has none to compute.
    scored: usize,
    cached_tokens: usize,
    started: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

/// A token that came out.
pub(crate) struct Sampled {
    pub token: u32,
    /// It is one of the tokens that end an answer.
    pub ends_sequence: bool,
    /// The grammar lets nothing follow it.
    pub completes_grammar: bool,
    pub logprob: Option<TokenLogprob>,
}

/// What ends a request, before its times are known.
struct Outcome {
    reason: FinishReason,
    stop_string: Option<String>,
}

impl Active {
    pub fn new(mut request: Request, tokenizer: &Arc<Tokenizer>) -> Self {
        let parser = request.parser.take();
        Self {
            counts: TokenCounts::for_request(&request.params, &request.prompt),
            constraint: request.params.grammar.as_ref().map(Constraint::new),
            answer: Answer::new(tokenizer, request.params.stop.clone(), parser),
            prompt_logprobs: first_of_prompt(&request),
            request,
            generated: 0,
            scored: 0,
            cached_tokens: 0,
            started: None,
            first_token: None,
            last_token: None,
        }
    }

    /// A step works on the request; the first one ends its time in the queue.
    pub fn start(&mut self, now: Instant, cached_tokens: usize, timings: &mut Timings) {
        if self.started.is_none() {
            self.started = Some(now);
            self.cached_tokens = cached_tokens;
            timings.queue.observe(seconds(self.request.submitted, now));
        }
    }

    /// Position that the next token will have.
    pub fn position(&self) -> usize {
        self.request.prompt.len() + self.generated
    }

    /// The tokens among `eos` and the request's own that end it.
    pub fn ends(&self, token: u32, eos: &[u32]) -> bool {
        let params = &self.request.params;
        let of_model = !params.ignore_eos && eos.binary_search(&token).is_ok();
        of_model || params.stop_token_ids.contains(&token)
    }

    /// What must not come out because the answer must not end yet.
    pub fn forbidden<'a>(&'a self, eos: &'a [u32]) -> [&'a [u32]; 2] {
        let params = &self.request.params;
        if self.generated >= params.min_tokens {
            return [&[]; 2];
        }
        let of_model = if params.ignore_eos { &[] } else { eos };
        [of_model, &params.stop_token_ids]
    }

    /// Whether logits of prompt tokens are needed from a step that begins at this position.
    pub fn scores_prompt(&self, start: usize) -> bool {
        let asked = self.request.params.prompt_logprobs.is_some();
        asked && start + 1 < self.request.prompt.len()
    }

    /// Score the prompt's tokens under the logits of the positions before them, from `start` on.
    pub fn score_prompt<'a>(
        &mut self,
        start: usize,
        rows: impl Iterator<Item = &'a [f32]>,
        scorer: &mut Scorer,
    ) {
        let Some(top) = self.request.params.prompt_logprobs else {
            return;
        };
        for (position, logits) in (start..).zip(rows) {
            // A preempted sequence computes its prompt again.
            let is_next = position == self.scored;
            if let Some(&token) = self.request.prompt.get(position + 1).filter(|_| is_next) {
                self.prompt_logprobs.push(scorer.score(logits, token, top));
                self.scored += 1;
            }
        }
    }

    /// Take a token; the event has an ending if it was the last.
    pub fn take(&mut self, sampled: Sampled, now: Instant, timings: &mut Timings) -> Event {
        self.generated += 1;
        self.time_token(now, timings);
        if let Some(counts) = &mut self.counts {
            counts.add(sampled.token);
        }
        let mut said = Said::default();
        if sampled.ends_sequence {
            self.answer.end_token();
        } else {
            self.answer
                .push(sampled.token, self.stops_count(), &mut said);
        }
        let outcome = if said.stopped.is_some() {
            Some(stopped(&said))
        } else if sampled.ends_sequence || sampled.completes_grammar || self.answer.is_over() {
            Some(self.finish(FinishReason::Stop, &mut said))
        } else if self.generated >= self.request.params.max_tokens {
            Some(self.finish(FinishReason::Length, &mut said))
        } else {
            None
        };
        let mut event = self.event(said, 1, outcome);
        event.logprobs.extend(sampled.logprob);
        event
    }

    fn time_token(&mut self, now: Instant, timings: &mut Timings) {
        if let Some(last) = self.last_token.replace(now) {
            timings.inter_token.observe(seconds(last, now));
            return;
        }
        self.first_token = Some(now);
        let submitted = self.request.submitted;
        let waited = seconds(submitted, now);
        timings.time_to_first_token.observe(waited);
        let computed = seconds(self.started.unwrap_or(submitted), now);
        timings.prefill.observe(computed);
    }

    /// Whether stop strings end the answer already.
    fn stops_count(&self) -> bool {
        self.generated > self.request.params.min_tokens
    }

    /// End with what was held back; a stop string in it still counts.
    fn finish(&mut self, reason: FinishReason, said: &mut Said) -> Outcome {
        let end = match reason {
            FinishReason::Length => TextEnd::Cut,
            _ => TextEnd::Whole,
        };
        self.answer.finish(end, self.stops_count(), said);
        if said.stopped.is_some() {
            return stopped(said);
        }
        let called = reason == FinishReason::Stop && self.answer.calls() > 0;
        Outcome {
            reason: if called {
                FinishReason::ToolCalls
            } else {
                reason
            },
            stop_string: None,
        }
    }

    /// End without a token: cancelled, or the engine cannot go on.
    pub fn end(&mut self, reason: FinishReason) -> Event {
        let outcome = Outcome {
            reason,
            stop_string: None,
        };
        self.event(Said::default(), 0, Some(outcome))
    }

    /// End without a token where the answer is complete; what was held back is shown.
    pub fn complete(&mut self, reason: FinishReason) -> Event {
        let mut said = Said::default();
        let outcome = self.finish(reason, &mut said);
        self.event(said, 0, Some(outcome))
    }

    fn event(&mut self, said: Said, tokens: u32, outcome: Option<Outcome>) -> Event {
        Event {
            request: self.request.id,
            text: said.text,
            pieces: said.pieces,
            tokens,
            logprobs: Vec::new(),
            prompt_logprobs: std::mem::take(&mut self.prompt_logprobs),
            vectors: None,
            ending: outcome.map(|outcome| self.ending(outcome)),
        }
    }

    fn ending(&self, outcome: Outcome) -> Ending {
        let submitted = self.request.submitted;
        let started = self.started.unwrap_or_else(Instant::now);
        let first = self.first_token.unwrap_or_else(Instant::now);
        let last = self.last_token.unwrap_or(first);
        Ending {
            reason: outcome.reason,
            stop_string: outcome.stop_string,
            prompt_tokens: self.request.prompt.len(),
            completion_tokens: self.generated,
            reasoning_tokens: self.answer.thought_tokens(),
            cached_tokens: self.cached_tokens,
            queue_seconds: seconds(submitted, started),
            prefill_seconds: seconds(started, first),
            decode_seconds: seconds(first, last),
        }
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

/// A stop string was found.
fn stopped(said: &Said) -> Outcome {
    Outcome {
        reason: FinishReason::Stop,
        stop_string: said.stopped.clone(),
    }
}

/// What is told of a prompt's first token, which follows nothing.
fn first_of_prompt(request: &Request) -> Vec<TokenLogprob> {
    let asked = request.params.prompt_logprobs.and(request.prompt.first());
    let first = asked.map(|&token| TokenLogprob {
        token,
        logprob: None,
        top: Vec::new(),
    });
    first.into_iter().collect()
}
