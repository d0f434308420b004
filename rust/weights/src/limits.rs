//! Upper bounds on what a header may claim; real models stay far below all of them.

/// Metadata entries of one GGUF file.
pub const MAX_METADATA: u64 = 1 << 16;
/// Tensors of one file.
pub const MAX_TENSORS: u64 = 1 << 17;
/// Bytes of a metadata key; the format allows 65,535, which only serves to flood logs.
pub const MAX_KEY_BYTES: u64 = 1024;
/// Bytes of a tensor name.
pub const MAX_NAME_BYTES: u64 = 1024;
/// Bytes of one metadata string that is not part of an array; the longest are chat templates.
pub const MAX_STRING_BYTES: u64 = 16 << 20;
/// Elements of one metadata array; the longest are vocabularies and their merges.
pub const MAX_ARRAY: u64 = 1 << 24;
/// Dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 4;
/// Largest `general.alignment`.
pub const MAX_ALIGNMENT: u32 = 1 << 16;
/// Files of one split or sharded model.
pub const MAX_PARTS: usize = 1024;
/// Bytes of a safetensors header.
pub const MAX_SAFETENSORS_HEADER: u64 = 100 << 20;
/// Bytes of config.json and of an index of shards; as values in memory they take many times that.
pub const MAX_JSON: u64 = 16 << 20;
/// Bytes of another small file beside the weights; the largest are tokenizers.
pub const MAX_SIDECAR: u64 = 128 << 20;
