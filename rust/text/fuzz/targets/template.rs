//! Any template over any text: no panic, and bounded; users' text never becomes a control token.
#![no_main]

use std::sync::LazyLock;

use cortex_text::{ChatTemplate, GgufVocab, RenderInput, Tokenizer};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(tokenizer);

fuzz_target!(|input: (&str, &str, &str)| {
    let (source, one, other) = input;
    let Ok(template) = ChatTemplate::new(source, "", "") else {
        return;
    };
    let messages = json!([
        {"role": "user", "content": one},
        {"role": other, "content": [{"type": "text", "text": other}, 1.5, null, true]},
    ]);
    let tools =
        json!([{"type": "function", "function": {"name": one, "parameters": {other: 1e-7}}}]);
    let input = RenderInput {
        messages: &messages,
        tools: Some(&tools),
        add_generation_prompt: true,
        kwargs: None,
        now: 1_709_164_800,
    };
    let rendered = template.render(&input);
    let Ok(ids) = template.encode(&TOKENIZER, &input, Some(1 << 16)) else {
        return;
    };
    let control = ids.iter().filter(|&&id| TOKENIZER.is_control(id)).count();
    // A template that has no part of their names cannot write one.
    if !source.contains(['|', 'i', 'm', '\\']) {
        assert_eq!(control, 0, "{rendered:?}");
    }
});

/// All bytes, and two control tokens.
fn tokenizer() -> Tokenizer {
    let mut tokens = vec!["<|im_start|>".to_owned(), "<|im_end|>".to_owned()];
    let mut types = vec![3; 2];
    let plain = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    tokens.extend(plain.chain('\u{100}'..='\u{143}').map(String::from));
    types.resize(tokens.len(), 1);
    let vocabulary = GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        token_types: Some(types),
        tokens,
        ..GgufVocab::default()
    };
    Tokenizer::from_gguf(&vocabulary).expect("the vocabulary is sound")
}
