//! How much of a text one token can stand for at most, so that far too long a text is refused before it is tokenised.

use std::collections::HashSet;

use serde_json::Value;

use crate::vocab::{Alphabet, Kind, Token, Vocab};

/// NFC makes a text at most three times shorter in UTF-8.
const COMPOSING: usize = 3;

/// Most bytes of a text that one token stands for; `None` where a character that is not in the vocabulary may take
/// others along. `composing` tells of NFC in front.
pub(crate) fn longest_piece(vocab: &Vocab, alphabet: Alphabet, composing: bool) -> Option<usize> {
    let every_byte = match alphabet {
        // What has no token is dropped.
        Alphabet::ByteLevel => has_every_byte(vocab),
        Alphabet::SentencePiece => {
            let bytes = vocab
                .iter()
                .filter(|(_, token)| token.kind == Kind::Byte)
                .count();
            bytes == 256
        }
        Alphabet::WordPiece => false,
    };
    let length = |token: &Token| token.bytes.len().max(token.text.len());
    let longest = vocab.iter().map(|(_, token)| length(token)).max()?;
    let factor = if composing { COMPOSING } else { 1 };
    every_byte.then_some(longest.max(1) * factor)
}

/// Whether every byte that texts have is a token. Real vocabularies lack some of control characters and of planes that
/// nobody uses: texts of nothing but those are taken for longer than they are.
fn has_every_byte(vocab: &Vocab) -> bool {
    let mut missing: HashSet<u8> = (b' '..=0xbf).chain(0xc2..=0xf0).collect();
    missing.extend(b"\t\n\r");
    missing.remove(&0x7f);
    for (_, token) in vocab.iter() {
        if let [byte] = token.bytes[..] {
            missing.remove(&byte);
        }
    }
    missing.is_empty()
}

/// Whether `tokenizer.json` composes (NFC); `None` when something in it may shorten a text without limit.
pub(crate) fn composing(json: &Value) -> Option<bool> {
    let strips = |token: &Value| token["lstrip"] == true || token["rstrip"] == true;
    let plain = |token: &Value| token["special"] != true;
    let added = json["added_tokens"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if added.iter().any(|token| plain(token) && strips(token)) {
        return None;
    }
    // Where an unknown character is one token, a run of them may be one too.
    let model = &json["model"];
    if !model["unk_token"].is_null() && model["fuse_unk"] == true && model["byte_fallback"] != true
    {
        return None;
    }
    normalizer(&json["normalizer"])
}

fn normalizer(json: &Value) -> Option<bool> {
    match json["type"].as_str() {
        None => json.is_null().then_some(false),
        Some("Prepend") => Some(false),
        Some("NFC") => Some(true),
        Some("Replace") => {
            let longer =
                json["pattern"]["String"].as_str()?.len() <= json["content"].as_str()?.len();
            longer.then_some(false)
        }
        Some("Sequence") => {
            let steps = json["normalizers"].as_array()?.iter();
            steps
                .map(normalizer)
                .try_fold(false, |any, step| Some(any | step?))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_vocabulary_that_drops_characters_has_no_bound() {
        let tokens = |last| {
            ('!'..='~')
                .chain('¡'..='¬')
                .chain('®'..='ÿ')
                .chain('\u{100}'..=last)
        };
        let vocab = |last| {
            let token =
                |char: char| Token::new(char.to_string(), Kind::Normal, Alphabet::ByteLevel);
            Vocab::new(tokens(last).map(|char| Some(token(char))).collect())
        };
        let longest = |last| longest_piece(&vocab(last), Alphabet::ByteLevel, false);
        assert_eq!((longest('\u{143}'), longest('\u{120}')), (Some(2), None));
    }

    #[test]
    fn what_may_shorten_a_text_without_limit_has_no_bound() {
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let composed = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, space]});
        assert_eq!(composing(&json!({ "normalizer": composed })), Some(true));
        assert_eq!(composing(&json!({ "normalizer": null })), Some(false));
        let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"});
        assert_eq!(composing(&json!({ "normalizer": spaces })), None);
        assert_eq!(composing(&json!({"normalizer": {"type": "Strip"}})), None);
        let fused = json!({"unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false});
        assert_eq!(composing(&json!({ "model": fused })), None);
        let greedy = json!([{"content": "<x>", "special": false, "rstrip": true}]);
        assert_eq!(composing(&json!({ "added_tokens": greedy })), None);
    }
}
