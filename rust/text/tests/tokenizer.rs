//! Encoding and decoding with vocabularies of our own.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{CONTROL, bytes, pieces};
use cortex_text::{Detokenizer, GgufVocab, Specials, Tokenizer};
use proptest::prelude::*;

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter()
        .map(|&id| tokenizer.token_text(id).unwrap())
        .collect()
}

#[test]
fn merges_apply_in_their_order() {
    let tokenizer = bytes();
    let ids = tokenizer.encode("hello hello1", Specials::Parse).unwrap();
    assert_eq!(texts(&tokenizer, &ids), ["hello", "Ġhello", "1"]);
    let tokenizer = pieces();
    let ids = tokenizer.encode("hello hé", Specials::Parse).unwrap();
    assert_eq!(
        texts(&tokenizer, &ids),
        ["▁hello", "▁", "h", "<0xC3>", "<0xA9>"]
    );
    assert_eq!(tokenizer.decode(&ids), "hello hé");
}

#[test]
fn control_tokens_are_read_only_when_asked_for() {
    for tokenizer in [bytes(), pieces()] {
        let parsed = tokenizer
            .encode("<|im_start|>he<|im_end|>", Specials::Parse)
            .unwrap();
        assert_eq!((parsed[0], parsed.last()), (1, Some(&2)));
        let plain = tokenizer
            .encode("<|im_start|>he<|im_end|>", Specials::AsText)
            .unwrap();
        assert!(plain.iter().all(|&id| !tokenizer.is_control(id)));
        assert_eq!(tokenizer.decode(&plain), "<|im_start|>he<|im_end|>");
    }
}

#[test]
fn a_prompt_begins_as_the_model_wants() {
    let tokenizer = pieces();
    assert_eq!(
        tokenizer.encode_prompt("he", Specials::AsText).unwrap()[0],
        1
    );
    assert_eq!(tokenizer.bos(), Some(1));
    let tokenizer = bytes();
    assert_ne!(
        tokenizer.encode_prompt("he", Specials::AsText).unwrap()[0],
        1
    );
}

#[test]
fn the_ends_of_a_turn_are_the_declared_one_and_the_known_ones() {
    assert_eq!(pieces().eos_ids(), [3, 2]);
    assert_eq!(bytes().eos_ids(), [2]);
}

#[test]
fn bad_vocabularies_are_refused_by_name() {
    let error = |vocab: &GgufVocab| Tokenizer::from_gguf(vocab).unwrap_err().to_string();
    let kind = GgufVocab {
        model: "rwkv".to_owned(),
        ..GgufVocab::default()
    };
    assert!(error(&kind).contains("rwkv"));
    let pre = GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("new".to_owned()),
        ..GgufVocab::default()
    };
    assert!(error(&pre).contains("\"new\""));
    let merges = GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens: vec!["a".to_owned()],
        merges: vec!["ab".to_owned()],
        ..GgufVocab::default()
    };
    assert!(error(&merges).contains("merge"));
    let eos = GgufVocab {
        model: "llama".to_owned(),
        tokens: vec!["a".to_owned()],
        scores: Some(vec![0.0]),
        eos: Some(1),
        ..GgufVocab::default()
    };
    assert!(error(&eos).contains("special token 1"));
    let scores = GgufVocab {
        eos: None,
        scores: Some(vec![0.0; 3]),
        ..eos
    };
    assert!(error(&scores).contains("3 scores for 1 tokens"));
}

#[test]
fn a_json_tokenizer_reads_its_own_file() {
    let json = br#"{"version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 8, "content": "<end>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<": 3, ">": 4, "e": 5, "n": 6, "d": 7}, "merges": [["a", "b"]]}}"#;
    let config = br#"{"eos_token": {"content": "<end>"}}"#;
    let tokenizer = Tokenizer::from_json(json, Some(config)).unwrap();
    assert_eq!(tokenizer.eos_ids(), [8]);
    assert_eq!(
        tokenizer.encode("abab<end>", Specials::Parse).unwrap(),
        [2, 2, 8]
    );
    assert_eq!(
        tokenizer.encode("ab<end>", Specials::AsText).unwrap(),
        [2, 3, 5, 6, 7, 4]
    );
    assert_eq!(tokenizer.decode(&[2, 8, 0]), "aba");
    assert!(Tokenizer::from_json(b"{", None).is_err());
    assert!(Tokenizer::from_json(json, Some(b"[")).is_err());
}

#[test]
fn a_long_text_takes_no_time_to_speak_of() {
    // Quadratic work on these would run for minutes.
    for text in [
        "hello".repeat(40_000),
        "é".repeat(100_000),
        " ".repeat(200_000),
    ] {
        for tokenizer in [bytes(), pieces()] {
            let ids = tokenizer.encode(&text, Specials::AsText).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
        }
    }
}

proptest! {
    #[test]
    fn text_comes_back(text in "(hello|[ h<|é🦀>]|<\\|im_end\\|>){0,12}") {
        for tokenizer in [bytes(), pieces()] {
            let ids = tokenizer.encode(&text, Specials::AsText).unwrap();
            prop_assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
            prop_assert_eq!(tokenizer.decode(&ids), text.clone());
        }
    }

    #[test]
    fn any_ids_have_a_text_and_pieces_that_join_to_it(ids in prop::collection::vec(0..600u32, 0..40)) {
        for tokenizer in [bytes(), pieces()] {
            let tokenizer = Arc::new(tokenizer);
            let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer));
            let mut text: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
            text.push_str(&detokenizer.finish());
            let bytes: Vec<u8> = ids.iter().filter_map(|&id| tokenizer.token_bytes(id)).flatten().copied().collect();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_character_comes_when_it_is_whole() {
    let tokenizer = Arc::new(pieces());
    let byte = |byte: u32| CONTROL.len() as u32 + byte;
    let mut detokenizer = Detokenizer::new(tokenizer);
    let pieces =
        [0xf0, 0x9f, 0xa6, 0x80, 0xe2, 0x82, 0x41, 0xc3].map(|one| detokenizer.push(byte(one)));
    assert_eq!(pieces, ["", "", "", "🦀", "", "", "\u{fffd}A", ""]);
    assert_eq!(detokenizer.finish(), "\u{fffd}");
}
