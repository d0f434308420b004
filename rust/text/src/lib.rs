//! Text in and out of a model: tokenizers, chat templates, incremental decoding, stop strings, and the
//! parts of an answer.

mod chat_template;
mod control_names;
mod detokenizer;
mod error;
mod gguf_bpe;
mod gguf_vocab;
mod gguf_words;
mod json_tokenizer;
mod literals;
mod longest_piece;
mod output;
mod pre_tokenizer;
mod sentencepiece;
mod stop;
mod tokenizer;
mod turn_ends;
mod vocab;

pub use chat_template::{ChatTemplate, RenderInput};
pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use gguf_vocab::GgufVocab;
pub use output::{
    OutputFormat, OutputParser, Piece, Reasoning, Seed, TextEnd, ToolFormat, ToolSpec, Tools,
};
pub use stop::{StopMatcher, StopStep};
pub use tokenizer::{Specials, Tokenizer};
