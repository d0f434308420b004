//! The reference files: both formats of one model hold the same tensors.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{models, smollm2};
use cortex_weights::{Gguf, ModelFile};

#[test]
fn both_formats_hold_the_same_embedding() {
    let Some(models) = models() else { return };
    let folder = ModelFile::open(models.join("llama")).unwrap();
    let gguf = ModelFile::open(models.join("llama/model-f32.gguf")).unwrap();
    let (left, right) = (
        folder.tensor("model.embed_tokens.weight").unwrap(),
        gguf.tensor("token_embd.weight").unwrap(),
    );
    assert_eq!(left.shape, right.shape);
    assert_eq!(folder.data(left), gguf.data(right));
    assert_eq!(folder.tensors().len(), gguf.tensors().len());
    assert!(folder.sidecar("tokenizer.json").unwrap().is_some());
    assert!(folder.sidecar("absent.json").unwrap().is_none());
    assert!(folder.sidecar("../llama/config.json").unwrap().is_none());
}

#[test]
fn every_reference_gguf_opens() {
    let Some(models) = models() else { return };
    let mut opened = 0;
    for folder in std::fs::read_dir(models)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "gguf")
            {
                let gguf = Gguf::open(&path).unwrap();
                assert!(
                    gguf.skipped().is_empty() && !gguf.tensors().is_empty(),
                    "{}",
                    path.display()
                );
                opened += 1;
            }
        }
    }
    assert!(opened > 30, "{opened} files");
}

#[test]
fn the_real_file_has_its_vocabulary_and_its_types() {
    let Some(path) = smollm2() else { return };
    let gguf = Gguf::open(path).unwrap();
    assert_eq!(gguf.tensors().len(), 272);
    assert_eq!(
        gguf.arr_str("tokenizer.ggml.tokens")
            .unwrap()
            .unwrap()
            .len(),
        49152
    );
    assert_eq!(
        gguf.get_bool("tokenizer.ggml.add_bos_token").unwrap(),
        Some(false)
    );
    assert!(
        gguf.get_str("tokenizer.chat_template")
            .unwrap()
            .unwrap()
            .contains("im_start")
    );
    let count = |name: &str| {
        gguf.tensors()
            .iter()
            .filter(|tensor| tensor.ty.name() == name)
            .count()
    };
    assert_eq!((count("Q4_1"), count("Q8_0"), count("F32")), (210, 1, 61));
}
