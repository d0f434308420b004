//! Decoding of blocks against the recorded values of the reference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use cortex_kernels::{BlockType, KernelError, dequantize};
use safetensors::SafeTensors;

const ORACLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/fixtures/models/quant_blocks.safetensors"
);

/// Types that are known but have no decoder yet.
const UNSUPPORTED: [&str; 10] = [
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "NVFP4",
];

#[test]
fn blocks_decode_bit_for_bit_as_recorded() {
    let Ok(bytes) = std::fs::read(ORACLE) else {
        eprintln!("skipped: {ORACLE} is not here");
        return;
    };
    let oracle = SafeTensors::deserialize(&bytes).unwrap();
    for ty in BlockType::all().filter(|ty| *ty != BlockType::F32) {
        let name = ty.name();
        let raw = oracle.tensor(&format!("{name}.raw")).unwrap();
        let expected = oracle.tensor(&format!("{name}.values")).unwrap();
        let mut values = vec![0.0f32; expected.data().len() / 4];
        let result = dequantize(ty, raw.data(), &mut values);
        if UNSUPPORTED.contains(&name) {
            assert_eq!(result, Err(KernelError::Unsupported { ty }));
            continue;
        }
        result.unwrap();
        let found: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(found == expected.data(), "{name}");
    }
}

#[test]
fn an_error_names_the_type() {
    let error = dequantize(BlockType::TQ1_0, &[0; 54], &mut [0.0; 256]).unwrap_err();
    assert!(error.to_string().contains("TQ1_0"), "{error}");
}
