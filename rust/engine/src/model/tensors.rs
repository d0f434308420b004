//! One canonical weight map: what each tensor is for, whatever the file calls it.

use std::collections::HashSet;

use cortex_kernels::{BlockType, KernelError, PackedMatrix, Pool, dequantize};
use cortex_weights::{Gguf, ModelFile, SkippedTensor, TensorInfo};

use super::description::{Description, invalid};
use super::family::{self, Family};
use super::in_situ::InSitu;
use super::roles::Role;
use crate::EngineError;
use crate::loader::LoadState;

/// The tensor that carries a divisor for each rotary pair in GGUF files.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// The same for `LongRoPE`, for sequences within and beyond the original context.
pub(crate) const SHORT_FACTORS: &str = "rope_factors_short.weight";
/// As above.
pub(crate) const LONG_FACTORS: &str = "rope_factors_long.weight";
/// Tensors that belong to the metadata.
const DERIVED: [&str; 3] = [ROPE_FACTORS, SHORT_FACTORS, LONG_FACTORS];

/// Before the names of a text's tensors in models that also see, in place of the usual prefix.
const WITHIN: &str = "model.language_model.";

/// The type of bytes that mean something only with another tensor.
const RAW: &str = "U8";

/// Reads tensors by role, converts them, and gives the file's pages back.
pub(crate) struct TensorReader<'a> {
    file: &'a ModelFile,
    pool: &'a Pool,
    state: &'a LoadState,
    family: &'static Family,
    /// Added to the weights of norms.
    norm_offset: f32,
    /// Layers of the model.
    layers: usize,
    used: HashSet<String>,
    in_situ: Option<InSitu>,
}

impl<'a> TensorReader<'a> {
    /// A file whose every tensor has a type that the kernels decode.
    pub fn new(
        file: &'a ModelFile,
        pool: &'a Pool,
        state: &'a LoadState,
        shape: &Description,
    ) -> Result<Self, EngineError> {
        let family = family::of_file(file)?;
        // Bytes may belong to a pair of tensors; numbers of other types belong to nothing.
        let mut skipped = file.skipped().iter();
        if let Some(tensor) = skipped.find(|tensor| tensor.ty != RAW && family.needs(&tensor.name))
        {
            return Err(not_supported(tensor));
        }
        Ok(Self {
            file,
            pool,
            state,
            family,
            norm_offset: shape.norm_offset,
            layers: shape.layers.len(),
            used: HashSet::new(),
            in_situ: None,
        })
    }

    /// Quantise matrices on the way.
    pub fn quantise(&mut self, in_situ: Option<InSitu>) {
        self.in_situ = in_situ;
    }

    /// The name of a tensor, as usual and without the usual prefix.
    fn name(&self, role: Role, layer: usize) -> String {
        self.pattern(role).replace("{}", &layer.to_string())
    }

