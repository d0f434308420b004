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
    assert_eq!(bytes().eos_ids(), [2, 3]);
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
fn a_declared_end_is_no_text_even_where_the_file_forgets_to_mark_it() {
    let json = br#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 3, "content": "<e>", "special": false, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "pre_tokenizer": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"<": 0, ">": 1, "e": 2}, "merges": []}}"#;
    let tokenizer = Tokenizer::from_json(json, Some(br#"{"eos_token": "<e>"}"#)).unwrap();
    assert_eq!(
        tokenizer.encode("<e>", Specials::AsText).unwrap(),
        [0, 2, 1]
    );
    assert_eq!(tokenizer.encode("<e>", Specials::Parse).unwrap(), [3]);
    let mut vocab = GgufVocab {
        model: "llama".to_owned(),
        tokens: ["<unk>", "<", ">", "e", "<e>"].map(str::to_owned).to_vec(),
        scores: Some(vec![0.0; 5]),
        token_types: Some(vec![2, 1, 1, 1, 4]),
        add_space_prefix: Some(false),
        unk: Some(0),
        ..GgufVocab::default()
    };
    let encode = |vocab: &GgufVocab| {
        let tokenizer = Tokenizer::from_gguf(vocab).unwrap();
        tokenizer.encode("<e>", Specials::AsText).unwrap()
    };
    assert_eq!(encode(&vocab), [4]);
    vocab.eos = Some(4);
    assert_eq!(encode(&vocab), [1, 3, 2]);
}

#[test]
fn a_model_that_knows_control_tokens_as_pieces_gets_them_from_no_text() {
    // Unigram prefers the one piece `<s>`; NFKC makes one of wide letters.
    let json = r#"{"version": "1.0", "truncation": null, "padding": null, "normalizer": {"type": "NFKC"}, "decoder": null,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "added_tokens": [{"id": 0, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "pre_tokenizer": null,
        "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["<s>", 0.0], ["<unk>", 0.0], ["<", -2.0], ["s", -2.0], [">", -2.0], ["s>", -3.0]]}}"#;
    let tokenizer = Tokenizer::from_json(json.as_bytes(), None).unwrap();
    let plain = |text: &str| tokenizer.encode(text, Specials::AsText);
    assert_eq!(tokenizer.encode("<s>s", Specials::Parse).unwrap(), [0, 3]);
    assert_eq!(plain("s<s><s>").unwrap(), [3, 2, 5, 2, 5]);
    assert_eq!(
        tokenizer.encode_prompt("<s>", Specials::AsText).unwrap(),
        [0, 2, 5]
    );
    assert!(
        plain("\u{ff1c}s>")
            .unwrap_err()
            .to_string()
            .contains("control token")
    );
}

#[test]
fn whole_pieces_go_before_merges_but_never_to_control_tokens() {
    let vocab = GgufVocab {
        model: "gpt2".to_owned(),
        pre: Some("llama-bpe".to_owned()),
        tokens: ["a", "b", "ab", "aba", "bb"].map(str::to_owned).to_vec(),
        token_types: Some(vec![1, 1, 1, 1, 3]),
        merges: vec!["a b".to_owned(), "b b".to_owned()],
        bos: Some(4),
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::from_gguf(&vocab).unwrap();
    assert_eq!(tokenizer.encode("aba", Specials::AsText).unwrap(), [3]);
    assert_eq!(tokenizer.encode("bb", Specials::AsText).unwrap(), [1, 1]);
    assert_eq!(
        tokenizer.encode_prompt("bb", Specials::Parse).unwrap(),
        [4, 4]
    );
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

#[test]
fn word_pieces_of_gguf_files_are_those_of_bert() {
    let tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "▁he",
        "llo",
        "▁world",
        "▁,",
        "▁!",
        "[unused1]",
    ];
    let vocab = |lowercase| GgufVocab {
        model: "bert".to_owned(),
        tokens: tokens.map(str::to_owned).to_vec(),
        token_types: Some(vec![3, 3, 3, 3, 1, 1, 1, 1, 1, 1]),
        cls: Some(2),
        eos: Some(3),
        unk: Some(1),
        lowercase,
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::from_gguf(&vocab(None)).unwrap();
    let ids = |text| tokenizer.encode(text, Specials::AsText).unwrap();
    assert_eq!(ids("Héllo, WORLD!"), [4, 5, 7, 6, 8]);
    assert_eq!(ids("hello hellohello zzz"), [4, 5, 1, 1]);
    assert_eq!(ids("he[SEP]"), [4, 1, 1, 1], "control tokens are text");
    let whole = tokenizer.encode_prompt("hello[SEP]world", Specials::Parse);
    assert_eq!(whole.unwrap(), [2, 4, 5, 3, 6, 3]);
    assert_eq!(tokenizer.decode(&[2, 4, 5, 7, 6, 3]), "hello , world");
    let cased = Tokenizer::from_gguf(&vocab(Some(false))).unwrap();
    assert_eq!(
        cased.encode("Hello hello", Specials::AsText).unwrap(),
        [1, 4, 5]
    );
    let nameless = GgufVocab {
        unk: None,
        ..vocab(None)
    };
    assert!(Tokenizer::from_gguf(&nameless).is_err());
}

#[test]
fn gemma_4_merges_over_spaces_and_falls_back_to_bytes() {
    let mut tokens = vec!["<pad>".to_owned(), "<eos>".to_owned(), "<bos>".to_owned()];
    let mut types = vec![3; 3];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    types.resize(tokens.len(), 6);
    let words = ["h", "e", "▁", "he", "▁he", "\n", "\n\n", "▁▁"];
    tokens.extend(words.map(str::to_owned));
    types.resize(tokens.len(), 1);
    let tokenizer = Tokenizer::from_gguf(&GgufVocab {
        model: "gemma4".to_owned(),
        token_types: Some(types),
        merges: ["h e", "▁ he", "\n \n", "▁ ▁"].map(str::to_owned).to_vec(),
        bos: Some(2),
        eos: Some(1),
        tokens,
        ..GgufVocab::default()
    })
    .unwrap();
    let ids = tokenizer
        .encode_prompt("he he\n\né <eos>  he", Specials::AsText)
        .unwrap();
    let texts = ids.iter().map(|&id| tokenizer.token_text(id).unwrap());
    let texts: Vec<String> = texts.collect();
    let expected = [
        "<bos>", "he", "▁he", "\n\n", "<0xC3>", "<0xA9>", "▁", "<0x3C>", "e", "<0x6F>", "<0x73>",
        "<0x3E>", "▁", "▁he",
    ];
    assert_eq!(texts, expected);
    assert_eq!(tokenizer.decode(&ids), "he he\n\né <eos>  he");
}
