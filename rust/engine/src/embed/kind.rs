//! What a file is, from its header alone: a model that generates or one that embeds.

use cortex_weights::ModelFile;

use super::pooling::{Pooling, longest_text};
use crate::info::ModelKind;
use crate::{EngineError, encoder, model};

/// The facts that decoders and encoders have in common.
pub(crate) struct Outline {
    pub architecture: String,
    pub name: Option<String>,
    pub layers: usize,
    pub hidden: usize,
    pub vocab: usize,
    /// Most tokens of a sequence or text.
    pub context_length: usize,
    /// What a sequence keeps besides its keys and values.
    pub state_bytes: u64,
    /// `Some` for a model that embeds.
    pub pooling: Option<Pooling>,
}

impl Outline {
    /// Whether it generates or embeds.
    pub fn kind(&self) -> ModelKind {
        match self.pooling {
            Some(_) => ModelKind::Embed,
            None => ModelKind::Generate,
        }
    }

    /// Values of one embedding; `None` for a model that makes none.
    pub fn dimensions(&self) -> Option<usize> {
        self.pooling.map(|_| self.hidden)
    }
}

/// Read the header. An encoder that declares no pooling takes the mean, as is usual for such files.
pub(crate) fn outline(file: &ModelFile) -> Result<Outline, EngineError> {
    let declared = Pooling::declared(file)?;
    let outline = if encoder::is_encoder(file)? {
        let shape = encoder::describe(file)?;
        Outline {
            architecture: shape.architecture,
            name: shape.name,
            layers: shape.layers,
            hidden: shape.hidden,
            vocab: shape.vocab,
            context_length: shape.context_length,
            state_bytes: 0,
            pooling: Some(declared.unwrap_or(Pooling::Mean)),
        }
    } else {
        let shape = model::describe(file)?;
        let state_bytes = shape.state_bytes();
        Outline {
            architecture: shape.architecture,
            name: shape.name,
            layers: shape.layers.len(),
            hidden: shape.hidden,
            vocab: shape.vocab,
            context_length: shape.context_length,
            state_bytes,
            pooling: declared,
        }
    };
    let longest = longest_text(file)?.filter(|_| outline.pooling.is_some());
    Ok(Outline {
        context_length: outline.context_length.min(longest.unwrap_or(usize::MAX)),
        ..outline
    })
}
