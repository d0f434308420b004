//! A model on disk, whatever its format: weights, configuration, and the small files beside them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::WeightsError;
use crate::gguf::{Gguf, PartName};
use crate::limits::MAX_SIDECAR;
use crate::safetensors::Safetensors;
use crate::sidecar::{files_with_suffix, read_json, read_limited};
use crate::tensors::{SkippedTensor, TensorInfo};

const CONFIG: &str = "config.json";
/// Vision projectors are published beside language models; they are no model of their own.
const PROJECTOR_PREFIX: &str = "mmproj";

/// Safetensors weights with the `config.json` that says what they are.
#[derive(Debug)]
pub struct SafetensorsModel {
    pub weights: Safetensors,
    pub config: Value,
    pub folder: PathBuf,
}

/// An open model: its header is read and checked, its weights are mapped but not yet touched.
#[derive(Debug)]
pub enum ModelFile {
    Gguf(Gguf),
    Safetensors(SafetensorsModel),
}

impl ModelFile {
    /// Opens a `*.gguf` file, a `*.safetensors` file with `config.json` beside it, a folder with `config.json` and
    /// safetensors, or a folder with one GGUF model (split or not).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::open_folder(path);
        }
        if !path.exists() {
            return Err(WeightsError::NotFound("does not exist".to_owned()).in_file(path));
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gguf") => Gguf::open(path).map(Self::Gguf),
            Some("safetensors") => {
                let folder = path.parent().unwrap_or(Path::new("."));
                open_safetensors(folder, Safetensors::open(path)?)
            }
            _ => Err(WeightsError::NotFound(
                "is no model: a *.gguf file, a *.safetensors file or a model folder is needed"
                    .to_owned(),
            )
            .in_file(path)),
        }
    }

    fn open_folder(folder: &Path) -> Result<Self, WeightsError> {
        if !files_with_suffix(folder, ".safetensors")?.is_empty() {
            return open_safetensors(folder, Safetensors::open(folder)?);
        }
        let models: Vec<PathBuf> = files_with_suffix(folder, ".gguf")?
            .into_iter()
            .filter(|path| is_model(path))
            .collect();
        match models.as_slice() {
            [model] => Gguf::open(model).map(Self::Gguf),
            [] => Err(WeightsError::NotFound(
                "holds neither *.safetensors nor *.gguf files".to_owned(),
            )
            .in_file(folder)),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .filter_map(|path| path.file_name()?.to_str())
                    .collect();
                let text = format!(
                    "holds several models; name one of them: {}",
                    names.join(", ")
                );
                Err(WeightsError::NotFound(text).in_file(folder))
            }
        }
    }

    /// The architecture in the format's own words (`general.architecture`, or `model_type` of config.json).
    pub fn architecture(&self) -> Result<&str, WeightsError> {
        match self {
            Self::Gguf(gguf) => gguf.architecture(),
            Self::Safetensors(model) => model.model_type(),
        }
    }

    pub fn tensors(&self) -> &[TensorInfo] {
        match self {
            Self::Gguf(gguf) => gguf.tensors(),
            Self::Safetensors(model) => model.weights.tensors(),
        }
    }

    /// Tensors of types that the kernels cannot decode.
    pub fn skipped(&self) -> &[SkippedTensor] {
        match self {
            Self::Gguf(gguf) => gguf.skipped(),
            Self::Safetensors(model) => model.weights.skipped(),
        }
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        match self {
            Self::Gguf(gguf) => gguf.tensor(name),
            Self::Safetensors(model) => model.weights.tensor(name),
        }
    }

    /// The tensor's bytes as stored; empty for a tensor of another model.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        match self {
            Self::Gguf(gguf) => gguf.data(tensor),
            Self::Safetensors(model) => model.weights.data(tensor),
        }
    }

    /// Bytes of a tensor that the kernels cannot decode; empty for a tensor of another model.
    pub fn raw(&self, tensor: &SkippedTensor) -> &[u8] {
        match self {
            Self::Gguf(gguf) => gguf.raw(tensor),
            Self::Safetensors(model) => model.weights.raw(tensor),
        }
    }

    /// Asks the kernel to read the tensor's pages ahead.
    pub fn prefetch(&self, tensor: &TensorInfo) {
        match self {
            Self::Gguf(gguf) => gguf.prefetch(tensor),
            Self::Safetensors(model) => model.weights.prefetch(tensor),
        }
    }

    /// Gives the tensor's mapped pages back, after it was packed; read again, they come from the file.
    pub fn advise_dropped(&self, tensor: &TensorInfo) {
        match self {
            Self::Gguf(gguf) => gguf.advise_dropped(tensor),
            Self::Safetensors(model) => model.weights.advise_dropped(tensor),
        }
    }

    /// Bytes of all tensors as stored.
    pub fn weights_bytes(&self) -> u64 {
        match self {
            Self::Gguf(gguf) => gguf.weights_bytes(),
            Self::Safetensors(model) => model.weights.weights_bytes(),
        }
    }

    /// The folder that holds the model; None if it was parsed from memory.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Gguf(gguf) => gguf.path().and_then(Path::parent),
            Self::Safetensors(model) => Some(&model.folder),
        }
    }

    /// A small file beside the weights (`tokenizer.json`, `generation_config.json`, ...); None if it is not there.
    pub fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>, WeightsError> {
        self.small_file(&[name])
    }

    /// The same in a folder beside the weights, as `1_Pooling/config.json` is.
    pub fn sidecar_in(&self, folder: &str, name: &str) -> Result<Option<Vec<u8>>, WeightsError> {
        self.small_file(&[folder, name])
    }

    /// Names that lead elsewhere name nothing.
    fn small_file(&self, names: &[&str]) -> Result<Option<Vec<u8>>, WeightsError> {
        let plain = |name: &&str| {
            Path::new(name)
                .file_name()
                .is_some_and(|file| file == *name)
        };
        let Some(mut path) = self
            .folder()
            .filter(|_| names.iter().all(plain))
            .map(Path::to_path_buf)
        else {
            return Ok(None);
        };
        path.extend(names);
        if !path.is_file() {
            return Ok(None);
        }
        read_limited(&path, MAX_SIDECAR)
            .map(Some)
            .map_err(|error| error.in_file(&path))
    }
}

impl SafetensorsModel {
    /// `model_type` of config.json.
    pub fn model_type(&self) -> Result<&str, WeightsError> {
        let found = self.config.get("model_type").and_then(Value::as_str);
        found.ok_or_else(|| {
            WeightsError::MissingKey {
                key: "model_type".to_owned(),
            }
            .in_file(&self.folder.join(CONFIG))
        })
    }
}

fn open_safetensors(folder: &Path, weights: Safetensors) -> Result<ModelFile, WeightsError> {
    let path = folder.join(CONFIG);
    if !path.is_file() {
        let text = "is missing: a safetensors model needs its config.json beside the weights";
        return Err(WeightsError::NotFound(text.to_owned()).in_file(&path));
    }
    let config = read_json(&path).map_err(|error| error.in_file(&path))?;
    Ok(ModelFile::Safetensors(SafetensorsModel {
        weights,
        config,
        folder: folder.to_path_buf(),
    }))
}

/// Whether a GGUF file of a folder stands for a model: no projector, and of a split only the first part.
fn is_model(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    !name.starts_with(PROJECTOR_PREFIX) && PartName::parse(path).is_none_or(|part| part.number == 1)
}
