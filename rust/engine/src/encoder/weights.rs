//! Reads an encoder's tensors by name, converts them, and gives the file's pages back.

use std::collections::HashSet;

use cortex_kernels::{PackedMatrix, Pool};
use cortex_weights::{ModelFile, TensorInfo};

use super::parts::{Linear, Norm};
use crate::EngineError;
use crate::loader::LoadState;
use crate::model::{invalid, read_vector};

/// What published files put before every name.
const PREFIXES: [&str; 4] = ["", "bert.", "roberta.", "model."];
/// Heads for other tasks than embedding, and what is computed again; none of them changes a hidden state.
const UNUSED: [&str; 6] = [
    "pooler.",
    "cls.",
    "lm_head.",
    "head.",
    "decoder.",
    "embeddings.position_ids",
];

/// The tensors of one file.
pub(super) struct Weights<'a> {
    file: &'a ModelFile,
    pool: &'a Pool,
    state: &'a LoadState,
    prefix: &'static str,
    used: HashSet<&'a str>,
}

impl<'a> Weights<'a> {
    /// `first` is the name of a tensor that every file of the family has; it tells the prefix of all.
    pub fn new(
        file: &'a ModelFile,
        pool: &'a Pool,
        state: &'a LoadState,
        first: &str,
    ) -> Result<Self, EngineError> {
        if let Some(tensor) = file.skipped().first() {
            let (name, ty) = (&tensor.name, &tensor.ty);
            return Err(EngineError::UnsupportedModel(format!(
                "tensor {name:?} has type {ty}, which is not supported"
            )));
        }
        let has = |prefix: &&str| file.tensor(&format!("{prefix}{first}")).is_some();
        let prefix = PREFIXES.into_iter().find(has);
        Ok(Self {
            file,
            pool,
            state,
            prefix: prefix.ok_or_else(|| invalid(format!("tensor {first:?} is missing")))?,
            used: HashSet::new(),
        })
    }

    /// A matrix `[rows, cols]`.
    pub fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<PackedMatrix, EngineError> {
        let tensor = self.find(name, &[rows, cols])?;
        let data = self.file.data(tensor);
        let packed = PackedMatrix::pack(tensor.ty, rows, cols, data, self.pool);
        let packed = packed.map_err(|error| {
            EngineError::UnsupportedModel(format!("tensor {:?}: {error}", tensor.name))
        })?;
        self.done(tensor)?;
        Ok(packed)
    }

    pub fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, EngineError> {
        let tensor = self.find(name, &[len])?;
        let vector = read_vector(tensor, self.file.data(tensor))?;
        self.done(tensor)?;
        Ok(vector)
    }

    /// `{name}.weight` and, if it has one, `{name}.bias`.
    pub fn linear(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        bias: bool,
    ) -> Result<Linear, EngineError> {
        self.stacked(&[name], rows, cols, bias)
    }

    /// Several projections of the same input, one below the other.
    pub fn stacked(
        &mut self,
        names: &[&str],
        rows: usize,
        cols: usize,
        bias: bool,
    ) -> Result<Linear, EngineError> {
        let (mut parts, mut biases) = (Vec::new(), Vec::new());
        for name in names {
            parts.push(self.matrix(&format!("{name}.weight"), rows, cols)?);
            if bias {
                biases.extend(self.vector(&format!("{name}.bias"), rows)?);
            }
        }
        let matrix = PackedMatrix::fuse(parts).map_err(|error| invalid(error.to_string()))?;
        Ok(Linear {
            matrix,
            bias: bias.then_some(biases),
        })
    }

    /// A norm; the oldest files call weight and bias gamma and beta.
    pub fn norm(&mut self, name: &str, len: usize, bias: bool) -> Result<Norm, EngineError> {
        let old = self
            .file
            .tensor(&format!("{}{name}.gamma", self.prefix))
            .is_some();
        let (weight, shift) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        let weight = self.vector(&format!("{name}.{weight}"), len)?;
        let bias = bias.then(|| self.vector(&format!("{name}.{shift}"), len));
        Ok(Norm {
            weight,
            bias: bias.transpose()?,
        })
    }

    fn find(&mut self, name: &str, shape: &[usize]) -> Result<&'a TensorInfo, EngineError> {
        let name = format!("{}{name}", self.prefix);
        let found = self.file.tensor(&name);
        let found = found.ok_or_else(|| invalid(format!("tensor {name:?} is missing")))?;
        if found.shape != shape {
            let has = &found.shape;
            return Err(invalid(format!(
                "tensor {name:?} has shape {has:?}; the configuration asks for {shape:?}"
            )));
        }
        self.used.insert(&found.name);
        Ok(found)
    }

    fn done(&self, tensor: &TensorInfo) -> Result<(), EngineError> {
        self.file.advise_dropped(tensor);
        self.state.advance(tensor.bytes as u64)
    }

    /// A tensor that nothing read would change the outputs: refuse rather than ignore it.
    pub fn refuse_unread(&self) -> Result<(), EngineError> {
        let mut unread = self.file.tensors().iter().filter(|tensor| {
            let bare = tensor
                .name
                .strip_prefix(self.prefix)
                .unwrap_or(&tensor.name);
            let unused = |name: &str| UNUSED.iter().any(|unused| name.starts_with(unused));
            !unused(bare) && !unused(&tensor.name) && !self.used.contains(tensor.name.as_str())
        });
        match unread.next() {
            None => Ok(()),
            Some(tensor) => Err(EngineError::UnsupportedModel(format!(
                "tensor {:?} is not part of a supported encoder of this architecture",
                tensor.name
            ))),
        }
    }
}
