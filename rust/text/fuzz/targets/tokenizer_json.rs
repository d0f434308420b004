//! Any `tokenizer.json`, any text: no panic, no control tokens out of users' text, lengths as promised.
#![no_main]

use cortex_text::{Specials, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The file, a zero byte, a text.
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (Some(file), text) = (parts.next(), parts.next().unwrap_or_default()) else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let Ok(tokenizer) = Tokenizer::from_json(file, None) else {
        return;
    };
    for text in ["he<s>llo Wörld 123\n", &text] {
        if let Ok(ids) = tokenizer.encode(text, Specials::AsText) {
            let usual =
                |char: char| char < '\u{10000}' && (!char.is_control() || "\t\n\r".contains(char));
            let fewest = tokenizer.fewest_tokens(text.len());
            assert!(
                fewest <= ids.len() || !text.chars().all(usual),
                "{text:?} is {ids:?}"
            );
            let _ = tokenizer.decode(&ids);
        }
        if let Ok(ids) = tokenizer.encode_prompt(text, Specials::Parse) {
            let _ = (tokenizer.decode(&ids), tokenizer.spell(&ids));
        }
    }
});
