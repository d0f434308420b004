//! Real vocabularies against the answers of the engines that they come from.
//!
//! The vocabularies are those of `shared/fixtures/tokenizers`, fetched with its script into the folder
//! `CORTEX_VOCABULARIES` (or `~/.cache/cortex/vocabularies`); those that are not there are skipped by name.
#![allow(clippy::unwrap_used)]

#[path = "common/gguf.rs"]
mod gguf;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cortex_text::{Detokenizer, Specials, Tokenizer};
use serde_json::Value;

fn fixtures() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("CORTEX_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("fixtures");
    if folder.is_dir() {
        return Some(folder);
    }
    let folder = folder.display();
    eprintln!("SKIPPED: {folder} is not there (set CORTEX_SHARED)");
    None
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    home.unwrap_or_default().join(".cache/cortex")
}

/// The file of a vocabulary, wherever it may be.
fn file(name: &str) -> Option<PathBuf> {
    let vocabularies = std::env::var_os("CORTEX_VOCABULARIES");
    let folder = vocabularies.map_or_else(|| cache().join("vocabularies"), PathBuf::from);
    let mut places = vec![
        folder.join(format!("{name}.gguf")),
        folder.join(format!("{name}.json")),
    ];
    if name == "smollm2" {
        places.extend(std::env::var_os("CORTEX_SMOLLM2").map(PathBuf::from));
        places.push(cache().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"));
    }
    let found = places.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: the vocabulary {name} is not there (set CORTEX_VOCABULARIES)");
    }
    found
}

fn open(path: &Path) -> Tokenizer {
    if path.extension().is_some_and(|end| end == "json") {
        return Tokenizer::from_json(&std::fs::read(path).unwrap(), None).unwrap();
    }
    Tokenizer::from_gguf(&gguf::vocabulary(path)).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

/// Whether the second answer is the only right one, as the fixtures' own notes say.
fn second_is_right(name: &str) -> bool {
    name.starts_with("qwen") || name.starts_with("bert")
}

/// Texts that are not NFC: Qwen 3.5 composes them as its older sisters do, and here has no second reference.
const DECOMPOSED: [&str; 5] = [
    "cjk_22",
    "accents_02",
    "accents_03",
    "accents_14",
    "accents_15",
];

/// The answers that may be given to a case.
fn answers(name: &str, case: &Value, specials: Specials) -> Vec<Vec<u32>> {
    let (first, second) = match specials {
        Specials::AsText => (&case["ids"], &case["second_ids"]),
        Specials::Parse if case["special_ids"].is_null() => {
            (&case["ids"], &case["second_special_ids"])
        }
        Specials::Parse => (&case["special_ids"], &case["second_special_ids"]),
    };
    match second {
        Value::Null => vec![ids(first)],
        second if second_is_right(name) => vec![ids(second)],
        second => vec![ids(first), ids(second)],
    }
}

/// What a tokenizer does otherwise than expected, one line each.
fn differences(
    name: &str,
    tokenizer: &Arc<Tokenizer>,
    corpus: &Value,
    expected: &Value,
) -> Vec<String> {
    let mut found = Vec::new();
    for row in corpus.as_array().unwrap() {
        let (id, text) = (row["id"].as_str().unwrap(), row["text"].as_str().unwrap());
        let case = &expected["cases"][id];
        if name == "qwen35" && DECOMPOSED.contains(&id) {
            continue;
        }
        for specials in [Specials::AsText, Specials::Parse] {
            let got = tokenizer.encode(text, specials).unwrap();
            let fewest = tokenizer.fewest_tokens(text.len());
            if fewest > got.len() {
                found.push(format!(
                    "{name} {id}: {} tokens, fewer than {fewest}",
                    got.len()
                ));
            }
            let mut allowed = answers(name, case, specials);
            if name == "qwen35" && text.contains("</s>") {
                // An ordinary token, says the second reference of the same vocabulary in Qwen 2.
                allowed = answers(name, case, Specials::AsText);
            }
            if !allowed.contains(&got) {
                found.push(format!(
                    "{name} {id} {specials:?}: {got:?}, not {allowed:?}"
                ));
            }
        }
        if let Some(decoded) = case["decoded"].as_str() {
            let got = tokenizer.decode(&ids(&case["ids"]));
            if got != decoded {
                found.push(format!("{name} {id}: {got:?}, not {decoded:?}"));
            }
        }
    }
    found.extend(stream_differences(name, tokenizer, expected));
    found
}

/// The streams show control tokens as text, which ours never does: those with one are left out.
fn stream_differences(name: &str, tokenizer: &Arc<Tokenizer>, expected: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for stream in expected["streams"].as_array().unwrap() {
        let sampled = ids(&stream["ids"]);
        // The reference marks what is not in the byte alphabet, where ours shows the character.
        let marked = stream["pieces"].to_string().contains("[UNK_BYTE_");
        if marked || sampled.iter().any(|&id| tokenizer.is_control(id)) {
            continue;
        }
        let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer));
        let pieces: Vec<String> = sampled.iter().map(|&id| detokenizer.push(id)).collect();
        let rest = detokenizer.finish();
        let wanted = stream["pieces"].as_array().unwrap();
        if !pieces
            .iter()
            .eq(wanted.iter().map(|piece| piece.as_str().unwrap()))
            || rest != stream["rest"]
        {
            found.push(format!(
                "{name} stream {sampled:?}: {pieces:?} {rest:?}, not {stream}"
            ));
        }
    }
    found
}

