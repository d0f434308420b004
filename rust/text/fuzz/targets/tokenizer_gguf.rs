//! Any vocabulary of a GGUF file, any text: no panic, no control tokens out of users' text, lengths as promised.
#![no_main]

use cortex_text::{GgufVocab, Specials, Tokenizer};
use libfuzzer_sys::fuzz_target;

type Input = (
    u8,
    u16,
    Vec<String>,
    Vec<String>,
    Vec<u8>,
    Option<u8>,
    String,
);

const MODELS: [&str; 4] = ["gpt2", "llama", "gemma4", "bert"];
const PRE: [&str; 8] = [
    "smollm",
    "llama-bpe",
    "qwen2",
    "gpt-4o",
    "tekken",
    "deepseek-v3",
    "falcon",
    "kimi-k2",
];

fuzz_target!(|input: Input| {
    let (kind, bits, mut tokens, merges, types, special, text) = input;
    if bits & 1 == 1 {
        let plain = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
        tokens.extend(plain.chain('\u{100}'..='\u{143}').map(String::from));
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    }
    let mut kinds: Vec<i32> = types.iter().map(|kind| i32::from(kind % 8)).collect();
    kinds.resize(tokens.len(), 1);
    let scores = (0..tokens.len()).map(|id| (id * 7 % 13) as f32).collect();
    let flag = |bit: u16| (bits & bit != 0).then_some(bits & (bit << 1) != 0);
    let vocabulary = GgufVocab {
        model: MODELS[usize::from(kind) % MODELS.len()].to_owned(),
        pre: Some(PRE[usize::from(kind / 4) % PRE.len()].to_owned()),
        token_types: (bits & 2 != 0).then_some(kinds),
        scores: Some(scores),
        merges,
        bos: special.map(u32::from),
        eos: special.map(|id| u32::from(id) + 1),
        unk: (bits & 4 != 0).then_some(0),
        add_bos: flag(8),
        add_eos: flag(32),
        add_space_prefix: flag(128),
        tokens,
        ..GgufVocab::default()
    };
    let Ok(tokenizer) = Tokenizer::from_gguf(&vocabulary) else {
        return;
    };
    if let Ok(ids) = tokenizer.encode(&text, Specials::AsText) {
        let control = ids
            .iter()
            .filter(|&&id| tokenizer.is_control(id) && Some(id) != vocabulary.unk);
        assert_eq!(control.count(), 0, "{text:?} is {ids:?}");
        let usual =
            |char: char| char < '\u{10000}' && (!char.is_control() || "\t\n\r".contains(char));
        let fewest = tokenizer.fewest_tokens(text.len());
        assert!(
            fewest <= ids.len() || !text.chars().all(usual),
            "{text:?} is {ids:?}"
        );
        let _ = tokenizer.decode(&ids);
    }
    if let Ok(ids) = tokenizer.encode_prompt(&text, Specials::Parse) {
        let _ = (tokenizer.decode(&ids), tokenizer.spell(&ids));
    }
});
