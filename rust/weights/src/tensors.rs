//! What a model file says about its tensors, whatever its format.

use std::collections::HashMap;
use std::ops::Range;

use cortex_kernels::BlockType;

use crate::bytes::Bytes;
use crate::error::WeightsError;

/// One tensor: where it lies and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub ty: BlockType,
    /// Row-major, outermost first: a matrix is `[rows, cols]`, its rows are contiguous.
    pub shape: Vec<usize>,
    /// From the start of the file that holds it.
    pub offset: usize,
    pub bytes: usize,
    pub(crate) part: usize,
}

impl TensorInfo {
    /// Contiguous values of one row (1 for a scalar).
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// All rows of all outer dimensions.
    pub fn rows(&self) -> usize {
        let outer = self.shape.len().saturating_sub(1);
        self.shape[..outer].iter().product()
    }

    fn range(&self) -> Range<usize> {
        // Checked when the header was read.
        self.offset..self.offset.saturating_add(self.bytes)
    }
}

/// A tensor of a type that the kernels cannot decode: integer tables, or bytes that mean something only together
/// with another tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedTensor {
    pub name: String,
    pub ty: String,
    /// Row-major, outermost first.
    pub shape: Vec<usize>,
    /// From the start of the file that holds it.
    pub offset: usize,
    pub bytes: usize,
    pub(crate) part: usize,
}

/// The tensors of a model and the files that hold them.
#[derive(Debug, Default)]
pub(crate) struct TensorTable {
    pub parts: Vec<Bytes>,
    pub tensors: Vec<TensorInfo>,
    pub skipped: Vec<SkippedTensor>,
    by_name: HashMap<String, usize>,
}

impl TensorTable {
    /// Adds tensors of the next part; a name may occur once in a model.
    pub fn add(&mut self, part: Bytes, header: HeaderTensors) -> Result<(), WeightsError> {
        let number = self.parts.len();
        for mut tensor in header.tensors {
            tensor.part = number;
            let before = self.by_name.insert(tensor.name.clone(), self.tensors.len());
            if before.is_some() {
                return Err(duplicate(tensor.name));
            }
            self.tensors.push(tensor);
        }
        for mut tensor in header.skipped {
            tensor.part = number;
            self.skipped.push(tensor);
        }
        self.parts.push(part);
        Ok(())
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name
            .get(name)
            .and_then(|&index| self.tensors.get(index))
    }

    /// The tensor's bytes; empty for a `TensorInfo` of another model.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        self.parts
            .get(tensor.part)
            .and_then(|part| part.as_slice().get(tensor.range()))
            .unwrap_or_default()
    }

    /// The same for a tensor that the kernels cannot decode.
    pub fn raw(&self, tensor: &SkippedTensor) -> &[u8] {
        // Checked when the header was read.
        let range = tensor.offset..tensor.offset.saturating_add(tensor.bytes);
        self.parts
            .get(tensor.part)
            .and_then(|part| part.as_slice().get(range))
            .unwrap_or_default()
    }

    pub fn prefetch(&self, tensor: &TensorInfo) {
        if let Some(part) = self.parts.get(tensor.part) {
            part.prefetch(tensor.range());
        }
    }

    pub fn advise_dropped(&self, tensor: &TensorInfo) {
        if let Some(part) = self.parts.get(tensor.part) {
            part.drop_pages(tensor.range());
        }
    }

    pub fn weights_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes as u64).sum()
    }
}

/// Tensors as one header lists them.
#[derive(Debug, Default)]
pub(crate) struct HeaderTensors {
    pub tensors: Vec<TensorInfo>,
    pub skipped: Vec<SkippedTensor>,
}

pub(crate) fn duplicate(name: String) -> WeightsError {
    WeightsError::Duplicate {
        what: "tensor",
        name,
    }
}