/// BOS before a prompt and the ends of a turn.
fn frame_differences(name: &str, tokenizer: &Tokenizer, vocab: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let bos = u32::try_from(vocab["bos"].as_u64().unwrap()).unwrap();
    let prompt = tokenizer.encode_prompt("a", Specials::AsText).unwrap();
    if (prompt[0] == bos) != vocab["add_bos"].as_bool().unwrap() || prompt.len() > 3 {
        found.push(format!("{name}: the prompt is {prompt:?}, with {vocab}"));
    }
    if name.starts_with("bert") {
        // It writes nothing that could end.
        return found;
    }
    let mut ends = tokenizer.eos_ids().to_vec();
    ends.sort_unstable();
    let mut wanted = ids(&vocab["end_of_generation"]);
    // `</s>` is an ordinary token of Qwen; the first token of Command R is its padding.
    wanted.retain(|&id| {
        !(name.starts_with("qwen") && id == 128_247 || name == "command-r" && id == 0)
    });
    if ends != wanted {
        found.push(format!("{name}: ends are {ends:?}, not {wanted:?}"));
    }
    found
}

#[test]
fn real_vocabularies_answer_as_their_engines_do() {
    let Some(folder) = fixtures().map(|folder| folder.join("tokenizers")) else {
        return;
    };
    let corpus = json(&folder.join("corpus.json"));
    let mut found = Vec::new();
    for row in json(&folder.join("vocabularies.json")).as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let Some(path) = file(name) else { continue };
        let tokenizer = Arc::new(open(&path));
        let expected = json(&folder.join(format!("expected/{name}.json")));
        found.extend(differences(name, &tokenizer, &corpus, &expected));
        if !expected["vocab"]["eos"].is_null() {
            found.extend(frame_differences(name, &tokenizer, &expected["vocab"]));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn prompts_of_the_real_model_are_those_of_its_references() {
    let (Some(folder), Some(path)) = (fixtures(), file("smollm2")) else {
        return;
    };
    let tokenizer = open(&path);
    for name in ["smollm2_dequant_f32_transformers", "smollm2_q4_1_llamacpp"] {
        let reference = json(&folder.join(format!("real/{name}.json")));
        for result in reference["results"].as_array().unwrap() {
            let prompt = result["prompt"].as_str().unwrap();
            let got = tokenizer.encode_prompt(prompt, Specials::Parse).unwrap();
            assert_eq!(got, ids(&result["token_ids"]), "{name}: {prompt:?}");
        }
    }
}

#[test]
fn long_texts_take_time_in_proportion() {
    let Some(folder) = fixtures().map(|folder| folder.join("tokenizers")) else {
        return;
    };
    let corpus = json(&folder.join("corpus.json"));
    let texts = corpus.as_array().unwrap().iter();
    let text: String = texts.map(|row| row["text"].as_str().unwrap()).collect();
    let text = text.repeat(200_000 / text.len() + 1);
    for name in ["smollm2", "llama-spm", "llama-bpe", "qwen3"] {
        let Some(path) = file(name) else { continue };
        let tokenizer = open(&path);
        let start = Instant::now();
        let ids = tokenizer.encode(&text, Specials::AsText).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{name}: {} tokens in {seconds:.3} s", ids.len());
        // Quadratic work takes minutes; a busy machine does not.
        assert!(seconds < 5.0, "{name}: {seconds} s");
    }
}
