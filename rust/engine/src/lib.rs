//! cortex-engine: models on candle with our kernels, the sampler, and one engine thread per loaded model.

mod answer;
mod assembly;
mod defaults;
mod desk;
mod embed;
pub mod encoder;
mod engine;
mod error;
mod event;
mod float;
mod gauge;
mod grammar;
mod histogram;
mod info;
mod inspect;
mod loader;
mod logprobs;
mod mailbox;
pub mod model;
mod pace;
mod request;
mod runner;
mod sampler;
mod sampling;
mod timings;
mod token_counts;
mod vocabulary;

pub use assembly::measure_machine;
/// Parts of an answer and the tools that it may call, as `cortex-text` has them.
pub use cortex_text::{Piece, ToolSpec, Tools};
pub use embed::Pooling;
pub use engine::Engine;
pub use error::EngineError;
pub use event::{Ending, Event, FinishReason, TokenLogprob, Vectors};
pub use grammar::{CompiledGrammar, Grammar, GrammarCompiler};
pub use histogram::Histogram;
pub use info::{Defaults, ModelInfo, ModelKind, Stats, StepWork};
pub use inspect::{Inspection, inspect};
pub use loader::{LoadOptions, Loader, Progress, Stage};
pub use sampling::SamplingParams;
pub use timings::Timings;

/// Version of candle that this engine is built on.
pub const CANDLE_VERSION: &str = "0.11.1";
