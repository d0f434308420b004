//! cortex-engine: models on candle with our kernels, the sampler, and one engine thread per loaded model.

mod engine;
mod error;
mod event;
mod info;
mod loader;
mod sampling;

pub use engine::Engine;
pub use error::EngineError;
pub use event::{Ending, Event, FinishReason};
pub use info::{Defaults, ModelInfo, Stats};
pub use loader::{LoadOptions, Loader, Progress, Stage};
pub use sampling::SamplingParams;

/// Version of candle that this engine is built on.
pub const CANDLE_VERSION: &str = "0.11.1";
