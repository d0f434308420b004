//! What a model file is and needs, from its header alone.

use std::path::Path;

use cortex_kernels::PackedMatrix;
use cortex_weights::{Estimate, ModelFile, estimate};

use crate::EngineError;
use crate::assembly::quantisation;
use crate::embed::outline;
use crate::info::ModelKind;
use crate::vocabulary::has_template;

/// Bytes of one value in the KV cache.
const KV_VALUE_BYTES: usize = 4;

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
fn packed_bytes(file: &ModelFile) -> u64 {
    let sizes = file.tensors().iter().map(|tensor| {
        if tensor.shape.len() < 2 {
            // Vectors are f32.
            return 4 * tensor.cols() as u64;
        }
        PackedMatrix::bytes_for(tensor.ty, tensor.rows(), tensor.cols())
    });
    sizes.fold(0, u64::saturating_add)
}

/// Read the header of a model and refuse what the engine cannot run.
///
/// # Errors
/// `SourceNotFound`, `ModelFileInvalid`, `UnsupportedModel`; `InvalidField` for a context that the model cannot have.
pub fn inspect(
    path: &Path,
    context_length: Option<usize>,
    max_sequences: usize,
) -> Result<Inspection, EngineError> {
    let file = ModelFile::open(path)?;
    let shape = outline(&file)?;
    let context = context_length.unwrap_or(shape.context_length);
    if context == 0 || context > shape.context_length {
        let reason = format!(
            "{context} is not between 1 and the model's {}",
            shape.context_length
        );
        return Err(EngineError::field("context_length", reason));
    }
    // An embedding model keeps the texts of one pass only.
    let sequences = if shape.pooling.is_some() {
        1
    } else {
        max_sequences
    };
    let (_, as_stored) = estimate(&file, context, sequences, KV_VALUE_BYTES)?;
    let estimate = as_stored.with_weights(packed_bytes(&file));
    let (kind, dimensions) = (shape.kind(), shape.dimensions());
    Ok(Inspection {
        kind,
        dimensions,
        architecture: shape.architecture,
        name: shape.name,
        quantisation: quantisation(&file),
        layers: shape.layers,
        hidden: shape.hidden,
        vocab: shape.vocab,
        context_length: context,
        estimate,
        has_chat_template: kind == ModelKind::Generate && has_template(&file)?,
    })
}
