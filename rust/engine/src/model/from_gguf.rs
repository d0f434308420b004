//! A description from the metadata of a GGUF file.

use cortex_weights::Gguf;

use super::description::{Activation, Description, invalid};
use super::family;
use super::rope::{Rope, RopeScaling};
use super::tensors::{ROPE_FACTORS, read_vector};
use crate::EngineError;

/// Read the metadata; what would change the outputs and is not supported is refused by name.
pub(crate) fn describe(gguf: &Gguf) -> Result<Description, EngineError> {
    let architecture = gguf.architecture()?;
    let family = family::of_gguf(architecture)?;
    let keys = Keys { gguf, architecture };
    let hidden = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let per_head = hidden.checked_div(heads).unwrap_or(0);
    let head_dim = keys
        .optional_size("attention.key_length")?
        .unwrap_or(per_head);
    let values = keys.optional_size("attention.value_length")?;
    if values.is_some_and(|values| values != head_dim) {
        return Err(EngineError::UnsupportedModel(format!(
            "{architecture}: keys and values differ in size"
        )));
    }
    keys.refuse_experts()?;
    Description {
        architecture: architecture.to_owned(),
        name: gguf.get_str("general.name")?.map(str::to_owned),
        layers: keys.size("block_count")?,
        hidden,
        heads,
        kv_heads: keys
            .optional_size("attention.head_count_kv")?
            .unwrap_or(heads),
        head_dim,
        feed_forward: keys.size("feed_forward_length")?,
        vocab: keys.vocab()?,
        context_length: keys.size("context_length")?,
        norm_eps: keys.needed("attention.layer_norm_rms_epsilon")?,
        attention_scale: keys
            .number("attention.scale")?
            .unwrap_or(1.0 / (head_dim as f32).sqrt()),
        window: keys
            .optional_size("attention.sliding_window")?
            .filter(|&window| window > 0),
        rope: Rope {
            kind: family.gguf_rope,
            theta: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
            dims: keys
                .optional_size("rope.dimension_count")?
                .unwrap_or(head_dim),
            scaling: keys.scaling()?,
        },
        activation: Activation::Silu,
        tied_head: gguf.tensor("output.weight").is_none(),
        query_key_norm: family.query_key_norm,
        query_key_value_bias: family.bias,
    }
    .checked()
}

/// Look-ups of keys below the architecture's name.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A number, or one number a layer if they are all the same.
    fn optional_size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        let key = self.key(key);
        if !self.gguf.is_array(&key) {
            return Ok(self.gguf.get_usize(&key)?);
        }
        let values = self.gguf.arr_u32(&key)?.unwrap_or_default();
        match values.first() {
            Some(first) if values.iter().all(|value| value == first) => Ok(Some(*first as usize)),
            _ => Err(EngineError::UnsupportedModel(format!(
                "{key} differs from layer to layer"
            ))),
        }
    }

    fn size(&self, key: &str) -> Result<usize, EngineError> {
        let size = self.optional_size(key)?;
        size.ok_or_else(|| invalid(format!("metadata key {:?} is missing", self.key(key))))
    }

    fn number(&self, key: &str) -> Result<Option<f32>, EngineError> {
        Ok(self.gguf.get_f32(&self.key(key))?)
    }

    fn needed(&self, key: &str) -> Result<f32, EngineError> {
        let number = self.number(key)?;
        number.ok_or_else(|| invalid(format!("metadata key {:?} is missing", self.key(key))))
    }

    /// Rows of the embedding; some files do not say it in the metadata.
    fn vocab(&self) -> Result<usize, EngineError> {
        let embedding = self.gguf.tensor("token_embd.weight");
        let embedding =
            embedding.ok_or_else(|| invalid("tensor token_embd.weight is missing".to_owned()))?;
        Ok(embedding.rows())
    }

    fn scaling(&self) -> Result<RopeScaling, EngineError> {
        let kind = self.gguf.get_str(&self.key("rope.scaling.type"))?;
        let older = self.number("rope.scale_linear")?;
        let factors = match self.gguf.tensor(ROPE_FACTORS) {
            Some(tensor) => Some(read_vector(tensor, self.gguf.data(tensor))?),
            None => None,
        };
        match (kind, factors) {
            (None | Some("none"), Some(factors)) => Ok(RopeScaling::Factors(factors)),
            (None | Some("none"), None) => Ok(older.map_or(RopeScaling::None, RopeScaling::Linear)),
            (Some("linear"), None) => Ok(RopeScaling::Linear(self.needed("rope.scaling.factor")?)),
            (Some(other), _) => Err(EngineError::UnsupportedModel(format!(
                "rope scaling {other:?} is not supported; supported: none, linear, rope_freqs.weight"
            ))),
        }
    }

    fn refuse_experts(&self) -> Result<(), EngineError> {
        match self.optional_size("expert_count")? {
            None | Some(0) => Ok(()),
            Some(experts) => Err(EngineError::UnsupportedModel(format!(
                "{}: {experts} experts; only dense models are supported",
                self.architecture
            ))),
        }
    }
}
