//! cortex-weights: hardened readers of GGUF and safetensors files, and what they need, from the header alone.
//!
//! Nothing in a file is trusted: every count and offset is checked before it is used, nothing is allocated for
//! a count that the file cannot hold, and no input makes a reader panic.

mod bytes;
mod cursor;
mod error;
mod estimate;
mod gguf;
mod limits;
mod model;
mod safetensors;
mod shape;
mod sidecar;
mod tensors;

pub use error::{ErrorKind, WeightsError};
pub use estimate::{Estimate, estimate};
pub use gguf::Gguf;
pub use model::{ModelFile, SafetensorsModel};
pub use safetensors::Safetensors;
pub use shape::{LayerKv, ModelShape};
pub use tensors::{SkippedTensor, TensorInfo};
