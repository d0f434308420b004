//! Any bytes as a safetensors file: no panic, and every tensor that is accepted can be read.
#![no_main]

use cortex_weights::Safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = Safetensors::parse(bytes.to_vec()) else {
        return;
    };
    for tensor in weights.tensors() {
        assert_eq!(weights.data(tensor).len(), tensor.bytes);
    }
});
