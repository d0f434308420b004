//! CPU kernels: quantised block layouts, products, norms, rope and paged attention, chosen at run time.
//!
//! The result of a row never depends on the other rows of the batch or on the number of threads: every
//! reduction has a fixed order.

mod attention;
mod attention_lines;
mod attention_task;
mod block_type;
mod dequantize;
mod error;
mod full_attention;
mod gate;
mod gated_delta;
mod gelu;
mod grouped;
mod kv_cache;
mod layer_norm;
mod machine;
mod math;
mod matmul;
mod matrix;
mod norm;
mod pool;
mod quant;
mod rope;
mod scratch;
mod shape;
mod simd;
mod vector;

pub use attention::{AttentionParameters, AttentionSequence, paged_attention};
pub use block_type::BlockType;
pub use dequantize::dequantize;
pub use error::KernelError;
pub use full_attention::FullAttention;
pub use gate::{Gate, gated, softcap};
pub use gated_delta::{DeltaSequence, GatedDelta, causal_convolution};
pub use gelu::{gelu, gelu_mul};
pub use grouped::{Group, grouped_matmul};
pub use kv_cache::{KvCell, KvCells, KvLayout, kv_write};
pub use layer_norm::layer_norm;
pub use machine::Machine;
pub use matrix::{PackedMatrix, Precision};
pub use norm::{add_rms_norm, rms_norm};
pub use pool::Pool;
pub use quant::quantize;
pub use rope::{rope_interleaved, rope_neox};
pub use scratch::Scratch;
pub use simd::{SimdLevel, simd_level};
