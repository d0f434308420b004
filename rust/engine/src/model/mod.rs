//! The model: a description as data, two loaders, one decoder over ragged batches.

mod attention;
mod batch;
mod decoder;
mod deepseek;
mod description;
mod expert_weights;
mod experts;
mod family;
mod feed_forward;
mod from_config;
mod from_gguf;
mod hybrids;
mod in_situ;
mod kv_cache;
mod latent;
mod latent_weights;
mod mixer;
mod norms;
mod operations;
mod recurrent;
mod roles;
mod rope;
mod router;
mod states;
mod tensors;
mod transposed;

pub use batch::{Batch, Outputs};
pub(crate) use decoder::describe;
pub use decoder::{Decoder, Trace};
pub use description::{
    Activation, Description, ExpertsShape, Groups, LatentShape, LayerShape, Multipliers, Norms,
    QueryKeyNorm, RecurrentShape, RouterShape, Score, SharedExpert,
};
pub(crate) use description::{check_sizes, invalid};
pub use family::architectures;
pub(crate) use family::needed;
pub(crate) use in_situ::InSitu;
pub use kv_cache::{KvCache, KvType};
pub use rope::{Llama3Scaling, LongScaling, Rope, RopeKind, RopeScaling, YarnScaling};
pub(crate) use tensors::read_vector;
