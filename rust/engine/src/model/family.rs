//! The families that the decoder runs; a further one is a further row, and what is not here is refused by name.

use super::rope::RopeKind;
use crate::EngineError;

/// What a family's name implies beyond the numbers in its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// `general.architecture` of GGUF files.
    pub gguf: Option<&'static str>,
    /// `model_type` of `config.json`.
    pub config: Option<&'static str>,
    /// How GGUF files of the family rotate: `llama` files have permuted query and key rows, the others have not.
    pub gguf_rope: RopeKind,
    /// Query, key and value biases are always there; otherwise the configuration tells.
    pub bias: bool,
    /// Per-head norms of queries and keys.
    pub query_key_norm: bool,
    /// How `config.json` speaks of an attention window.
    pub window: Window,
}

/// What `sliding_window` in `config.json` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// Nothing; the reference ignores it.
    Never,
    /// It holds for every layer.
    Always,
    /// It holds for some layers if `use_sliding_window` says so.
    Switched,
}

const FAMILIES: [Family; 4] = [
    Family {
        gguf: Some("llama"),
        config: Some("llama"),
        gguf_rope: RopeKind::Interleaved,
        bias: false,
        query_key_norm: false,
        window: Window::Never,
    },
    Family {
        // GGUF files of the family call themselves llama.
        gguf: None,
        config: Some("mistral"),
        gguf_rope: RopeKind::Interleaved,
        bias: false,
        query_key_norm: false,
        window: Window::Always,
    },
    Family {
        gguf: Some("qwen2"),
        config: Some("qwen2"),
        gguf_rope: RopeKind::HalfSplit,
        bias: true,
        query_key_norm: false,
        window: Window::Switched,
    },
    Family {
        gguf: Some("qwen3"),
        config: Some("qwen3"),
        gguf_rope: RopeKind::HalfSplit,
        bias: false,
        query_key_norm: true,
        window: Window::Switched,
    },
];

/// Names of the families as users know them.
#[must_use]
pub fn architectures() -> Vec<&'static str> {
    FAMILIES.iter().filter_map(|family| family.config).collect()
}

/// The family of a GGUF architecture.
pub(crate) fn of_gguf(architecture: &str) -> Result<Family, EngineError> {
    find(architecture, |family| family.gguf)
}

/// The family of a `model_type`.
pub(crate) fn of_config(model_type: &str) -> Result<Family, EngineError> {
    find(model_type, |family| family.config)
}

fn find(name: &str, key: fn(&Family) -> Option<&'static str>) -> Result<Family, EngineError> {
    let found = FAMILIES.iter().find(|family| key(family) == Some(name));
    found.copied().ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().filter_map(key).collect();
        let known = known.join(", ");
        EngineError::UnsupportedModel(format!(
            "architecture {name:?} is not supported; supported: {known}"
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_unknown_architecture_is_refused_with_the_list() {
        let text = of_gguf("rwkv7").unwrap_err().to_string();
        assert!(text.contains("rwkv7") && text.contains("llama"), "{text}");
        assert_eq!(of_config("llama").unwrap().gguf, Some("llama"));
    }
}
