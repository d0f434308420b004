//! Broken safetensors headers and indexes are refused with a message that names the fault.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Folder, safetensors};
use cortex_weights::{ModelFile, Safetensors, WeightsError};

const ONE: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

fn says(name: &str, result: Result<impl Sized, WeightsError>, expected: &str) {
    let Err(error) = result else {
        panic!("{name}: the broken file was accepted");
    };
    let message = error.to_string();
    assert!(
        message.contains(expected),
        "{name}: {message:?} does not say {expected:?}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn broken_headers() {
    let cases: &[(&str, &str, usize, &str)] = &[
        ("no JSON", "hello", 0, "JSON"),
        ("empty header", "", 0, "JSON"),
        ("array", "[]", 0, "object of tensors"),
        ("cut JSON", r#"{"a":{"dtype":"F32""#, 8, "JSON"),
        (
            "nested too deep",
            &format!("{{\"a\":{}", "[".repeat(5000)),
            0,
            "JSON",
        ),
        (
            "unknown field",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}"#,
            8,
            "unknown field",
        ),
        (
            "missing dtype",
            r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#,
            8,
            "dtype",
        ),
        (
            "missing offsets",
            r#"{"a":{"dtype":"F32","shape":[2]}}"#,
            8,
            "data_offsets",
        ),
        (
            "one offset",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#,
            8,
            "JSON",
        ),
        (
            "negative offset",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#,
            8,
            "JSON",
        ),
        (
            "float shape",
            r#"{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}"#,
            8,
            "JSON",
        ),
        (
            "negative shape",
            r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#,
            8,
            "JSON",
        ),
        (
            "unknown dtype",
            r#"{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}"#,
            8,
            "F31",
        ),
        (
            "shape overflows",
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
            0,
            "overflow",
        ),
        (
            "bytes overflow",
            r#"{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}"#,
            4,
            "overflow",
        ),
        (
            "shape other than offsets",
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            8,
            "needs 12 bytes",
        ),
        (
            "offsets reversed",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            8,
            "lies at bytes",
        ),
        (
            "offsets huge",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
            8,
            "needs 8 bytes",
        ),
        (
            "gap in front",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
            16,
            "lies at bytes",
        ),
        (
            "overlap",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
            "lies at bytes",
        ),
        (
            "name twice",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            8,
            "occurs twice",
        ),
        ("data cut", ONE, 7, "ends too early"),
        ("data too long", ONE, 9, "9 bytes of data"),
    ];
    for (name, header, data, expected) in cases {
        says(
            name,
            Safetensors::parse(safetensors(header, &vec![0; *data])),
            expected,
        );
    }
    says(
        "empty file",
        Safetensors::parse(Vec::new()),
        "length of the header",
    );
    says(
        "length over file",
        Safetensors::parse(100_u64.to_le_bytes().to_vec()),
        "ends too early",
    );
    says(
        "length huge",
        Safetensors::parse(u64::MAX.to_le_bytes().to_vec()),
        "limit",
    );
}

#[test]
fn every_truncation_is_refused() {
    let bytes = safetensors(ONE, &[1; 8]);
    assert!(Safetensors::parse(bytes.clone()).is_ok());
    for length in 0..bytes.len() {
        assert!(
            Safetensors::parse(bytes[..length].to_vec()).is_err(),
            "cut to {length} bytes"
        );
    }
}

#[test]
fn integer_tables_scalars_and_empty_tensors_are_listed() {
    let header = concat!(
        r#"{"ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"#,
        r#""scale":{"dtype":"BF16","shape":[],"data_offsets":[16,18]},"#,
        r#""none":{"dtype":"F32","shape":[0,4],"data_offsets":[18,18]}}"#
    );
    let weights = Safetensors::parse(safetensors(header, &[7; 18])).unwrap();
    assert_eq!(weights.skipped()[0].name, "ids");
    let scale = weights.tensor("scale").unwrap();
    assert_eq!(
        (scale.rows(), scale.cols(), weights.data(scale)),
        (1, 1, &[7_u8, 7][..])
    );
    assert_eq!(weights.tensor("none").unwrap().bytes, 0);
}

fn index(map: &str) -> String {
    format!(r#"{{"metadata":{{"total_size":16}},"weight_map":{map}}}"#)
}

fn sharded(map: &str) -> Folder {
    let folder = Folder::new();
    folder.write("model.safetensors.index.json", index(map));
    folder.write("model-1.safetensors", safetensors(ONE, &[1; 8]));
    folder.write(
        "model-2.safetensors",
        safetensors(&ONE.replace("\"a\"", "\"b\""), &[2; 8]),
    );
    folder.write("config.json", r#"{"model_type":"llama"}"#);
    folder
}

#[test]
fn shards_are_joined_by_their_index() {
    let folder = sharded(r#"{"a":"model-1.safetensors","b":"model-2.safetensors"}"#);
    let model = ModelFile::open(folder.path()).unwrap();
    assert_eq!(model.architecture().unwrap(), "llama");
    assert_eq!(model.weights_bytes(), 16);
    assert_eq!(model.data(model.tensor("a").unwrap()), [1; 8]);
    assert_eq!(model.data(model.tensor("b").unwrap()), [2; 8]);
    model.advise_dropped(model.tensor("b").unwrap());
    assert_eq!(model.data(model.tensor("b").unwrap()), [2; 8]);
}

#[test]
fn broken_indexes() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "traversal",
            r#"{"a":"../model-1.safetensors"}"#,
            "no plain file name",
        ),
        (
            "absolute",
            r#"{"a":"/etc/x.safetensors"}"#,
            "no plain file name",
        ),
        ("hidden", r#"{"a":".x.safetensors"}"#, "no plain file name"),
        ("pickle", r#"{"a":"model.bin"}"#, "no plain file name"),
        (
            "missing shard",
            r#"{"a":"model-3.safetensors"}"#,
            "model-3.safetensors: cannot be read",
        ),
        (
            "wrong shard",
            r#"{"a":"model-2.safetensors"}"#,
            "where it is not",
        ),
        (
            "unknown tensor",
            r#"{"a":"model-1.safetensors","c":"model-1.safetensors"}"#,
            "where it is not",
        ),
        ("empty", "{}", "lists no tensors"),
        ("no map", "3", "not the JSON"),
    ];
    for (name, map, expected) in cases {
        says(name, ModelFile::open(sharded(map).path()), expected);
    }
    let folder = sharded(r#"{"a":"model-1.safetensors","b":"model-2.safetensors"}"#);
    folder.write("model-2.safetensors", safetensors(ONE, &[2; 8]));
    says(
        "in two shards",
        ModelFile::open(folder.path()),
        "occurs twice",
    );
}

#[test]
fn folders_that_are_no_model_say_why() {
    let folder = Folder::new();
    says("nothing", ModelFile::open(folder.path()), "neither");
    says(
        "absent",
        ModelFile::open(folder.path().join("x.gguf")),
        "does not exist",
    );
    says(
        "other file",
        ModelFile::open(folder.write("notes.txt", "x")),
        "is no model",
    );
    folder.write("a.safetensors", safetensors(ONE, &[1; 8]));
    says("no config", ModelFile::open(folder.path()), "config.json");
    folder.write("config.json", "{");
    says(
        "broken config",
        ModelFile::open(folder.path()),
        "not the JSON",
    );
    folder.write("b.safetensors", safetensors(ONE, &[1; 8]));
    says(
        "no index",
        ModelFile::open(folder.path()),
        "2 safetensors files",
    );
}
