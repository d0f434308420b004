//! Decoding of blocks against the recorded values of the reference, and of bytes that no quantiser writes.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use cortex_kernels::{BlockType, KernelError, dequantize};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// Eight random blocks of every type: `TYPE.raw` and, as f32, `TYPE.values`.
const ALL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/fixtures/models/quant_blocks.safetensors"
);

/// The first two blocks of each type that has a decoder.
const SOME: &[u8] = include_bytes!("data/quant_blocks.safetensors");

/// Types that are known but have no decoder yet.
const UNSUPPORTED: [BlockType; 10] = [
    BlockType::IQ1S,
    BlockType::IQ1M,
    BlockType::IQ2XXS,
    BlockType::IQ2XS,
    BlockType::IQ2S,
    BlockType::IQ3XXS,
    BlockType::IQ3S,
    BlockType::TQ1_0,
    BlockType::TQ2_0,
    BlockType::NVFP4,
];

fn supported() -> Vec<BlockType> {
    BlockType::all()
        .filter(|ty| !UNSUPPORTED.contains(ty))
        .collect()
}

fn decode(ty: BlockType, bytes: &[u8]) -> Vec<f32> {
    let blocks = bytes.len() / ty.block_bytes();
    let mut values = vec![0.0; blocks * ty.block_len()];
    dequantize(ty, bytes, &mut values).unwrap();
    values
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn compare(recorded: &[u8]) {
    let oracle = SafeTensors::deserialize(recorded).unwrap();
    for ty in supported().into_iter().filter(|ty| *ty != BlockType::F32) {
        let name = ty.name();
        let raw = oracle.tensor(&format!("{name}.raw")).unwrap();
        let expected = oracle.tensor(&format!("{name}.values")).unwrap();
        let found = decode(ty, raw.data());
        let found: Vec<u8> = found.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(found == expected.data(), "{name}");
    }
}

#[test]
fn blocks_decode_bit_for_bit_as_recorded() {
    compare(SOME);
}

#[test]
fn the_other_recorded_blocks_do_too() {
    match std::fs::read(ALL) {
        Ok(recorded) => compare(&recorded),
        Err(error) => eprintln!("skipped: {ALL}: {error}"),
    }
}

#[test]
fn a_type_without_a_decoder_is_refused_by_name() {
    for ty in UNSUPPORTED {
        let bytes = vec![0; ty.block_bytes()];
        let error = dequantize(ty, &bytes, &mut vec![0.0; ty.block_len()]).unwrap_err();
        assert_eq!(error, KernelError::Unsupported { ty });
        assert!(error.to_string().contains(ty.name()), "{error}");
    }
}

#[test]
fn floats_keep_every_bit_also_of_nans() {
    let patterns: Vec<u16> = vec![0, 0x8000, 1, 0x8001, 0x7c01, 0xfe01, 0x7f81, 0xffc1, 0x7f80];
    let bytes: Vec<u8> = patterns
        .iter()
        .flat_map(|bits| bits.to_le_bytes())
        .collect();
    let wide = patterns.iter().map(|bits| u32::from(*bits) << 16);
    let wide: Vec<u32> = wide.collect();
    assert_eq!(bits(&decode(BlockType::BF16, &bytes)), wide);
    let halves = decode(BlockType::F16, &bytes);
    assert_eq!(
        halves[..2]
            .iter()
            .map(|half| half.to_bits())
            .collect::<Vec<_>>(),
        [0, 1 << 31]
    );
    assert_eq!(halves[2..4], [2.0f32.powi(-24), -(2.0f32.powi(-24))]);
    assert_eq!(bits(&halves[4..6]), [0x7f80_2000, 0xffc0_2000]);
    let bytes: Vec<u8> = wide
        .iter()
        .flat_map(|bits| (bits | 1).to_le_bytes())
        .collect();
    let odd: Vec<u32> = wide.iter().map(|bits| bits | 1).collect();
    assert_eq!(bits(&decode(BlockType::F32, &bytes)), odd);
}

#[test]
fn infinite_and_undefined_scales_reach_the_values() {
    let mut block = vec![0, 0x7c, 1, 0xff];
    block.resize(34, 0);
    let values = decode(BlockType::Q8_0, &block);
    assert_eq!(values[..2], [f32::INFINITY, f32::NEG_INFINITY]);
    assert!(values[2..].iter().all(|value| value.is_nan()));
    let mut block = vec![0, 0x3c, 1, 0x7e];
    block.resize(20, 0x55);
    assert!(
        decode(BlockType::Q4_1, &block)
            .iter()
            .all(|value| value.is_nan())
    );
    let mut block = vec![255];
    block.resize(17, 0x10);
    let values = decode(BlockType::MXFP4, &block);
    assert_eq!(values[0], 0.0);
    assert_eq!(values[16], 2.0f32.powi(127));
}

fn any_blocks() -> impl Strategy<Value = (BlockType, Vec<u8>)> {
    let sizes = (prop::sample::select(supported()), 0..5usize);
    sizes.prop_flat_map(|(ty, blocks)| {
        let len = blocks * ty.block_bytes();
        (Just(ty), prop::collection::vec(any::<u8>(), len))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_and_no_block_depends_on_another((ty, bytes) in any_blocks()) {
        let together = decode(ty, &bytes);
        let blocks = bytes.chunks_exact(ty.block_bytes());
        let alone: Vec<f32> = blocks.flat_map(|block| decode(ty, block)).collect();
        prop_assert_eq!(bits(&together), bits(&alone));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_and_nothing_is_written(
        ty in prop::sample::select(BlockType::all().collect::<Vec<_>>()),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        values in 0..600usize,
    ) {
        let mut out = vec![7.0; values];
        let fits = ty.bytes_for(values) == Some(bytes.len());
        let result = dequantize(ty, &bytes, &mut out);
        prop_assert_eq!(result.is_ok(), fits && !UNSUPPORTED.contains(&ty));
        prop_assert!(result.is_ok() || out.iter().all(|value| *value == 7.0));
    }
}
