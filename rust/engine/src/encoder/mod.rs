//! Encoders: transformers that read whole texts in both directions and give a state for every token.

mod config;
mod description;
mod layer;
mod model;
mod parts;
mod rotation;
mod weights;

pub use description::{EncoderDescription, EncoderStyle};
pub use model::{Encoder, EncoderTrace, Stopped};

use cortex_weights::ModelFile;

use crate::EngineError;

/// Whether the file is of an encoder family.
pub(crate) fn is_encoder(file: &ModelFile) -> Result<bool, EngineError> {
    Ok(match file {
        ModelFile::Gguf(_) => false,
        ModelFile::Safetensors(model) => config::FAMILIES.contains(&model.model_type()?),
    })
}

/// Read what the encoder is from the header alone.
pub(crate) fn describe(file: &ModelFile) -> Result<EncoderDescription, EngineError> {
    match file {
        ModelFile::Gguf(_) => {
            let text = "encoders are read from safetensors only";
            Err(EngineError::UnsupportedModel(text.to_owned()))
        }
        ModelFile::Safetensors(model) => config::describe(&model.config),
    }
}

/// Names of the encoder families as users know them.
#[must_use]
pub fn encoder_architectures() -> Vec<&'static str> {
    config::FAMILIES.to_vec()
}
