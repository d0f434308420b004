//! Typed look-ups in the metadata of a GGUF file, below the architecture's name.

use cortex_weights::Gguf;

use super::super::description::{invalid, unsupported};
use super::super::family::Family;
use super::super::tensors::read_vector;
use crate::EngineError;

/// The metadata of one file.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub gguf: &'a Gguf,
    pub architecture: &'a str,
    pub family: &'a Family,
}

impl Keys<'_> {
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A number, or one number a layer if they are all the same.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        let key = self.key(key);
        if !self.gguf.is_array(&key) {
            return Ok(self.gguf.get_usize(&key)?);
        }
        let values = self.gguf.arr_u32(&key)?.unwrap_or_default();
        match values.first() {
            Some(first) if values.iter().all(|value| value == first) => Ok(Some(*first as usize)),
            _ => Err(unsupported(format!("{key} differs from layer to layer"))),
        }
    }

    pub fn size(&self, key: &str) -> Result<usize, EngineError> {
        let size = self.optional_size(key)?;
        size.ok_or_else(|| self.missing(key))
    }

    pub fn number(&self, key: &str) -> Result<Option<f32>, EngineError> {
        Ok(self.gguf.get_f32(&self.key(key))?)
    }

    pub fn needed(&self, key: &str) -> Result<f32, EngineError> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        Ok(self.gguf.get_bool(&self.key(key))?)
    }

    pub fn missing(&self, key: &str) -> EngineError {
        invalid(format!("metadata key {:?} is missing", self.key(key)))
    }

    /// Rows of the embedding; some files do not say it in the metadata.
    pub fn vocab(&self) -> Result<usize, EngineError> {
        let embedding = self.gguf.tensor("token_embd.weight");
        let embedding =
            embedding.ok_or_else(|| invalid("tensor token_embd.weight is missing".to_owned()))?;
        Ok(embedding.rows())
    }

    /// A tensor of numbers that belong to the metadata.
    pub fn numbers(&self, tensor: &str) -> Result<Option<Vec<f32>>, EngineError> {
        let tensor = self.gguf.tensor(tensor);
        tensor
            .map(|tensor| read_vector(tensor, self.gguf.data(tensor)))
            .transpose()
    }
}
