//! Every kind of broken GGUF file is refused with a message that names the fault.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use cortex_weights::{ErrorKind, Gguf};

type Break = fn(&mut Draft);

/// Parses the valid draft after `change`; the error's text must contain `expected`.
fn refused(name: &str, change: Break, expected: &str) {
    let mut draft = Draft::valid();
    change(&mut draft);
    refused_bytes(name, draft.bytes(), expected);
}

fn refused_bytes(name: &str, bytes: Vec<u8>, expected: &str) {
    let Err(error) = Gguf::parse(bytes) else {
        panic!("{name}: the broken file was accepted");
    };
    let message = error.to_string();
    assert!(
        message.contains(expected),
        "{name}: {message:?} does not say {expected:?}"
    );
}

fn all_refused(cases: &[(&str, Break, &str)]) {
    for (name, change, expected) in cases {
        refused(name, *change, expected);
    }
}

fn add(draft: &mut Draft, entry: Vec<u8>) {
    draft.metadata.push(entry);
}

#[test]
fn the_draft_itself_is_valid() {
    let gguf = Gguf::parse(Draft::valid().bytes()).unwrap();
    assert_eq!(gguf.version(), 3);
    assert_eq!(gguf.architecture().unwrap(), "llama");
    assert_eq!(gguf.get_u64("test.u64").unwrap(), Some(u64::MAX));
    assert_eq!(gguf.get_i64("test.i32").unwrap(), Some(-7));
    assert_eq!(gguf.get_f32("test.f32").unwrap(), Some(0.25));
    assert_eq!(gguf.get_bool("test.bool").unwrap(), Some(true));
    assert_eq!(
        gguf.arr_str("test.strings").unwrap().unwrap(),
        ["a", "", "ö"]
    );
    assert_eq!(gguf.arr_f32("test.floats").unwrap().unwrap(), [1.5, -2.0]);
    assert_eq!(gguf.get_u32("absent").unwrap(), None);
    let second = gguf.tensor("second").unwrap();
    assert_eq!(gguf.data(second), (32..44).collect::<Vec<u8>>());
    let blocks = gguf.tensor("blocks").unwrap();
    assert_eq!((blocks.rows(), blocks.cols(), blocks.bytes), (2, 32, 68));
    assert_eq!(gguf.data(blocks).len(), 68);
}

#[test]
fn broken_preambles() {
    refused_bytes("empty", Vec::new(), "magic");
    refused_bytes("three bytes", b"GGU".to_vec(), "magic");
    refused_bytes("magic only", b"GGUF".to_vec(), "version");
    all_refused(&[
        (
            "older format",
            |d| d.magic = b"ggjt".to_vec(),
            "not a GGUF file",
        ),
        (
            "a zip",
            |d| d.magic = b"PK\x03\x04".to_vec(),
            "not a GGUF file",
        ),
        ("version 0", |d| d.version = 0, "version 0"),
        ("version 1", |d| d.version = 1, "version 1"),
        ("version 4", |d| d.version = 4, "version 4"),
        (
            "big endian",
            |d| d.version = 3_u32.swap_bytes(),
            "big-endian",
        ),
        (
            "tensor count: huge",
            |d| d.tensor_count = Some(u64::MAX),
            "number of tensors",
        ),
        (
            "tensor count: negative",
            |d| d.tensor_count = Some(1 << 63),
            "number of tensors",
        ),
        (
            "tensor count: over the file",
            |d| d.tensor_count = Some(100_000),
            "ends too early",
        ),
        (
            "tensor count: one more",
            |d| d.tensor_count = Some(4),
            "tensor 3",
        ),
        (
            "metadata count: huge",
            |d| d.metadata_count = Some(u64::MAX),
            "number of metadata",
        ),
        (
            "metadata count: over the file",
            |d| d.metadata_count = Some(60_000),
            "ends too early",
        ),
        (
            "metadata count: one more",
            |d| d.metadata_count = Some(9),
            "limit",
        ),
    ]);
}

