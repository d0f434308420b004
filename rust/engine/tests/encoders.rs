//! Encoders against the hidden states and embeddings of the reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{floats, ids, json, max_difference, own_embedder, shared_fixture};
use cortex_engine::encoder::{Encoder, Stopped};
use cortex_kernels::Pool;
use cortex_weights::ModelFile;

/// Absolute, on each value; a tanh GELU in place of the exact one makes 5e-5.
const EXACT: f32 = 1e-5;

fn encoder(folder: &Path) -> Encoder {
    let file = ModelFile::open(folder).unwrap();
    Encoder::load(&file, Arc::new(Pool::new(2))).unwrap()
}

#[test]
fn hidden_states_are_the_references() {
    for family in ["bert-cls", "bert-mean", "xlm-roberta", "modernbert"] {
        let Some(folder) = shared_fixture(&format!("models/{family}")) else {
            continue;
        };
        let expected = json(&folder.join("expected.json"));
        let inputs = expected["inputs"].as_array().unwrap();
        let text = ids(&inputs.iter().find(|input| input["length"] == 7).unwrap()["input_ids"]);
        let (_, trace) = encoder(&folder).forward_traced(&[&text]).unwrap();
        let layers = expected["layers"]["last_token"].as_array().unwrap();
        assert_eq!(trace.len(), layers.len());
        for (layer, (ours, theirs)) in trace.iter().zip(layers).enumerate() {
            let theirs = floats(theirs);
            let size = theirs
                .iter()
                .fold(1.0_f32, |size, value| size.max(value.abs()));
            let off = max_difference(ours, &theirs);
            assert!(
                off < EXACT * size,
                "{family}: hidden state {layer} is off by {off}"
            );
        }
    }
}

#[test]
fn a_text_is_the_same_alone_and_among_others() {
    for family in ["bert-cls", "xlm-roberta", "modernbert"] {
        let Some(folder) = shared_fixture(&format!("models/{family}")) else {
            continue;
        };
        let encoder = encoder(&folder);
        let texts: Vec<Vec<u32>> = [5_usize, 90, 1, 33]
            .iter()
            .map(|&len| (0..len).map(|i| 20 + (i * 37 % 480) as u32).collect())
            .collect();
        let all: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let together = encoder.forward(&all, &|| true).unwrap();
        let alone = all
            .iter()
            .flat_map(|text| encoder.forward(&[text], &|| true).unwrap());
        assert_eq!(together, alone.collect::<Vec<_>>(), "{family}");
    }
}

#[test]
fn a_pass_that_nobody_wants_ends_before_its_next_layer() {
    let asked = std::cell::Cell::new(0);
    let wanted = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let encoder = encoder(&own_embedder());
    let stopped = encoder.forward(&[&[20, 21]], &wanted).unwrap_err();
    assert!(matches!(stopped, Stopped::Unwanted), "{stopped:?}");
    assert_eq!(asked.get(), 3);
}

#[test]
fn a_token_beyond_the_vocabulary_is_an_error() {
    let encoder = encoder(&own_embedder());
    let stopped = encoder.forward(&[&[512]], &|| true).unwrap_err();
    assert!(matches!(stopped, Stopped::Failed(_)), "{stopped:?}");
}
