//! One load of one model: options in, progress meanwhile, a running engine out.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::{Engine, EngineError};

/// What to load and how much memory and machine to give it.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A GGUF file, or a folder with `config.json` and safetensors, or a folder with one GGUF file.
    pub path: PathBuf,
    /// Most tokens of a sequence; default: the model's own, limited by the KV memory.
    pub context_length: Option<usize>,
    /// Most sequences in one step.
    pub max_sequences: usize,
    /// Most requests that wait beyond those.
    pub max_waiting: usize,
    /// Size of the KV pool; default: a few full contexts, within reason.
    pub kv_bytes: Option<u64>,
    /// Threads that compute; default: the cores this process may use.
    pub threads: Option<usize>,
    /// Most tokens of one step (decode and prefill together).
    pub step_tokens: Option<usize>,
    /// A chat template that goes before every other source.
    pub chat_template: Option<String>,
    /// Quantise the matrices of safetensors to this: `q8_0`, `q6_k` or `q4_k`.
    pub quant: Option<String>,
}

impl LoadOptions {
    /// Defaults for a path: 16 sequences, 256 waiting.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            context_length: None,
            max_sequences: 16,
            max_waiting: 256,
            kv_bytes: None,
            threads: None,
            step_tokens: None,
            chat_template: None,
            quant: None,
        }
    }
}

/// Where a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading headers, tokenizer and template.
    Open,
    /// Converting weights.
    Weights,
    /// Generating one token.
    Warmup,
    /// The engine runs.
    Done,
}

impl Stage {
    /// Name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Weights => "weights",
            Self::Warmup => "warmup",
            Self::Done => "done",
        }
    }
}

/// Progress of a load in bytes of the model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Where it is.
    pub stage: Stage,
    /// Weight bytes converted.
    pub done_bytes: u64,
    /// Weight bytes in all; 0 before the header is read.
    pub total_bytes: u64,
}

/// Progress and cancel flag, shared between the thread that loads and those that watch.
#[derive(Debug, Default)]
pub(crate) struct LoadState {
    stage: AtomicU8,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    cancelled: AtomicBool,
}

/// One load; `run` blocks, `progress` and `cancel` may be called from other threads.
#[derive(Debug)]
pub struct Loader {
    options: LoadOptions,
    state: LoadState,
}

impl Loader {
    /// Nothing is touched before `run`.
    pub fn new(options: LoadOptions) -> Self {
        Self {
            options,
            state: LoadState::default(),
        }
    }

    /// Load the model and start its engine.
    ///
    /// # Errors
    /// `SourceNotFound`, `ModelFileInvalid`, `UnsupportedModel`, `InvalidField`, `LoadCancelled`, `EngineFailed`.
    pub fn run(&self) -> Result<Engine, EngineError> {
        Engine::load(&self.options, &self.state)
    }

    /// Where the load is.
    pub fn progress(&self) -> Progress {
        self.state.progress()
    }

    /// Stop the load at the next tensor; `run` returns `LoadCancelled`.
    pub fn cancel(&self) {
        self.state.cancelled.store(true, Ordering::Relaxed);
    }
}

impl LoadState {
    fn progress(&self) -> Progress {
        let stage = match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Open,
            1 => Stage::Weights,
            2 => Stage::Warmup,
            _ => Stage::Done,
        };
        Progress {
            stage,
            done_bytes: self.done_bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(crate) fn expect_bytes(&self, total: u64) {
        self.total_bytes.store(total, Ordering::Relaxed);
    }

    /// Count converted bytes; an error if the load was cancelled.
    pub(crate) fn advance(&self, bytes: u64) -> Result<(), EngineError> {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.check()
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(EngineError::LoadCancelled);
        }
        Ok(())
    }
}
