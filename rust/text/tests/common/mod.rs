//! Small vocabularies of our own.
#![allow(dead_code, clippy::unwrap_used)]

use cortex_text::{GgufVocab, Tokenizer};

/// Control tokens of both vocabularies, from id 0.
pub const CONTROL: [&str; 4] = ["<unk>", "<|im_start|>", "<|im_end|>", "</s>"];

/// `SentencePiece` with all bytes, single letters, and a few words.
pub fn pieces() -> Tokenizer {
    let mut tokens: Vec<String> = CONTROL.map(str::to_owned).to_vec();
    let mut types = vec![2, 3, 3, 3];
    for byte in 0..=255 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6);
    }
    for word in [
        "▁", "h", "e", "l", "o", "he", "ll", "hell", "hello", "▁hello", "<", ">", "|",
    ] {
        tokens.push(word.to_owned());
        types.push(1);
    }
    let scores = (0..tokens.len()).map(|id| id as f32 - 260.0);
    Tokenizer::from_gguf(&GgufVocab {
        model: "llama".to_owned(),
        scores: Some(scores.collect()),
        token_types: Some(types),
        bos: Some(1),
        eos: Some(3),
        unk: Some(0),
        tokens,
        ..GgufVocab::default()
    })
    .unwrap()
}

/// Byte-level BPE over all bytes with a few merges.
pub fn bytes() -> Tokenizer {
    let mut tokens: Vec<String> = CONTROL.map(str::to_owned).to_vec();
    let mut types = vec![3; tokens.len()];
    let plain = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let shifted = '\u{100}'..='\u{143}';
    for char in plain.chain(shifted) {
        tokens.push(char.to_string());
    }
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ hello", "i m"];
    for merge in merges {
        tokens.push(merge.replace(' ', ""));
    }
    types.resize(tokens.len(), 1);
    Tokenizer::from_gguf(&GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        token_types: Some(types),
        merges: merges.map(str::to_owned).to_vec(),
        bos: Some(1),
        eos: Some(2),
        tokens,
        ..GgufVocab::default()
    })
    .unwrap()
}
