//! The vocabulary as a GGUF file writes it.

/// The `tokenizer.ggml.*` keys of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct GgufVocab {
    /// Kind of tokenizer: `gpt2`, `llama`, `gemma4` or `bert`.
    pub model: String,
    /// Name of the pre-tokeniser, for byte-level BPE.
    pub pre: Option<String>,
    /// Text of every token, by id.
    pub tokens: Vec<String>,
    /// Score of every token, for `SentencePiece`.
    pub scores: Option<Vec<f32>>,
    /// Type of every token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Option<Vec<i32>>,
    /// Merges of byte-level BPE, best first, each two tokens with a space between.
    pub merges: Vec<String>,
    /// Beginning of a sequence.
    pub bos: Option<u32>,
    /// End of a sequence.
    pub eos: Option<u32>,
    /// Stands for text which the vocabulary cannot express.
    pub unk: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message.
    pub eom: Option<u32>,
    /// What a text begins with, for `WordPiece`; without it `bos` is.
    pub cls: Option<u32>,
    /// What a text ends with, for `WordPiece`; without it `eos` is.
    pub sep: Option<u32>,
    /// Whether text is put in small letters and without accents, for `WordPiece`; if not told it is.
    pub lowercase: Option<bool>,
    /// Whether a prompt starts with `bos`.
    pub add_bos: Option<bool>,
    /// Whether a prompt ends with `eos`.
    pub add_eos: Option<bool>,
    /// Whether text gets a space before its first word.
    pub add_space_prefix: Option<bool>,
}
