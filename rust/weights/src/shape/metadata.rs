//! The shape from GGUF metadata.

use crate::error::WeightsError;
use crate::gguf::Gguf;
use crate::shape::{LayerKv, ModelShape, layer_count};

const EMBEDDING: &str = "token_embd.weight";

pub(super) fn read(gguf: &Gguf) -> Result<ModelShape, WeightsError> {
    let keys = Keys {
        gguf,
        architecture: gguf.architecture()?,
    };
    let layers = layer_count(keys.required("block_count")?)?;
    let hidden = keys.required("embedding_length")?;
    let heads = keys.per_layer("attention.head_count", layers)?;
    let heads = heads
        .ok_or_else(|| keys.missing("attention.head_count"))?
        .into_iter()
        .max()
        .unwrap_or(0);
    let head_dim = keys.head_dim(hidden, heads)?;
    let layer_kv = keys.layer_kv(layers, heads, head_dim)?;
    let feed_forward = keys
        .per_layer("feed_forward_length", layers)?
        .into_iter()
        .flatten()
        .max();
    let experts = keys.optional("expert_feed_forward_length")?;
    Ok(ModelShape {
        architecture: keys.architecture.to_owned(),
        name: gguf.get_str("general.name")?.map(str::to_owned),
        layers,
        hidden,
        feed_forward: feed_forward
            .into_iter()
            .chain(experts)
            .max()
            .ok_or_else(|| keys.missing("feed_forward_length"))?,
        heads,
        kv_heads: layer_kv
            .iter()
            .map(|layer| layer.kv_heads)
            .max()
            .unwrap_or(0),
        head_dim,
        vocab: keys.vocab(hidden)?,
        encoder: false,
        context_length: keys.required("context_length")?,
        layer_kv,
    })
}

/// The keys of one architecture, `llama.block_count` and so on.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn missing(&self, name: &str) -> WeightsError {
        WeightsError::MissingKey {
            key: self.key(name),
        }
    }

    fn optional(&self, name: &str) -> Result<Option<usize>, WeightsError> {
        self.gguf.get_usize(&self.key(name))
    }

    fn required(&self, name: &str) -> Result<usize, WeightsError> {
        self.optional(name)?.ok_or_else(|| self.missing(name))
    }

    /// A number for all layers, or an array of one a layer.
    fn per_layer(&self, name: &str, layers: usize) -> Result<Option<Vec<usize>>, WeightsError> {
        let key = self.key(name);
        if !self.gguf.is_array(&key) {
            return Ok(self.gguf.get_usize(&key)?.map(|value| vec![value; layers]));
        }
        let values = self.gguf.arr_u32(&key)?.unwrap_or_default();
        if values.len() != layers {
            return Err(WeightsError::OutOfRange {
                value: format!("{} values for {layers} layers", values.len()),
                key,
            });
        }
        Ok(Some(
            values.into_iter().map(|value| value as usize).collect(),
        ))
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, WeightsError> {
        if let Some(dim) = self.optional("attention.key_length")? {
            return Ok(dim);
        }
        hidden
            .checked_div(heads)
            .filter(|dim| dim * heads == hidden)
            .ok_or_else(|| {
                WeightsError::Malformed(format!("{hidden} values do not divide into {heads} heads"))
            })
    }

    /// Rows of the embedding; the metadata and the list of tokens only stand in for it.
    fn vocab(&self, hidden: usize) -> Result<usize, WeightsError> {
        let Some(embedding) = self.gguf.tensor(EMBEDDING) else {
            return self.required("vocab_size");
        };
        if embedding.cols() != hidden {
            return Err(WeightsError::Malformed(format!(
                "{EMBEDDING} has rows of {} values, the metadata says {hidden}",
                embedding.cols()
            )));
        }
        Ok(embedding.rows())
    }

    fn layer_kv(
        &self,
        layers: usize,
        heads: usize,
        head_dim: usize,
    ) -> Result<Vec<LayerKv>, WeightsError> {
        if let Some(rank) = self.optional("attention.kv_lora_rank")? {
            let rotary = self.optional("rope.dimension_count")?.unwrap_or(head_dim);
            let key_dim = rank.saturating_add(rotary);
            let latent = LayerKv {
                kv_heads: 1,
                key_dim,
                value_dim: 0,
            };
            return Ok(vec![latent; layers]);
        }
        let value_dim = self.optional("attention.value_length")?.unwrap_or(head_dim);
        let kv_heads = self
            .per_layer("attention.head_count_kv", layers)?
            .unwrap_or_else(|| vec![heads; layers]);
        let interval = self.optional("full_attention_interval")?;
        let layers = kv_heads.into_iter().enumerate();
        Ok(layers
            .map(|(layer, kv_heads)| LayerKv {
                kv_heads: if is_recurrent(interval, layer) {
                    0
                } else {
                    kv_heads
                },
                key_dim: head_dim,
                value_dim,
            })
            .collect())
    }
}

/// In hybrids only the last layer of each interval has attention.
fn is_recurrent(interval: Option<usize>, layer: usize) -> bool {
    interval.is_some_and(|interval| interval > 1 && !(layer + 1).is_multiple_of(interval))
}
