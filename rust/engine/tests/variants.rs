//! Models of a folder that an environment variable names, against the reference: other sizes, seeds and settings than
//! the fixtures have, and their GGUF twins. `python -m tests.variants` writes them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use common::json;
use common::reference::{Tolerance, check, check_vectors};

const VARIABLE: &str = "CORTEX_VARIANTS";

/// Folders with expected outputs, in order.
fn variants(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = folders
        .filter(|folder| folder.join("expected.json").exists())
        .collect();
    folders.sort();
    folders
}

/// The model itself and its GGUF twins in single precision; those that were not written are not there.
fn models(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let names = ["model.safetensors", "model-f32.gguf"];
    let paths = names.map(|name| folder.join(name));
    paths.into_iter().filter(|path| path.exists())
}

#[test]
fn variants_are_exact() {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        eprintln!("SKIPPED: {VARIABLE} names no folder of variants");
        return;
    };
    if variants(Path::new(&folder)).is_empty() {
        eprintln!("SKIPPED: no variants in {}", folder.display());
        return;
    }
    let (mut checked, mut wrong) = (0, Vec::new());
    for folder in variants(Path::new(&folder)) {
        for model in models(&folder) {
            checked += 1;
            let expected = folder.join("expected.json");
            let outcome = catch_unwind(|| {
                if json(&expected)["inputs"].is_array() {
                    check_vectors(&folder);
                } else {
                    check(&model, &expected, Tolerance::Exact);
                }
            });
            if outcome.is_err() {
                wrong.push(model.display().to_string());
            }
        }
    }
    eprintln!("{checked} models, {} wrong", wrong.len());
    assert!(checked > 0, "no models in {}", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
