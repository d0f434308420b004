//! Any bytes as a GGUF file: no panic, and every tensor and value that is accepted can be read.
#![no_main]

use cortex_weights::{Gguf, ModelFile, estimate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::parse(bytes.to_vec()) else {
        return;
    };
    for key in gguf.keys() {
        let _ = (gguf.get_u32(key), gguf.get_f32(key), gguf.get_bool(key), gguf.get_str(key));
        let _ = (gguf.arr_str(key), gguf.arr_f32(key), gguf.arr_i32(key), gguf.arr_bool(key));
    }
    for tensor in gguf.tensors() {
        assert_eq!(gguf.data(tensor).len(), tensor.bytes);
    }
    let _ = estimate(&ModelFile::Gguf(gguf), usize::MAX, usize::MAX, 4);
});
