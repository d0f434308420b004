//! Shapes and estimates of the reference models, and of headers that lie about them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use cortex_weights::{ModelFile, ModelShape, estimate};

#[test]
fn smollm2_needs_what_its_header_says() {
    let Some(path) = smollm2() else { return };
    let file = ModelFile::open(&path).unwrap();
    let (shape, estimate) = estimate(&file, 8192, 2, 4).unwrap();
    assert_eq!(
        (shape.architecture.as_str(), shape.layers, shape.hidden),
        ("llama", 30, 576)
    );
    assert_eq!((shape.heads, shape.kv_heads, shape.head_dim), (9, 3, 64));
    assert_eq!(
        (shape.vocab, shape.context_length, shape.feed_forward),
        (49152, 8192, 1536)
    );
    assert_eq!(estimate.kv_bytes_per_token, 30 * 3 * 64 * 2 * 4);
    assert_eq!(estimate.kv_bytes, estimate.kv_bytes_per_token * 8192 * 2);
    let file_bytes = std::fs::metadata(&path).unwrap().len();
    assert!(estimate.weights_bytes < file_bytes && estimate.weights_bytes > file_bytes - (4 << 20));
    let sum = estimate.weights_bytes + estimate.kv_bytes + estimate.work_bytes;
    assert!(estimate.total_bytes > sum && estimate.work_bytes < (128 << 20));
}

#[test]
fn every_reference_model_with_attention_has_a_shape() {
    let Some(models) = models() else { return };
    for name in std::fs::read_dir(&models).unwrap() {
        let name = name.unwrap().file_name().into_string().unwrap();
        if !models.join(&name).join("generation_config.json").exists() {
            continue;
        }
        let name = name.as_str();
        let shape = ModelShape::read(&ModelFile::open(models.join(name)).unwrap()).unwrap();
        assert_eq!(shape.layer_kv.len(), shape.layers, "{name}");
        for entry in std::fs::read_dir(models.join(name)).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "gguf")
            {
                let twin = ModelShape::read(&ModelFile::open(&path).unwrap()).unwrap();
                let gguf = (
                    twin.layers,
                    twin.hidden,
                    twin.heads,
                    twin.head_dim,
                    twin.vocab,
                    &twin.layer_kv,
                );
                let own = (
                    shape.layers,
                    shape.hidden,
                    shape.heads,
                    shape.head_dim,
                    shape.vocab,
                    &shape.layer_kv,
                );
                assert_eq!(gguf, own, "{}", path.display());
            }
        }
    }
}

#[test]
fn latent_and_recurrent_layers_keep_less() {
    let Some(models) = models() else { return };
    let per_token = |name: &str| {
        let file = ModelFile::open(models.join(name)).unwrap();
        estimate(&file, 512, 1, 2).unwrap().1.kv_bytes_per_token
    };
    assert_eq!(per_token("deepseek-v3"), 4 * (32 + 8) * 2);
    assert_eq!(
        per_token("qwen3-next"),
        2 * (32 + 32) * 2,
        "one layer of four"
    );
    assert_eq!(per_token("qwen3-5"), 2 * (32 + 32) * 2, "one layer of four");
}

#[test]
fn encoders_keep_nothing_and_work_on_whole_texts() {
    let Some(models) = models() else { return };
    for name in ["bert-cls", "bert-mean", "xlm-roberta", "modernbert"] {
        let file = ModelFile::open(models.join(name)).unwrap();
        let (shape, short) = estimate(&file, 1, 16, 4).unwrap();
        assert!(shape.encoder, "{name}");
        assert_eq!((short.kv_bytes_per_token, short.kv_bytes), (0, 0), "{name}");
        let (_, long) = estimate(&file, 8192, 16, 4).unwrap();
        assert!(
            long.work_bytes - short.work_bytes > 7000 * 4 * (64 * 8),
            "{name}"
        );
    }
    let decoder = ModelFile::open(models.join("qwen3-embed")).unwrap();
    assert!(!ModelShape::read(&decoder).unwrap().encoder);
}

