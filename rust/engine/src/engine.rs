//! The handle on a loaded model: encode, submit, cancel, drain, close.

use std::fmt::Write;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cortex_text::{ChatTemplate, OutputParser, RenderInput, Specials, TextError, Tokenizer, Tools};
use cortex_weights::ModelFile;

use crate::desk::Desk;
use crate::embed::{self, EmbedRequest};
use crate::grammar::GrammarCompiler;
use crate::loader::LoadState;
use crate::request::Request;
use crate::sampler::splitmix;
use crate::{
    CompiledGrammar, EngineError, Event, Grammar, LoadOptions, ModelInfo, SamplingParams, Stats,
    Timings, answer, assembly, model,
};

const GENERATES_NOTHING: EngineError =
    EngineError::WrongKind("the model makes embeddings and generates no text");

/// A loaded model with its engine thread; every method may be called from any thread.
pub struct Engine {
    info: ModelInfo,
    desk: Desk,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    /// `None` for a model that embeds.
    grammars: Option<GrammarCompiler>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    pub(crate) fn load(options: &LoadOptions, state: &LoadState) -> Result<Self, EngineError> {
        let file = ModelFile::open(&options.path)?;
        state.expect_bytes(needed_bytes(&file));
        let outline = embed::outline(&file)?;
        match outline.pooling {
            None => Self::start(assembly::assemble(file, options, state)?),
            Some(pooling) => {
                let parts = embed::assemble(file, &outline, pooling, options, state)?;
                let desk = Desk::Embed(Arc::clone(&parts.runner.shared));
                let runner = parts.runner;
                Self::launch(parts.info, desk, parts.tokenizer, None, || runner.run())
            }
        }
    }

    pub(crate) fn start(parts: assembly::Parts) -> Result<Self, EngineError> {
        let shared = Arc::clone(&parts.runner.shared);
        let tokenizer = Arc::clone(&shared.tokenizer);
        let (desk, runner) = (Desk::Generate(shared), parts.runner);
        Self::launch(parts.info, desk, tokenizer, parts.template, || runner.run())
    }

