//! GGUF files, versions 2 and 3, little-endian, whole or split.

mod header;
mod metadata;
mod split;

use std::path::{Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::WeightsError;
use crate::gguf::header::Header;
use crate::gguf::metadata::Metadata;
use crate::gguf::split::{SplitKeys, SplitName, agree};
use crate::tensors::{SkippedTensor, TensorInfo, TensorTable};

pub(crate) use crate::gguf::split::SplitName as PartName;

/// An open GGUF model: its metadata, its tensors, its mapped bytes.
///
/// The typed getters return `Ok(None)` for an absent key and an error for a value of another type or out of range.
#[derive(Debug)]
pub struct Gguf {
    path: Option<PathBuf>,
    version: u32,
    alignment: u32,
    metadata: Metadata,
    table: TensorTable,
}

impl Gguf {
    /// Maps and checks a file. Of a split model any part may be named; all parts are opened, and all must be there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let name = SplitName::parse(path);
        let (bytes, header, keys) = open_part(path, name.as_ref())?;
        match (name, keys) {
            (Some(name), Some(keys)) => Self::open_split(&name, keys),
            _ => Self::whole(Some(path.to_path_buf()), bytes, header),
        }
    }

    /// Checks a whole file that lies in memory.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let header = Header::parse(&bytes)?;
        agree(None, SplitKeys::read(&header)?)?;
        Self::whole(None, Bytes::Owned(bytes), header)
    }

    fn whole(path: Option<PathBuf>, bytes: Bytes, header: Header) -> Result<Self, WeightsError> {
        let mut table = TensorTable::default();
        table.add(bytes, header.tensors)?;
        Ok(Self {
            path,
            version: header.version,
            alignment: header.alignment,
            metadata: header.metadata,
            table,
        })
    }

    fn open_split(name: &SplitName, keys: SplitKeys) -> Result<Self, WeightsError> {
        let first = name.part(1);
        let (bytes, header, _) = open_part(&first.path(), Some(&first))?;
        let mut model = Self::whole(Some(first.path()), bytes, header)?;
        for number in 2..=keys.count {
            let part = name.part(number);
            let (bytes, header, _) = open_part(&part.path(), Some(&part))?;
            let added = model.table.add(bytes, header.tensors);
            added.map_err(|error| error.in_file(&part.path()))?;
        }
        let found = model.table.tensors.len() + model.table.skipped.len();
        if found != keys.tensors {
            return Err(WeightsError::Malformed(format!(
                "the split model should have {} tensors, its {} files have {found}",
                keys.tensors, keys.count
            ))
            .in_file(&first.path()));
        }
        Ok(model)
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// The file (of a split model the first); None if it was parsed from memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// `general.architecture`, without which nothing else can be read.
    pub fn architecture(&self) -> Result<&str, WeightsError> {
        let key = "general.architecture";
        self.get_str(key)?.ok_or_else(|| WeightsError::MissingKey {
            key: key.to_owned(),
        })
    }

    /// All metadata keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys()
    }

    pub fn get_u32(&self, key: &str) -> Result<Option<u32>, WeightsError> {
        self.metadata.integer(key)
    }

    pub fn get_u64(&self, key: &str) -> Result<Option<u64>, WeightsError> {
        self.metadata.integer(key)
    }

    pub fn get_i64(&self, key: &str) -> Result<Option<i64>, WeightsError> {
        self.metadata.integer(key)
    }

    pub fn get_usize(&self, key: &str) -> Result<Option<usize>, WeightsError> {
        self.metadata.integer(key)
    }

    pub fn get_f32(&self, key: &str) -> Result<Option<f32>, WeightsError> {
        self.metadata.float(key)
    }

    pub fn get_bool(&self, key: &str) -> Result<Option<bool>, WeightsError> {
        self.metadata.boolean(key)
    }

    pub fn get_str(&self, key: &str) -> Result<Option<&str>, WeightsError> {
        self.metadata.text(self.header_bytes(), key)
    }

    pub fn is_array(&self, key: &str) -> bool {
        self.metadata.is_array(key)
    }

    pub fn arr_str(&self, key: &str) -> Result<Option<Vec<String>>, WeightsError> {
        self.metadata.texts(self.header_bytes(), key)
    }

    pub fn arr_u32(&self, key: &str) -> Result<Option<Vec<u32>>, WeightsError> {
        self.metadata.integers(self.header_bytes(), key)
    }

    pub fn arr_i32(&self, key: &str) -> Result<Option<Vec<i32>>, WeightsError> {
        self.metadata.integers(self.header_bytes(), key)
    }

    pub fn arr_f32(&self, key: &str) -> Result<Option<Vec<f32>>, WeightsError> {
        self.metadata.floats(self.header_bytes(), key)
    }

    pub fn arr_bool(&self, key: &str) -> Result<Option<Vec<bool>>, WeightsError> {
        self.metadata.booleans(self.header_bytes(), key)
    }

    /// The tensors that the kernels can decode, in file order.
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

    fn header_bytes(&self) -> &[u8] {
        self.table
            .parts
            .first()
            .map(Bytes::as_slice)
            .unwrap_or_default()
    }
}

type Part = (Bytes, Header, Option<SplitKeys>);

fn open_part(path: &Path, name: Option<&SplitName>) -> Result<Part, WeightsError> {
    let open = || {
        let bytes = Bytes::map(path)?;
        let header = Header::parse(bytes.as_slice())?;
        let keys = SplitKeys::read(&header)?;
        agree(name, keys)?;
        Ok((bytes, header, keys))
    };
    open().map_err(|error: WeightsError| error.in_file(path))
}
