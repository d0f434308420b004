//! Mutated and random bytes: never a panic, and what is accepted stays inside the file.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use cortex_weights::{Gguf, Safetensors};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const HEADER: &str = r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"__metadata__":{"format":"pt"}}"#;

/// Reads everything there is to read.
fn walk_gguf(bytes: Vec<u8>) {
    let length = bytes.len();
    let Ok(gguf) = Gguf::parse(bytes) else {
        return;
    };
    let keys: Vec<String> = gguf.keys().map(str::to_owned).collect();
    for key in &keys {
        let _ = (
            gguf.get_u32(key),
            gguf.get_f32(key),
            gguf.get_bool(key),
            gguf.get_str(key),
        );
        let _ = (
            gguf.arr_str(key),
            gguf.arr_f32(key),
            gguf.arr_i32(key),
            gguf.arr_bool(key),
        );
    }
    for tensor in gguf.tensors() {
        assert!(tensor.offset + tensor.bytes <= length);
        assert_eq!(gguf.data(tensor).len(), tensor.bytes);
    }
}

fn walk_safetensors(bytes: Vec<u8>) {
    let Ok(weights) = Safetensors::parse(bytes) else {
        return;
    };
    for tensor in weights.tensors() {
        assert_eq!(weights.data(tensor).len(), tensor.bytes);
    }
}

/// Overwrites `changes` places, then cuts or lengthens.
fn mutate(mut bytes: Vec<u8>, changes: &[(Index, Vec<u8>)], cut: Option<&Index>) -> Vec<u8> {
    for (place, new) in changes {
        let at = place.index(bytes.len());
        let end = (at + new.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&new[..end - at]);
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(Index, Vec<u8>)>> {
    let extreme = prop_oneof![
        Just(u64::MAX.to_le_bytes().to_vec()),
        Just((1_u64 << 63).to_le_bytes().to_vec()),
        Just((1_u64 << 32).to_le_bytes().to_vec()),
        Just(0_u64.to_le_bytes().to_vec()),
        vec(any::<u8>(), 1..9),
    ];
    vec((any::<Index>(), extreme), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_gguf_never_panics(changes in changes(), cut in proptest::option::weighted(0.2, any::<Index>())) {
        walk_gguf(mutate(Draft::valid().bytes(), &changes, cut.as_ref()));
    }

    #[test]
    fn mutated_safetensors_never_panics(changes in changes(), cut in proptest::option::weighted(0.2, any::<Index>())) {
        walk_safetensors(mutate(safetensors(HEADER, &[0; 22]), &changes, cut.as_ref()));
    }

    #[test]
    fn random_bytes_after_the_magic_never_panic(tail in vec(any::<u8>(), 0..400)) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(&tail);
        walk_gguf(bytes);
        walk_safetensors(tail);
    }
}