    fn launch(
        info: ModelInfo,
        desk: Desk,
        tokenizer: Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self, EngineError> {
        let thread = std::thread::Builder::new().name("cortex-engine".to_owned());
        let thread = thread.spawn(work);
        let thread = thread
            .map_err(|error| EngineError::EngineFailed(format!("no engine thread: {error}")))?;
        let grammars = match &desk {
            Desk::Generate(shared) => Some(GrammarCompiler::new(
                Arc::clone(&tokenizer),
                info.vocab,
                shared.eos.clone(),
            )),
            Desk::Embed(_) => None,
        };
        Ok(Self {
            info,
            desk,
            tokenizer,
            template,
            grammars,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Render the chat template and tokenise; arguments are JSON. User text never becomes a control token.
    ///
    /// # Errors
    /// `TemplateFailed` when there is no template, it refuses the conversation, or the JSON is malformed;
    /// `PromptTooLong` where the text cannot have as few as `most_tokens` (a longer prompt may still come out).
    pub fn encode_chat(
        &self,
        messages: &str,
        tools: Option<&str>,
        kwargs: Option<&str>,
        add_generation_prompt: bool,
        most_tokens: Option<usize>,
    ) -> Result<Vec<u32>, EngineError> {
        let template = self.template.as_ref();
        let template = template
            .ok_or_else(|| failed("this model has no chat template; use raw completions"))?;
        let messages = parse("messages", messages)?;
        let tools = tools.map(|tools| parse("tools", tools)).transpose()?;
        let kwargs = match kwargs
            .map(|kwargs| parse("template arguments", kwargs))
            .transpose()?
        {
            None => None,
            Some(serde_json::Value::Object(kwargs)) => Some(kwargs),
            Some(_) => return Err(failed("template arguments must be an object")),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let input = RenderInput {
            messages: &messages,
            tools: tools.as_ref(),
            add_generation_prompt,
            kwargs: kwargs.as_ref(),
            now: now as i64,
        };
        template
            .encode(&self.tokenizer, &input, most_tokens)
            .map_err(|error| too_long(&error).unwrap_or_else(|| failed(error.to_string())))
    }

    /// Tokenise a text. `add_special` puts BOS in front by the tokenizer's rule; `parse_special` reads names of
    /// control tokens as such, otherwise they are plain text.
    ///
    /// # Errors
    /// `InvalidField` when the tokenizer cannot represent the text; `PromptTooLong` as above.
    pub fn encode_text(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        most_tokens: Option<usize>,
    ) -> Result<Vec<u32>, EngineError> {
        let specials = if parse_special {
            Specials::Parse
        } else {
            Specials::AsText
        };
        let tokenizer = &self.tokenizer;
        let tokens = tokenizer
            .check_length(text.len(), most_tokens)
            .and_then(|()| {
                if add_special {
                    tokenizer.encode_prompt(text, specials)
                } else {
                    tokenizer.encode(text, specials)
                }
            });
        let refused = |error: &TextError| EngineError::field("text", error.to_string());
        tokens.map_err(|error| too_long(&error).unwrap_or_else(|| refused(&error)))
    }

    /// The text of tokens, control tokens left out.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// Make a grammar ready for `submit`; takes milliseconds, the first one of a model up to a second.
    ///
    /// # Errors
    /// `InvalidField` for one that is wrong, too large or takes too long; `WrongKind`, `QueueFull`, `EngineFailed`.
    pub fn compile(&self, grammar: &Grammar) -> Result<CompiledGrammar, EngineError> {
        let grammars = self.grammars.as_ref().ok_or(GENERATES_NOTHING)?;
        grammars.compile(grammar)
    }

    /// How a token is written, and its bytes; a control token stands for none.
    pub fn token(&self, id: u32) -> (String, Option<&[u8]>) {
        let tokenizer = &self.tokenizer;
        let name = || tokenizer.token_text(id).unwrap_or_default();
        match tokenizer.token_bytes(id) {
            Some(bytes) if !tokenizer.is_control(id) => match std::str::from_utf8(bytes) {
                Ok(text) => (text.to_owned(), Some(bytes)),
                Err(_) => (escaped(bytes), Some(bytes)),
            },
            _ => (name(), None),
        }
    }

    /// Queue a request and return its id.
    ///
    /// # Errors
    /// `InvalidField`, `ContextLengthExceeded`, `WrongKind`, `QueueFull`, `EngineFailed`.
    pub fn submit(&self, prompt: Vec<u32>, params: SamplingParams) -> Result<u64, EngineError> {
        self.queue(prompt, params, None)
    }

    /// The same for the prompt of a conversation: the answer comes as thoughts, text and calls of these tools.
    ///
    /// # Errors
    /// As `submit`.
    pub fn submit_chat(
        &self,
        prompt: Vec<u32>,
        params: SamplingParams,
        tools: Tools,
    ) -> Result<u64, EngineError> {
        let Desk::Generate(shared) = &self.desk else {
            return Err(GENERATES_NOTHING);
        };
        let parser = answer::parser(shared, tools, &prompt);
        self.queue(prompt, params, parser)
    }

    fn queue(
        &self,
        prompt: Vec<u32>,
        params: SamplingParams,
        parser: Option<OutputParser>,
    ) -> Result<u64, EngineError> {
        let Desk::Generate(shared) = &self.desk else {
            return Err(GENERATES_NOTHING);
        };
        params.check(self.info.vocab)?;
        self.check_prompt(&prompt, params.max_tokens.max(1))?;
        let submitted = Instant::now();
        shared.mailbox.submit(|id| Request {
            id,
            seed: params.seed.unwrap_or_else(|| fresh_seed(id)),
            prompt: prompt.into(),
            params,
            parser,
            submitted,
        })
    }

    /// Queue texts to be embedded and return the request's id; its one event has the vectors. With `dimensions`, only
    /// so many values at the front of each count, and these are brought to length 1.
    ///
    /// # Errors
    /// `InvalidField`, `InputTooLong`, `WrongKind`, `QueueFull`, `EngineFailed`.
    pub fn embed(
        &self,
        texts: Vec<Vec<u32>>,
        dimensions: Option<usize>,
    ) -> Result<u64, EngineError> {
        let Desk::Embed(shared) = &self.desk else {
            return Err(EngineError::WrongKind(
                "the model generates text and makes no embeddings",
            ));
        };
        if texts.is_empty() {
            return Err(EngineError::field("input", "must have at least one text"));
        }
        for (input, text) in texts.iter().enumerate() {
            self.check_tokens("input", text)?;
            let (tokens, limit) = (text.len(), self.info.context_length);
            if tokens > limit {
                return Err(EngineError::InputTooLong {
                    input,
                    tokens,
                    limit,
                });
            }
        }
        let all = self.info.dimensions.unwrap_or_default();
        let dimensions = dimensions.unwrap_or(all);
        if dimensions == 0 || dimensions > all {
            let reason = format!("{dimensions} is not between 1 and the model's {all}");
            return Err(EngineError::field("dimensions", reason));
        }
        let submitted = Instant::now();
        shared.mailbox.submit(|id| EmbedRequest {
            id,
            texts,
            dimensions,
            submitted,
        })
    }

    fn check_tokens(&self, field: &'static str, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::field(field, "must have at least one token"));
        }
        let vocab = self.info.vocab;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            let reason = format!("token {token} is not in the vocabulary of {vocab}");
            return Err(EngineError::field(field, reason));
        }
        Ok(())
    }

    fn check_prompt(&self, prompt: &[u32], max_tokens: usize) -> Result<(), EngineError> {
        self.check_tokens("prompt", prompt)?;
        let limit = self.info.context_length;
        if prompt.len().saturating_add(max_tokens) > limit {
            return Err(EngineError::ContextLengthExceeded {
                prompt_tokens: prompt.len(),
                max_tokens,
                limit,
            });
        }
        Ok(())
    }

    /// End a request; its blocks are free within one step. An id that has ended is ignored.
    pub fn cancel(&self, request: u64) {
        self.desk.cancel(request);
    }

    /// All events since the last call; clears the eventfd.
    pub fn drain(&self) -> Vec<Event> {
        self.desk.drain()
    }

    /// Readable when there are events; written at most once a step.
    pub fn fd(&self) -> RawFd {
        self.desk.fd()
    }

    /// Counters and state.
    pub fn stats(&self) -> Stats {
        self.desk.stats()
    }

    /// Distributions since the load.
    pub fn timings(&self) -> Timings {
        self.desk.timings()
    }

    /// Cancel what runs, join the thread and free the model; idempotent. Events may still be drained.
    pub fn close(&self) {
        self.desk.close();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // The thread catches its own panics; a join error would have nothing to add to stats().failed.
            let _ = thread.join();
            give_memory_back();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Returns freed heap pages to the system; glibc keeps them otherwise.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The error of a text that is far too long, if it is that.
fn too_long(error: &TextError) -> Option<EngineError> {
    match *error {
        TextError::TooLong { fewest, most } => Some(EngineError::PromptTooLong {
            fewest,
            limit: most,
        }),
        _ => None,
    }
}

/// Bytes that are no text by themselves: `bytes:\xe2\x82`.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold("bytes:".to_owned(), |mut text, byte| {
        let _ = write!(text, "\\x{byte:02x}");
        text
    })
}

/// Bytes of the tensors that a load reads.
fn needed_bytes(file: &ModelFile) -> u64 {
    let needed = model::needed(file);
    let unneeded = file.tensors().iter().filter(|tensor| !needed(&tensor.name));
    let unneeded: u64 = unneeded.map(|tensor| tensor.bytes as u64).sum();
    file.weights_bytes().saturating_sub(unneeded)
}

fn failed(text: impl Into<String>) -> EngineError {
    EngineError::TemplateFailed(text.into())
}

fn parse(what: &str, json: &str) -> Result<serde_json::Value, EngineError> {
    serde_json::from_str(json).map_err(|error| failed(format!("{what}: {error}")))
}

/// A seed for a request that named none; differs between requests and between processes.
fn fresh_seed(id: u64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos() as u64);
    splitmix(now ^ splitmix(id ^ u64::from(std::process::id())))
}