    fn pattern(&self, role: Role) -> &'static str {
        match self.file {
            ModelFile::Gguf(_) => role.in_gguf(self.family.gguf_names),
            ModelFile::Safetensors(_) => role.in_safetensors(self.family.names),
        }
    }

    /// The name of an expert's tensor in safetensors files; GGUF files have one for all.
    fn expert_name(&self, role: Role, layer: usize, expert: usize) -> String {
        self.pattern(role)
            .replacen("{}", &layer.to_string(), 1)
            .replacen("{}", &expert.to_string(), 1)
    }

    fn look(&self, name: &str) -> Option<&'a TensorInfo> {
        let bare = name.strip_prefix("model.").unwrap_or(name);
        let file = self.file;
        let found = file.tensor(name).or_else(|| file.tensor(bare));
        found.or_else(|| file.tensor(&format!("{WITHIN}{bare}")))
    }

    fn find(&mut self, role: Role, layer: usize) -> Result<&'a TensorInfo, EngineError> {
        self.find_named(&self.name(role, layer))
    }

    fn find_named(&mut self, name: &str) -> Result<&'a TensorInfo, EngineError> {
        let found = self.look(name);
        let found = found.ok_or_else(|| invalid(format!("tensor {name:?} is missing")))?;
        self.used.insert(found.name.clone());
        Ok(found)
    }

    /// Whether it is a GGUF file.
    pub fn is_gguf(&self) -> bool {
        matches!(self.file, ModelFile::Gguf(_))
    }

    /// Whether value heads are in the order of `Family::gguf_tiled`.
    pub fn is_tiled(&self) -> bool {
        self.is_gguf() && self.family.gguf_tiled
    }

    /// Whether the file has the tensor.
    pub fn has(&self, role: Role, layer: usize) -> bool {
        self.look(&self.name(role, layer)).is_some()
    }

    /// A weight matrix of this shape in the kernels' layout.
    pub fn matrix(
        &mut self,
        role: Role,
        layer: usize,
        shape: [usize; 2],
    ) -> Result<PackedMatrix, EngineError> {
        let tensor = self.find(role, layer)?;
        check_shape(tensor, &shape)?;
        let (data, vocabulary) = (
            self.file.data(tensor),
            matches!(role, Role::Embedding | Role::Head),
        );
        let packed = self.pack(tensor, data, shape, vocabulary)?;
        self.done(tensor)?;
        Ok(packed)
    }

    /// A matrix of this shape for each of `count` experts.
    pub fn experts(
        &mut self,
        role: Role,
        layer: usize,
        count: usize,
        [rows, cols]: [usize; 2],
    ) -> Result<Vec<PackedMatrix>, EngineError> {
        if matches!(self.file, ModelFile::Safetensors(_)) {
            let matrices = (0..count).map(|expert| {
                let tensor = self.find_named(&self.expert_name(role, layer, expert))?;
                check_shape(tensor, &[rows, cols])?;
                let packed = self.pack(tensor, self.file.data(tensor), [rows, cols], false)?;
                self.done(tensor)?;
                Ok(packed)
            });
            return matrices.collect();
        }
        self.all_experts(role, layer, count, [rows, cols])
    }

    /// The same where one tensor has them behind each other.
    pub fn all_experts(
        &mut self,
        role: Role,
        layer: usize,
        count: usize,
        [rows, cols]: [usize; 2],
    ) -> Result<Vec<PackedMatrix>, EngineError> {
        let tensor = self.find(role, layer)?;
        check_shape(tensor, &[count, rows, cols])?;
        let data = self.file.data(tensor);
        let matrices = data
            .chunks_exact((data.len() / count).max(1))
            .map(|data| self.pack(tensor, data, [rows, cols], false));
        let matrices = matrices.collect::<Result<Vec<_>, _>>()?;
        self.done(tensor)?;
        Ok(matrices)
    }

    fn pack(
        &self,
        tensor: &TensorInfo,
        data: &[u8],
        shape: [usize; 2],
        vocabulary: bool,
    ) -> Result<PackedMatrix, EngineError> {
        self.pack_or_quantise(tensor.ty, data, shape, vocabulary)
            .map_err(|error| in_tensor(tensor, &error))
    }

    fn pack_or_quantise(
        &self,
        ty: BlockType,
        data: &[u8],
        [rows, cols]: [usize; 2],
        vocabulary: bool,
    ) -> Result<PackedMatrix, KernelError> {
        let wanted = self.in_situ.and_then(|wish| wish.of(ty, cols, vocabulary));
        match wanted {
            Some(wanted) => PackedMatrix::pack_as(wanted, ty, rows, cols, data, self.pool),
            None => PackedMatrix::pack(ty, rows, cols, data, self.pool),
        }
    }

    /// Floats as they are stored, and their type.
    pub fn floats(
        &mut self,
        role: Role,
        layer: usize,
        shape: &[usize],
    ) -> Result<(BlockType, &'a [u8]), EngineError> {
        let tensor = self.find(role, layer)?;
        check_shape(tensor, shape)?;
        if tensor.ty.block_len() != 1 {
            let (name, ty) = (&tensor.name, tensor.ty.name());
            let text = format!("tensor {name:?} of type {ty}: only floats can be transposed");
            return Err(EngineError::UnsupportedModel(text));
        }
        self.state.advance(tensor.bytes as u64)?;
        Ok((tensor.ty, self.file.data(tensor)))
    }

    /// Bytes of a tensor that the kernels do not know; its name is that of the role and an ending.
    pub fn raw(
        &mut self,
        role: Role,
        ending: &str,
        layer: usize,
        shape: &[usize],
    ) -> Result<&'a [u8], EngineError> {
        let name = self.name(role, layer) + ending;
        let bare = name.strip_prefix("model.").unwrap_or(&name);
        let mut tensors = self.file.skipped().iter();
        let tensor = tensors.find(|tensor| tensor.name == name || tensor.name == bare);
        let tensor = tensor.ok_or_else(|| invalid(format!("tensor {name:?} is missing")))?;
        if tensor.shape != shape {
            return Err(wrong_shape(&tensor.name, &tensor.shape, shape));
        }
        self.used.insert(tensor.name.clone());
        self.state.advance(tensor.bytes as u64)?;
        Ok(self.file.raw(tensor))
    }

    /// A matrix that was put together of bytes of a role's tensor.
    pub fn pack_bytes(
        &self,
        role: Role,
        layer: usize,
        ty: BlockType,
        data: &[u8],
        shape: [usize; 2],
    ) -> Result<PackedMatrix, EngineError> {
        let packed = self.pack_or_quantise(ty, data, shape, false);
        packed.map_err(|error| {
            let name = self.name(role, layer);
            EngineError::UnsupportedModel(format!("tensor {name:?} of type {}: {error}", ty.name()))
        })
    }

    /// Several matrices over the same input, stacked so that one product serves all; in some files they are.
    pub fn stacked(
        &mut self,
        parts: &[(Role, usize)],
        whole: Role,
        layer: usize,
        cols: usize,
    ) -> Result<PackedMatrix, EngineError> {
        if parts.iter().any(|&(role, _)| !self.has(role, layer)) && self.has(whole, layer) {
            let rows = parts.iter().map(|(_, rows)| rows).sum();
            return self.matrix(whole, layer, [rows, cols]);
        }
        let packed = parts
            .iter()
            .map(|&(role, rows)| self.matrix(role, layer, [rows, cols]));
        let packed = packed.collect::<Result<Vec<_>, _>>()?;
        PackedMatrix::fuse(packed).map_err(|error| invalid(error.to_string()))
    }

    /// A vector as f32.
    pub fn vector(
        &mut self,
        role: Role,
        layer: usize,
        len: usize,
    ) -> Result<Vec<f32>, EngineError> {
        self.table(role, layer, &[len])
    }

    /// The weights of a norm as they are used.
    pub fn norm(&mut self, role: Role, layer: usize, len: usize) -> Result<Vec<f32>, EngineError> {
        let mut weights = self.vector(role, layer, len)?;
        for weight in &mut weights {
            *weight += self.norm_offset;
        }
        Ok(weights)
    }

    /// A vector that may not be there.
    pub fn optional_vector(
        &mut self,
        role: Role,
        layer: usize,
        len: usize,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let there = self.has(role, layer);
        there.then(|| self.vector(role, layer, len)).transpose()
    }

    /// A table of numbers that may not be there.
    pub fn optional_table(
        &mut self,
        role: Role,
        layer: usize,
        shape: [usize; 2],
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let there = self.has(role, layer);
        there.then(|| self.table(role, layer, &shape)).transpose()
    }

    /// A table of numbers.
    pub fn table(
        &mut self,
        role: Role,
        layer: usize,
        shape: &[usize],
    ) -> Result<Vec<f32>, EngineError> {
        let tensor = self.find(role, layer)?;
        check_shape(tensor, shape)?;
        let table = read_vector(tensor, self.file.data(tensor))?;
        self.done(tensor)?;
        Ok(table)
    }

    /// Several vectors behind each other; `None` if neither they nor the whole is there.
    pub fn stacked_vectors(
        &mut self,
        parts: &[(Role, usize)],
        whole: Option<Role>,
        layer: usize,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        let len = parts.iter().map(|(_, len)| len).sum();
        if let Some(whole) = whole.filter(|&whole| self.has(whole, layer)) {
            return self.vector(whole, layer, len).map(Some);
        }
        if parts.iter().all(|&(role, _)| !self.has(role, layer)) {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(len);
        for &(role, len) in parts {
            all.extend(self.vector(role, layer, len)?);
        }
        Ok(Some(all))
    }

    /// Whether a tensor belongs to the layers behind the last, which the configuration counts, that foretell further
    /// tokens: the model is the same without them.
    fn foretells(&self, name: &str) -> bool {
        let (prefix, further) = match self.file {
            ModelFile::Safetensors(model) => (
                "model.layers.",
                model.config["num_nextn_predict_layers"].as_u64(),
            ),
            ModelFile::Gguf(gguf) => ("blk.", further_layers(gguf)),
        };
        let layer = name.strip_prefix(prefix).unwrap_or_default();
        let layer = layer.split('.').next().and_then(|layer| layer.parse().ok());
        let further = further.and_then(|further| usize::try_from(further).ok());
        layer
            .zip(further)
            .is_some_and(|(layer, further): (usize, usize)| {
                (self.layers..self.layers.saturating_add(further)).contains(&layer)
            })
    }

    fn done(&self, tensor: &TensorInfo) -> Result<(), EngineError> {
        self.file.advise_dropped(tensor);
        self.state.advance(tensor.bytes as u64)
    }

    /// A tensor that nothing read would change the outputs: refuse rather than ignore it.
    ///
    /// A tied head is the embedding, also where the file repeats it.
    pub fn refuse_unread(&self, tied_head: bool) -> Result<(), EngineError> {
        let ignored = |name: &String| self.used.contains(name) || !self.family.needs(name);
        let mut raw = self.file.skipped().iter();
        if let Some(tensor) = raw.find(|tensor| !ignored(&tensor.name)) {
            return Err(not_supported(tensor));
        }
        let mut unread = self.file.tensors().iter().filter(|tensor| {
            let name = tensor.name.as_str();
            let derived = DERIVED.contains(&name) || name.ends_with("rotary_emb.inv_freq");
            let repeated = tied_head && name == Role::Head.in_safetensors(self.family.names);
            let known = derived || repeated || self.foretells(name);
            !known && !ignored(&tensor.name)
        });
        match unread.next() {
            None => Ok(()),
            Some(tensor) => Err(EngineError::UnsupportedModel(format!(
                "tensor {:?} is not part of a supported model of this architecture",
                tensor.name
            ))),
        }
    }
}