#[test]
fn broken_metadata() {
    all_refused(&[
        (
            "key length over file",
            |d| d.metadata[0][..8].copy_from_slice(&900_u64.to_le_bytes()),
            "ends too early",
        ),
        (
            "key length huge",
            |d| d.metadata[0][..8].copy_from_slice(&u64::MAX.to_le_bytes()),
            "limit",
        ),
        ("key empty", |d| add(d, entry("", BOOL, &[1])), "is empty"),
        ("key not UTF-8", |d| d.metadata[0][8] = 0xff, "UTF-8"),
        (
            "key twice",
            |d| add(d, entry_u32("llama.block_count", 2)),
            "occurs twice",
        ),
        (
            "type 13",
            |d| add(d, entry("x", 13, &[0; 8])),
            "unknown type 13",
        ),
        (
            "type huge",
            |d| add(d, entry("x", u32::MAX, &[0; 8])),
            "unknown type",
        ),
        (
            "boolean 2",
            |d| add(d, entry("x", BOOL, &[2])),
            "out of range",
        ),
        (
            "string over file",
            |d| add(d, entry("x", TEXT, &5000_u64.to_le_bytes())),
            "ends too early",
        ),
        (
            "string huge",
            |d| add(d, entry("x", TEXT, &u64::MAX.to_le_bytes())),
            "limit",
        ),
        (
            "string not UTF-8",
            |d| add(d, entry("x", TEXT, &[1, 0, 0, 0, 0, 0, 0, 0, 0xc0])),
            "UTF-8",
        ),
        (
            "array type unknown",
            |d| add(d, entry_array("x", 99, 1, &[0; 8])),
            "unknown type 99",
        ),
        (
            "array of arrays",
            |d| add(d, entry_array("x", ARRAY, 1, &[0; 32])),
            "array of arrays",
        ),
        (
            "array length huge",
            |d| add(d, entry_array("x", U8, u64::MAX, &[])),
            "limit",
        ),
        (
            "array length over file",
            |d| add(d, entry_array("x", U32, 1 << 20, &[0; 8])),
            "ends too early",
        ),
        (
            "array wraps to 0",
            |d| add(d, entry_array("x", U64, 1 << 61, &[])),
            "limit",
        ),
        (
            "string array over file",
            |d| add(d, entry_array("x", TEXT, 1 << 20, &[0; 8])),
            "ends too early",
        ),
        (
            "string array element lies",
            |d| add(d, entry_array("x", TEXT, 1, &u64::MAX.to_le_bytes())),
            "ends too early",
        ),
        (
            "boolean array",
            |d| add(d, entry_array("x", BOOL, 2, &[1, 7])),
            "out of range",
        ),
    ]);
}

#[test]
fn broken_alignment() {
    all_refused(&[
        (
            "alignment 0",
            |d| add(d, entry_u32("general.alignment", 0)),
            "power of two",
        ),
        (
            "alignment 13",
            |d| add(d, entry_u32("general.alignment", 13)),
            "power of two",
        ),
        (
            "alignment 1",
            |d| add(d, entry_u32("general.alignment", 1)),
            "power of two",
        ),
        (
            "alignment huge",
            |d| add(d, entry_u32("general.alignment", 1 << 31)),
            "power of two",
        ),
        (
            "alignment text",
            |d| add(d, entry_text("general.alignment", "32")),
            "expected an integer",
        ),
        (
            "alignment other than used",
            |d| add(d, entry_u32("general.alignment", 64)),
            "multiple of the alignment",
        ),
    ]);
}

#[test]
fn broken_tensor_lists() {
    all_refused(&[
        (
            "name over file",
            |d| d.tensors[2].name[..8].copy_from_slice(&999_u64.to_le_bytes()),
            "ends too early",
        ),
        (
            "name huge",
            |d| d.tensors[0].name[..8].copy_from_slice(&u64::MAX.to_le_bytes()),
            "limit",
        ),
        ("name empty", |d| d.tensors[0].name = text(""), "no name"),
        ("name not UTF-8", |d| d.tensors[0].name[8] = 0xff, "UTF-8"),
        (
            "name twice",
            |d| d.tensors[1].name = text("first"),
            "occurs twice",
        ),
        (
            "no dimension",
            |d| d.tensors[0].dims.clear(),
            "0 dimensions",
        ),
        (
            "five dimensions",
            |d| d.tensors[0].dims = vec![1; 5],
            "5 dimensions",
        ),
        (
            "dimension count huge",
            |d| d.tensors[0].dim_count = Some(u32::MAX),
            "dimensions",
        ),
        (
            "dimension 0",
            |d| d.tensors[0].dims = vec![4, 0],
            "dimension of 0",
        ),
        (
            "dimension negative",
            |d| d.tensors[0].dims = vec![4, 1 << 63],
            "impossible dimension",
        ),
        (
            "product wraps to 0",
            |d| d.tensors[0].dims = vec![1 << 32, 1 << 32],
            "overflow",
        ),
        (
            "product wraps small",
            |d| d.tensors[0].dims = vec![(1 << 62) + 1, 4],
            "overflow",
        ),
        (
            "bytes overflow",
            |d| d.tensors[0].dims = vec![1 << 61, 3],
            "overflow",
        ),
        ("type removed", |d| d.tensors[0].ty = 4, "type number 4"),
        (
            "type unknown",
            |d| d.tensors[0].ty = 4000,
            "type number 4000",
        ),
        ("type huge", |d| d.tensors[0].ty = u32::MAX, "not supported"),
        (
            "row is no whole block",
            |d| d.tensors[2].dims = vec![16, 4],
            "multiple of 32",
        ),
    ]);
}

