//! Safetensors files: a single one, or shards with their index.

mod header;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::WeightsError;
use crate::limits::MAX_PARTS;
use crate::sidecar::read_json;
use crate::tensors::{SkippedTensor, TensorInfo, TensorTable};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SUFFIX: &str = ".safetensors";

/// Open safetensors weights: one file, or all shards of a model.
#[derive(Debug)]
pub struct Safetensors {
    table: TensorTable,
}

impl Safetensors {
    /// Maps and checks a file, or the folder that holds `model.safetensors`, shards with an index, or one file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::open_files(&[path.to_path_buf()]);
        }
        let index = path.join(INDEX);
        if path.join(SINGLE).is_file() {
            Self::open_files(&[path.join(SINGLE)])
        } else if index.is_file() {
            Self::open_sharded(path, &index)
        } else {
            Self::open_files(&[only_file(path)?])
        }
    }

    /// Checks a whole file that lies in memory.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let tensors = header::parse(&bytes)?;
        let mut table = TensorTable::default();
        table.add(Bytes::Owned(bytes), tensors)?;
        Ok(Self { table })
    }

    fn open_files(paths: &[PathBuf]) -> Result<Self, WeightsError> {
        let mut table = TensorTable::default();
        for path in paths {
            let add = |table: &mut TensorTable| {
                let bytes = Bytes::map(path)?;
                let tensors = header::parse(bytes.as_slice())?;
                table.add(bytes, tensors)
            };
            add(&mut table).map_err(|error| error.in_file(path))?;
        }
        Ok(Self { table })
    }

    fn open_sharded(folder: &Path, index: &Path) -> Result<Self, WeightsError> {
        let places = read_index(index).map_err(|error| error.in_file(index))?;
        let names: BTreeSet<&String> = places.values().collect();
        let names: Vec<&String> = names.into_iter().collect();
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let opened = Self::open_files(&paths)?;
        for (tensor, shard) in &places {
            let found = opened.tensor(tensor).map(|tensor| names[tensor.part]);
            let skipped = || {
                opened
                    .skipped()
                    .iter()
                    .any(|skipped| &skipped.name == tensor)
            };
            if found != Some(shard) && !(found.is_none() && skipped()) {
                let text = format!("says that tensor {tensor:?} is in {shard}, where it is not");
                return Err(WeightsError::Malformed(text).in_file(index));
            }
        }
        Ok(opened)
    }

    /// The tensors that the kernels can decode.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.table.tensors
    }

    /// Tensors of other types; a model that needs one of them cannot run.
    pub fn skipped(&self) -> &[SkippedTensor] {
        &self.table.skipped
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.table.tensor(name)
    }

    /// Bytes of a tensor that the kernels cannot decode; empty for a tensor of another model.
    pub fn raw(&self, tensor: &SkippedTensor) -> &[u8] {
        self.table.raw(tensor)
    }

    /// The tensor's bytes as stored; empty for a tensor of another model.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        self.table.data(tensor)
    }

    /// Asks the kernel to read the tensor's pages ahead.
    pub fn prefetch(&self, tensor: &TensorInfo) {
        self.table.prefetch(tensor);
    }

    /// Gives the tensor's mapped pages back, after it was packed; read again, they come from the file.
    pub fn advise_dropped(&self, tensor: &TensorInfo) {
        self.table.advise_dropped(tensor);
    }

    /// Bytes of all tensors as stored.
    pub fn weights_bytes(&self) -> u64 {
        self.table.weights_bytes()
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Which shard holds which tensor. Shards lie beside the index: their names cannot lead elsewhere.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    let index: Index = read_json(path)?;
    if index.weight_map.is_empty() {
        return Err(WeightsError::Malformed("lists no tensors".to_owned()));
    }
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    if shards.len() > MAX_PARTS {
        return Err(WeightsError::OverLimit {
            what: "the number of shards".to_owned(),
            value: shards.len() as u64,
            limit: MAX_PARTS as u64,
        });
    }
    let plain = |name: &str| {
        let stem = name.strip_suffix(SUFFIX).unwrap_or_default();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !stem.is_empty() && !name.starts_with('.') && name.bytes().all(allowed)
    };
    if let Some(name) = shards.into_iter().find(|name| !plain(name)) {
        return Err(WeightsError::Malformed(format!(
            "names the shard {name:?}, which is no plain file name"
        )));
    }
    Ok(index.weight_map)
}

/// The only safetensors file of a folder without the usual names.
fn only_file(folder: &Path) -> Result<PathBuf, WeightsError> {
    let mut files = crate::sidecar::files_with_suffix(folder, SUFFIX)?;
    match (files.pop(), files.len()) {
        (Some(file), 0) => Ok(file),
        (None, _) => {
            Err(WeightsError::NotFound("holds no *.safetensors file".to_owned()).in_file(folder))
        }
        (Some(_), more) => Err(WeightsError::Malformed(format!(
            "holds {} safetensors files but no {INDEX}; download the index too",
            more + 1
        ))
        .in_file(folder)),
    }
}