/// Layers of a GGUF file that guess further tokens.
fn further_layers(gguf: &Gguf) -> Option<u64> {
    let key = format!("{}.nextn_predict_layers", gguf.architecture().ok()?);
    gguf.get_usize(&key).ok()?.map(|layers| layers as u64)
}

fn not_supported(tensor: &SkippedTensor) -> EngineError {
    let (name, ty) = (&tensor.name, &tensor.ty);
    EngineError::UnsupportedModel(format!(
        "tensor {name:?} has type {ty}, which is not supported"
    ))
}

/// A matrix of one row may be stored as a vector.
fn check_shape(tensor: &TensorInfo, shape: &[usize]) -> Result<(), EngineError> {
    if tensor.shape == shape || (shape.first() == Some(&1) && tensor.shape == shape[1..]) {
        return Ok(());
    }
    Err(wrong_shape(&tensor.name, &tensor.shape, shape))
}

fn wrong_shape(name: &str, found: &[usize], shape: &[usize]) -> EngineError {
    invalid(format!(
        "tensor {name:?} has shape {found:?}; the configuration asks for {shape:?}"
    ))
}

fn in_tensor(tensor: &TensorInfo, error: &KernelError) -> EngineError {
    EngineError::UnsupportedModel(format!(
        "tensor {:?} of type {}: {error}",
        tensor.name,
        tensor.ty.name()
    ))
}

/// A one-dimensional tensor as f32.
pub(crate) fn read_vector(tensor: &TensorInfo, data: &[u8]) -> Result<Vec<f32>, EngineError> {
    let mut values = vec![0.0; tensor.rows() * tensor.cols()];
    dequantize(tensor.ty, data, &mut values).map_err(|error| in_tensor(tensor, &error))?;
    Ok(values)
}
