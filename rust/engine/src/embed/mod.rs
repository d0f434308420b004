//! Embedding models: texts as tokens in, one vector of length 1 for each out.

mod assembly;
mod decoder;
mod embedder;
mod kind;
mod pooling;
mod request;
mod runner;

pub(crate) use assembly::{KV_TYPE, assemble};
pub(crate) use kind::outline;
pub use pooling::Pooling;
pub(crate) use request::EmbedRequest;
pub(crate) use runner::EmbedShared;