#[test]
fn broken_places() {
    all_refused(&[
        (
            "offset not aligned",
            |d| d.tensors[1].offset = 33,
            "multiple of the alignment",
        ),
        (
            "offset beyond file",
            |d| d.tensors[2].offset = 1 << 20,
            "ends too early",
        ),
        (
            "offset huge",
            |d| d.tensors[2].offset = u64::MAX - 31,
            "overflow",
        ),
        ("offset overlaps", |d| d.tensors[1].offset = 0, "overlap"),
        (
            "offset overlaps by size",
            |d| d.tensors[0].dims = vec![4, 3],
            "overlap",
        ),
        (
            "data cut by one",
            |d| d.data.truncate(131),
            "ends too early",
        ),
        ("no data", |d| d.data.clear(), "ends too early"),
        (
            "shape over file",
            |d| d.tensors[2].dims = vec![32, 1 << 40],
            "ends too early",
        ),
    ]);
}

#[test]
fn every_truncation_is_refused() {
    let mut draft = Draft::valid();
    draft.data.truncate(132);
    let bytes = draft.bytes();
    assert!(Gguf::parse(bytes.clone()).is_ok());
    for length in 0..bytes.len() {
        assert!(
            Gguf::parse(bytes[..length].to_vec()).is_err(),
            "cut to {length} bytes"
        );
    }
}

#[test]
fn well_formed_files_with_what_we_lack_are_called_unsupported() {
    let kind = |change: Break| {
        let mut draft = Draft::valid();
        change(&mut draft);
        Gguf::parse(draft.bytes()).unwrap_err().kind()
    };
    assert_eq!(kind(|d| d.version = 1), ErrorKind::Unsupported);
    assert_eq!(
        kind(|d| d.version = 2_u32.swap_bytes()),
        ErrorKind::Unsupported
    );
    assert_eq!(kind(|d| d.tensors[0].ty = 4000), ErrorKind::Unsupported);
    assert_eq!(kind(|d| d.data.clear()), ErrorKind::Invalid);
}

#[test]
fn variants_that_are_valid_are_read() {
    let mut draft = Draft::valid();
    draft.version = 2;
    assert_eq!(Gguf::parse(draft.bytes()).unwrap().version(), 2);

    let mut draft = Draft::valid();
    add(&mut draft, entry_u32("general.alignment", 8));
    draft.alignment = 8;
    draft.tensors[2].offset = 48;
    let gguf = Gguf::parse(draft.bytes()).unwrap();
    assert_eq!(gguf.data(gguf.tensor("blocks").unwrap())[0], 48);

    let mut draft = Draft::valid();
    draft.tensors[1].ty = 26;
    let gguf = Gguf::parse(draft.bytes()).unwrap();
    assert_eq!(gguf.skipped()[0].name, "second");
    assert_eq!(gguf.skipped()[0].ty, "I32");
    assert!(gguf.tensor("second").is_none());

    let mut draft = Draft::valid();
    draft.tensors.clear();
    assert!(Gguf::parse(draft.bytes()).unwrap().tensors().is_empty());
}

#[test]
fn getters_refuse_other_types_and_ranges() {
    let gguf = Gguf::parse(Draft::valid().bytes()).unwrap();
    let says = |error: cortex_weights::WeightsError, text: &str| {
        assert!(error.to_string().contains(text), "{error}");
    };
    says(gguf.get_u32("test.u64").unwrap_err(), "out of range");
    says(gguf.get_u32("test.i32").unwrap_err(), "out of range");
    says(gguf.get_u32("test.f32").unwrap_err(), "expected an integer");
    says(gguf.get_str("test.bool").unwrap_err(), "expected a string");
    says(
        gguf.get_f32("test.strings").unwrap_err(),
        "expected a float",
    );
    says(
        gguf.arr_u32("test.strings").unwrap_err(),
        "expected integers",
    );
    says(gguf.arr_str("test.floats").unwrap_err(), "expected strings");
    says(gguf.arr_f32("test.f32").unwrap_err(), "expected an array");
    says(
        gguf.get_bool("llama.block_count").unwrap_err(),
        "expected a boolean",
    );
}
