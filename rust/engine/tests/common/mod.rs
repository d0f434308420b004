//! Fixture folders and the numbers that an exact implementation must give.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

pub mod client;
pub mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cortex_engine::model::{Batch, Decoder, KvCache, KvType, Outputs, Trace};
use cortex_kernels::Pool;
use cortex_weights::ModelFile;
use serde_json::Value;

pub const BLOCK: usize = 32;

/// The shared folder, from `CORTEX_SHARED` or beside the repository.
fn shared() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("CORTEX_SHARED").map_or(beside, PathBuf::from)
}

/// A fixture below the shared folder; says what is skipped where there is none.
pub fn shared_fixture(name: &str) -> Option<PathBuf> {
    let path = shared().join("fixtures").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "SKIPPED: {} is not there (set CORTEX_SHARED)",
        path.display()
    );
    None
}

/// The tiny model that travels with the repository.
pub fn own_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama")
}

/// A tiny model of another family that travels with the repository, and what it gives.
pub fn own_hybrid(family: &str) -> (PathBuf, PathBuf) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    let folder = models.join(family);
    (folder.join("model-bf16.gguf"), folder.join("expected.json"))
}

/// The tiny embedding model that travels with the repository.
pub fn own_embedder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/bert")
}

/// SmolLM2-135M-Instruct, where `make demo` or the environment put it.
pub fn smollm2() -> Option<PathBuf> {
    real_model("SmolLM2-135M-Instruct.Q4_1.gguf", "CORTEX_SMOLLM2")
}

/// Gemma 3 270M, where the environment or the cache has it.
pub fn gemma3() -> Option<PathBuf> {
    real_model("gemma-3-270m-q4_k_m.gguf", "CORTEX_GEMMA3")
}

fn real_model(name: &str, variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cached = home.map(|home| home.join(".cache/cortex/models").join(name));
    let found = [named, cached]
        .into_iter()
        .flatten()
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not there (set {variable})");
    }
    found
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect()
}

pub fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

/// A decoder with a KV pool for one sequence of 1,024 tokens.
pub struct Lone {
    pub decoder: Decoder,
    cache: KvCache,
    blocks: Vec<u32>,
}

impl Lone {
    pub fn open(path: &Path) -> Self {
        Self::with_threads(path, 2)
    }

    pub fn with_threads(path: &Path, threads: usize) -> Self {
        Self::with(path, threads, KvType::F32)
    }

    /// As the engine runs it.
    pub fn as_served(path: &Path) -> Self {
        Self::with(path, 2, KvType::F16)
    }

    fn with(path: &Path, threads: usize, ty: KvType) -> Self {
        let file = ModelFile::open(path).unwrap();
        let decoder = Decoder::load(&file, Arc::new(Pool::new(threads))).unwrap();
        let cache = KvCache::new(decoder.description(), 40, BLOCK, (ty, decoder.device())).unwrap();
        // A table that is neither sorted nor contiguous, as a used pool gives.
        let mut blocks = vec![9, 4, 13, 1, 7, 2, 11, 5];
        blocks.extend(16..40);
        Self {
            decoder,
            cache,
            blocks,
        }
    }

    /// Logits of the asked rows for tokens at positions from `start`.
    pub fn logits(&self, start: usize, tokens: &[u32], outputs: Outputs) -> Vec<Vec<f32>> {
        let batch = self.batch(start, tokens, outputs);
        let logits = self.decoder.forward(&batch, &self.cache).unwrap().unwrap();
        logits.to_vec2().unwrap()
    }

    /// Logits of the last token, computed after the others in chunks of so many.
    pub fn chunked(&self, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
        let mut last = Vec::new();
        for (number, part) in tokens.chunks(chunk).enumerate() {
            let mut batch = Batch::new(BLOCK);
            let start = number * chunk;
            let length = tokens.len();
            batch.push_part(start, part, length, &self.blocks, Outputs::Last);
            let logits = self.decoder.forward(&batch, &self.cache).unwrap().unwrap();
            last = logits.to_vec2().unwrap();
        }
        last
    }

    /// Logits of the last token in a batch with another sequence before it.
    pub fn beside(&self, tokens: &[u32], other: &[u32]) -> Vec<Vec<f32>> {
        let mut batch = Batch::new(BLOCK);
        batch.push(0, other, &[14, 15, 3, 6], Outputs::None);
        batch.push(0, tokens, &self.blocks, Outputs::Last);
        let logits = self.decoder.forward(&batch, &self.cache).unwrap().unwrap();
        logits.to_vec2().unwrap()
    }

    pub fn trace(&self, tokens: &[u32]) -> Trace {
        let batch = self.batch(0, tokens, Outputs::Last);
        self.decoder.forward_traced(&batch, &self.cache).unwrap().1
    }

    fn batch(&self, start: usize, tokens: &[u32], outputs: Outputs) -> Batch {
        let mut batch = Batch::new(BLOCK);
        batch.push(start, tokens, &self.blocks, outputs);
        batch
    }
}

pub fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == best).unwrap() as u32
}

pub fn log_prob(logits: &[f32], id: u32) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit - max).exp())
        .sum();
    (f64::from(logits[id as usize] - max) - sum.ln()) as f32
}

pub fn deviation(logits: &[f32]) -> f32 {
    let mean = logits.iter().sum::<f32>() / logits.len() as f32;
    let variance = logits
        .iter()
        .map(|logit| (logit - mean).powi(2))
        .sum::<f32>();
    (variance / logits.len() as f32).sqrt()
}

pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

pub fn rms_difference(a: &[f32], b: &[f32]) -> f32 {
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (sum / a.len() as f32).sqrt()
}
