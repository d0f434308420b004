//! What a model file is and needs, from its header alone.

use std::path::Path;

use cortex_kernels::{BlockType, PackedMatrix};
use cortex_weights::{Estimate, ModelFile, SkippedTensor, estimate};

use crate::EngineError;
use crate::assembly::{KV_TYPE, quantisation};
use crate::embed::{self, outline};
use crate::info::ModelKind;
use crate::model::{InSitu, needed};
use crate::vocabulary::has_template;

/// Facts about a model that is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Name of the family as the file has it.
    pub architecture: String,
    /// The publisher's name for the model, if the file tells it.
    pub name: Option<String>,
    /// Weight type that holds most bytes.
    pub quantisation: String,
    /// Whether it generates or embeds.
    pub kind: ModelKind,
    /// Values of one embedding; `None` for a model that generates.
    pub dimensions: Option<usize>,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of embedding and head.
    pub vocab: usize,
    /// Most tokens of a sequence: the model's own, or as asked.
    pub context_length: usize,
    /// Memory by use.
    pub estimate: Estimate,
    /// Whether the file brings a chat template.
    pub has_chat_template: bool,
}

/// Bytes of all weights in the kernels' layout, at most.
fn packed_bytes(file: &ModelFile, in_situ: Option<InSitu>, vocab: usize) -> u64 {
    let needed = needed(file);
    let tensors = file.tensors().iter();
    let sizes = tensors.filter(|tensor| needed(&tensor.name)).map(|tensor| {
        if tensor.shape.len() < 2 {
            // Vectors are f32.
            return 4 * tensor.cols() as u64;
        }
        let (rows, cols) = (tensor.rows(), tensor.cols());
        let wanted = in_situ.and_then(|wish| wish.of(tensor.ty, cols, rows == vocab));
        PackedMatrix::bytes_for(wanted.unwrap_or(tensor.ty), rows, cols)
    });
    let skipped = file.skipped().iter();
    let pairs = skipped
        .filter(|tensor| needed(&tensor.name))
        .map(pair_bytes);
    sizes.chain(pairs).fold(0, u64::saturating_add)
}

/// Bytes of MXFP4 weights that are stored as blocks and scales, counted with their blocks:
/// `[.., blocks of a row, bytes of a block]`.
fn pair_bytes(tensor: &SkippedTensor) -> u64 {
    let block = BlockType::MXFP4.block_len();
    match tensor.shape.as_slice() {
        [outer @ .., blocks, bytes] if *bytes == block / 2 => {
            let rows = outer.iter().product();
            PackedMatrix::bytes_for(BlockType::MXFP4, rows, blocks.saturating_mul(block))
        }
        _ => 0,
    }
}

/// Read the header of a model and refuse what the engine cannot run.
///
/// # Errors
/// `SourceNotFound`, `ModelFileInvalid`, `UnsupportedModel`; `InvalidField` for a context or a quantisation that the
/// model cannot have.
pub fn inspect(
    path: &Path,
    context_length: Option<usize>,
    max_sequences: usize,
    quant: Option<&str>,
) -> Result<Inspection, EngineError> {
    let file = ModelFile::open(path)?;
    let shape = outline(&file)?;
    let in_situ = InSitu::parse(quant, &file)?;
    let context = context_length.unwrap_or(shape.context_length);
    if context == 0 || context > shape.context_length {
        let reason = format!(
            "{context} is not between 1 and the model's {}",
            shape.context_length
        );
        return Err(EngineError::field("context_length", reason));
    }
    // An embedding model keeps the texts of one pass only.
    let (sequences, kv) = if shape.pooling.is_some() {
        (1, embed::KV_TYPE)
    } else {
        (max_sequences, KV_TYPE)
    };
    let (_, as_stored) = estimate(&file, context, sequences, kv.bytes())?;
    let states = shape.state_bytes.saturating_mul(max_sequences as u64);
    let estimate =
        as_stored
            .with_states(states)
            .with_weights(packed_bytes(&file, in_situ, shape.vocab));
    let (kind, dimensions) = (shape.kind(), shape.dimensions());
    Ok(Inspection {
        kind,
        dimensions,
        architecture: shape.architecture,
        name: shape.name,
        quantisation: in_situ.map_or_else(|| quantisation(&file), |ty| ty.name().to_owned()),
        layers: shape.layers,
        hidden: shape.hidden,
        vocab: shape.vocab,
        context_length: context,
        estimate,
        has_chat_template: kind == ModelKind::Generate && has_template(&file)?,
    })
}