#[test]
fn a_small_file_beside_the_weights_may_lie_in_a_folder_of_theirs() {
    let folder = Folder::new();
    let file = ModelFile::open(folder.write("model.gguf", Draft::valid().bytes())).unwrap();
    std::fs::create_dir(folder.path().join("inside")).unwrap();
    folder.write("inside/config.json", "{}");
    folder.write("config.json", "[]");
    let read = |at: &str, name: &str| file.sidecar_in(at, name).unwrap();
    assert_eq!(read("inside", "config.json").unwrap(), b"{}");
    assert_eq!(read("inside", "other.json"), None);
    for (at, name) in [
        ("..", "config.json"),
        ("inside/..", "config.json"),
        ("", "config.json"),
        ("inside", "../config.json"),
    ] {
        assert_eq!(read(at, name), None, "{at} {name}");
    }
}

#[test]
fn the_cache_keeps_what_is_beyond_a_window_in_whole_blocks() {
    let Some(models) = models() else { return };
    let file = ModelFile::open(models.join("mistral")).unwrap();
    let kv = |context| estimate(&file, context, 1, 4).unwrap().1;
    assert_eq!(kv(1).kv_bytes_per_token, 4 * 2 * (16 + 16) * 4);
    assert_eq!(kv(100_000).kv_bytes, 100_000 * kv(1).kv_bytes_per_token);
    assert_eq!(kv(1).kv_bytes, 32 * kv(1).kv_bytes_per_token);
}

fn shape_error(change: impl Fn(&mut Vec<Vec<u8>>)) -> String {
    let mut draft = Draft::valid();
    draft.metadata = vec![
        entry_text("general.architecture", "llama"),
        entry_u32("llama.block_count", 2),
        entry_u32("llama.embedding_length", 64),
        entry_u32("llama.feed_forward_length", 96),
        entry_u32("llama.attention.head_count", 4),
        entry_u32("llama.attention.head_count_kv", 2),
        entry_u32("llama.context_length", 512),
        entry_u32("llama.vocab_size", 100),
    ];
    change(&mut draft.metadata);
    let folder = Folder::new();
    let file = ModelFile::open(folder.write("model.gguf", draft.bytes())).unwrap();
    ModelShape::read(&file)
        .err()
        .map_or("accepted".to_owned(), |error| error.to_string())
}

#[test]
fn lying_dimensions_are_refused_before_anything_is_allocated() {
    assert_eq!(shape_error(|_| ()), "accepted");
    let cases: [(usize, &str, u32, &str); 9] = [
        (1, "llama.block_count", u32::MAX, "number of layers"),
        (1, "llama.block_count", 0, "number of layers is 0"),
        (2, "llama.embedding_length", u32::MAX, "do not divide"),
        (2, "llama.embedding_length", 1 << 30, "hidden size"),
        (4, "llama.attention.head_count", 0, "do not divide"),
        (5, "llama.attention.head_count_kv", 3, "cannot share"),
        (5, "llama.attention.head_count_kv", 8, "cannot share"),
        (6, "llama.context_length", u32::MAX, "context length"),
        (7, "llama.vocab_size", u32::MAX, "vocabulary"),
    ];
    for (index, key, value, expected) in cases {
        let message = shape_error(|metadata| metadata[index] = entry_u32(key, value));
        assert!(
            message.contains(expected),
            "{key} = {value}: {message:?} does not say {expected:?}"
        );
    }
    for index in 0..8 {
        let message = shape_error(|metadata| drop(metadata.remove(index)));
        let optional = index == 5;
        assert_eq!(
            message == "accepted",
            optional,
            "without entry {index}: {message}"
        );
    }
    let message = shape_error(|metadata| {
        metadata[5] = entry_array(
            "llama.attention.head_count_kv",
            U32,
            1,
            &2_u32.to_le_bytes(),
        );
    });
    assert!(message.contains("1 values for 2 layers"), "{message}");
}
