//! Quantising safetensors while they are loaded: which matrix becomes what.

use cortex_kernels::BlockType;
use cortex_weights::ModelFile;

use crate::{EngineError, encoder};

/// The types that can be asked for.
const TYPES: [(&str, BlockType); 3] = [
    ("q8_0", BlockType::Q8_0),
    ("q6_k", BlockType::Q6K),
    ("q4_k", BlockType::Q4K),
];

/// What a user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InSitu(BlockType);

impl InSitu {
    /// Read the name of a type, in any case.
    ///
    /// # Errors
    /// `InvalidField` for another type, for a file that is quantised already, and for an encoder.
    pub fn parse(name: Option<&str>, file: &ModelFile) -> Result<Option<Self>, EngineError> {
        let Some(name) = name else { return Ok(None) };
        if matches!(file, ModelFile::Gguf(_)) {
            let reason = "a GGUF file has its quantisation; only safetensors are quantised at load";
            return Err(EngineError::field("quant", reason));
        }
        if encoder::is_encoder(file)? {
            let reason = "only decoders are quantised at load";
            return Err(EngineError::field("quant", reason));
        }
        let found = TYPES
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        let found = found.ok_or_else(|| {
            let known = TYPES.map(|(name, _)| name).join(", ");
            EngineError::field("quant", format!("{name:?} is not one of {known}"))
        })?;
        Ok(Some(Self(found.1)))
    }

    /// The name as files have it.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// What a matrix with rows of `cols` values of type `stored` becomes: the type asked for, in six bits where every
    /// token of the vocabulary has a row, in eight where rows are not whole blocks, or nothing where these do not fit
    /// either or nothing is gained.
    pub fn of(self, stored: BlockType, cols: usize, vocabulary: bool) -> Option<BlockType> {
        if stored.block_len() > 1 {
            return None;
        }
        let wanted = match self.0 {
            BlockType::Q4K if vocabulary => BlockType::Q6K,
            other => other,
        };
        [wanted, BlockType::Q8_0]
            .into_iter()
            .find(|ty| cols.is_multiple_of(ty.block_len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_whole_blocks_take_shorter_ones_or_stay() {
        let four = InSitu(BlockType::Q4K);
        assert_eq!(four.of(BlockType::BF16, 512, false), Some(BlockType::Q4K));
        assert_eq!(four.of(BlockType::BF16, 512, true), Some(BlockType::Q6K));
        assert_eq!(four.of(BlockType::BF16, 576, false), Some(BlockType::Q8_0));
        assert_eq!(four.of(BlockType::F32, 40, false), None);
        assert_eq!(four.of(BlockType::Q8_0, 512, false), None);
    }
}
