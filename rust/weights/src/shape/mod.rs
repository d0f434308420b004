//! The shape of a model, read from its header only: what decides how much memory it needs.

mod config;
mod metadata;

use crate::error::WeightsError;
use crate::model::ModelFile;

/// Bounds on untrusted dimensions; far above every real model.
const MAX_LAYERS: usize = 1 << 12;
const MAX_WIDTH: usize = 1 << 22;
const MAX_HEADS: usize = 1 << 16;
const MAX_CONTEXT: usize = 1 << 30;

/// What one layer keeps of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKv {
    /// 0 for a layer without attention (recurrent state), 1 for one shared latent.
    pub kv_heads: usize,
    pub key_dim: usize,
    /// 0 where keys and values share one latent.
    pub value_dim: usize,
}

impl LayerKv {
    /// Values kept for one token.
    pub fn values(&self) -> u64 {
        let dims = (self.key_dim as u64).saturating_add(self.value_dim as u64);
        (self.kv_heads as u64).saturating_mul(dims)
    }
}

/// The dimensions of a model. For families whose layers differ, `kv_heads` and `feed_forward` are the largest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// In the format's own words: `general.architecture` or `model_type`.
    pub architecture: String,
    pub name: Option<String>,
    pub layers: usize,
    pub hidden: usize,
    pub feed_forward: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    /// Texts are read whole and in both directions: nothing is kept of a token.
    pub encoder: bool,
    /// The context that the model was made for.
    pub context_length: usize,
    /// One entry a layer.
    pub layer_kv: Vec<LayerKv>,
}

impl ModelShape {
    /// Reads the shape; every number is checked to be plausible, so that sums over them cannot surprise.
    pub fn read(file: &ModelFile) -> Result<Self, WeightsError> {
        let shape = match file {
            ModelFile::Gguf(gguf) => metadata::read(gguf),
            ModelFile::Safetensors(model) => config::read(model),
        };
        let shape = shape.and_then(Self::checked);
        let path = match file {
            ModelFile::Gguf(gguf) => gguf.path().map(std::path::Path::to_path_buf),
            ModelFile::Safetensors(model) => Some(model.folder.join("config.json")),
        };
        match path {
            Some(path) => shape.map_err(|error| error.in_file(&path)),
            None => shape,
        }
    }

    fn checked(self) -> Result<Self, WeightsError> {
        let dims = [
            ("the number of layers", self.layers, MAX_LAYERS),
            ("the hidden size", self.hidden, MAX_WIDTH),
            ("the feed-forward size", self.feed_forward, MAX_WIDTH),
            ("the number of heads", self.heads, MAX_HEADS),
            ("the head dimension", self.head_dim, MAX_HEADS),
            ("the vocabulary", self.vocab, MAX_WIDTH),
            ("the context length", self.context_length, MAX_CONTEXT),
        ];
        for (what, value, limit) in dims {
            in_range(what, value, limit)?;
        }
        for layer in &self.layer_kv {
            let heads = layer.kv_heads;
            if heads > self.heads || (heads > 0 && !self.heads.is_multiple_of(heads)) {
                return Err(WeightsError::Malformed(format!(
                    "{} attention heads cannot share {heads} key-value heads",
                    self.heads
                )));
            }
            if layer.key_dim > MAX_HEADS || layer.value_dim > MAX_HEADS {
                return Err(WeightsError::Malformed(
                    "a layer has impossible key-value dimensions".to_owned(),
                ));
            }
        }
        Ok(self)
    }
}

/// From 1 to `limit`.
fn in_range(what: &str, value: usize, limit: usize) -> Result<(), WeightsError> {
    match value {
        0 => Err(WeightsError::Malformed(format!("{what} is 0"))),
        value if value > limit => Err(WeightsError::OverLimit {
            what: what.to_owned(),
            value: value as u64,
            limit: limit as u64,
        }),
        _ => Ok(()),
    }
}

/// Checked before one entry a layer is allocated.
fn layer_count(layers: usize) -> Result<usize, WeightsError> {
    in_range("the number of layers", layers, MAX_LAYERS).map(|()| layers)
}
