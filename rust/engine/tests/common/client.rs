//! A caller of the engine: waits on the eventfd and collects each request's text and ending.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use cortex_engine::{
    Ending, Engine, EngineError, LoadOptions, Loader, Piece, SamplingParams, TokenLogprob, Vectors,
};

/// Longest wait for anything in a test.
pub const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Clone)]
pub struct Answer {
    pub text: String,
    pub pieces: Vec<Piece>,
    pub tokens: u32,
    pub events: usize,
    pub logprobs: Vec<TokenLogprob>,
    pub prompt_logprobs: Vec<TokenLogprob>,
    pub vectors: Option<Vectors>,
    pub ending: Option<Ending>,
}

pub struct Client {
    pub engine: Engine,
    answers: HashMap<u64, Answer>,
}

pub fn load(path: &Path, change: impl FnOnce(&mut LoadOptions)) -> Client {
    let mut options = LoadOptions::new(path);
    options.threads = Some(2);
    options.max_sequences = 32;
    change(&mut options);
    Client::new(Loader::new(options).run().unwrap())
}

impl Client {
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            answers: HashMap::new(),
        }
    }

    pub fn submit(&self, prompt: &[u32], params: &SamplingParams) -> u64 {
        self.try_submit(prompt, params).unwrap()
    }

    pub fn try_submit(&self, prompt: &[u32], params: &SamplingParams) -> Result<u64, EngineError> {
        self.engine.submit(prompt.to_vec(), params.clone())
    }

    /// Wait for the next wake-up and take its events.
    pub fn pump(&mut self) {
        let mut poll = libc::pollfd {
            fd: self.engine.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        let ready = unsafe { libc::poll(&raw mut poll, 1, DEADLINE.as_millis() as i32) };
        assert_eq!(
            ready,
            1,
            "no event before the deadline: {:?}",
            self.engine.stats()
        );
        for event in self.engine.drain() {
            let answer = self.answers.entry(event.request).or_default();
            assert!(answer.ending.is_none(), "an event after the ending");
            answer.text.push_str(&event.text);
            answer.pieces.extend(event.pieces);
            answer.tokens += event.tokens;
            answer.events += 1;
            answer.logprobs.extend(event.logprobs);
            answer.prompt_logprobs.extend(event.prompt_logprobs);
            answer.vectors = event.vectors;
            answer.ending = event.ending;
        }
    }

    pub fn answer(&self, request: u64) -> Answer {
        self.answers.get(&request).cloned().unwrap_or_default()
    }

    pub fn wait(&mut self, request: u64) -> Answer {
        let end = Instant::now() + DEADLINE;
        while self.answer(request).ending.is_none() {
            assert!(Instant::now() < end, "request {request} did not end");
            self.pump();
        }
        self.answer(request)
    }

    /// Wait until the request has shown so many tokens.
    pub fn wait_tokens(&mut self, request: u64, tokens: u32) {
        while self.answer(request).tokens < tokens {
            self.pump();
        }
    }

    pub fn embed(&mut self, texts: &[Vec<u32>]) -> Answer {
        let request = self.engine.embed(texts.to_vec(), None).unwrap();
        self.wait(request)
    }

    pub fn ask(&mut self, prompt: &[u32], params: &SamplingParams) -> Answer {
        let request = self.submit(prompt, params);
        self.wait(request)
    }
}
